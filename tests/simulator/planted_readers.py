"""Readers with a bug each, for `test_bites`: the simulator must find every one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from gapless.results.outcome import Outcome
from gapless.results.row_index import Duplicates
from gapless.storage.blobs import Blobs
from tests.simulator.readers import Seen, StoredRow, read_duplicates, read_results, stored_rows

__all__ = [
    "counts_differing_as_one_flush",
    "counts_no_differing",
    "overlooks_epochs",
    "reads_every_row",
    "takes_the_first_failure",
    "takes_the_last_ok_row",
    "takes_the_last_row",
    "takes_the_wrong_row",
]


def reads_every_row(blobs: Blobs, sweep_id: str) -> Seen:
    """Show each stored row, as a reader without precedence would."""
    return [(row.run, row.outcome, 0.0, row.began_s) for row in stored_rows(blobs, sweep_id)]


def takes_the_wrong_row(blobs: Blobs, sweep_id: str) -> Seen:
    """Show a failure of the first run, whatever it ended with."""
    return [
        (run, Outcome.FAILED if run == 0 else outcome, value, began_s)
        for run, outcome, value, began_s in read_results(blobs, sweep_id)
    ]


def takes_the_last_ok_row(blobs: Blobs, sweep_id: str) -> Seen:
    """Show of several `ok` results of a run the one that was stored last."""
    stored = sorted((row for row in stored_rows(blobs, sweep_id) if row.ok), key=lambda x: x.stored)
    last = {row.run: row.began_s for row in stored}
    return [
        (run, outcome, value, last.get(run, began_s))
        for run, outcome, value, began_s in read_results(blobs, sweep_id)
    ]


def overlooks_epochs(blobs: Blobs, sweep_id: str) -> Seen:
    """Show the first `ok` result of a run, though somebody asked for it anew."""
    return _least(blobs, sweep_id, lambda row: row.rank[1:])


def takes_the_last_row(blobs: Blobs, sweep_id: str) -> Seen:
    """Show what finished last at the highest epoch, though it was `ok` before."""
    return _least(blobs, sweep_id, lambda row: (-row.epoch, -row.finished_s))


def takes_the_first_failure(blobs: Blobs, sweep_id: str) -> Seen:
    """Show of several results that are not `ok` the one that finished first."""
    return _least(
        blobs, sweep_id, lambda row: row.rank if row.ok else (-row.epoch, True, (row.finished_s,))
    )


def counts_no_differing(blobs: Blobs, sweep_id: str) -> Duplicates:
    """Take the `ok` results of one run for equal."""
    return dataclasses.replace(read_duplicates(blobs, sweep_id), differing=0, by_origin={})


def counts_differing_as_one_flush(blobs: Blobs, sweep_id: str) -> Duplicates:
    """Count how many differ, and name one flush for all of them."""
    true = read_duplicates(blobs, sweep_id)
    if not true.by_origin:
        return true
    first = min(true.by_origin, key=lambda origin: (origin.flushed_at, origin.aggregator))
    return dataclasses.replace(true, by_origin={first: sum(true.by_origin.values())})


def _least(blobs: Blobs, sweep_id: str, key: Callable[[StoredRow], Any]) -> Seen:
    """Show the row of each run that has the least key."""
    best: dict[int, StoredRow] = {}
    for row in stored_rows(blobs, sweep_id):
        if row.run not in best or key(row) < key(best[row.run]):
            best[row.run] = row
    return [
        (run, best[run].outcome, value, best[run].began_s)
        for run, _, value, _ in read_results(blobs, sweep_id)
    ]
