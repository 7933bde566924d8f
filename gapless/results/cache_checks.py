"""Whether coverage caches say what the shards say that they stand for.

Readers believe a cache that holds (`CoverageCache.holds`), so one that claims too much hides gaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.runset import RunSet
from gapless.results.coverage import Coverage
from gapless.results.coverage_cache import CachedShard, CoverageCache, decode_cache
from gapless.results.manifest import Manifest
from gapless.storage import layout

__all__ = ["wrong_caches"]


def wrong_caches(
    sweep_id: str,
    caches: Mapping[str, bytes],
    *,
    sound: Mapping[str, Manifest],
    coverage: Coverage,
) -> Iterator[tuple[str, str]]:
    """Give the keys of caches (key and bytes) that cannot be right, and why.

    `sound` are the manifests that follow from the rows, `coverage` is of them all. A cache that is
    void, because it names a shard that is neither there nor replaced, hides nothing.
    """
    replaced = {name for manifest in sound.values() for name in manifest.replaces}
    for key, data in caches.items():
        try:
            cache = decode_cache(data)
        except NewerFormat:
            continue
        except DamagedMessage as error:
            yield key, f"it cannot be read: {error}"
            continue
        why = _why_wrong(sweep_id, key, cache, sound, coverage, replaced)
        if why:
            yield key, why


def _why_wrong(
    sweep_id: str,
    key: str,
    cache: CoverageCache,
    sound: Mapping[str, Manifest],
    coverage: Coverage,
    replaced: set[str],
) -> str:
    if cache.sweep != sweep_id or key != layout.coverage(sweep_id, cache.aggregator):
        return f"it is of aggregator {cache.aggregator} of sweep {cache.sweep}"
    known = [sound[each.shard] for each in cache.shards if each.shard in sound]
    for each in cache.shards:
        if each.shard in sound and _differs(each, sound[each.shard]):
            return f"it says something else of shard {each.shard} than its rows"
    if len(known) == len(cache.shards):
        stands_for = Coverage()
        for manifest in known:
            stands_for.add(manifest)
        claimed = {epoch_outcome: runs for epoch_outcome, runs in cache.coverage.items() if runs}
        return "" if claimed == stands_for.by else "it covers other runs than its shards have"
    if all(each.shard in sound or each.shard in replaced for each in cache.shards) and any(
        not runs.issubset(coverage.by.get(epoch_outcome, RunSet()))
        for epoch_outcome, runs in cache.coverage.items()
    ):
        return "it covers runs that no shard has"
    return ""


def _differs(cached: CachedShard, manifest: Manifest) -> bool:
    """Tell whether an entry lies; of another size, it makes the whole cache void instead."""
    of_this = CachedShard.of(manifest)
    return cached.size_bytes == of_this.size_bytes and (
        cached.rows != of_this.rows or cached.replaces != of_this.replaces
    )
