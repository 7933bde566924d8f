"""What an aggregator decides: events in, commands out; no clock, thread, file or service.

The life of a delivery (one message of a result queue):

    received --> waiting --> in an open flush --> stored --> deleted
       |            |              |
       |            |              +--> rejected --> in quarantine --> deleted
       |            +--> puzzling: names runs the sweep is not known to have; read the sweep again,
       |                 then it waits, or is rejected
       +--> undecodable --> in quarantine --> deleted
       +--> of a newer format: given back with a delay, never deleted

DeleteMessages carries the proof that only the store step makes, so nothing is deleted before the
shard and its manifest (or the quarantine) are durable (I3). A failed step is tried again with a
doubling pause; meanwhile messages and leases are kept. A crash anywhere loses only what is held in
memory, which is all still on the queue: the leases end and the messages come again.

A lost lease changes nothing: the rows are good, storing them twice is harmless (I4), and deleting
with an outdated token deletes nothing.
"""

from __future__ import annotations

from collections import deque

from aggregator.buffers import SweepBuffer
from aggregator.commands import (
    AdoptOrphans,
    Command,
    DeleteMessages,
    DropLeases,
    Exit,
    Flush,
    HoldLeases,
    PollSweeps,
    QuarantineMessage,
    ReadCoverage,
    ReceiveDeliveries,
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
from aggregator.policy import Policy, backoff_s, flush_age_s
from aggregator.proof import Proof
from gapless.storage.layout import results_queue, sweep_id_of
from queueing.port import Lease

__all__ = ["AggregatorState"]

_SERVED = (SweepState.RUNNING, SweepState.PAUSED)
_HOT_COVERAGE_S = 1.0


class AggregatorState:
    """The whole mind of one aggregator; `now` is monotonic seconds, never going back."""

    def __init__(self, policy: Policy, now: float) -> None:
        self._policy = policy
        self._started_at = now
        self._sweeps: dict[str, SweepBuffer] = {}
        self._polled = False
        self._polling = False
        self._poll_due_at = now
        self._receiving = False
        self._receive_failures = 0
        self._receive_due_at = now
        self._last_delivery_at = now
        self._storing = False
        self._flushes = 0
        self._held: set[Lease] = set()
        self._deletions: deque[tuple[float, DeleteMessages]] = deque()
        self._delete_failures: dict[Lease, int] = {}
        self._quarantines: dict[Lease, QuarantineMessage] = {}
        self._quarantine_due: dict[Lease, float] = {}
        self._quarantine_failures = 0
        self._in_hand = 0
        self._stopping = ""
        self._status = 0
        self._exited = False

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take in one event; give what is to be done, in this order."""
        if self._exited:
            return []
        commands = self._note(event, now)
        commands += self._next(now)
        return commands

    def wake_at(self, now: float) -> float:
        """Give the moment at which a `Ticked` may change something without any other event."""
        moments = [self._poll_due_at, self._receive_due_at]
        moments += [due_at for due_at, _ in self._deletions]
        moments += self._quarantine_due.values()
        age_s = flush_age_s(self._policy, running_s=now - self._started_at)
        for sweep in self._sweeps.values():
            moments += [sweep.coverage_due_at, sweep.adopt_due_at]
            if sweep.flush is not None:
                moments.append(sweep.flush.due_at)
            elif sweep.waiting:
                moments.append(sweep.oldest_at + age_s)
        if self._policy.idle_exit_s is not None:
            moments.append(self._last_delivery_at + self._policy.idle_exit_s)
        return min((each for each in moments if each > now), default=now + self._policy.poll_s)

    @property
    def held(self) -> frozenset[Lease]:
        """Give the leases of every message received and not deleted, released or given up."""
        return frozenset(self._held)

    # ----------------------------------------------------------------- what happened

    def _note(self, event: Event, now: float) -> list[Command]:  # noqa: C901, PLR0911, PLR0912
        match event:
            case DeliveriesReceived():
                return self._note_received(event, now)
            case ReceiveFailed():
                self._receiving = False
                self._receive_failures += 1
                self._receive_due_at = now + backoff_s(self._receive_failures)
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
                sweep.adopt_due_at = now + self._policy.adopt_s
                if event.count:
                    sweep.coverage_due_at = now
            case StopRequested():
                self._stopping = self._stopping or "asked to stop"
            case LeaseLost() | Ticked():
                pass
        return []

    def _note_received(self, event: DeliveriesReceived, now: float) -> list[Command]:
        self._receiving = False
        self._receive_failures = 0
        self._receive_due_at = now
        if not event.deliveries:
            return []
        if self._stopping:
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
        if self._stopping:
            return [ReleaseMessages(leases=(event.lease,), delay_s=0)]
        return self._reject(event.lease, event.body, event.reason)

    def _note_stored(self, event: ShardStored, now: float) -> list[Command]:
        sweep = self._sweep(event.sweep_id)
        self._storing = False
        sweep.close_flush()
        commands: list[Command] = []
        if event.stored:
            assert event.proof is not None
            leases: list[Lease] = []
            for each in event.stored:
                sweep.mark_stored(each, event.proof)
                leases += sweep.let_go(each)
            commands += self._delete(sweep, tuple(leases), event.proof)
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

    def _note_flush_failed(self, event: FlushFailed, now: float) -> list[Command]:
        sweep = self._sweep(event.sweep_id)
        self._storing = False
        assert sweep.flush is not None
        sweep.flush.failures += 1
        sweep.flush.due_at = now + backoff_s(sweep.flush.failures)
        if not self._stopping or sweep.flush.failures < self._policy.tries_when_stopping:
            return []
        # Leaving without storage: everything goes back to the queue, nothing is lost.
        self._status = 1
        self._stopping = f"storage did not take a shard of sweep {sweep.sweep_id}: {event.reason}"
        given_up = [*sweep.flush.batch, *sweep.waiting, *sweep.puzzling]
        sweep.close_flush()
        sweep.waiting.clear()
        sweep.puzzling.clear()
        return self._give_back(tuple(lease for each in given_up for lease in sweep.let_go(each)))

    def _note_delete_failed(self, event: DeleteFailed, now: float) -> list[Command]:
        self._in_hand -= 1
        failures = self._delete_failures.get(event.leases[0], 0) + 1
        if self._stopping and failures >= self._policy.tries_when_stopping:
            # They come again after their leases and are recognised as duplicates by every reader.
            return self._forget((*event.deleted, *event.leases))
        commands = self._forget(event.deleted)
        self._delete_failures[event.leases[0]] = failures
        again = DeleteMessages(leases=event.leases, proof=event.proof)
        self._deletions.append((now + backoff_s(failures), again))
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
        if self._stopping and self._quarantine_failures >= self._policy.tries_when_stopping:
            self._quarantines.pop(event.lease, None)
            return self._give_back((event.lease,))
        self._quarantine_due[event.lease] = now + backoff_s(self._quarantine_failures)
        return []

    def _note_polled(self, event: SweepsPolled, now: float) -> list[Command]:
        self._polling = False
        self._polled = True
        self._poll_due_at = now + self._policy.poll_s
        commands: list[Command] = []
        for sweep_id, state in event.sweeps.items():
            if sweep_id not in self._sweeps:
                self._sweeps[sweep_id] = SweepBuffer(
                    sweep_id, coverage_due_at=now, adopt_due_at=now
                )
            sweep = self._sweeps[sweep_id]
            if state is SweepState.CANCELLED and sweep.state is not state:
                # Its queue is gone or goes: renewing or deleting would make it anew.
                queue = results_queue(sweep_id)
                leases = tuple(lease for lease in self._held if lease.queue == queue)
                if leases:
                    commands.append(DropLeases(leases=leases))
            sweep.state = state
        for sweep_id, sweep in list(self._sweeps.items()):
            if sweep_id not in event.sweeps:
                sweep.state = SweepState.GONE
                if sweep.empty and not sweep.reading and not sweep.adopting:
                    del self._sweeps[sweep_id]
        return commands

    def _note_coverage(self, event: CoverageRead, now: float) -> list[Command]:
        sweep = self._sweep(event.sweep_id)
        sweep.reading = False
        often_s = self._policy.poll_s if self._policy.until_complete else self._policy.coverage_s
        sweep.coverage_due_at = now + often_s
        commands: list[Command] = []
        for each in sweep.learn(event.runs, event.missing, now):
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
        if not self._stopping:
            return []
        # Leaving without knowing whether these belong to the sweep: somebody else decides.
        puzzling, sweep.puzzling = sweep.puzzling, []
        return self._give_back(tuple(lease for each in puzzling for lease in sweep.let_go(each)))

    # ----------------------------------------------------------------- what to do next

    def _next(self, now: float) -> list[Command]:
        commands = self._next_errands(now)
        commands += self._next_flush(now)
        commands += self._next_reads(now)
        self._consider_leaving(now)
        if self._stopping:
            return commands + self._next_exit()
        return commands + self._next_receive(now)

    def _next_errands(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for _ in range(len(self._deletions)):
            due_at, command = self._deletions.popleft()
            if due_at <= now:
                commands.append(command)
            else:
                self._deletions.append((due_at, command))
        for lease in [lease for lease, due_at in self._quarantine_due.items() if due_at <= now]:
            del self._quarantine_due[lease]
            commands.append(self._quarantines[lease])
        self._in_hand += len(commands)
        return commands

    def _next_flush(self, now: float) -> list[Command]:
        if self._storing:
            return []
        for sweep in self._sweeps.values():
            if sweep.flush is not None and sweep.flush.due_at <= now:
                return self._start_flush(sweep)
        due = [each for each in self._sweeps.values() if self._flush_is_due(each, now)]
        if not due and not self._has_room():
            due = [each for each in self._sweeps.values() if each.waiting and each.flush is None]
        if not due:
            return []
        fullest = max(due, key=lambda sweep: sweep.size_bytes)
        self._flushes += 1
        fullest.open_flush(self._flushes, self._policy, now)
        # What is left waits from now on: it came while this batch was filling.
        fullest.oldest_at = now
        return self._start_flush(fullest)

    def _start_flush(self, sweep: SweepBuffer) -> list[Command]:
        assert sweep.flush is not None
        self._storing = True
        flush = sweep.flush
        return [Flush(sweep_id=sweep.sweep_id, flush=flush.number, batch=flush.batch)]

    def _flush_is_due(self, sweep: SweepBuffer, now: float) -> bool:
        if not sweep.waiting or sweep.flush is not None:
            return False
        policy = self._policy
        age_s = flush_age_s(policy, running_s=now - self._started_at)
        return (
            sweep.rows >= policy.flush_rows
            or sweep.size_bytes >= policy.flush_bytes
            or len(sweep.waiting) >= policy.flush_messages
            or now - sweep.oldest_at >= age_s
            or bool(self._stopping)
            or sweep.state not in _SERVED
            or sweep.completes()
        )

    def _next_reads(self, now: float) -> list[Command]:
        commands: list[Command] = []
        if self._poll_due_at <= now and not self._polling and not self._stopping:
            self._polling = True
            self._poll_due_at = now + self._policy.poll_s
            commands.append(PollSweeps())
        for sweep in self._sweeps.values():
            if sweep.adopt_due_at <= now and not sweep.adopting and not self._stopping:
                sweep.adopting = True
                older_than_s = self._policy.adopt_older_than_s if sweep.adopted_once else 0.0
                commands.append(AdoptOrphans(sweep_id=sweep.sweep_id, older_than_s=older_than_s))
            wanted = not self._stopping or bool(sweep.puzzling)
            if sweep.coverage_due_at <= now and not sweep.reading and wanted:
                sweep.reading = True
                commands.append(ReadCoverage(sweep_id=sweep.sweep_id))
        return commands

    def _next_receive(self, now: float) -> list[Command]:
        if self._receiving or self._receive_due_at > now or not self._has_room():
            return []
        queues = tuple(
            results_queue(sweep_id)
            for sweep_id, sweep in self._sweeps.items()
            if sweep.state in _SERVED
        )
        if not queues:
            return []
        self._receiving = True
        room = self._policy.most_undeleted - len(self._held)
        return [ReceiveDeliveries(queues=queues, most=min(self._policy.receive_most, room))]

    def _has_room(self) -> bool:
        held_bytes = sum(sweep.held_bytes for sweep in self._sweeps.values())
        return (
            len(self._held) < self._policy.most_undeleted
            and held_bytes < self._policy.most_buffered_bytes
        )

    def _consider_leaving(self, now: float) -> None:
        policy = self._policy
        if self._stopping or not self._polled or not self._nothing_in_hand():
            return
        if policy.until_complete and self._all_complete():
            self._stopping = "every sweep is complete"
        elif policy.idle_exit_s is not None and now - self._last_delivery_at >= policy.idle_exit_s:
            self._stopping = f"no delivery for {policy.idle_exit_s:g} s"

    def _all_complete(self) -> bool:
        wanted = self._policy.sweep_ids
        if wanted is not None and not set(wanted) <= self._sweeps.keys():
            return False
        return all(sweep.complete or sweep.state not in _SERVED for sweep in self._sweeps.values())

    def _nothing_in_hand(self) -> bool:
        busy = self._in_hand or self._storing or self._deletions or self._quarantines
        return not busy and all(sweep.empty for sweep in self._sweeps.values())

    def _next_exit(self) -> list[Command]:
        if not self._nothing_in_hand() or self._receiving:
            return []
        self._exited = True
        return [Exit(status=self._status, reason=self._stopping)]

    # ----------------------------------------------------------------- single steps

    def _sweep(self, sweep_id: str) -> SweepBuffer:
        if sweep_id not in self._sweeps:
            self._sweeps[sweep_id] = SweepBuffer(sweep_id)
        return self._sweeps[sweep_id]

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
        if sweep.state not in _SERVED:
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
