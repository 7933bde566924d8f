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

import itertools
import math

from aggregator.buffers import SweepBuffer
from aggregator.commands import (
    AdoptOrphans,
    Command,
    Exit,
    Flush,
    PollSweeps,
    ReadCoverage,
    ReceiveDeliveries,
)
from aggregator.events import Event, SweepState
from aggregator.policy import flush_age_s
from aggregator.reactions import SERVED, Reactions, Stage
from gapless.storage.layout import results_queue
from queueing.port import Lease

__all__ = ["AggregatorState"]


class AggregatorState(Reactions):
    """The whole mind of one aggregator; `now` is monotonic seconds, never going back."""

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take in one event; give what is to be done, in this order. After an `Exit` comes none."""
        commands = self.note(event, now)
        commands += self._next(now)
        return commands

    def wake_at(self, now: float) -> float:
        """Give the moment at which a `Ticked` may change something without any other event."""
        # Infinity: then only an answer that is under way can change anything.
        moments = [math.inf, self._poll_due_at, self._receive_due_at, self._leave_by]
        moments += [each.empty_at + self._policy.rest_s for each in self._sweeps.values()]
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
        return min(each for each in moments if each > now)

    @property
    def held(self) -> frozenset[Lease]:
        """Give the leases of every message received and not deleted, released or given up."""
        return frozenset(self._held)

    def _next(self, now: float) -> list[Command]:
        commands = self._next_errands(now)
        commands += self._next_flush(now)
        commands += self._next_reads(now)
        self._consider_leaving(now)
        if now >= self._leave_by:
            return self._leave_at_once()
        if self._leaving:
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
            or self._leaving
            or sweep.state not in SERVED
            or sweep.completes()
            # Nothing more is to come: what is in hand are copies, which only delay the leaving.
            or (policy.until_complete and sweep.complete)
        )

    def _next_reads(self, now: float) -> list[Command]:
        commands: list[Command] = []
        if self._poll_due_at <= now and not self._polling and not self._leaving:
            self._polling = True
            commands.append(PollSweeps(self._resting(now)))
        for sweep in self._sweeps.values():
            if sweep.adopt_due_at <= now and not sweep.adopting and not self._leaving:
                sweep.adopting = True
                older_than_s = self._policy.adopt_older_than_s if sweep.adopted_once else 0.0
                commands.append(AdoptOrphans(sweep_id=sweep.sweep_id, older_than_s=older_than_s))
            wanted = not self._leaving or bool(sweep.puzzling)
            if sweep.coverage_due_at <= now and not sweep.reading and wanted:
                sweep.begin_reading()
                commands.append(ReadCoverage(sweep_id=sweep.sweep_id))
        return commands

    def _next_receive(self, now: float) -> list[Command]:
        if self._receiving or self._receive_due_at > now or not self._has_room():
            return []
        asked = self._sweeps_to_ask(now)
        if not asked:
            return []
        self._receiving = True
        self._asked = tuple(each.sweep_id for each in asked)
        room = self._policy.most_undeleted - len(self._held)
        awake = not all(each.rests(self._policy) for each in asked)
        return [
            ReceiveDeliveries(
                queues=tuple(map(results_queue, self._asked)),
                most=min(self._policy.receive_most, room),
                # Those that rest are only looked at, one after the other.
                wait_s=None if awake else self._policy.rest_look_s * len(asked),
            )
        ]

    def _sweeps_to_ask(self, now: float) -> list[SweepBuffer]:
        """Give the sweeps to receive from; of those that rest the few longest not asked, if due."""
        policy = self._policy
        served = [sweep for sweep in self._sweeps.values() if sweep.state in SERVED]
        resting = [sweep for sweep in served if sweep.rests(policy)]
        due = [sweep for sweep in resting if now - sweep.empty_at >= policy.rest_s]
        due.sort(key=lambda sweep: sweep.empty_at)
        asked = {sweep.sweep_id for sweep in due[: policy.most_resting]}
        left_out = {sweep.sweep_id for sweep in resting} - asked
        return [sweep for sweep in served if sweep.sweep_id not in left_out]

    def _resting(self, now: float) -> frozenset[str]:
        """Name the sweeps of which nobody need look yet what is wanted."""
        return frozenset(
            sweep_id
            for sweep_id, sweep in self._sweeps.items()
            if sweep.state is not SweepState.GONE
            and sweep.rests(self._policy)
            and now - sweep.polled_at < self._policy.rest_s
        )

    def _has_room(self) -> bool:
        held_bytes = sum(sweep.held_bytes for sweep in self._sweeps.values())
        return (
            len(self._held) < self._policy.most_undeleted
            and held_bytes < self._policy.most_buffered_bytes
        )

    def _consider_leaving(self, now: float) -> None:
        policy = self._policy
        if self._leaving or not self._polled or not self._nothing_in_hand():
            return
        if policy.until_complete and self._all_complete():
            self._leave("every sweep is complete")
        elif policy.idle_exit_s is not None and self._is_idle(policy.idle_exit_s, now):
            self._leave(f"no delivery for {policy.idle_exit_s:g} s")

    def _is_idle(self, idle_exit_s: float, now: float) -> bool:
        if now < self._last_delivery_at + idle_exit_s:
            return False
        # Time alone does not tell: a queue that is away, or slow to answer, may hold anything.
        served = any(sweep.state in SERVED for sweep in self._sweeps.values())
        return self._found_nothing or not served

    def _all_complete(self) -> bool:
        wanted = self._policy.sweep_ids
        if wanted is not None and not set(wanted) <= self._sweeps.keys():
            return False
        return all(sweep.complete or sweep.state not in SERVED for sweep in self._sweeps.values())

    def _nothing_in_hand(self) -> bool:
        busy = self._in_hand or self._deletions or self._quarantines
        return not busy and all(sweep.empty for sweep in self._sweeps.values())

    def _leave_at_once(self) -> list[Command]:
        """Leave with what is in hand: it is still on the queue, and comes again."""
        held = len(self._held)
        # What is stored already is not given back: its messages come again when their leases end.
        unstored = (
            sweep.leases_in_hand() for sweep in self._sweeps.values() if sweep.state in SERVED
        )
        commands = self._give_back(tuple(itertools.chain.from_iterable(unstored)))
        self._enter(Stage.ENDED)
        if not held:
            return [*commands, Exit(status=self._status, reason=self._why)]
        reason = (
            f"{self._why}, and storage or queue did not answer for {self._policy.stop_s:g} s: "
            f"{held} messages stay on the queue and come again, nothing is lost"
        )
        return [*commands, Exit(status=1, reason=reason)]

    def _next_exit(self) -> list[Command]:
        if not self._nothing_in_hand() or self._receiving:
            return []
        self._enter(Stage.ENDED)
        return [Exit(status=self._status, reason=self._why)]
