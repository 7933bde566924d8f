"""Verify a sweep on this machine: its shards first, then the ledger and the queues."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace

from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.local.accounting import reconcile_once
from gapless.local.outlasting import outlasting
from gapless.results.coverage import CoverageReader, counts, missing
from gapless.results.findings import Mode, Verification
from gapless.results.outcome import Outcome
from gapless.results.verification import verify_shards
from gapless.wiring import Home, clock
from receipts.comparison import ReceiptComparison, compare_receipts
from receipts.errors import LedgerDamaged, LedgerLacksSweep, LedgerLost, LedgerUnavailable
from receipts.ledger import Ledger
from receipts.reconcile import ExitStatus, ReconcileReport

__all__ = ["Verified", "VerifyStatus", "verify_sweep", "worst_of"]

_READERS = 2
_READERS_OF_A_SERVICE = 6
"""Each waits for answers most of the time."""
_NO_LEDGER = (LedgerDamaged, LedgerLacksSweep, LedgerLost, LedgerUnavailable)


class VerifyStatus(enum.IntEnum):
    """What `sweep verify` ends with."""

    COMPLETE = 0
    ERROR = 1
    """Something could not be verified: a person has to see to it."""
    IN_FLIGHT = 3
    GAPS = 4


_FROM_BAD_TO_GOOD = (
    VerifyStatus.ERROR,
    VerifyStatus.GAPS,
    VerifyStatus.IN_FLIGHT,
    VerifyStatus.COMPLETE,
)


def worst_of(statuses: list[VerifyStatus]) -> VerifyStatus:
    """Give the status of several sweeps together."""
    return min(statuses, key=_FROM_BAD_TO_GOOD.index, default=VerifyStatus.COMPLETE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What the shards of a sweep hold, and how that agrees with its ledger and queues.

    `took_s` is the time it took to read the shards, in seconds. `report` and `receipts` are None
    where the ledger could not be asked: `no_ledger` says why, and `lacking` are the runs without a
    result. Of a dry run `report` and `lacking` are what they would be without what is bad.
    `no_queues`: only the receipts were compared, for this reason.
    """

    verification: Verification
    mode: Mode
    took_s: float
    lacking: RunSet
    report: ReconcileReport | None = None
    receipts: ReceiptComparison | None = None
    no_ledger: str = ""
    no_queues: str = ""

    @property
    def would_lack(self) -> RunSet:
        """The runs that mending would turn into gaps; of a dry run only."""
        return _lost(self.verification) & self.lacking if self.mode is Mode.LOOK else RunSet()

    @property
    def status(self) -> VerifyStatus:
        """ERROR, else what reconcile says; GAPS as long as a run lacks what a bad shard had."""
        lost = _lost(self.verification)
        if self.verification.unverified:
            return VerifyStatus.ERROR
        if self.would_lack:
            return VerifyStatus.GAPS
        if not self.lacking:
            return VerifyStatus.COMPLETE
        if self.report is None:
            # What is in flight and what is nowhere, only ledger and queues tell.
            return VerifyStatus.ERROR
        if not self.report.exact and not lost.isdisjoint(self.lacking):
            # These were stored once, so they are on no queue: what a queue that only counts
            # cannot show.
            return VerifyStatus.GAPS
        return _OF_RECONCILE[self.report.exit_status]


_OF_RECONCILE = {
    ExitStatus.COMPLETE: VerifyStatus.COMPLETE,
    ExitStatus.IN_FLIGHT: VerifyStatus.IN_FLIGHT,
    ExitStatus.GAPS: VerifyStatus.GAPS,
}


def verify_sweep(
    home: Home,
    sweep_id: str,
    *,
    mode: Mode,
    on_shard: Callable[[Verification], None] = lambda _: None,
) -> Verified:
    """Verify the shards (see `verify_shards`), then compare with receipts and queues.

    StorageUnavailable, QueueUnavailable. Safe to repeat and beside whatever else works on it.
    """
    began_s = time.monotonic()
    verification = verify_shards(
        home.blobs,
        sweep_id,
        clock=clock,
        mode=mode,
        readers=_READERS_OF_A_SERVICE if home.is_remote else _READERS,
        on_shard=on_shard,
    )
    took_s = time.monotonic() - began_s
    report, receipts, no_ledger, no_queues = None, None, "", ""
    try:
        if mode is Mode.LOOK and not home.can_be_written():
            # Queues are not opened there: taking a lock writes. Nothing works on such a home.
            no_queues = f"{home.location} cannot be written"
            receipts = _compare_where_nothing_is_written(home, verification)
        else:
            report = reconcile_once(home, sweep_id, look_only=mode is Mode.LOOK)
            receipts = _compare(home, verification, Home.ledger)
    except _NO_LEDGER as error:
        no_ledger = str(error)
    coverage = CoverageReader(home.blobs, sweep_id).refresh()
    runs, asked = home.store.load(sweep_id).runs.all, home.store.asked(sweep_id)
    lacking = RunSet.union(missing(runs, asked, coverage).values())
    if mode is Mode.LOOK and verification.lost:
        coverage = verification.counting
        would_lack = RunSet.union(missing(runs, asked, coverage).values())
        if report is not None:
            stored = counts(runs, asked, coverage)
            report = _without(report, would_lack - lacking, stored=stored)
        lacking = would_lack
    return Verified(
        verification=verification,
        mode=mode,
        took_s=took_s,
        lacking=lacking,
        report=report,
        receipts=receipts,
        no_ledger=no_ledger,
        no_queues=no_queues,
    )


def _without(
    report: ReconcileReport, lost: RunSet, *, stored: Mapping[Outcome, int]
) -> ReconcileReport:
    """Give the report as it would be if these runs had no result, and those `stored` were left."""
    if report.state is ControlState.CANCELLED:
        return replace(report, stored=stored, cancelled=report.cancelled | lost)
    return replace(report, stored=stored, gaps=report.gaps | lost)


def _lost(verification: Verification) -> RunSet:
    return RunSet.union(verification.lost.values())


def _compare_where_nothing_is_written(home: Home, verification: Verification) -> ReceiptComparison:
    if not home.has_ledger():
        raise LedgerUnavailable(f"there is no ledger {home.ledger_shown}")
    return _compare(home, verification, Home.ledger_to_read)


def _compare(
    home: Home, verification: Verification, opening: Callable[[Home], Ledger]
) -> ReceiptComparison:
    def work() -> ReceiptComparison:
        with closing(opening(home)) as ledger:
            return compare_receipts(
                verification.sweep_id,
                ledger=ledger,
                store=home.store,
                coverage=verification.coverage,
            )

    return outlasting(home, work)
