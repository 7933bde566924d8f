"""The services of a world: real backends in memory that tell the truth of what becomes durable.

`WatchedQueues` has what Amazon SQS has and its emulators lack: retention, a bar on the name of a
deleted queue that may still swallow what is sent to it, a ceiling of messages in flight past which
a receive is silently empty, and a limit to how long one lease lasts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from compute_node.rules import Remainders
from gapless.storage.blobs import Blob
from gapless.storage.memory import MemoryBlobs
from queueing.errors import QueueUnavailable
from queueing.memory import MemoryQueues
from queueing.port import (
    Answer,
    Entry,
    Lease,
    Message,
    QueueFacts,
    ReplaceAnswer,
    Replacement,
)
from tests.simulator.faults import Fault
from tests.simulator.plan import Plan
from tests.simulator.truth import Truth
from tests.simulator.world import World

__all__ = ["Moved", "ServiceClock", "WatchedBlobs", "WatchedQueues"]

_BARRED_S = 60.0
"""Amazon SQS API Reference, DeleteQueue: wait 60 seconds before making a queue of the name."""


Moved = dict[str, tuple[bytes, Blob]]
"""Blobs that were moved out of the home, by key."""


class ServiceClock:
    """The wall clock of queues and storage; wrong only where they lie on a person's machine."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.skew_s = 0.0

    def __call__(self) -> float:
        """Tell the time (Unix seconds)."""
        return self._world.now + self.skew_s


class WatchedQueues(MemoryQueues):
    """Queues in memory that tell the truth of every message.

    Each lease begins `plan.aged_s` old: that much less is left until it cannot be renewed any more.
    They lease a replacement to who sends it only where the plan's `remainders` says so.
    """

    def __init__(self, world: World, truth: Truth, plan: Plan, clock: ServiceClock) -> None:
        super().__init__(clock=clock, wait=lambda _: None)
        self.world = world
        self.plan = plan
        self.truth = truth
        truth.bodies = self.bodies
        self._sent_at: dict[int, float] = {}
        self._barred_until: dict[str, float] = {}
        self._lingering: dict[str, tuple[float, float]] = {}

    def bodies(self) -> Iterator[tuple[str, str]]:
        """Give every message there is, with the name of its queue."""
        for name, queue in self._queues.items():
            for stored in queue.messages.values():
                yield name, stored.body

    def has(self, queue: str) -> bool:
        """Tell whether a queue exists, without making it."""
        return queue in self._queues

    def names(self) -> list[str]:
        """Name every queue there is."""
        return sorted(self._queues)

    def take_away(self, queue: str, unwanted: Callable[[str], bool]) -> None:
        """Remove messages of which the truth knows nothing."""
        messages = self._queues[queue].messages
        for seq in [seq for seq, stored in messages.items() if unwanted(stored.body)]:
            del messages[seq]

    # A queue that was deleted ---------------------------------------------------------------------

    def _queue(self, queue: str) -> Any:
        if queue not in self._queues and self.world.now < self._barred_until.get(queue, 0.0):
            # As the adapter of Amazon SQS says it: any verb makes a missing queue, which is barred.
            raise QueueUnavailable(
                f"queue {queue} was deleted less than 60 s ago, and its name is barred"
            )
        return super()._queue(queue)

    def _lingers(self, queue: str) -> bool:
        return queue not in self._queues and self.world.now < self._lingering.get(queue, (0.0,))[0]

    def drop(self, queue: str) -> None:
        found = self._queues.get(queue)
        lost = [body for name, body in self.bodies() if name == queue]
        super().drop(queue)
        for body in lost:
            self.truth.message_lost(queue, body)
        if found is not None and self.plan.remote and self.world.fault(Fault.BARRED):
            now = self.world.now
            self._barred_until[queue] = now + _BARRED_S
            if self.world.fault(Fault.LINGERS, 0.5):
                until = now + self.world.dice(Fault.LINGERS).random() * _BARRED_S
                self._lingering[queue] = (until, found.created_at_s)

    # Verbs ----------------------------------------------------------------------------------------

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        if self._lingers(queue):
            for entry in entries:
                self.truth.message_sent(queue, entry.body)
                self.truth.message_lost(queue, entry.body)
            self.world.log(f"what is sent to {queue} vanishes")
            return [Answer()] * len(entries)
        answers = super().send(queue, entries)
        for entry, answer in zip(entries, answers, strict=True):
            if answer.ok:
                self.truth.message_sent(queue, entry.body)
        self._note_times(queue)
        return answers

    def receive(
        self, queues: Sequence[str], *, most: int, wait_s: float, lease_s: float
    ) -> list[Message]:
        if not self.plan.remote:
            return super().receive(queues, most=most, wait_s=wait_s, lease_s=lease_s)
        # One request a queue, as on Amazon SQS; one that is barred keeps no other waiting.
        problems: list[QueueUnavailable] = []
        for queue in queues:
            try:
                found = self._receive_from(queue, most=most, lease_s=lease_s)
            except QueueUnavailable as error:
                problems.append(error)
                continue
            if found:
                return found
        if len(problems) == len(queues):
            raise problems[0]
        return []

    def _receive_from(self, queue: str, *, most: int, lease_s: float) -> list[Message]:
        if self._lingers(queue):
            return []
        self._expire(queue)
        if self._at_ceiling(queue) and self.world.fault(Fault.CEILING):
            self.world.log(f"too many messages of {queue} are in flight")
            return []
        return super().receive([queue], most=most, wait_s=0.0, lease_s=lease_s)

    def delete(self, leases: Sequence[Lease]) -> list[Answer]:
        held = [(lease.queue, self._held(lease)) for lease in leases]
        answers = super().delete(leases)
        for queue, stored in held:
            if stored is not None:
                self.truth.message_removed(queue, stored.body)
        return answers

    def replace(self, lease: Lease, replacements: Sequence[Replacement]) -> ReplaceAnswer:
        held = self._held(lease)
        if self.plan.remainders is Remainders.ANYBODYS:
            replacements = [dataclasses.replace(each, lease_s=0.0) for each in replacements]
        answer = super().replace(lease, replacements)
        if answer.answer.ok and held is not None:
            for each in replacements:
                self.truth.message_sent(lease.queue, each.body)
            self.truth.message_removed(lease.queue, held.body)
            # There a replacement is sent, and the old message deleted: its age is its own.
            self._sent_at.pop(held.seq, None)
            self._note_times(lease.queue)
        return answer

    def facts(self, queue: str) -> QueueFacts:
        if self._lingers(queue):
            return QueueFacts(
                created_at_s=self._lingering[queue][1], visible=0, leased=0, delayed=0
            )
        self._expire(queue)
        return super().facts(queue)

    def purge(self, queue: str) -> None:
        """Remove every message; the queue and its time of creation stay."""
        found = self._queue(queue)
        lost = [stored.body for stored in found.messages.values()]
        found.messages.clear()
        for body in lost:
            self.truth.message_lost(queue, body)

    def _lease(self, found: Any, queue: str, stored: Any, until: float) -> Lease:
        lease = super()._lease(found, queue, stored, until)
        stored.leased_at -= self.plan.aged_s
        return lease

    # Bounds of a queue ----------------------------------------------------------------------------

    def _at_ceiling(self, queue: str) -> bool:
        if not self.plan.ceiling:
            return False
        now, messages = self._clock(), self._queue(queue).messages.values()
        in_flight = sum(bool(each.token) and each.visible_at > now for each in messages)
        return in_flight >= self.plan.ceiling

    def _note_times(self, queue: str) -> None:
        if math.isfinite(self.plan.retention_s) and self.has(queue):
            for seq in self._queues[queue].messages:
                self._sent_at.setdefault(seq, self.world.now)

    def _expire(self, queue: str) -> None:
        if not math.isfinite(self.plan.retention_s) or not self.has(queue):
            return
        oldest = self.world.now - self.plan.retention_s
        messages = self._queues[queue].messages
        for seq in [seq for seq in messages if self._sent_at.get(seq, math.inf) < oldest]:
            if not self.world.fault(Fault.RETENTION):
                # Left out, or the world is healed: this one stays.
                self._sent_at[seq] = math.inf
                continue
            stored = messages.pop(seq)
            self.world.log(f"a message of {queue} reaches its retention and vanishes")
            self.truth.message_lost(queue, stored.body)


class WatchedBlobs(MemoryBlobs):
    """Blobs in memory that tell the truth of what becomes durable."""

    def __init__(self, truth: Truth, clock: ServiceClock) -> None:
        super().__init__(clock=clock)
        self.truth = truth

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        self.truth.blob_put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        stored = super().put_if_absent(key, data)
        if stored:
            self.truth.blob_put(key, data)
        return stored

    def delete(self, key: str) -> None:
        super().delete(key)
        self.truth.blob_deleted(key)

    def lose(self, key: str) -> None:
        """Destroy a blob, as a fault does."""
        self.truth.blob_lost(key)
        self.delete(key)

    def move_away(self, prefix: str) -> Moved:
        """Take everything of that prefix out of the home; give it."""
        moved = {key: blob for key, blob in self._blobs.items() if key.startswith(prefix)}
        for key in moved:
            self._drop(key)
        return moved

    def put_back(self, moved: Moved) -> None:
        """Put what was taken out back, but for what was written anew meanwhile."""
        for key, kept in moved.items():
            if key not in self._blobs:
                self._keep(key, b"")
                self._blobs[key] = kept

    def flip(self, key: str, place: float) -> None:
        """Flip a bit of a shard, `place` (0 to 1) of the way through it: its rows count no more."""
        self.truth.blob_lost(key)
        self.truth.blob_deleted(key)
        data = bytearray(self.get(key))
        data[int(place * len(data))] ^= 1
        super().put(key, bytes(data))
