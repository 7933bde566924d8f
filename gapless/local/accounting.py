"""Reconcile on this machine, making a lost ledger anew where that is what the caller wants."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import closing

from gapless.declaration.runset import RunSet
from gapless.local.outlasting import outlasting
from gapless.results.outcome import Outcome
from gapless.storage.errors import StorageUnavailable
from gapless.wiring import Home, clock, new_id
from queueing.errors import QueueUnavailable
from receipts.errors import (
    LedgerDamaged,
    LedgerLacksSweep,
    LedgerLost,
    LedgerUnavailable,
)
from receipts.rebuild import RebuildReport, open_and_rebuild
from receipts.reconcile import ReconcileReport, reconcile
from receipts.resubmit import ResubmitReport, resubmit

__all__ = [
    "AWAY",
    "look_until",
    "rebuild_ledger",
    "reconcile_and_resend",
    "reconcile_once",
    "resubmit_runs",
]

AWAY = (LedgerUnavailable, QueueUnavailable, StorageUnavailable)
"""What a service raises that cannot be used for now: nothing is lost, and it is tried again."""


def reconcile_once(
    home: Home,
    sweep_id: str,
    *,
    resubmit: bool = False,
    force: bool = False,
    look_only: bool = False,
) -> ReconcileReport:
    """Compare ledger, queues and manifests; with `resubmit`, send again what is nowhere.

    With `look_only` nothing is sent, stored or removed, whatever a submit or a writer left undone.
    """
    _need_ledger(home, sweep_id)

    def work() -> ReconcileReport:
        with closing(home.ledger()) as ledger, closing(home.queues()) as queues:
            return reconcile(
                sweep_id,
                ledger=ledger,
                queues=queues,
                store=home.store,
                blobs=home.blobs,
                clock=clock,
                new_id=new_id,
                resubmit=resubmit,
                force=force,
                look_only=look_only,
                settle_s=home.record.settle_s,
                retention_s=home.record.retention_s,
            )

    return outlasting(home, work)


def look_until(
    look: Callable[[bool], ReconcileReport],
    *,
    goes_on: Callable[[ReconcileReport], bool],
    force: bool,
) -> ReconcileReport:
    """Look, and again while `goes_on` says so of the last report, which is given.

    Only the first look is forced: what it sent is on its way, and must not go out at each look.
    """
    report = look(force)
    while goes_on(report):
        report = look(False)
    return report


def resubmit_runs(
    home: Home, sweep_id: str, wanted: RunSet | Collection[Outcome]
) -> ResubmitReport:
    """Ask anew for these runs, or for those that have one of these outcomes now."""
    _need_ledger(home, sweep_id)

    def work() -> ResubmitReport:
        with closing(home.ledger()) as ledger, closing(home.queues()) as queues:
            return resubmit(
                sweep_id,
                wanted,
                ledger=ledger,
                queues=queues,
                store=home.store,
                blobs=home.blobs,
                clock=clock,
                new_id=new_id,
            )

    return outlasting(home, work)


def _need_ledger(home: Home, sweep_id: str) -> None:
    """Make no ledger where none is: the right one may be where --state or --ledger say."""
    if not home.has_ledger():
        raise LedgerLacksSweep(sweep_id, location=home.ledger_shown)


def rebuild_ledger(home: Home) -> RebuildReport:
    """Give the ledger what the home says that it lacks; a damaged file is moved aside first."""
    home.make_state_folder()

    def work() -> RebuildReport:
        ledger, report = open_and_rebuild(
            home.ledger_place, store=home.store, clock=clock, new_id=new_id, home=home.ledger_owner
        )
        ledger.close()
        return report

    return outlasting(home, work)


def reconcile_and_resend(
    home: Home, sweep_id: str, *, tell: Callable[[str], None]
) -> ReconcileReport | None:
    """Send again what is nowhere, rebuilding a ledger that is lost; give what was found.

    `tell` takes what the person should know. A home that is away: nothing is sent (None), the next
    call may. Of AWAY what cannot be used for now.
    """
    if not home.is_there():
        # Opening the ledger would make the folder anew, beside the one that is away.
        return None
    try:
        return reconcile_once(home, sweep_id, resubmit=True)
    except LedgerDamaged:
        tell("the ledger was damaged: it is moved aside and made anew from the home")
    except (LedgerLacksSweep, LedgerLost):
        tell("the ledger was lost: it is made anew from the home")
    try:
        rebuild_ledger(home)
        return reconcile_once(home, sweep_id, resubmit=True)
    except (LedgerLacksSweep, LedgerLost) as error:
        tell(str(error))
        return None
