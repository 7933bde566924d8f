"""Compare what was submitted with what is stored and what is under way; send gaps again.

The order matters. Under the sweep's lock no new receipt appears, so: the declaration, then the
queues at one instant, then the manifests. A run moves only from a job to a delivery to a manifest,
so one that is in none of the queues at that instant and in no manifest read later is nowhere.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.results.coverage import Adoption, Coverage, CoverageReader, counts, missing
from gapless.results.outcome import Outcome
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.quarantine import count_kept
from gapless.storage.sweeps import SweepStore
from receipts.declared import Declared, read_declared
from receipts.gaps import Whereabouts, find_gaps
from receipts.in_flight import InFlight, look_in_flight
from receipts.jobs import Round, Sending, send_pending, write_round
from receipts.ledger import Ledger, Why
from receipts.policy import EXACT_SNAPSHOT, ResubmitPolicy
from receipts.ports import Clock, NewId, SnapshotQueues

__all__ = ["ADOPT_AFTER_S", "ExitStatus", "ReconcileReport", "reconcile"]

ADOPT_AFTER_S = 60.0
"""How long a shard may lack its manifest before somebody else writes it: its aggregator is dead."""


class ExitStatus(enum.IntEnum):
    """What `sweep reconcile` ends with."""

    COMPLETE = 0
    IN_FLIGHT = 3
    GAPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileReport:
    """Where every run of a sweep is. Sets hold run numbers; the other numbers count runs or jobs.

    `submitted` counts the runs with a receipt at their highest asked epoch. `gaps`, `unsent` and
    `pending` are as found, before anything was sent; of them `resubmitted` runs went out in
    `jobs_sent` jobs, and `waiting` must wait (only where absence is a guess).
    """

    sweep_id: str
    state: ControlState
    total: int
    submitted: int
    stored: Mapping[Outcome, int]
    in_flight: RunSet
    gaps: RunSet
    unsent: RunSet
    pending: RunSet
    cancelled: RunSet
    """Runs of a cancelled sweep that have no result: nothing will come of them."""
    waiting: RunSet = field(default_factory=RunSet)
    resubmitted: int = 0
    jobs_sent: int = 0
    jobs_pending: int = 0
    refusals: tuple[str, ...] = ()
    jobs_queued: int = 0
    deliveries_queued: int = 0
    damaged_messages: tuple[str, ...] = ()
    newer_messages: int = 0
    quarantined: int = 0
    adopted_shards: tuple[str, ...] = ()
    storage_problems: tuple[str, ...] = ()

    @property
    def stored_runs(self) -> int:
        """Runs with a final result at their highest asked epoch."""
        return sum(self.stored.values())

    @property
    def complete(self) -> bool:
        """Tell whether every run of the declaration has its final result."""
        return self.stored_runs == self.total

    @property
    def exit_status(self) -> ExitStatus:
        """COMPLETE; IN_FLIGHT: wait; GAPS: some runs are nowhere, and waiting will not help.

        Gaps that were sent again by this very call are in flight.
        """
        if self.complete:
            return ExitStatus.COMPLETE
        if self.cancelled or self.jobs_pending or self.waiting:
            return ExitStatus.GAPS
        found = len(self.gaps) + len(self.unsent)
        return ExitStatus.IN_FLIGHT if self.resubmitted >= found else ExitStatus.GAPS


def reconcile(  # noqa: PLR0913 - each port by name: a simulator stops between any two calls
    sweep_id: str,
    *,
    ledger: Ledger,
    queues: SnapshotQueues,
    store: SweepStore,
    blobs: Blobs,
    clock: Clock,
    new_id: NewId,
    resubmit: bool = False,
    force: bool = False,
    policy: ResubmitPolicy = EXACT_SNAPSHOT,
) -> ReconcileReport:
    """Say where every run is; with `resubmit`, send again those that are nowhere.

    Pending receipts of a submit that died are sent in any case. `force` sends gaps without the
    policy's wait. Safe to repeat and to be killed at any point: what was written is found by the
    next call. UserMistake (no such sweep), LedgerLacksSweep, QueueUnavailable.
    """
    with ledger.lock(sweep_id):
        declared = read_declared(sweep_id, ledger=ledger, store=store)
        first = Sending()
        if not declared.cancelled:
            first = send_pending(
                sweep_id,
                ledger=ledger,
                queues=queues,
                clock=clock,
                priority=declared.control.priority,
            )
        reader = CoverageReader(blobs, sweep_id)
        reader.refresh()
        adoption = reader.adopt_orphans(ADOPT_AFTER_S, clock())
        view = look(declared, ledger=ledger, queues=queues, reader=reader)
        again, waiting = first, RunSet()
        if resubmit and not declared.cancelled:
            again, waiting = _send_again(
                view,
                ledger=ledger,
                queues=queues,
                clock=clock,
                new_id=new_id,
                policy=ResubmitPolicy(first_wait_s=0.0) if force else policy,
            )
        sendings = [first] if again is first else [first, again]
        return _report(view, sendings, waiting, adoption, reader, blobs)


@dataclass(frozen=True, slots=True)
class View:
    """A sweep as seen at one moment."""

    declared: Declared
    in_flight: InFlight
    coverage: Coverage
    whereabouts: Whereabouts
    submitted: int


def look(
    declared: Declared, *, ledger: Ledger, queues: SnapshotQueues, reader: CoverageReader
) -> View:
    """Look at the queues, then the manifests, and sort what is missing. Under the sweep's lock."""
    submitted = ledger.submitted(declared.sweep_id)
    in_flight = look_in_flight(declared.sweep_id, queues)
    # After the queues: a delivery leaves its queue only when its manifest is there to be read.
    coverage = reader.refresh()
    lacking = missing(declared.runs, declared.asked, coverage)
    # With nothing stored every run is missing, so this parts the runs by highest asked epoch.
    by_epoch = missing(declared.runs, declared.asked, Coverage())
    return View(
        declared=declared,
        in_flight=in_flight,
        coverage=coverage,
        whereabouts=find_gaps(lacking, submitted=submitted, in_flight=in_flight.runs),
        submitted=sum(runs.overlap(submitted.runs(epoch)) for epoch, runs in by_epoch.items()),
    )


def _send_again(
    view: View,
    *,
    ledger: Ledger,
    queues: SnapshotQueues,
    clock: Clock,
    new_id: NewId,
    policy: ResubmitPolicy,
) -> tuple[Sending, RunSet]:
    sweep_id = view.declared.sweep_id
    wanted: list[tuple[int, RunSet]] = list(view.whereabouts.unsent.items())
    waiting: list[RunSet] = []
    for epoch, gaps in view.whereabouts.gaps.items():
        early = RunSet()
        if policy.needs_history:
            created_at_s = queues.facts(layout.jobs_queue(sweep_id)).created_at_s
            history = ledger.sent_to(sweep_id, epoch=epoch, queue_created_at_s=created_at_s)
            early = policy.too_early(gaps, history, now_s=clock())
        waiting.append(early)
        wanted.append((epoch, gaps - early))
    this = Round(
        sweep=sweep_id,
        why=Why.RECONCILE,
        job_size=view.declared.job_size(sum(len(runs) for _, runs in wanted)),
        generation=ledger.next_generation(sweep_id),
    )
    # Receipts first (I5): a crash after them leaves pending ones, which the next call sends.
    write_round(ledger, this, wanted, clock=clock, new_id=new_id)
    sending = send_pending(
        sweep_id,
        ledger=ledger,
        queues=queues,
        clock=clock,
        priority=view.declared.control.priority,
    )
    return sending, RunSet.union(waiting)


def _report(
    view: View,
    sendings: list[Sending],
    waiting: RunSet,
    adoption: Adoption,
    reader: CoverageReader,
    blobs: Blobs,
) -> ReconcileReport:
    declared, places = view.declared, view.whereabouts
    nowhere = {
        name: RunSet.union(sets.values())
        for name, sets in (
            ("gaps", places.gaps),
            ("unsent", places.unsent),
            ("pending", places.pending),
        )
    }
    cancelled = RunSet()
    if declared.cancelled:
        cancelled = RunSet.union([*nowhere.values(), *places.in_flight.values()])
        nowhere = dict.fromkeys(nowhere, RunSet())
    return ReconcileReport(
        sweep_id=declared.sweep_id,
        state=declared.control.state,
        total=len(declared.runs),
        submitted=view.submitted,
        stored=counts(declared.runs, declared.asked, view.coverage),
        in_flight=RunSet.union(() if declared.cancelled else places.in_flight.values()),
        **nowhere,
        cancelled=cancelled,
        waiting=waiting,
        resubmitted=sum(sending.runs_sent for sending in sendings[1:]),
        jobs_sent=sum(sending.jobs_sent for sending in sendings),
        jobs_pending=sendings[-1].jobs_pending,
        refusals=tuple(dict.fromkeys(text for each in sendings for text in each.refusals)),
        jobs_queued=view.in_flight.jobs,
        deliveries_queued=view.in_flight.deliveries,
        damaged_messages=view.in_flight.damaged,
        newer_messages=view.in_flight.newer,
        quarantined=count_kept(blobs, declared.sweep_id),
        adopted_shards=adoption.adopted,
        storage_problems=(*reader.problems.values(), *adoption.unreadable.values()),
    )
