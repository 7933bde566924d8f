"""Remove a sweep for good: its queues, its receipts, and all that the home holds of it.

The order, and what a crash after each step leaves; the same command, given the whole id, goes on:
1. the wish to cancel (for a complete sweep): a cancelled sweep whose results are all there;
2. its queues: the same, as after `sweep cancel`;
3. its receipts: the same; the ledger could be rebuilt from the home;
4. sweep.json: the home holds no such sweep, and nobody reads what else is under its name;
5. the rest of sweeps/<id>/, then quarantine/<id>/ and quarantine/shards/<id>/: objects that nothing
   names.
Should the very same sweep be submitted between 4 and 5, it finds those of its own results that were
left: results of the same runs.

What several sweeps may share (objects/<sha256>) stays.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass

from gapless.declaration.control import ControlState
from gapless.errors import UserMistake
from gapless.local.choice import choose_sweep
from gapless.local.outlasting import outlasting
from gapless.results.coverage import CoverageReader, counts, missing
from gapless.storage import layout
from gapless.wiring import Home, clock

__all__ = ["Removable", "Removal", "choose_removable", "remove_sweep"]

_WHOLE_ID = re.compile(r"[a-z0-9][a-z0-9-]*-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Removable:
    """A sweep that may be removed. `is_litter`: the home holds none, at most what is left of one.

    `stored` runs have a result, which is deleted with it; `total` is None for litter.
    """

    sweep_id: str
    stored: int
    total: int | None
    is_litter: bool


@dataclass(frozen=True, slots=True)
class Removal:
    """What was deleted. `ledger_known`: a ledger was here, and has forgotten the sweep."""

    sweep_id: str
    objects: int
    size_bytes: int
    ledger_known: bool


def choose_removable(home: Home, named: str) -> Removable:
    """Find the sweep `named` and check that nobody waits for it; UserMistake with advice."""
    if _WHOLE_ID.fullmatch(named) and not home.store.exists(named):
        # Also when nothing at all is there: a node that was slow may have made its queues anew.
        return Removable(named, stored=0, total=None, is_litter=True)
    sweep_id = choose_sweep(home.store, named)
    runs = home.store.load(sweep_id).runs.all
    asked = home.store.asked(sweep_id)
    coverage = CoverageReader(home.blobs, sweep_id).refresh()
    control = home.store.control(sweep_id)
    lacking = sum(len(each) for each in missing(runs, asked, coverage).values())
    if lacking and control.state is not ControlState.CANCELLED:
        raise UserMistake(
            f"{sweep_id} is neither complete nor cancelled ({lacking:,} of {len(runs):,} runs have "
            f"no result): `sweep cancel {sweep_id}` first, then remove it"
        )
    stored = sum(counts(runs, asked, coverage).values())
    return Removable(sweep_id, stored=stored, total=len(runs), is_litter=False)


def remove_sweep(home: Home, removable: Removable) -> Removal:
    """Remove it; QueueUnavailable, StorageUnavailable, LedgerUnavailable. Safe to repeat."""
    sweep_id = removable.sweep_id
    if not removable.is_litter:
        _cancel(home, sweep_id)
    ledger_known = home.has_ledger()
    if not ledger_known:
        objects, size_bytes = _drop_and_delete(home, sweep_id)
        return Removal(sweep_id, objects, size_bytes, ledger_known)

    def work() -> tuple[int, int]:
        with closing(home.ledger()) as ledger, ledger.lock(sweep_id):
            # Under the lock: a submit of the same sweep waits, and then finds nothing of it.
            _drop_queues(home, sweep_id)
            ledger.forget_sweep(sweep_id)
            return _delete_objects(home, sweep_id)

    objects, size_bytes = outlasting(home, work)
    return Removal(sweep_id, objects, size_bytes, ledger_known)


def _cancel(home: Home, sweep_id: str) -> None:
    # Nodes stop serving it: they would make its queues anew.
    if home.store.control(sweep_id).state is not ControlState.CANCELLED:
        home.store.set_control(sweep_id, state=ControlState.CANCELLED, at_s=clock(), why="removed")


def _drop_and_delete(home: Home, sweep_id: str) -> tuple[int, int]:
    _drop_queues(home, sweep_id)
    return _delete_objects(home, sweep_id)


def _drop_queues(home: Home, sweep_id: str) -> None:
    if not home.has_queues():
        return
    with closing(home.queues()) as queues:
        queues.drop(layout.jobs_queue(sweep_id))
        queues.drop(layout.results_queue(sweep_id))


def _delete_objects(home: Home, sweep_id: str) -> tuple[int, int]:
    blobs, declaration = home.blobs, layout.sweep(sweep_id)
    # First: a crash from here on leaves objects without a sweep, which nobody takes for one.
    found = [*blobs.list(declaration)]
    blobs.delete(declaration)
    # Else a loss of power could bring the sweep back without its results, its queues, or its wish
    # to be cancelled: each lies in another folder.
    home.keep_deleted(declaration)
    for prefix in (
        layout.sweep_prefix(sweep_id),
        layout.quarantine_prefix(sweep_id),
        layout.set_aside_prefix(sweep_id),
    ):
        for blob in [*blobs.list(prefix)]:
            blobs.delete(blob.key)
            found.append(blob)
        home.tidy(prefix)
    return len(found), sum(each.size_bytes for each in found)
