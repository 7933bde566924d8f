"""Make a lost ledger anew from the home.

What was really sent nobody knows any more, so every declared run gets a receipt of state `unknown`
at every epoch it was asked for, which counts as sent. Reconcile then finds what is nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from gapless.storage.errors import StorageError, StorageUnavailable
from gapless.storage.sweeps import SweepStore
from receipts.declared import Declared, declared_in
from receipts.errors import LedgerDamaged
from receipts.ledger import (
    Ledger,
    NewReceipt,
    State,
    SweepRow,
    Why,
    identity_of,
    open_ledger,
    set_aside,
)
from receipts.ports import Clock, NewId

__all__ = ["RebuildReport", "open_and_rebuild", "rebuild"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """What a rebuild did; a ledger that lacked nothing is left as it was."""

    sweeps: tuple[str, ...]
    """Every sweep of the home that the ledger did not know."""
    runs: int
    """Runs that got a receipt of state unknown, counted at each of their epochs."""
    problems: tuple[str, ...] = ()
    """Why sweeps were left out: what the home holds of them cannot be read."""
    set_aside: Path | str | None = None
    """Where the damaged file was moved, or the name its damaged schema has now."""


def open_and_rebuild(
    location: str | Path,
    *,
    store: SweepStore,
    clock: Clock,
    new_id: NewId,
    home: str | None = None,
) -> tuple[Ledger, RebuildReport]:
    """Open the ledger, whatever became of it, and give it what the home says that it lacks.

    A damaged one is moved aside, never deleted. The caller closes the ledger. Safe to repeat.
    """
    aside = None
    seen = identity_of(location)
    try:
        ledger = _open_whole(location, home)
    except LedgerDamaged:
        aside = set_aside(location, seen=seen, now_s=clock())
        ledger = open_ledger(location, home=home)
    try:
        report = rebuild(ledger=ledger, store=store, clock=clock, new_id=new_id)
    except BaseException:
        ledger.close()
        raise
    return ledger, replace(report, set_aside=aside)


def _open_whole(location: str | Path, home: str | None) -> Ledger:
    ledger = open_ledger(location, home=home)
    try:
        ledger.check_whole()
    except BaseException:
        ledger.close()
        raise
    return ledger


def rebuild(*, ledger: Ledger, store: SweepStore, clock: Clock, new_id: NewId) -> RebuildReport:
    """Write `unknown` receipts for every run of the home that has none. Safe to repeat.

    A crash in between leaves some receipts lacking: the next rebuild, or reconcile, finds them.
    """
    found: list[str] = []
    problems: list[str] = []
    runs = 0
    for sweep_id in store.ids():
        with ledger.lock(sweep_id):
            try:
                declaration = store.declaration(sweep_id)
                declared = declared_in(store, sweep_id)
            except StorageUnavailable:
                raise
            except StorageError as error:
                # One damaged sweep must not keep the others from being found.
                problems.append(f"{sweep_id}: {error}")
                continue
            if ledger.sweep(sweep_id) is None:
                found.append(sweep_id)
                ledger.record_sweep(
                    SweepRow(
                        id=sweep_id,
                        digest=declaration.digest,
                        name=declaration.name,
                        submitted_at_s=clock(),
                    )
                )
            runs += _write_unknown(declared, ledger=ledger, clock=clock, new_id=new_id)
    return RebuildReport(sweeps=tuple(found), runs=runs, problems=tuple(problems))


def _write_unknown(declared: Declared, *, ledger: Ledger, clock: Clock, new_id: NewId) -> int:
    submitted = ledger.submitted(declared.sweep_id)
    asked = [(0, declared.runs), *((each.epoch, each.runs) for each in declared.asked)]
    generation = ledger.next_generation(declared.sweep_id)
    now_s = clock()
    receipts = [
        NewReceipt(
            sweep=declared.sweep_id,
            epoch=epoch,
            runs=lacking,
            job=new_id(),
            why=Why.REBUILD,
            # A round an epoch: receipts of two epochs may begin with the same run.
            generation=generation + offset,
            created_at_s=now_s,
            state=State.UNKNOWN,
        )
        for offset, (epoch, runs) in enumerate(asked)
        if (lacking := runs - submitted.runs(epoch))
    ]
    ledger.write(receipts)
    return sum(len(each.runs) for each in receipts)
