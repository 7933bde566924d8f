"""Whether rows are of the sweep they lie in: run numbers, replicates, parameters as declared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gapless.declaration.errors import DamagedMessage
from gapless.declaration.runs import Runs
from gapless.declaration.sweep import Declaration
from gapless.results.columns import ValueColumn
from gapless.results.differences import differing_rows
from gapless.results.shard_reading import ShardFile
from gapless.results.shard_rows import RowColumns
from gapless.results.shard_writing import parameter_value
from gapless.storage.sweeps import SweepStore

__all__ = ["DeclaredRows"]

_AT_ONCE = 1 << 17
"""Rows compared at once: it bounds what their parameters take in memory."""


class DeclaredRows:
    """Compares rows with what the home declares. Seeds follow from what is compared here."""

    def __init__(self, store: SweepStore, sweep_id: str) -> None:
        self._store = store
        self._sweep = store.load(sweep_id)

    @property
    def sweep_id(self) -> str:
        """Which sweep it is."""
        return self._sweep.id

    @property
    def runs(self) -> Runs:
        """Every run of the sweep, as of the last look."""
        return self._sweep.runs

    def why_foreign(self, shard: ShardFile, rows: RowColumns) -> str:
        """Say why this shard's rows are not of the sweep; "" when all of them are.

        NewerFormat when a later program wrote the declaration in it; ShardDamaged.
        """
        if shard.sweep_id != self.sweep_id:
            return f"it is of sweep {shard.sweep_id}"
        try:
            declaration = Declaration.decode(shard.declaration_json)
        except DamagedMessage as error:
            return f"the declaration in it cannot be read: {error}"
        if declaration.digest != self._sweep.declaration.digest:
            return f"it holds another declaration, of digest {declaration.digest[:12]}…"
        highest = int(rows.run.max(initial=np.uint64(0)))
        if len(rows.run) and highest >= self.runs.total:
            # Runs may have been added since.
            self._sweep = self._store.load(self.sweep_id)
            if highest >= self.runs.total:
                return f"it holds run {highest:,} of a sweep of {self.runs.total:,} runs"
        for start in range(0, len(rows.run), _AT_ONCE):
            why = self._why_differing(shard, rows, slice(start, start + _AT_ONCE))
            if why:
                return why
        return ""

    def _why_differing(self, shard: ShardFile, rows: RowColumns, here: slice) -> str:
        numbers = rows.run[here]
        wrong = rows.replicate[here] != self.runs.replicates(numbers)
        if wrong.any():
            return f"run {int(numbers[wrong][0]):,} has another replicate than declared"
        stored = shard.parameters(here)
        declared = self.runs.parameters(numbers)
        if stored.keys() != declared.keys():
            names = ", ".join(sorted(stored.keys() ^ declared.keys()))
            return f"its parameters are others than declared: {names}"
        for name, column in declared.items():
            wrong = _differing(stored[name], parameter_value(column))
            if wrong.any():
                return f"run {int(numbers[wrong][0]):,} has another value of {name} than declared"
        return ""


def _differing(stored: ValueColumn, declared: ValueColumn) -> NDArray[np.bool_]:
    if stored.kind is declared.kind and stored.data.shape == declared.data.shape:
        unequal = np.asarray(stored.data != declared.data, dtype=np.bool_)
        if not unequal.any():
            return unequal
    # Kinds differ where an extension brought values of another kind: 1 and 1.0 are one point.
    return differing_rows(stored, declared)
