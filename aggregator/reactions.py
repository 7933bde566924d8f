"""What an aggregator notes of each event, and what follows from that event alone. Pure."""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Mapping

from aggregator.buffers import SweepBuffer
from aggregator.commands import (
    Command,
    DeleteMessages,
    DropLeases,
    HoldLeases,
    QuarantineMessage,
    ReleaseMessages,
)
from aggregator.events import (
    Buffered,
    CoverageRead,
    CoverageUnread,
    DeleteFailed,
    DeliveriesReceived,
    Event,
    FlushFailed,
    LeaseLost,
    MessageQuarantined,
    MessagesDeleted,
    MessageUndecodable,
    NewerFormatReceived,
    OrphansAdopted,
    QuarantineFailed,
    ReceiveFailed,
    ShardStored,
    StopRequested,
    SweepsPolled,
    SweepState,
    SweepsUnread,
    Ticked,
)
from aggregator.policy import Policy
from aggregator.proof import Proof
from gapless.pauses import pause_s
from gapless.storage.layout import results_queue, sweep_id_of
from queueing.port import Lease

__all__ = ["SERVED", "TRANSITIONS", "Reactions", "Stage"]

SERVED = (SweepState.RUNNING, SweepState.PAUSED)
"""A sweep in these states has a result queue that is read and deleted from."""
_HOT_COVERAGE_S = 1.0


class Stage(enum.Enum):
    """Where an aggregator is in its life."""

    RUNNING = "running"
    LEAVING = "leaving"
    ENDED = "ended"


TRANSITIONS: Mapping[Stage, frozenset[Stage]] = {
    Stage.RUNNING: frozenset({Stage.LEAVING}),
    Stage.LEAVING: frozenset({Stage.ENDED}),
    Stage.ENDED: frozenset(),
}
"""What may become of an aggregator; one event may take it two steps."""


class Reactions:
    """What an aggregator knows, and how each event changes it; `AggregatorState` acts on it."""

    def __init__(self, policy: Policy, now: float) -> None:
        self._policy = policy
        self._started_at = now
        self._sweeps: dict[str, SweepBuffer] = {}
        self._polled = False
        self._polling = False
        self._poll_due_at = now
        self._receiving = False
        self._asked: tuple[str, ...] = ()
        self._receive_failures = 0
        self._receive_due_at = now
        self._last_delivery_at = now
        self._found_nothing = False
        self._storing = False
        self._flushes = 0
        self._held: set[Lease] = set()
        self._deletions: deque[tuple[float, DeleteMessages]] = deque()
        self._delete_failures: dict[Lease, int] = {}
        self._quarantines: dict[Lease, QuarantineMessage] = {}
        self._quarantine_due: dict[Lease, float] = {}
        self._quarantine_failures = 0
        self._in_hand = 0
        self._stage = Stage.RUNNING
        self._why = ""
        self._leave_by = math.inf
        self._status = 0

    def note(self, event: Event, now: float) -> list[Command]:  # noqa: C901, PLR0911, PLR0912
        """Take in one event; give what follows from it alone."""
        match event:
            case DeliveriesReceived():
                return self._note_received(event, now)
            case ReceiveFailed():
                self._receiving = False
                self._receive_failures += 1
                self._receive_due_at = now + self._pause_s(self._receive_failures)
            case MessageUndecodable():
                return self._note_undecodable(event)
            case NewerFormatReceived():
                delay_s = self._policy.newer_format_delay_s
                return [ReleaseMessages(leases=(event.lease,), delay_s=delay_s)]
            case ShardStored():
                return self._note_stored(event, now)
            case FlushFailed():
                return self._note_flush_failed(event, now)
            case MessagesDeleted():
                self._in_hand -= 1
                return self._forget(event.leases)
            case DeleteFailed():
                return self._note_delete_failed(event, now)
            case MessageQuarantined():
                return self._note_quarantined(event)
            case QuarantineFailed():
                return self._note_quarantine_failed(event, now)
            case SweepsPolled():
                return self._note_polled(event, now)
            case SweepsUnread():
                self._polling = False
                self._poll_due_at = now + self._policy.poll_s
            case CoverageRead():
                return self._note_coverage(event, now)
            case CoverageUnread():
                return self._note_coverage_unread(event, now)
            case OrphansAdopted():
                sweep = self._sweep(event.sweep_id)
                sweep.adopting = False
                sweep.adopted_once = True
                sweep.adopt_due_at = now + self._often_s(sweep, self._policy.adopt_s)
                if event.count:
                    sweep.coverage_due_at = now
            case StopRequested():
                self._leave("asked to stop")
                self._leave_by = min(self._leave_by, now + self._policy.stop_s)
            case _:
                assert isinstance(event, LeaseLost | Ticked)
        return []

    def _note_received(self, event: DeliveriesReceived, now: float) -> list[Command]:
        self._receiving = False
        self._receive_failures = 0
        self._receive_due_at = now
        self._found_nothing = not event.deliveries
        if self._found_nothing:
            # One of these may have given what is no delivery: it rests a little early then.
            for sweep_id in self._asked:
                if sweep_id in self._sweeps:
                    self._sweeps[sweep_id].saw_empty(now)
            return []
        if self._leaving:
            # Received while leaving: others may have them at once.
            leases = tuple(each.lease for each in event.deliveries)
            return [ReleaseMessages(leases=leases, delay_s=0)]
        self._last_delivery_at = now
        commands: list[Command] = []
        for each in event.deliveries:
            commands += self._note_delivery(each, now)
        return commands

    def _note_delivery(self, each: Buffered, now: float) -> list[Command]:
        sweep = self._sweep(sweep_id_of(each.lease.queue))
        if each.delivery.sweep != sweep.sweep_id:
            reason = (
                f"delivery {each.delivery.delivery} names sweep {each.delivery.sweep} "
                f"on the queue of sweep {sweep.sweep_id}"
            )
            return self._reject(each.lease, each.body, reason)
        sweep.empty_since = None
        self._held.add(each.lease)
        hold: list[Command] = [HoldLeases(leases=(each.lease,))]
        proof = sweep.stored_proof(each.delivery)
        if proof is not None:
            return hold + self._delete(sweep, (each.lease,), proof)
        twin = sweep.twin_of(each)
        if twin is not None:
            sweep.copies.setdefault(twin.lease, []).append(each.lease)
            return hold
        if not any(sweep.awaited.values()):
            # Not known to be missing anything: maybe runs were asked for anew, or appended.
            sweep.coverage_due_at = min(sweep.coverage_due_at, now + _HOT_COVERAGE_S)
        sweep.add(each, now)
        if sweep.puzzling:
            sweep.coverage_due_at = min(sweep.coverage_due_at, now)
        return hold

    def _note_undecodable(self, event: MessageUndecodable) -> list[Command]:
        if self._leaving:
            return [ReleaseMessages(leases=(event.lease,), delay_s=0)]
        return self._reject(event.lease, event.body, event.reason)

    def _note_stored(self, event: ShardStored, now: float) -> list[Command]:
        sweep = self._sweep(event.sweep_id)
        self._storing = False
        sweep.close_flush(event.unopened)
        commands = self._delete_stored(sweep, event)
        for each, proof in event.final:
            commands += self._delete(sweep, sweep.let_go(each), proof)
        for each, reason in event.rejected:
            for lease in sweep.let_go(each):
                commands += self._reject(lease, each.body, reason)
        for each in event.newer:
            commands += self._give_back(sweep.let_go(each), self._policy.newer_format_delay_s)
        if event.rejected or event.newer:
            sweep.coverage_due_at = now
        return commands

    def _delete_stored(self, sweep: SweepBuffer, event: ShardStored) -> list[Command]:
        if not event.stored:
            return []
        assert event.proof is not None
        leases: list[Lease] = []
        for each in event.stored:
            sweep.mark_stored(each, event.proof, most_remembered=self._policy.most_remembered)
            leases += sweep.let_go(each)
        return self._delete(sweep, tuple(leases), event.proof)

    def _note_flush_failed(self, event: FlushFailed, now: float) -> list[Command]:
        sweep = self._sweep(event.sweep_id)
        self._storing = False
        assert sweep.flush is not None
        sweep.flush.failures += 1
        sweep.flush.due_at = now + self._pause_s(sweep.flush.failures)
        if not self._leaving or sweep.flush.failures < self._policy.tries_when_stopping:
            return []
        # Leaving without storage: everything goes back to the queue, nothing is lost.
        self._status = 1
        self._why = f"storage did not take a shard of sweep {sweep.sweep_id}: {event.reason}"
        given_up = [*sweep.flush.batch, *sweep.waiting, *sweep.puzzling]
        sweep.close_flush()
        sweep.waiting.clear()
        sweep.puzzling.clear()
        return self._give_back(tuple(lease for each in given_up for lease in sweep.let_go(each)))

    def _note_delete_failed(self, event: DeleteFailed, now: float) -> list[Command]:
        self._in_hand -= 1
        failures = self._delete_failures.get(event.leases[0], 0) + 1
        if self._leaving and failures >= self._policy.tries_when_stopping:
            # They come again after their leases and are recognised as duplicates by every reader.
            return self._forget((*event.deleted, *event.leases))
        commands = self._forget(event.deleted)
        self._delete_failures[event.leases[0]] = failures
        again = DeleteMessages(leases=event.leases, proof=event.proof)
        self._deletions.append((now + self._pause_s(failures), again))
        return commands

    def _note_quarantined(self, event: MessageQuarantined) -> list[Command]:
        self._in_hand -= 1
        self._quarantine_failures = 0
        self._quarantines.pop(event.lease, None)
        sweep = self._sweep(sweep_id_of(event.lease.queue))
        return self._delete(sweep, (event.lease,), event.proof)

    def _note_quarantine_failed(self, event: QuarantineFailed, now: float) -> list[Command]:
        self._in_hand -= 1
        self._quarantine_failures += 1
        if self._leaving and self._quarantine_failures >= self._policy.tries_when_stopping:
            self._quarantines.pop(event.lease, None)
            return self._give_back((event.lease,))
        self._quarantine_due[event.lease] = now + self._pause_s(self._quarantine_failures)
        return []

    def _note_polled(self, event: SweepsPolled, now: float) -> list[Command]:
        self._polling = False
        self._polled = True
        self._poll_due_at = now + self._policy.poll_s
        commands: list[Command] = []
        for sweep_id, state in event.sweeps.items():
            sweep = self._sweep(sweep_id)
            sweep.polled_at = now
            if state is not sweep.state:
                sweep.empty_since = None
            if state is SweepState.CANCELLED and sweep.state is not state:
                # Its queue is gone or goes: renewing or deleting would make it anew.
                queue = results_queue(sweep_id)
                leases = tuple(lease for lease in self._held if lease.queue == queue)
                if leases:
                    commands.append(DropLeases(leases=leases))
            sweep.become(state)
        for sweep_id, sweep in list(self._sweeps.items()):
            if sweep_id not in event.sweeps and sweep_id not in event.resting:
                sweep.become(SweepState.GONE)
                if sweep.empty and not sweep.reading and not sweep.adopting:
                    del self._sweeps[sweep_id]
        return commands

    def _note_coverage(self, event: CoverageRead, now: float) -> list[Command]:
        sweep = self._sweep(event.sweep_id)
        sweep.reading = False
        often_s = self._policy.poll_s if self._policy.until_complete else self._policy.coverage_s
        commands: list[Command] = []
        strange_ones = sweep.learn(event.runs, event.missing, now)
        sweep.coverage_due_at = now + self._often_s(sweep, often_s)
        if sweep.puzzling:
            sweep.coverage_due_at = now
        for each in strange_ones:
            strange = each.delivery.runs - event.runs
            reason = (
                f"delivery {each.delivery.delivery} names {strange!r}, "
                f"sweep {sweep.sweep_id} has {len(event.runs)} runs"
            )
            for lease in sweep.let_go(each):
                commands += self._reject(lease, each.body, reason)
        return commands

    def _note_coverage_unread(self, event: CoverageUnread, now: float) -> list[Command]:
        sweep = self._sweep(event.sweep_id)
        sweep.reading = False
        sweep.coverage_due_at = now + self._policy.poll_s
        if not self._leaving:
            return []
        # Leaving without knowing whether these belong to the sweep: somebody else decides.
        puzzling, sweep.puzzling = sweep.puzzling, []
        return self._give_back(tuple(lease for each in puzzling for lease in sweep.let_go(each)))

    # ----------------------------------------------------------------- single steps

    @property
    def _leaving(self) -> bool:
        return self._stage is not Stage.RUNNING

    def _leave(self, why: str) -> None:
        """Leave, for the first reason there is."""
        if not self._leaving:
            self._enter(Stage.LEAVING)
            self._why = why

    def _enter(self, stage: Stage) -> None:
        assert stage in TRANSITIONS[self._stage], (self._stage, stage)
        self._stage = stage

    def _sweep(self, sweep_id: str) -> SweepBuffer:
        if sweep_id not in self._sweeps:
            self._sweeps[sweep_id] = SweepBuffer(sweep_id)
        return self._sweeps[sweep_id]

    def _often_s(self, sweep: SweepBuffer, usual_s: float) -> float:
        """Say how long after a look at what a sweep has stored the next one comes."""
        policy = self._policy
        if policy.until_complete or not sweep.rests(policy):
            return usual_s
        return max(usual_s, policy.rest_s * policy.rest_looks)

    def _pause_s(self, failures: int) -> float:
        return pause_s(failures, who=self._policy.who)

    def _reject(self, lease: Lease, body: str, reason: str) -> list[Command]:
        commands: list[Command] = []
        if lease not in self._held:
            self._held.add(lease)
            commands.append(HoldLeases(leases=(lease,)))
        command = QuarantineMessage(lease=lease, body=body, reason=reason)
        self._quarantines[lease] = command
        self._in_hand += 1
        return [*commands, command]

    def _delete(self, sweep: SweepBuffer, leases: tuple[Lease, ...], proof: Proof) -> list[Command]:
        if sweep.state not in SERVED:
            # The queue of a cancelled sweep is gone; deleting from it would make it anew.
            return self._forget(leases)
        self._in_hand += 1
        return [DeleteMessages(leases=leases, proof=proof)]

    def _give_back(self, leases: tuple[Lease, ...], delay_s: float = 0.0) -> list[Command]:
        if not leases:
            return []
        return [*self._forget(leases), ReleaseMessages(leases=leases, delay_s=delay_s)]

    def _forget(self, leases: tuple[Lease, ...]) -> list[Command]:
        self._held.difference_update(leases)
        for lease in leases:
            self._delete_failures.pop(lease, None)
        return [DropLeases(leases=leases)] if leases else []
