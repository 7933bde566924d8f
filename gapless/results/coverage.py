"""Coverage: which runs have a final result, by epoch and outcome, from manifests alone.

A run may have rows at several epochs and of several outcomes. Manifests do not tell which of
several failures finished last, so counting takes a fixed order (`COUNTING_ORDER`); the reader,
which sees rows, follows invariant I4 to the letter. The number of `ok` runs is the same in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gapless.declaration.errors import DamagedMessage
from gapless.declaration.runset import RunSet
from gapless.results.coverage_cache import (
    CachedShard,
    CoverageCache,
    listed_replacements,
    read_caches,
)
from gapless.results.errors import ShardDamaged, ShardMisnamed
from gapless.results.manifest import (
    Manifest,
    decode_manifest,
    encode_manifest,
    manifest_of_shard,
)
from gapless.results.origin import is_shard_id
from gapless.results.outcome import COUNTING_ORDER, Outcome
from gapless.storage import layout
from gapless.storage.blobs import Blob, Blobs
from gapless.storage.bulk_reads import read_many
from gapless.storage.errors import BlobMissing

__all__ = [
    "Adoption",
    "AskedRuns",
    "Coverage",
    "CoverageReader",
    "by_outcome",
    "counts",
    "missing",
]


class AskedRuns(Protocol):
    """Runs a person asked for anew: the part of a control record that coverage needs."""

    @property
    def epoch(self) -> int:
        """The epoch they were asked for, >= 1."""

    @property
    def runs(self) -> RunSet:
        """Which runs."""


class Coverage:
    """Sets of runs by (epoch, outcome); grows by manifests."""

    def __init__(self) -> None:
        self._by: dict[tuple[int, Outcome], RunSet] = {}
        self._pending: dict[tuple[int, Outcome], list[RunSet]] = {}

    def add(self, manifest: Manifest | CoverageCache) -> None:
        """Count what a manifest (or a cache of several) covers; twice changes nothing."""
        for key, runs in manifest.coverage.items():
            self._pending.setdefault(key, []).append(runs)

    @property
    def by(self) -> Mapping[tuple[int, Outcome], RunSet]:
        """The sets themselves; a run may be in several."""
        for key, sets in self._pending.items():
            self._by[key] = RunSet.union([self._by.get(key, RunSet()), *sets])
        self._pending.clear()
        return self._by

    def __repr__(self) -> str:
        parts = (
            f"epoch {epoch} {outcome.label}: {len(runs):,} runs"
            for (epoch, outcome), runs in sorted(self.by.items())
        )
        return f"Coverage({'; '.join(parts)})"

    @property
    def epochs(self) -> list[int]:
        """The epochs that have results, highest first."""
        return sorted({epoch for epoch, _ in self.by}, reverse=True)

    def final(self, *, at_epoch: int | None = None) -> RunSet:
        """Give the runs with a final result at exactly this epoch (None: at any)."""
        return RunSet.union(
            runs for (epoch, _), runs in self.by.items() if at_epoch in (None, epoch)
        )

    def final_since(self, epoch: int) -> RunSet:
        """Give the runs with a final result at this epoch or a later one."""
        return RunSet.union(runs for (each, _), runs in self.by.items() if each >= epoch)


def missing(declared: RunSet, asked: Iterable[AskedRuns], coverage: Coverage) -> dict[int, RunSet]:
    """Give the runs without a final result since their highest asked epoch, by that epoch.

    Empty: the sweep is complete.
    """
    lacking = {
        epoch: wanted - coverage.final_since(epoch)
        for epoch, wanted in _by_asked_epoch(declared, asked).items()
    }
    return {epoch: runs for epoch, runs in sorted(lacking.items()) if runs}


def by_outcome(
    declared: RunSet, asked: Iterable[AskedRuns], coverage: Coverage
) -> dict[Outcome, RunSet]:
    """Give the runs by the outcome they count as since their highest asked epoch.

    The highest epoch with a result decides; there `ok` beats all, then comes COUNTING_ORDER.
    Runs without a final result are in none of the sets.
    """
    wanted = _by_asked_epoch(declared, asked)
    found: dict[Outcome, list[RunSet]] = {outcome: [] for outcome in Outcome}
    left = declared
    for epoch in coverage.epochs:
        eligible = left & RunSet.union(runs for since, runs in wanted.items() if since <= epoch)
        for outcome in COUNTING_ORDER:
            runs = eligible & coverage.by.get((epoch, outcome), RunSet())
            if runs:
                found[outcome].append(runs)
                eligible = eligible - runs
                left = left - runs
    return {outcome: RunSet.union(sets) for outcome, sets in found.items()}


def counts(declared: RunSet, asked: Iterable[AskedRuns], coverage: Coverage) -> dict[Outcome, int]:
    """Count the runs by outcome as `by_outcome` gives them, every outcome named."""
    return {outcome: len(runs) for outcome, runs in by_outcome(declared, asked, coverage).items()}


def _by_asked_epoch(declared: RunSet, asked: Iterable[AskedRuns]) -> dict[int, RunSet]:
    """Part the declared runs by the highest epoch each was asked for."""
    wanted: dict[int, RunSet] = {}
    left = declared
    for record in sorted(asked, key=lambda each: each.epoch, reverse=True):
        here = record.runs & left
        wanted[record.epoch] = wanted.get(record.epoch, RunSet()) | here
        left = left - here
    wanted[0] = wanted.get(0, RunSet()) | left
    return wanted


@dataclass(frozen=True, slots=True)
class Adoption:
    """What became of shards without a manifest: ids adopted, and ids left alone with the reason."""

    adopted: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)


class CoverageReader:
    """Follow the manifests of a sweep: every refresh lists all of them and reads the new ones.

    The first refresh takes the aggregators' caches for the manifests they stand for. A manifest
    counts only while its shard is there with the size it says: what is gone is a gap. After
    `refresh`, `shards` are those that count and are not replaced (by id), `orphans` the shards
    without a manifest, `problems` what does not count and why.
    """

    def __init__(self, blobs: Blobs, sweep_id: str) -> None:
        self._blobs = blobs
        self._sweep_id = sweep_id
        self._seen: dict[str, tuple[Blob, Manifest | CachedShard]] = {}
        self._counted: dict[str, Manifest | CachedShard] = {}
        self._coverage = Coverage()
        self._began = False
        self.shards: dict[str, Manifest | CachedShard] = {}
        self.orphans: dict[str, Blob] = {}
        self.problems: dict[str, str] = {}

    def refresh(self) -> Coverage:
        """Look again; the same Coverage grows, unless a shard that had counted is gone."""
        # Before the listing: what a cache names is then listed, unless it is gone.
        caches = [] if self._began else read_caches(self._blobs, self._sweep_id)
        shards, files = self._list()
        if caches:
            self._take(caches, shards, files)
        self._began = True
        sound, replaced = self._look(shards, files)
        if self._is_lost(sound, replaced):
            # A cache counts as a whole or not at all: from now on manifests speak for themselves.
            self._seen = {
                shard: seen for shard, seen in self._seen.items() if isinstance(seen[1], Manifest)
            }
            sound, replaced = self._look(shards, files)
            self._coverage = Coverage()
            self._counted = {}
        for shard in sorted(sound.keys() - self._counted.keys()):
            manifest = sound[shard]
            assert isinstance(manifest, Manifest)
            self._coverage.add(manifest)
            self._counted[shard] = manifest
        self.shards = {shard: sound[shard] for shard in sorted(sound.keys() - replaced)}
        self.orphans = {shard: blob for shard, blob in shards.items() if shard not in files}
        return self._coverage

    @property
    def rows(self) -> int:
        """Count the rows of `shards`."""
        return sum(each.rows for each in self.shards.values())

    def read_manifests(self) -> dict[str, Manifest]:
        """Give the manifests of `shards`, reading those that a cache stood for until now.

        What is not there any more, or cannot be read, is left out: the next refresh says why.
        """
        wanted = {
            self._seen[shard][0].key: shard
            for shard, known in self.shards.items()
            if not isinstance(known, Manifest) and shard in self._seen
        }
        for key, data in read_many(self._blobs, list(wanted)):
            shard = wanted.pop(key)
            self._note(shard, self._seen.pop(shard)[0], data)
            if shard in self._seen:
                # The cache counted it; from now on it can be counted alone as well.
                self.shards[shard] = self._counted[shard] = self._seen[shard][1]
        for shard in wanted.values():
            del self._seen[shard]
        return {shard: known for shard, known in self.shards.items() if isinstance(known, Manifest)}

    def adopt_orphans(self, older_than_s: float, now_s: float) -> Adoption:
        """Write the manifest of complete shards that have had none for longer than `older_than_s`.

        Safe to repeat and to race with others: the manifest follows from the shard's bytes and is
        put only if absent. What cannot be read is reported and left alone. Refresh afterwards.
        """
        adopted: list[str] = []
        unreadable: dict[str, str] = {}
        for shard, blob in sorted(self.orphans.items()):
            if now_s - blob.written_at_s < older_than_s:
                continue
            try:
                data = self._blobs.get(layout.shard(self._sweep_id, shard))
                manifest = manifest_of_shard(data, shard)
            except BlobMissing:
                continue
            except ShardDamaged as error:
                if is_shard_id(shard) or isinstance(error, ShardMisnamed):
                    unreadable[shard] = str(error)
                # Else it is somebody's own file.
                continue
            if manifest.sweep != self._sweep_id:
                unreadable[shard] = f"shard {shard} is of sweep {manifest.sweep}"
                continue
            key = layout.manifest(self._sweep_id, shard)
            self._blobs.put_if_absent(key, encode_manifest(manifest))
            adopted.append(shard)
        return Adoption(tuple(adopted), unreadable)

    def _take(
        self, caches: list[CoverageCache], shards: dict[str, Blob], files: dict[str, Blob]
    ) -> None:
        """Count the caches that hold, each as a whole."""
        named = {each.shard: each for cache in caches for each in cache.shards}
        self._read({shard: blob for shard, blob in files.items() if shard not in named})
        known = [*named.values(), *(manifest for _, manifest in self._seen.values())]
        replaced = listed_replacements(known, shards=shards, manifests=files)
        for cache in caches:
            if cache.holds(shards=shards, manifests=files, replaced=replaced):
                self._coverage.add(cache)
                for each in cache.shards:
                    self._counted[each.shard] = each
                    if each.shard in files:
                        self._seen[each.shard] = (files[each.shard], each)

    def _look(
        self, shards: dict[str, Blob], files: dict[str, Blob]
    ) -> tuple[dict[str, Manifest | CachedShard], set[str]]:
        """Give what counts, replaced ones among it, and the names that are replaced."""
        self.problems = {}
        self._seen = {shard: seen for shard, seen in self._seen.items() if shard in files}
        self._read(files)
        sound = {
            shard: manifest
            for shard, (_, manifest) in self._seen.items()
            if self._is_there(manifest, shards.get(shard))
        }
        replaced = {each for manifest in sound.values() for each in manifest.replaces}
        for shard in replaced & self.problems.keys():
            # Compaction removes a shard and its manifest one after the other: the rows live on.
            del self.problems[shard]
        return sound, replaced

    def _is_lost(self, sound: dict[str, Manifest | CachedShard], replaced: set[str]) -> bool:
        return any(
            sound.get(shard) is not manifest and shard not in replaced
            for shard, manifest in self._counted.items()
        )

    def _list(self) -> tuple[dict[str, Blob], dict[str, Blob]]:
        prefix = layout.shards_prefix(self._sweep_id)
        shards: dict[str, Blob] = {}
        files: dict[str, Blob] = {}
        for blob in self._blobs.list(prefix):
            name = blob.key.removeprefix(prefix)
            if name.endswith(".h5"):
                shards[name.removesuffix(".h5")] = blob
            elif name.endswith(".json"):
                files[name.removesuffix(".json")] = blob
        return shards, files

    def _read(self, files: Mapping[str, Blob]) -> None:
        """Read the manifests among these files that are new or changed."""
        wanted: dict[str, str] = {}
        for shard, blob in files.items():
            if shard not in self._seen or self._seen[shard][0] != blob:
                self._seen.pop(shard, None)
                wanted[blob.key] = shard
        for key, data in read_many(self._blobs, list(wanted)):
            self._note(wanted[key], files[wanted[key]], data)

    def _note(self, shard: str, blob: Blob, data: bytes) -> None:
        try:
            manifest = decode_manifest(data)
        except DamagedMessage as error:
            # Else it is somebody's own file.
            if is_shard_id(shard):
                self.problems[shard] = f"the manifest of shard {shard} cannot be read: {error}"
            return
        if (manifest.sweep, manifest.shard) != (self._sweep_id, shard):
            self.problems[shard] = (
                f"the manifest of shard {shard} is of shard {manifest.shard} "
                f"of sweep {manifest.sweep}"
            )
            return
        self._seen[shard] = (blob, manifest)

    def _is_there(self, manifest: Manifest | CachedShard, listed: Blob | None) -> bool:
        """Tell whether a manifest's shard exists whole (by size)."""
        shard = manifest.shard
        if listed is None:
            # Shard and manifest may both have been written while the listing went by: look again.
            try:
                size = len(self._blobs.get(layout.shard(self._sweep_id, shard)))
            except BlobMissing:
                self.problems[shard] = f"shard {shard} is gone, its manifest remains"
                return False
        else:
            size = listed.size_bytes
        if size != manifest.size_bytes:
            self.problems[shard] = (
                f"shard {shard} has {size} bytes, its manifest says {manifest.size_bytes}"
            )
            return False
        return True
