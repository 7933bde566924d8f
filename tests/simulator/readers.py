"""Checks of what a reader sees (I4), by a second, slow and plain way to choose one row a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gapless.declaration.runs import Runs
from gapless.results.manifest import decode_manifest
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome
from gapless.results.reader import Results
from gapless.results.row_index import Duplicates
from gapless.results.shard_reading import ShardFile
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing
from tests.simulator.plan import Plan
from tests.simulator.world import Violation

__all__ = ["Reader", "Seen", "StoredRow", "read_duplicates", "read_results", "stored_rows"]

Seen = list[tuple[int, Outcome, float, float]]
"""What a reader shows, a row a run: run, outcome, value (NaN without one), when it began (Unix)."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of a shard, with the shard's origin; times in Unix seconds."""

    run: int
    epoch: int
    outcome: Outcome
    origin: Origin
    began_s: float
    finished_s: float

    @property
    def ok(self) -> bool:
        """Tell whether the run ended well."""
        return self.outcome is Outcome.OK

    @property
    def stored(self) -> tuple[str, str, int]:
        """Give what orders rows by when they were stored."""
        return self.origin.flushed_at, self.origin.aggregator, self.origin.number

    @property
    def rank(self) -> tuple[object, ...]:
        """Give what the best row of a run has the least of.

        The highest epoch; ok first; then the least origin, or the last end.
        """
        return -self.epoch, not self.ok, self.stored if self.ok else (-self.finished_s,)


def read_results(blobs: Blobs, sweep_id: str) -> Seen:
    """Read by the product's own reader."""
    results = Results(blobs, sweep_id)
    outcomes = map(Outcome, results.outcomes.tolist())
    # One reading of the shards for all columns.
    table = results.table()
    columns = dict(zip(table.columns, table.data, strict=True))
    values = columns.get("y") or [None] * len(table)
    shown = [math.nan if value is None else value for value in values]
    return list(zip(columns["run"], outcomes, shown, columns["started"], strict=True))


def read_duplicates(blobs: Blobs, sweep_id: str) -> Duplicates:
    """Ask the product's own reader what was recorded more than once."""
    return Results(blobs, sweep_id).duplicates


@dataclass(frozen=True, slots=True)
class Reader:
    """What reads; a test plants a bug by giving another function."""

    read: Callable[[Blobs, str], Seen] = read_results
    count: Callable[[Blobs, str], Duplicates] = read_duplicates

    def check(self, blobs: Blobs, sweep_id: str, *, plan: Plan, runs: Runs) -> int:
        """Hold what is read against the plain choice; give how many runs are shown."""
        seen = self.read(blobs, sweep_id)
        rows = stored_rows(blobs, sweep_id)
        best = _best(rows)
        _check_runs(sweep_id, seen, best)
        seeds = runs.seeds(runs.all.to_array()).tolist()
        for run, outcome, value, began_s in seen:
            right = best[run]
            if outcome is not right[0].outcome:
                raise Violation(
                    f"I4: run {run} of {sweep_id} shows {outcome!r}, not {right[0].outcome!r}"
                )
            if began_s not in {row.began_s for row in right}:
                # Of a function that is not deterministic these may be other values.
                raise Violation(f"I4: run {run} of {sweep_id} shows a row of another attempt")
            if outcome not in plan.allowed(sweep_id, run):
                raise Violation(f"run {run} of {sweep_id} cannot have ended {outcome!r}")
            true = plan.value(seeds[run], began_s)
            if outcome is Outcome.OK and value != true:
                raise Violation(f"run {run} of {sweep_id} has the value {value}, not {true}")
        if plan.fickle:
            shown = {run: began_s for run, _, _, began_s in seen}
            self._check_differing(blobs, sweep_id, _differing(rows, best, shown, plan, seeds))
        return len(seen)

    def _check_differing(self, blobs: Blobs, sweep_id: str, rows: list[StoredRow]) -> None:
        found = self.count(blobs, sweep_id)
        runs, by_origin = len({row.run for row in rows}), Counter(row.origin for row in rows)
        if (found.differing, dict(found.by_origin)) != (runs, dict(by_origin)):
            raise Violation(
                f"I4: {found.differing} runs of {sweep_id} are counted whose ok results differ, "
                f"in {len(found.by_origin)} flushes; there are {runs}, in {len(by_origin)}"
            )


def stored_rows(blobs: Blobs, sweep_id: str) -> list[StoredRow]:
    """Read every row of every shard that counts."""
    found: list[StoredRow] = []
    for blob in blobs.list(layout.shards_prefix(sweep_id)):
        if not blob.key.endswith(".json"):
            continue
        manifest = decode_manifest(blobs.get(blob.key))
        try:
            data = blobs.get(layout.shard(sweep_id, manifest.shard))
        except BlobMissing:
            continue
        with ShardFile(data, manifest.shard) as shard:
            origin, rows = shard.origin, shard.rows()
        ends = (rows.started_s + rows.duration_s).tolist()
        columns = (rows.run, rows.epoch, rows.outcome, rows.started_s)
        found += [
            StoredRow(run, epoch, Outcome(outcome), origin, began_s, finished_s)
            for run, epoch, outcome, began_s, finished_s in zip(
                *(column.tolist() for column in columns), ends, strict=True
            )
        ]
    return found


def _best(rows: Iterable[StoredRow]) -> dict[int, list[StoredRow]]:
    """Give the row that counts of each run (all of them when several are level)."""
    best: dict[int, list[StoredRow]] = {}
    for row in rows:
        if row.run not in best or row.rank < best[row.run][0].rank:
            best[row.run] = [row]
        elif row.rank == best[row.run][0].rank:
            best[row.run].append(row)
    return best


def _differing(
    rows: Iterable[StoredRow],
    best: dict[int, list[StoredRow]],
    shown: dict[int, float],
    plan: Plan,
    seeds: list[int],
) -> list[StoredRow]:
    """Give the ok rows of each run's epoch whose value is not the one that is shown."""
    return [
        row
        for row in rows
        if row.ok
        and best[row.run][0].ok
        and row.epoch == best[row.run][0].epoch
        and plan.value(seeds[row.run], row.began_s) != plan.value(seeds[row.run], shown[row.run])
    ]


def _check_runs(sweep_id: str, seen: Seen, best: dict[int, list[StoredRow]]) -> None:
    numbers = [row[0] for row in seen]
    if len(set(numbers)) != len(numbers):
        twice = sorted({run for run in numbers if numbers.count(run) > 1})
        raise Violation(f"I4: the reader of {sweep_id} shows runs {twice} more than once")
    if set(numbers) != set(best):
        odd = sorted(set(numbers) ^ set(best))
        raise Violation(f"I4: the reader of {sweep_id} shows other runs than are stored: {odd}")
