"""The manifest: the small file beside a shard that says what it holds and makes it count."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.runset import RunSet
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome
from gapless.results.shard_seal import check_seal

if TYPE_CHECKING:
    from gapless.results.shard_reading import ShardFile
    from gapless.results.shard_rows import RowColumns

__all__ = [
    "Manifest",
    "decode_manifest",
    "encode_manifest",
    "manifest_of_rows",
    "manifest_of_shard",
]

_MAJOR = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What one shard holds. `counts` are of rows, `replaces` names shards whose rows it took over.

    `size_bytes` and `sha256` are those of the shard's file.
    """

    sweep: str
    shard: str
    origin: Origin
    sha256: str
    size_bytes: int
    rows: int
    counts: Mapping[Outcome, int]
    coverage: Mapping[tuple[int, Outcome], RunSet]
    replaces: tuple[str, ...] = ()


class _Wire(msgspec.Struct, kw_only=True):
    format: str
    sweep: str
    shard: str
    origin: Origin
    sha256: str
    bytes: int
    rows: int
    counts: dict[str, int]
    coverage: dict[str, dict[str, str]]
    replaces: list[str]


class _FormatWire(msgspec.Struct):
    format: str


_read_format = msgspec.json.Decoder(_FormatWire)
_read = msgspec.json.Decoder(_Wire)


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest as JSON; the same manifest gives the same bytes."""
    coverage: dict[str, dict[str, str]] = {}
    for (epoch, outcome), runs in sorted(manifest.coverage.items()):
        coverage.setdefault(str(epoch), {})[outcome.label] = runs.to_text()
    wire = _Wire(
        format=f"gapless.manifest/{_MAJOR}",
        sweep=manifest.sweep,
        shard=manifest.shard,
        origin=manifest.origin,
        sha256=manifest.sha256,
        bytes=manifest.size_bytes,
        rows=manifest.rows,
        counts={each.label: manifest.counts.get(each, 0) for each in Outcome},
        coverage=coverage,
        replaces=list(manifest.replaces),
    )
    return msgspec.json.format(msgspec.json.encode(wire), indent=1) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest; DamagedMessage, or NewerFormat when a later program wrote it."""
    try:
        _check_format(_read_format.decode(data).format)
        wire = _read.decode(data)
        coverage = {
            (_epoch(epoch), Outcome.of_label(label)): RunSet.from_text(text)
            for epoch, by_outcome in wire.coverage.items()
            for label, text in by_outcome.items()
        }
        named = {Outcome.of_label(label): count for label, count in wire.counts.items()}
        counts = {outcome: named.get(outcome, 0) for outcome in Outcome}
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DamagedMessage(f"not a manifest: {error}"[:300]) from error
    _check(wire, counts, coverage)
    return Manifest(
        sweep=wire.sweep,
        shard=wire.shard,
        origin=wire.origin,
        sha256=wire.sha256,
        size_bytes=wire.bytes,
        rows=wire.rows,
        counts=counts,
        coverage=coverage,
        replaces=tuple(wire.replaces),
    )


def manifest_of_shard(data: bytes, shard_id: str) -> Manifest:
    """Make the manifest of a shard from its own rows; ShardDamaged when it is not that shard."""
    # Only a program that adopts a shard needs h5py; reconcile starts without it.
    from gapless.results.shard_reading import ShardFile  # noqa: PLC0415

    check_seal(data, shard_id)
    with ShardFile(data, shard_id) as shard:
        return manifest_of_rows(
            shard,
            shard.rows(),
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
        )


def manifest_of_rows(
    shard: ShardFile, rows: RowColumns, *, sha256: str, size_bytes: int
) -> Manifest:
    """Make the manifest of an open shard from its rows; hash and size are those of its file."""
    return Manifest(
        sweep=shard.sweep_id,
        shard=shard.shard_id,
        origin=shard.origin,
        sha256=sha256,
        size_bytes=size_bytes,
        rows=len(rows.run),
        counts=rows.counts(),
        coverage=rows.coverage(),
        replaces=shard.replaces,
    )


def _check_format(found: str) -> None:
    name, _, major = found.partition("/")
    if name != "gapless.manifest" or not (major.isascii() and major.isdigit() and len(major) < 10):
        raise DamagedMessage(f"not a manifest: format {found[:80]!r}")
    if int(major) != _MAJOR:
        raise NewerFormat(kind="manifest", found=int(major), known=_MAJOR)


def _epoch(text: str) -> int:
    # "00" beside "0" would be the same epoch twice, of which one would be lost.
    if not (text.isascii() and text.isdigit() and len(text) < 10) or text != str(int(text)):
        raise ValueError(f"an epoch is {text[:20]!r}")
    return int(text)


def _check(
    wire: _Wire,
    counts: Mapping[Outcome, int],
    coverage: Mapping[tuple[int, Outcome], RunSet],
) -> None:
    sizes_fit = 0 < wire.bytes < 2**63 and 0 <= wire.rows < 2**63
    if not _SHA256.fullmatch(wire.sha256) or not sizes_fit:
        raise DamagedMessage(f"manifest of {wire.shard[:80]!r} has an impossible hash or size")
    if min(counts.values(), default=0) < 0 or sum(counts.values()) != wire.rows:
        raise DamagedMessage(f"manifest of {wire.shard[:80]!r}: its counts are not its rows")
    for outcome in Outcome:
        covered = sum(len(runs) for (_, each), runs in coverage.items() if each is outcome)
        if covered > counts.get(outcome, 0) or (counts.get(outcome, 0) > 0) != (covered > 0):
            raise DamagedMessage(f"manifest of {wire.shard[:80]!r}: its coverage is not its counts")
