"""Compare what was submitted with what is stored and what is under way; send gaps again.

The order matters. Under the sweep's lock no new receipt appears, so: the declaration, then the
queues, then the manifests. A run moves only from a job to a delivery to a manifest, so where the
queues are seen at one instant, one that is in neither of them and in no manifest read later is
nowhere. Queues that cannot be looked into are judged in `receipts.absence`; that may take a second
look, which a later call makes: this one waits for nothing.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Mapping
from dataclasses import dataclass

from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.results.coverage import Adoption, Coverage, CoverageReader, counts, missing
from gapless.results.outcome import Outcome
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.quarantine import count_kept
from gapless.storage.sweeps import SweepStore
from queueing.errors import QueueUnavailable
from queueing.port import Queues
from receipts.absence import Seen, Verdict, count
from receipts.declared import Declared, read_declared
from receipts.gaps import Whereabouts, find_gaps
from receipts.in_flight import NOTHING_SEEN, InFlight, look_in_flight
from receipts.jobs import Round, Sending, send_pending, write_round
from receipts.ledger import Ledger, Submitted, Why
from receipts.policy import EXACT_SNAPSHOT, ResubmitPolicy
from receipts.ports import Clock, NewId, snapshots_of
from receipts.remote_look import Patience, judge_look, see

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

    `exact`: the queues were seen whole, at one instant. Otherwise `in_flight` are the runs that are
    not shown to be nowhere, `jobs_queued` and `deliveries_queued` are the service's own approximate
    counts, and `damaged_messages` and `newer_messages` are not known. `look_again_in_s`: when a
    further look can show more than this one did; None when time alone will show nothing.
    `maybe_delivered` of those in flight are in no job, and in flight only if their results are
    among the deliveries. `queues_made_anew`: both are younger than the last job sent, so what lay
    on those before is gone: somebody deleted them, or they are another account's. `silent_s`: for
    how long each node that says it holds runs of the sweep was not heard, where absence is a guess:
    what it holds is in flight until it counts as dead.
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
    exact: bool
    look_again_in_s: float | None
    maybe_delivered: RunSet
    queues_made_anew: bool
    silent_s: Mapping[str, float]
    waiting: RunSet
    resubmitted: int
    jobs_sent: int
    jobs_pending: int
    refusals: tuple[str, ...]
    jobs_queued: int
    deliveries_queued: int
    damaged_messages: tuple[str, ...]
    newer_messages: int
    quarantined: int
    adopted_shards: tuple[str, ...]
    storage_problems: tuple[str, ...]

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
    queues: Queues,
    store: SweepStore,
    blobs: Blobs,
    clock: Clock,
    new_id: NewId,
    resubmit: bool = False,
    force: bool = False,
    look_only: bool = False,
    settle_s: float = 120.0,
    retention_s: float = 1_209_600.0,
) -> ReconcileReport:
    """Say where every run is; with `resubmit`, send again those that are nowhere.

    Pending receipts of a submit that died are sent in any case, and shards whose writer died before
    their manifest get one; not with `look_only`, which sends, stores and removes nothing (and is
    not for `resubmit`). `settle_s`: how long the counts of queues that cannot be looked into may
    lie; `retention_s`: how long they keep messages. `force`: there one look is believed (not one
    just after a send), nodes and receipts made anew are not, and gaps are sent without a wait: it
    may repeat work. Safe to repeat and to be killed at any point: what was written is found by the
    next call. UserMistake (no such sweep), LedgerLacksSweep, QueueUnavailable.
    """
    patience = Patience(settle_s=settle_s, retention_s=retention_s, force=force)
    with ledger.lock(sweep_id):
        declared = read_declared(sweep_id, ledger=ledger, store=store)
        first = Sending()
        if declared.cancelled and not look_only:
            _drop_queues_again(sweep_id, queues)
        elif not look_only:
            first = send_pending(
                sweep_id,
                ledger=ledger,
                queues=queues,
                clock=clock,
                priority=declared.control.priority,
            )
        reader = CoverageReader(blobs, sweep_id)
        reader.refresh()
        adoption = Adoption() if look_only else reader.adopt_orphans(ADOPT_AFTER_S, clock())
        view = _look(
            declared,
            ledger=ledger,
            queues=queues,
            reader=reader,
            blobs=blobs,
            clock=clock,
            patience=patience,
        )
        again, waiting = first, RunSet()
        if resubmit and not declared.cancelled:
            again, waiting = _send_again(
                view,
                ledger=ledger,
                queues=queues,
                clock=clock,
                new_id=new_id,
                patience=patience,
            )
        sendings = [first] if again is first else [first, again]
        return _report(view, sendings, waiting, adoption, reader, blobs)


def _drop_queues_again(sweep_id: str, queues: Queues) -> None:
    """Drop what a program made anew that slept through the cancel: any verb makes a queue.

    A crash here, or a queue service that is away, leaves an empty queue to the next reconcile.
    """
    with contextlib.suppress(QueueUnavailable):
        queues.drop(layout.jobs_queue(sweep_id))
        queues.drop(layout.results_queue(sweep_id))


@dataclass(frozen=True, slots=True)
class _View:
    """A sweep as seen at one moment; `seen` and `verdict`: of queues only counted."""

    declared: Declared
    coverage: Coverage
    whereabouts: Whereabouts
    submitted: int
    in_flight: InFlight
    exact: bool
    seen: Seen | None = None
    verdict: Verdict | None = None


def _look(
    declared: Declared,
    *,
    ledger: Ledger,
    queues: Queues,
    reader: CoverageReader,
    blobs: Blobs,
    clock: Clock,
    patience: Patience,
) -> _View:
    """Look at the queues, then the manifests, and sort what is missing. Under the sweep's lock."""
    sweep_id = declared.sweep_id
    submitted = ledger.submitted(sweep_id)
    snapshots = snapshots_of(queues)
    seen, verdict, in_flight = None, None, NOTHING_SEEN
    if snapshots is not None:
        in_flight = look_in_flight(sweep_id, snapshots)
    elif not declared.cancelled:
        # A cancelled sweep's queues are deleted: asking for their counts would make them anew.
        seen = see(sweep_id, queues=queues, blobs=blobs, clock=clock)
    # After the queues: a delivery leaves its queue only when its manifest is there to be read.
    coverage = reader.refresh()
    lacking = missing(declared.runs, declared.asked, coverage)
    if seen is not None:
        sent = _sent(lacking, submitted)
        verdict = judge_look(sweep_id, sent, seen=seen, ledger=ledger, patience=patience)
        in_flight = InFlight(
            runs={epoch: runs - verdict.gaps.get(epoch, RunSet()) for epoch, runs in sent.items()},
            jobs=count(seen.jobs),
            deliveries=count(seen.results),
            damaged=(),
            newer=0,
        )
    # With nothing stored every run is missing, so this parts the runs by highest asked epoch.
    by_epoch = missing(declared.runs, declared.asked, Coverage())
    return _View(
        declared=declared,
        coverage=coverage,
        whereabouts=find_gaps(lacking, submitted=submitted, in_flight=in_flight.runs),
        submitted=sum(runs.overlap(submitted.runs(epoch)) for epoch, runs in by_epoch.items()),
        in_flight=in_flight,
        exact=snapshots is not None,
        seen=seen,
        verdict=verdict,
    )


def _sent(lacking: Mapping[int, RunSet], submitted: Submitted) -> dict[int, RunSet]:
    """Give the missing runs whose jobs all went out."""
    return {
        epoch: (runs & submitted.sent_runs(epoch)) - submitted.pending_runs(epoch)
        for epoch, runs in lacking.items()
    }


def _send_again(
    view: _View,
    *,
    ledger: Ledger,
    queues: Queues,
    clock: Clock,
    new_id: NewId,
    patience: Patience,
) -> tuple[Sending, RunSet]:
    sweep_id = view.declared.sweep_id
    policy = EXACT_SNAPSHOT
    if view.seen is not None and not patience.force:
        policy = ResubmitPolicy(first_wait_s=patience.settle_s)
    wanted: list[tuple[int, RunSet]] = list(view.whereabouts.unsent.items())
    waiting: list[RunSet] = []
    for epoch, gaps in view.whereabouts.gaps.items():
        early = RunSet()
        if view.seen is not None:
            created_at_s = view.seen.jobs.created_at_s
            history = ledger.sent_to(sweep_id, epoch=epoch, queue_created_at_s=created_at_s)
            early = policy.too_early(gaps, history, now_s=view.seen.began_at_s)
        waiting.append(early)
        wanted.append((epoch, gaps - early))
    this = Round(
        sweep=sweep_id,
        why=Why.RECONCILE,
        job_size=view.declared.job_size_again(sum(len(runs) for _, runs in wanted)),
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
    view: _View,
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
    verdict = view.verdict or Verdict()
    return ReconcileReport(
        sweep_id=declared.sweep_id,
        state=declared.control.state,
        total=len(declared.runs),
        submitted=view.submitted,
        stored=counts(declared.runs, declared.asked, view.coverage),
        in_flight=RunSet.union(() if declared.cancelled else places.in_flight.values()),
        **nowhere,
        cancelled=cancelled,
        exact=view.exact,
        # What was sent since has made the look void.
        look_again_in_s=None if sendings[1:] and sendings[1].jobs_sent else verdict.look_again_in_s,
        maybe_delivered=RunSet.union(verdict.maybe_delivered.values()),
        queues_made_anew=verdict.queues_made_anew,
        silent_s={} if view.seen is None else view.seen.silent_s,
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
