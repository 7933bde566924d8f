"""What an aggregator reads of a home: sweeps, the state wanted of them, runs, coverage."""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.events import (
    CoverageRead,
    CoverageUnread,
    OrphansAdopted,
    SweepsPolled,
    SweepState,
    SweepsUnread,
)
from gapless.declaration.runset import RunSet
from gapless.errors import GaplessError
from gapless.patience import patiently
from gapless.results.coverage import Coverage, CoverageReader, missing
from gapless.storage import layout
from gapless.storage.blobs import Blob, Blobs
from gapless.storage.errors import StorageUnavailable
from gapless.storage.sweeps import StoredSweep, SweepStore

__all__ = ["HomeView"]


@dataclass(frozen=True, slots=True)
class _Loaded:
    segments: tuple[Blob, ...]
    sweep: StoredSweep


class HomeView:
    """Reads with what was read before kept: declarations never change, manifests only appear.

    Used by one thread at a time.
    """

    def __init__(self, blobs: Blobs, store: SweepStore) -> None:
        self._blobs = blobs
        self._store = store
        self._loaded: dict[str, _Loaded] = {}
        self._readers: dict[str, CoverageReader] = {}

    def poll(
        self, sweep_ids: tuple[str, ...] | None, resting: frozenset[str] = frozenset()
    ) -> SweepsPolled | SweepsUnread:
        """Read the state wanted of every sweep served (of the home, when none is named).

        Those that are resting are not looked at: they are given by name, if they are still there.
        """
        try:
            return patiently(lambda: self._poll(sweep_ids, resting), on=StorageUnavailable)
        except GaplessError as error:
            return SweepsUnread(str(error))

    def _poll(self, sweep_ids: tuple[str, ...] | None, resting: frozenset[str]) -> SweepsPolled:
        names = self._store.names() if sweep_ids is None else sweep_ids
        states = {
            name: SweepState(self._store.control(name).state.value)
            for name in names
            if name not in resting and self._store.exists(name)
        }
        return SweepsPolled(states, resting & frozenset(names))

    def sweep(self, sweep_id: str) -> StoredSweep | None:
        """Load a sweep, again only when a segment was added; None when the home has none such."""
        if not self._store.exists(sweep_id):
            self._loaded.pop(sweep_id, None)
            return None
        # With their times: a sweep that was removed and submitted again may have others.
        segments = tuple(self._blobs.list(layout.segments_prefix(sweep_id)))
        known = self._loaded.get(sweep_id)
        if known is None or known.segments != segments:
            known = _Loaded(segments, self._store.load(sweep_id))
            self._loaded[sweep_id] = known
        return known.sweep

    def coverage(self, sweep_id: str) -> Coverage:
        """Read the manifests not seen before."""
        return self._reader(sweep_id).refresh()

    def read_coverage(self, sweep_id: str) -> CoverageRead | CoverageUnread:
        """Read which runs a sweep has and which of them still lack a final result."""
        try:
            return patiently(lambda: self._read_coverage(sweep_id), on=StorageUnavailable)
        except GaplessError as error:
            return CoverageUnread(sweep_id, str(error))

    def _read_coverage(self, sweep_id: str) -> CoverageRead:
        stored = self.sweep(sweep_id)
        if stored is None:
            return CoverageRead(sweep_id, RunSet(), {})
        runs = stored.runs.all
        # Asked first: a run asked for anew meanwhile counts as missing at the next read.
        asked = self._store.asked(sweep_id)
        return CoverageRead(sweep_id, runs, missing(runs, asked, self.coverage(sweep_id)))

    def adopt(self, sweep_id: str, *, older_than_s: float, now_s: float) -> OrphansAdopted:
        """Write the manifests of complete shards that have none; a failed look is made again."""
        reader = self._reader(sweep_id)
        try:
            reader.refresh()
            done = reader.adopt_orphans(older_than_s=older_than_s, now_s=now_s)
        except GaplessError:
            return OrphansAdopted(sweep_id, 0)
        return OrphansAdopted(sweep_id, len(done.adopted))

    def manifests(self, sweep_id: str) -> int:
        """Count a sweep's manifests, as of the last look at its coverage."""
        return len(self._reader(sweep_id).shards)

    def _reader(self, sweep_id: str) -> CoverageReader:
        if sweep_id not in self._readers:
            self._readers[sweep_id] = CoverageReader(self._blobs, sweep_id)
        return self._readers[sweep_id]
