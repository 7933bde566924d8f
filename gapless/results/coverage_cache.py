"""What one aggregator has stored, in one file: it spares a reader the manifests it stands for.

A cache and nothing else: it is written after the manifests it names, anybody may delete it, and it
counts as a whole or not at all. It is void once a shard it names is gone, unless a shard that is
there took over its rows.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import msgspec

from gapless.declaration.errors import DamagedMessage, MessageError
from gapless.declaration.formats import decode_record, encode_record
from gapless.declaration.runset import RunSet
from gapless.results.manifest import Manifest, encode_manifest
from gapless.results.outcome import Outcome
from gapless.storage import layout
from gapless.storage.blobs import Blob, Blobs
from gapless.storage.errors import BlobMissing

__all__ = [
    "CachedShard",
    "CoverageCache",
    "decode_cache",
    "encode_cache",
    "listed_replacements",
    "read_caches",
]

_KIND = "coverage"
_MAJOR = 1


class CachedShard(msgspec.Struct, frozen=True, kw_only=True):
    """One shard a cache stands for: what is compared with a listing, and its number of rows.

    `size_bytes` is the shard's, `manifest_bytes` its manifest's; `replaces` as in the manifest.
    """

    shard: str
    size_bytes: int = msgspec.field(name="bytes")
    manifest_bytes: int
    rows: int
    replaces: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> CachedShard:
        """Give what a cache keeps of a manifest."""
        return cls(
            shard=manifest.shard,
            size_bytes=manifest.size_bytes,
            manifest_bytes=len(encode_manifest(manifest)),
            rows=manifest.rows,
            replaces=manifest.replaces,
        )


class CoverageCache(msgspec.Struct, frozen=True, kw_only=True):
    """The shards it stands for, and the union of what their manifests cover."""

    sweep: str
    aggregator: str
    shards: tuple[CachedShard, ...]
    coverage: Mapping[tuple[int, Outcome], RunSet]

    def holds(
        self,
        *,
        shards: Mapping[str, Blob],
        manifests: Mapping[str, Blob],
        replaced: Container[str],
    ) -> bool:
        """Tell whether every shard it names is listed whole, or replaced by one that is."""
        return all(
            each.shard in replaced or _is_listed(each, shards, manifests) for each in self.shards
        )


class _Wire(msgspec.Struct, kw_only=True):
    sweep: str
    aggregator: str
    shards: tuple[CachedShard, ...]
    coverage: dict[str, dict[str, str]]


def encode_cache(cache: CoverageCache) -> bytes:
    """Write a cache as JSON; the same cache gives the same bytes."""
    coverage: dict[str, dict[str, str]] = {}
    for (epoch, outcome), runs in cache.coverage.items():
        coverage.setdefault(str(epoch), {})[outcome.label] = runs.to_text()
    wire = _Wire(
        sweep=cache.sweep, aggregator=cache.aggregator, shards=cache.shards, coverage=coverage
    )
    return encode_record(wire, kind=_KIND, major=_MAJOR)


def decode_cache(data: bytes) -> CoverageCache:
    """Read a cache; DamagedMessage, or NewerFormat when a later program wrote it."""
    wire = decode_record(data, _Wire, kind=_KIND, known=_MAJOR)
    try:
        coverage = {
            (_epoch(epoch), Outcome.of_label(label)): RunSet.from_text(text)
            for epoch, by_outcome in wire.coverage.items()
            for label, text in by_outcome.items()
        }
    except ValueError as error:
        raise DamagedMessage(f"not a coverage cache: {error}"[:300]) from error
    if len({each.shard for each in wire.shards}) != len(wire.shards) or any(
        each.size_bytes <= 0 or each.manifest_bytes <= 0 or each.rows < 0 for each in wire.shards
    ):
        raise DamagedMessage("a coverage cache names a shard twice or gives an impossible size")
    if sum(map(len, coverage.values())) > sum(each.rows for each in wire.shards):
        raise DamagedMessage("a coverage cache covers more runs than its shards have rows")
    return CoverageCache(
        sweep=wire.sweep, aggregator=wire.aggregator, shards=wire.shards, coverage=coverage
    )


def read_caches(blobs: Blobs, sweep_id: str) -> list[CoverageCache]:
    """Read the caches of a sweep; one that cannot be read, or is of something else, is ignored."""
    found: list[CoverageCache] = []
    for blob in blobs.list(layout.coverage_prefix(sweep_id)):
        try:
            cache = decode_cache(blobs.get(blob.key))
        except (BlobMissing, MessageError):
            continue
        if cache.sweep == sweep_id and blob.key == layout.coverage(sweep_id, cache.aggregator):
            found.append(cache)
    return found


def listed_replacements(
    known: Iterable[Manifest | CachedShard],
    *,
    shards: Mapping[str, Blob],
    manifests: Mapping[str, Blob],
) -> set[str]:
    """Name the shards whose rows were taken over by one that is listed whole."""
    return {
        name
        for each in known
        if each.replaces and _is_listed(each, shards, manifests)
        for name in each.replaces
    }


def _is_listed(
    each: Manifest | CachedShard, shards: Mapping[str, Blob], manifests: Mapping[str, Blob]
) -> bool:
    shard, manifest = shards.get(each.shard), manifests.get(each.shard)
    if shard is None or manifest is None or shard.size_bytes != each.size_bytes:
        return False
    return not isinstance(each, CachedShard) or manifest.size_bytes == each.manifest_bytes


def _epoch(text: str) -> int:
    # "00" beside "0" would be the same epoch twice, of which one would be lost.
    if not (text.isascii() and text.isdigit() and len(text) < 10) or text != str(int(text)):
        raise ValueError(f"an epoch is {text[:20]!r}")
    return int(text)
