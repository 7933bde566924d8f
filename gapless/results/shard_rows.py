"""The rows of a shard in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapless.declaration.runset import RunSet
from gapless.results.block import AttemptRecord, ErrorRecord
from gapless.results.columns import ValueColumn
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome

__all__ = ["Labels", "RowColumns", "ShardRows"]


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """A column of few distinct texts: row i has names[index[i]]."""

    names: tuple[str, ...]
    index: NDArray[np.integer[Any]]

    @classmethod
    def of(cls, parts: list[tuple[str, int]]) -> Labels:
        """Build from (text, how many rows) in order."""
        names = {name: number for number, name in enumerate(dict.fromkeys(n for n, _ in parts))}
        index = np.repeat(
            np.array(
                [names[name] for name, _ in parts],
                dtype=np.uint16 if len(names) < 2**16 else np.uint32,
            ),
            [rows for _, rows in parts],
        )
        return cls(tuple(names), index)

    @classmethod
    def join(cls, columns: list[Labels]) -> Labels:
        """Put columns one after another."""
        names: dict[str, int] = {}
        parts: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        for column in columns:
            places = [names.setdefault(name, len(names)) for name in column.names]
            parts.append(np.array(places, dtype=np.int64)[column.index])
        return cls(tuple(names), np.concatenate(parts).astype(np.uint32))

    def tolist(self) -> list[str]:
        """Give the text of every row."""
        return [self.names[number] for number in self.index.tolist()]

    def take(self, rows: NDArray[np.intp]) -> Labels:
        """Pick rows by position."""
        return Labels(self.names, self.index[rows])


@dataclass(frozen=True, slots=True, eq=False)
class RowColumns:
    """What every row has, each of shape (n,): the datasets of /runs."""

    run: NDArray[np.uint64]
    replicate: NDArray[np.int64]
    epoch: NDArray[np.uint32]
    outcome: NDArray[np.uint8]
    complete: NDArray[np.bool_]
    attempt: NDArray[np.uint16]
    started_s: NDArray[np.float64]
    duration_s: NDArray[np.float64]
    node: Labels
    code: Labels

    def counts(self) -> dict[Outcome, int]:
        """Count rows by outcome, every outcome named."""
        found = np.bincount(self.outcome, minlength=len(Outcome))
        return {outcome: int(found[outcome]) for outcome in Outcome}

    def coverage(self) -> dict[tuple[int, Outcome], RunSet]:
        """Give the runs by epoch and outcome."""
        covered: dict[tuple[int, Outcome], RunSet] = {}
        key = self.epoch.astype(np.int64) * len(Outcome) + self.outcome
        for number in np.unique(key).tolist():
            epoch, outcome = divmod(number, len(Outcome))
            # Distinct first: a duplicate among consecutive numbers would look like a longer span.
            # By sorting: numpy's unique hashes, which took ten times as long (numpy 2.4).
            runs = np.sort(self.run[key == number])
            is_new = np.concatenate(([True], runs[1:] != runs[:-1]))
            covered[epoch, Outcome(outcome)] = RunSet.from_numbers(runs[is_new])
        return covered


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ShardRows:
    """Everything a shard holds. `error_rows` says which row (position) each error belongs to.

    `params` holds plain columns: typed arrays, or JSON text columns marked by their kind.
    """

    shard_id: str
    sweep_id: str
    declaration_json: bytes
    origin: Origin
    replaces: tuple[str, ...]
    rows: RowColumns
    params: Mapping[str, ValueColumn]
    values: Mapping[str, ValueColumn]
    errors: tuple[ErrorRecord, ...]
    error_rows: tuple[int, ...]
    attempts: tuple[AttemptRecord, ...]
