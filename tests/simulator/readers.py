"""Checks of what a reader sees (I4), by a second, slow and plain way to choose one row a run."""

from __future__ import annotations

import math
from collections.abc import Callable

from gapless.declaration.runs import Runs
from gapless.results.manifest import decode_manifest
from gapless.results.outcome import Outcome
from gapless.results.reader import Results
from gapless.results.shard_reading import ShardFile
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing
from tests.simulator.plan import Plan, value_of
from tests.simulator.world import Violation

__all__ = ["Seen", "check_reader", "read_results"]

Seen = list[tuple[int, Outcome, float, float]]
"""What a reader shows, a row a run: run, outcome, value (NaN without one), when it began (Unix)."""


def read_results(blobs: Blobs, sweep_id: str) -> Seen:
    """Read by the product's own reader."""
    results = Results(blobs, sweep_id)
    runs, outcomes = results.runs.tolist(), results.outcomes.tolist()
    values = results.values("y").tolist() if "y" in results.names else [math.nan] * len(runs)
    table = results.table()
    began = table.data[table.columns.index("started")]
    return list(zip(runs, map(Outcome, outcomes), values, began, strict=True))


def check_reader(
    blobs: Blobs,
    sweep_id: str,
    *,
    plan: Plan,
    runs: Runs,
    read: Callable[[Blobs, str], Seen] = read_results,
) -> int:
    """Hold a reader's rows against the plain choice; give how many runs it shows."""
    seen = read(blobs, sweep_id)
    expected = _chosen(blobs, sweep_id)
    numbers = [row[0] for row in seen]
    if len(set(numbers)) != len(numbers):
        twice = sorted({run for run in numbers if numbers.count(run) > 1})
        raise Violation(f"I4: the reader of {sweep_id} shows runs {twice} more than once")
    if set(numbers) != set(expected):
        odd = sorted(set(numbers) ^ set(expected))
        raise Violation(f"I4: the reader of {sweep_id} shows other runs than are stored: {odd}")
    seeds = runs.seeds(runs.all.to_array()).tolist()
    for run, outcome, value, began_s in seen:
        right_outcome, right_s = expected[run]
        if outcome is not right_outcome:
            raise Violation(f"I4: run {run} of {sweep_id} shows {outcome!r}, not {right_outcome!r}")
        if began_s not in right_s:
            # Of a function that is not deterministic these may be other values.
            raise Violation(f"I4: run {run} of {sweep_id} shows a row of another attempt")
        if outcome not in plan.allowed(sweep_id, run):
            raise Violation(f"run {run} of {sweep_id} cannot have ended {outcome!r}")
        right = value_of(seeds[run])
        if outcome is Outcome.OK and value != right:
            raise Violation(
                f"run {run} of {sweep_id} has the value {value}, its seed gives {right}"
            )
    return len(seen)


def _chosen(blobs: Blobs, sweep_id: str) -> dict[int, tuple[Outcome, set[float]]]:
    """Give each run's outcome and when the row that counts began (all rows that are level)."""
    best: dict[int, tuple[tuple[object, ...], Outcome, set[float]]] = {}
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
        columns = (rows.run, rows.outcome, rows.epoch, rows.started_s)
        for run, number, epoch, began_s, finished_s in zip(
            *(column.tolist() for column in columns), ends, strict=True
        ):
            outcome = Outcome(number)
            ok = outcome is Outcome.OK
            # Smaller is better: highest epoch; ok first; then the least origin, or the last end.
            last = (origin.flushed_at, origin.aggregator, origin.number) if ok else (-finished_s,)
            key = (-epoch, not ok, last)
            if run not in best or key < best[run][0]:
                best[run] = (key, outcome, {began_s})
            elif key == best[run][0]:
                best[run][2].add(began_s)
    return {run: (outcome, began) for run, (_, outcome, began) in best.items()}
