"""Queues and storage of a world: real backends in memory, watched below, faulty above.

`WatchedQueues` and `WatchedBlobs` tell the truth what really happened. `FaultyQueues` and
`FaultyBlobs` are what one actor sees of them: answers get lost after the deed, entries of a batch
fail, messages come twice and out of order, the service is away, and the actor may die at any call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from compute_node.rules import Remainders
from gapless.storage.blobs import Blob
from gapless.storage.errors import StorageUnavailable
from gapless.storage.memory import MemoryBlobs
from queueing.errors import QueueUnavailable
from queueing.leases import Renewals
from queueing.memory import MemoryQueues
from queueing.port import (
    Answer,
    AnswerStatus,
    Entry,
    Extension,
    Lease,
    Message,
    QueueFacts,
    ReplaceAnswer,
    Replacement,
)
from tests.simulator.truth import Truth
from tests.simulator.world import Actor, Crash, World

__all__ = [
    "AgedRenewals",
    "CountedQueues",
    "FaultRates",
    "FaultyBlobs",
    "FaultyQueues",
    "Spells",
    "WatchedBlobs",
    "WatchedQueues",
]

_T = TypeVar("_T")
_REFUSED = Answer(AnswerStatus.FAILED, "the service had a bad moment")


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How likely each fault is at one call (or one entry of a batch)."""

    away: float = 0.01
    answer_lost: float = 0.01
    entry_fails: float = 0.02
    twice: float = 0.02
    late: float = 0.1
    damaged: float = 0.0
    crash: float = 0.002
    interleave: float = 0.1


@dataclass(slots=True)
class Spells:
    """Until when the queue service and storage are away for everybody."""

    queues_until: float = 0.0
    blobs_until: float = 0.0


class WatchedQueues(MemoryQueues):
    """Queues in memory that tell the truth of every message.

    Each lease begins `aged_s` old: that much less is left until it cannot be renewed any more. They
    lease a replacement to who sends it only where `remainders` says so.
    """

    def __init__(
        self,
        world: World,
        truth: Truth,
        *,
        aged_s: float = 0.0,
        remainders: Remainders = Remainders.LEASED,
    ) -> None:
        super().__init__(clock=world.clock, wait=lambda _: None)
        self.aged_s = aged_s
        self.remainders = remainders
        self.truth = truth
        truth.bodies = self.bodies

    def bodies(self) -> Iterator[tuple[str, str]]:
        for name, queue in self._queues.items():
            for stored in queue.messages.values():
                yield name, stored.body

    def _lease(self, found: Any, queue: str, stored: Any, until: float) -> Lease:
        lease = super()._lease(found, queue, stored, until)
        stored.leased_at -= self.aged_s
        return lease

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        answers = super().send(queue, entries)
        for entry, answer in zip(entries, answers, strict=True):
            if answer.ok:
                self.truth.message_sent(queue, entry.body)
        return answers

    def delete(self, leases: Sequence[Lease]) -> list[Answer]:
        held = [(lease.queue, self._held(lease)) for lease in leases]
        answers = super().delete(leases)
        for queue, stored in held:
            if stored is not None:
                self.truth.message_removed(queue, stored.body)
        return answers

    def replace(self, lease: Lease, replacements: Sequence[Replacement]) -> ReplaceAnswer:
        held = self._held(lease)
        if self.remainders is Remainders.ANYBODYS:
            replacements = [dataclasses.replace(each, lease_s=0.0) for each in replacements]
        answer = super().replace(lease, replacements)
        if answer.answer.ok and held is not None:
            for each in replacements:
                self.truth.message_sent(lease.queue, each.body)
            self.truth.message_removed(lease.queue, held.body)
        return answer

    def drop(self, queue: str) -> None:
        lost = [body for name, body in self.bodies() if name == queue]
        super().drop(queue)
        for body in lost:
            self.truth.message_lost(queue, body)

    def purge(self, queue: str) -> None:
        """Remove every message; the queue and its time of creation stay."""
        found = self._queue(queue)
        lost = [stored.body for stored in found.messages.values()]
        found.messages.clear()
        for body in lost:
            self.truth.message_lost(queue, body)


class WatchedBlobs(MemoryBlobs):
    """Blobs in memory that tell the truth of what becomes durable."""

    def __init__(self, world: World, truth: Truth) -> None:
        super().__init__(clock=world.clock)
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


class AgedRenewals(Renewals):
    """Takes each lease for one that was received `aged_s` ago, as the queues of the world do."""

    def __init__(self, queues: FaultyQueues, *, aged_s: float, **settings: Any) -> None:
        super().__init__(queues, **settings)
        self._aged_s = aged_s
        self.begun_at: dict[Lease, float] = {}

    def hold(self, lease: Lease, *, received_at: float | None = None) -> None:
        at = self._monotonic() if received_at is None else received_at
        self.begun_at[lease] = at
        super().hold(lease, received_at=at - self._aged_s)


class _Faulty:
    def __init__(self, actor: Actor, rates: FaultRates, spells: Spells) -> None:
        self.actor = actor
        self.world = actor.world
        self.rates = rates
        self.spells = spells

    def _call(self, deed: Callable[[], _T], away: Exception, *, gone: bool) -> _T:
        world, rates = self.world, self.rates
        life = self.actor.life
        if world.chance(rates.interleave):
            world.let_others_act(2.0)
        if self.actor.life != life or world.chance(rates.crash):
            raise Crash
        if (world.faults and gone) or world.chance(rates.away):
            raise away
        done = deed()
        if world.chance(rates.crash):
            raise Crash
        if world.chance(rates.answer_lost):
            world.log("an answer is lost")
            raise away
        return done


class FaultyQueues(_Faulty):
    """The queue service as one actor sees it. `person`: its jobs need a receipt first (I5)."""

    def __init__(
        self,
        actor: Actor,
        inner: WatchedQueues,
        rates: FaultRates,
        spells: Spells,
        *,
        person: bool = False,
    ) -> None:
        super().__init__(actor, rates, spells)
        self.inner = inner
        self.person = person

    def _ask(self, deed: Callable[[], _T]) -> _T:
        gone = self.world.now < self.spells.queues_until
        return self._call(deed, QueueUnavailable("the queue service is away"), gone=gone)

    def create(self, queue: str) -> None:
        self._ask(lambda: self.inner.create(queue))

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        if self.person and queue.endswith("-jobs"):
            for entry in entries:
                self.inner.truth.check_receipt(queue, entry.body)
        return self._ask(lambda: [self._send_one(queue, entry) for entry in entries])

    def _send_one(self, queue: str, entry: Entry) -> Answer:
        world, rates = self.world, self.rates
        if world.chance(rates.entry_fails):
            if world.chance(0.5):
                self.inner.send(queue, [entry])
            return _REFUSED
        delay_s = entry.delay_s
        if world.chance(rates.late):
            delay_s += world.random.random() * 5.0
        body = entry.body
        if queue.endswith("-results") and world.chance(rates.damaged):
            body = _damage(body)
            self.inner.truth.message_lost(queue, entry.body)
            world.log("a delivery is damaged on the way")
        return self.inner.send(queue, [Entry(body, delay_s=delay_s, priority=entry.priority)])[0]

    def receive(
        self, queues: Sequence[str], *, most: int, wait_s: float, lease_s: float
    ) -> list[Message]:
        def deed() -> list[Message]:
            found = self.inner.receive(queues, most=most, wait_s=0.0, lease_s=lease_s)
            for message in found:
                if self.world.chance(self.rates.twice):
                    self.world.log("a message will come twice")
                    delay_s = self.world.random.random() * 60.0
                    self.inner.send(message.lease.queue, [Entry(message.body, delay_s=delay_s)])
            return found

        return self._ask(deed)

    def extend(self, extensions: Sequence[Extension]) -> list[Answer]:
        return self._ask(lambda: [self._unless_failing(self.inner.extend, x) for x in extensions])

    def release(self, leases: Sequence[Lease], *, delay_s: float = 0.0) -> list[Answer]:
        return self._ask(lambda: self.inner.release(leases, delay_s=delay_s))

    def delete(self, leases: Sequence[Lease]) -> list[Answer]:
        return self._ask(lambda: [self._unless_failing(self.inner.delete, x) for x in leases])

    def _unless_failing(self, deed: Callable[[Sequence[_T]], list[Answer]], one: _T) -> Answer:
        if not self.world.chance(self.rates.entry_fails):
            return deed([one])[0]
        if self.world.chance(0.5):
            deed([one])
        return _REFUSED

    def replace(self, lease: Lease, replacements: Sequence[Replacement]) -> ReplaceAnswer:
        def deed() -> ReplaceAnswer:
            if not self.world.chance(self.rates.entry_fails):
                return self.inner.replace(lease, replacements)
            kind = self.world.random.randrange(3)
            if kind == 1:
                # Sent, and the old message could not be deleted.
                self.inner.send(lease.queue, [Entry(each.body) for each in replacements])
            elif kind == 2:
                self.inner.replace(lease, replacements)
            return ReplaceAnswer(_REFUSED)

        return self._ask(deed)

    def facts(self, queue: str) -> QueueFacts:
        return self._ask(lambda: self.inner.facts(queue))

    def heads(self, queues: Sequence[str]) -> dict[str, list[str]]:
        return self._ask(lambda: self.inner.heads(queues))

    def read_heads(
        self, queues: Sequence[str], read: Callable[[str, Iterator[str]], _T]
    ) -> dict[str, _T]:
        return self._ask(lambda: self.inner.read_heads(queues, read))

    def drop(self, queue: str) -> None:
        self._ask(lambda: self.inner.drop(queue))

    def close(self) -> None:
        """Nothing is held on this machine."""


class CountedQueues:
    """The queue service as one actor sees it that cannot look into a queue; its counts are late."""

    def __init__(self, inner: FaultyQueues, *, late_s: float) -> None:
        self._inner = inner
        self._late_s = late_s
        self._counted: dict[str, tuple[float, QueueFacts]] = {}

    def facts(self, queue: str) -> QueueFacts:
        """Count, as it was up to `late_s` seconds ago; who made the queue is never late."""
        world = self._inner.world
        now, facts = world.now, self._inner.facts(queue)
        at, earlier = self._counted.get(queue, (now, facts))
        if now - at < self._late_s and earlier.created_at_s == facts.created_at_s:
            world.log(f"the counts of {queue} are late")
            return earlier
        self._counted[queue] = (now, facts)
        return facts

    def __getattr__(self, name: str) -> Any:
        if name in {"heads", "read_heads"}:
            raise AttributeError(name)
        return getattr(self._inner, name)


class FaultyBlobs(_Faulty):
    """Storage as one actor sees it."""

    def __init__(
        self, actor: Actor, inner: WatchedBlobs, rates: FaultRates, spells: Spells
    ) -> None:
        super().__init__(actor, rates, spells)
        self.inner = inner

    def _ask(self, deed: Callable[[], _T]) -> _T:
        gone = self.world.now < self.spells.blobs_until
        return self._call(deed, StorageUnavailable("storage is away"), gone=gone)

    def put(self, key: str, data: bytes) -> None:
        self._ask(lambda: self.inner.put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._ask(lambda: self.inner.put_if_absent(key, data))

    def get(self, key: str) -> bytes:
        return self._ask(lambda: self.inner.get(key))

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        return self._ask(lambda: self.inner.get_range(key, start, stop))

    def list(self, prefix: str) -> Iterator[Blob]:
        return self._ask(lambda: iter([*self.inner.list(prefix)]))

    def folders(self, prefix: str) -> Iterator[str]:
        return self._ask(lambda: iter([*self.inner.folders(prefix)]))

    def delete(self, key: str) -> None:
        self._ask(lambda: self.inner.delete(key))


def _damage(body: str) -> str:
    head, _, texts = body.partition("\n")
    middle = len(texts) // 2
    other = "A" if texts[middle : middle + 1] != "A" else "B"
    return f"{head}\n{texts[:middle]}{other}{texts[middle + 1 :]}"
