"""What a watch of a node keeps of each sweep between looks. Not to be shared between threads."""

from __future__ import annotations

from gapless.declaration.runset import RunSet
from gapless.results.coverage import Coverage, CoverageReader
from gapless.storage.blobs import Blobs
from gapless.storage.sweeps import SweepStore

__all__ = ["CoverageRecords", "DeclaredRecords"]


class CoverageRecords:
    """Reads the coverage of sweeps, each time only what is new since the last."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._readers: dict[str, CoverageReader] = {}

    def now(self, sweep: str) -> Coverage:
        """Read a sweep's coverage; the first time, every manifest that no cache stands for."""
        reader = self._readers.get(sweep)
        if reader is None:
            reader = self._readers[sweep] = CoverageReader(self._blobs, sweep)
        return reader.refresh()


class DeclaredRecords:
    """Remembers the declared runs of sweeps: reading them reads the whole declaration."""

    def __init__(self, store: SweepStore) -> None:
        self._store = store
        self._runs: dict[str, RunSet] = {}

    def known(self, sweep: str) -> RunSet:
        """Give the runs as they were when last read."""
        if sweep not in self._runs:
            return self.read_anew(sweep)
        return self._runs[sweep]

    def read_anew(self, sweep: str) -> RunSet:
        """Read the runs, those included that were added meanwhile."""
        runs = self._runs[sweep] = self._store.load(sweep).runs.all
        return runs
