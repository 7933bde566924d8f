"""Results as rows: for the command line and CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gapless.results.columns import ColumnKind, ValueColumn
from gapless.results.outcome import Outcome
from gapless.results.row_index import RowIndex
from gapless.results.shard_writing import RunLookup, parameter_value
from gapless.results.storable import json_text

__all__ = ["FIXED", "RowTable", "RunFacts", "column_names", "write_csv"]

FIXED = (
    *("replicate", "seed", "outcome", "complete", "attempt"),
    *("started", "duration", "node", "epoch"),
)
"""The columns between the parameters and the values; `started` is Unix time, both in seconds."""


class RunFacts(RunLookup, Protocol):
    """What run numbers mean, with seeds: the part of a declaration's Runs that readers need."""

    def seeds(self, numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Give the seeds of runs."""


@dataclass(frozen=True, slots=True, eq=False)
class RowTable:
    """Rows of plain values in the order of `columns`; a missing value is None."""

    columns: tuple[str, ...]
    data: tuple[list[Any], ...]

    @classmethod
    def read(cls, index: RowIndex, runs: RunFacts, limit: int | None) -> RowTable:
        """Take the first `limit` runs (None: all)."""
        picked = np.arange(len(index.rows.run))[:limit]
        rows = index.rows
        numbers = rows.run[picked]
        parameters = runs.parameters(numbers)
        fixed: list[list[Any]] = [
            rows.replicate[picked].tolist(),
            runs.seeds(numbers).tolist(),
            [_LABELS[outcome] for outcome in rows.outcome[picked].tolist()],
            rows.complete[picked].tolist(),
            rows.attempt[picked].tolist(),
            rows.started_s[picked].tolist(),
            rows.duration_s[picked].tolist(),
            rows.node.take(picked).tolist(),
            rows.epoch[picked].tolist(),
        ]
        values = index.values(index.names, index.places.take(picked))
        return cls(
            columns=column_names(tuple(parameters), index.names),
            data=(
                numbers.tolist(),
                *(parameter_value(column).tolist() for column in parameters.values()),
                *fixed,
                *(_plain_list(column) for column in values.values()),
            ),
        )

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows."""
        return list(self)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return zip(*self.data, strict=True)

    def __len__(self) -> int:
        return len(self.data[0])


_LABELS = {int(outcome): outcome.label for outcome in Outcome}


def column_names(parameters: tuple[str, ...], values: tuple[str, ...]) -> tuple[str, ...]:
    """Name the columns: run, parameters, FIXED, values.

    A parameter called like a fixed column is shown as params/<name>, a value called like anything
    before it as values/<name> (no other column can be called so).
    """
    taken = {"run", *FIXED}
    shown = tuple(f"params/{name}" if name in taken else name for name in parameters)
    taken.update(shown)
    return (
        "run",
        *shown,
        *FIXED,
        *(f"values/{name}" if name in taken else name for name in values),
    )


def write_csv(table: RowTable, file: IO[str]) -> None:
    """Write a header line and a line a row; lists and dicts as JSON, missing values empty."""
    writer = csv.writer(file)
    writer.writerow(table.columns)
    writer.writerows([_cell(value) for value in row] for row in table)


def _cell(value: Any) -> Any:
    return json_text(value) if isinstance(value, list | dict) else value


def _plain_list(column: ValueColumn) -> list[Any]:
    if column.kind in (ColumnKind.ARRAY, ColumnKind.RAGGED):
        return [each.tolist() if isinstance(each, np.ndarray) else each for each in column.tolist()]
    return column.tolist()
