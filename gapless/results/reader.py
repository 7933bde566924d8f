"""Read a sweep's results: one row a run, whatever was delivered or stored twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gapless.errors import MissingExtra
from gapless.results.block import ErrorRecord
from gapless.results.columns import ColumnKind, ValueColumn
from gapless.results.coverage import Coverage, CoverageReader
from gapless.results.csv_file import save_csv
from gapless.results.errors import ShardDamaged, ShardGone, UnknownValue
from gapless.results.failures import Failure, group_failures
from gapless.results.outcome import Outcome
from gapless.results.row_index import Duplicates, RowIndex, ShardSource, build_index
from gapless.results.row_table import RowTable, write_csv
from gapless.storage.blobs import Blobs
from gapless.storage.sweeps import SweepStore

if TYPE_CHECKING:
    import pandas as pd

    from gapless.declaration.sweep import Declaration

__all__ = ["Results"]


class Results:
    """The stored results of a sweep as they were at opening, or at the last `refresh`.

    Manifests are listed at opening, shards are read when rows are first needed. `damaged`: "raise"
    an error for a shard whose bytes are not what its manifest says, or "skip" it (see `skipped`).
    """

    def __init__(
        self, blobs: Blobs, sweep_id: str, *, damaged: Literal["raise", "skip"] = "raise"
    ) -> None:
        stored = SweepStore(blobs).load(sweep_id)
        self.sweep_id = sweep_id
        self.declaration: Declaration = stored.declaration
        self._runs = stored.runs
        self._source = ShardSource(blobs, sweep_id)
        self._reader = CoverageReader(blobs, sweep_id)
        self._damaged = damaged
        self.refresh()

    def refresh(self) -> None:
        """Look at what is stored now."""
        self.coverage: Coverage = self._reader.refresh()
        self._shards = tuple(self._reader.shards)
        self._skipped: list[str] = []
        self._index: RowIndex | None = None
        self._duplicates: Duplicates | None = None

    @property
    def total(self) -> int:
        """How many runs the sweep has."""
        return self._runs.total

    @property
    def stored(self) -> str:
        """How much of the sweep this holds, in words."""
        return f"{self.stored_count:,} of {self.total:,} runs"

    @property
    def stored_count(self) -> int:
        """How many runs have a final result."""
        return self._runs.all.overlap(self.coverage.final())

    @property
    def skipped(self) -> tuple[str, ...]:
        """The shards left out because they are damaged (with damaged="skip").

        `coverage` and `stored` go by the manifests, so they count the runs of these too.
        """
        self._rows()
        return tuple(self._skipped)

    @property
    def problems(self) -> dict[str, str]:
        """What does not count and why, by shard: gone, of another size, an unreadable manifest."""
        return dict(self._reader.problems)

    @property
    def runs(self) -> NDArray[np.uint64]:
        """The numbers of the stored runs, ascending, shape (n,)."""
        return self._rows().rows.run

    @property
    def outcomes(self) -> NDArray[np.uint8]:
        """The outcome of each of `runs` (see Outcome), shape (n,)."""
        return self._rows().rows.outcome

    @property
    def has_failures(self) -> bool:
        """Tell whether some stored run is not ok; from the manifests alone."""
        return any(
            outcome is not Outcome.OK and runs for (_, outcome), runs in self.coverage.by.items()
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the values that were recorded."""
        return self._rows().names

    @property
    def duplicates(self) -> Duplicates:
        """What was recorded more than once, and whether it differed."""
        if self._duplicates is None:
            self._duplicates = self._rows().duplicates()
        return self._duplicates

    def __len__(self) -> int:
        return len(self.runs)

    def __repr__(self) -> str:
        return f"Results({self.sweep_id}: {self.stored})"

    def __str__(self) -> str:
        return f"{self.sweep_id}: {self.stored}"

    def values(self, name: str) -> NDArray[Any]:
        """Give one value of each of `runs`, shape (n, …).

        Where a run lacks it: NaN among floats, None among texts and objects, masked (a numpy
        masked array) among integers, truth values and fixed-shape arrays. Ragged arrays and values
        kept as JSON come as an object array.
        """
        index = self._rows()
        if name not in index.names:
            known = ", ".join(sorted(index.names)) or "none yet"
            raise UnknownValue(f"no run of {self.sweep_id} recorded {name!r}; recorded: {known}")
        return _array(index.values([name], index.places)[name])

    def errors(self) -> list[ErrorRecord]:
        """Give what went wrong, one record for each run whose result is not ok, by run."""
        return sorted(self._errors(), key=lambda error: error.run)

    def failures(self) -> list[Failure]:
        """Give what went wrong in groups of one place and type, the most frequent first."""
        return group_failures(self._errors())

    def _errors(self) -> Iterator[ErrorRecord]:
        """Read the errors of the runs that are not ok, a shard at a time."""
        index = self._rows()
        wrong = np.flatnonzero(index.rows.outcome != Outcome.OK)
        places = index.places.take(wrong)
        for shard in np.unique(places.shard).tolist():
            here = np.flatnonzero(places.shard == shard)
            with self._source.open(index.shards[shard]) as file:
                by_row = dict(file.errors())
            for each in here.tolist():
                row = int(wrong[each])
                yield by_row.get(int(places.row[each])) or ErrorRecord(
                    run=int(index.rows.run[row]), kind=Outcome(index.rows.outcome[row]).label
                )

    def table(self, limit: int | None = None) -> RowTable:
        """Give rows for people, the smallest run numbers first."""
        return RowTable.read(self._rows(), self._runs, limit)

    def write_csv(self, file: IO[str] | str | Path) -> None:
        """Write every stored run as a line of CSV, to a path or an open file (newline="").

        A path gets its file when all is written: it never holds a part. OSError.
        """
        if isinstance(file, str | Path):
            save_csv(self.table(), Path(file))
        else:
            write_csv(self.table(), file)

    def to_pandas(self) -> pd.DataFrame:
        """Give a DataFrame: a row a stored run, by run number.

        Columns: run, the parameters, replicate, seed, outcome, complete, attempt, started (Unix
        time, s), duration (s), node, epoch, the values. Dtypes: numbers are int64 and float64
        (integers among floats: float64), truth values bool, complex numbers complex128, texts str
        (object before pandas 3), outcome and node category. Where some runs lack a value (failed
        ones lack all): float64 with NaN, Int64 and boolean with <NA>, texts with a missing one
        (`isna()`). Arrays, of one shape or ragged, come as objects: a numpy array a run, or None.
        So do lists, dicts and columns of mixed types (text beside numbers, None among parameters,
        integers beyond 64 bits): the Python values that were given, None where missing.
        """
        try:
            import pandas  # noqa: F401, ICN001, PLC0415 - an extra
        except ImportError as error:
            raise MissingExtra(purpose="to_pandas()", extra="pandas") from error
        from gapless.results.frame import frame_of  # noqa: PLC0415 - needs pandas

        return frame_of(self._rows(), self._runs)

    def _rows(self) -> RowIndex:
        if self._index is None:
            self._skipped = []
            manifests = self._reader.read_manifests()
            gone = [shard for shard in self._shards if shard not in manifests]
            if gone:
                raise ShardGone(gone[0])
            self._index = build_index(self._source, manifests.values(), self._on_damage)
        return self._index

    def _on_damage(self, error: ShardDamaged) -> None:
        if self._damaged == "raise":
            error.add_note("gapless.open(home, sweep, damaged='skip') reads without it")
            raise error
        self._skipped.append(error.shard_id)


def _array(column: ValueColumn) -> NDArray[Any]:
    if column.kind in (ColumnKind.JSON, ColumnKind.RAGGED, ColumnKind.STR):
        objects = np.empty(len(column), dtype=object)
        for position, value in enumerate(column.tolist()):
            objects[position] = value
        return objects
    if column.valid is None:
        return column.data
    if column.kind is ColumnKind.FLOAT64:
        return np.where(column.valid, column.data, np.nan)
    absent = ~column.valid.reshape(-1, *(1,) * (column.data.ndim - 1))
    mask = np.broadcast_to(absent, column.data.shape)
    masked: NDArray[Any] = np.ma.MaskedArray(column.data, mask=mask)
    return masked
