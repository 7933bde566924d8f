"""Queues and storage of a world as one actor sees them: faulty, above the services themselves.

Answers get lost after the deed, entries of a batch fail, messages come twice and out of order, the
service is away, for all or for one, or slow, and the actor may die at any call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from gapless.declaration.control import Asked
from gapless.declaration.messages import decode_job
from gapless.storage.blobs import Blob
from gapless.storage.errors import StorageUnavailable
from queueing.errors import QueueUnavailable
from queueing.leases import Renewals
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
from tests.simulator.faults import Fault
from tests.simulator.plan import FaultRates
from tests.simulator.services import ServiceClock, WatchedBlobs, WatchedQueues
from tests.simulator.world import Actor, Crash

__all__ = [
    "AgedRenewals",
    "CountedQueues",
    "FaultyBlobs",
    "FaultyQueues",
    "Services",
    "Spells",
]

_T = TypeVar("_T")
_CONTROLS = "/control/"
_REFUSED = Answer(AnswerStatus.FAILED, "the service had a bad moment")


@dataclass(slots=True)
class Spells:
    """Until when the queue service and storage are away for everybody."""

    queues_until: float = 0.0
    blobs_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Services:
    """The services of a world below every fault, their clock, and when they are away."""

    queues: WatchedQueues
    blobs: WatchedBlobs
    clock: ServiceClock
    spells: Spells


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
    _away: Fault
    _answer_lost: Fault

    def __init__(self, actor: Actor, rates: FaultRates, spells: Spells) -> None:
        self.actor = actor
        self.world = actor.world
        self.rates = rates
        self.spells = spells

    def _call(self, deed: Callable[[], _T], away: Exception, *, gone: bool) -> _T:
        world, rates = self.world, self.rates
        if not world.faults:
            # Nobody else acts meanwhile, and no dice are thrown: most of the calls of a world.
            return deed()
        life = self.actor.life
        if world.fault(Fault.INTERLEAVE, rates.interleave):
            world.let_others_act(2.0 * world.dice(Fault.INTERLEAVE).random())
        if self.actor.life != life or world.fault(Fault.CRASH, rates.crash):
            raise Crash
        if (world.faults and gone) or world.fault(self._away, rates.away):
            raise away
        done = deed()
        if self.actor.life != life or world.fault(Fault.CRASH, rates.crash):
            raise Crash
        if world.fault(self._answer_lost, rates.answer_lost):
            world.log("an answer is lost")
            raise away
        return done


class FaultyQueues(_Faulty):
    """The queue service as one actor sees it. `person`: its jobs need a receipt first (I5)."""

    _away = Fault.QUEUE_AWAY
    _answer_lost = Fault.QUEUE_ANSWER_LOST

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
        # How long the answer to a replace takes that was done (seconds), as a rarity wishes.
        self.answers_after: Callable[[ReplaceAnswer], float] = lambda _: 0.0

    def _ask(self, deed: Callable[[], _T]) -> _T:
        gone = self.world.now < max(self.spells.queues_until, self.actor.queues_cut_until)
        return self._call(deed, QueueUnavailable("the queue service is away"), gone=gone)

    def create(self, queue: str) -> None:
        self._ask(lambda: self.inner.create(queue))

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        if self.person and queue.endswith("-jobs"):
            self.inner.truth.check_receipts(queue, [entry.body for entry in entries])
        return self._ask(lambda: [self._send_one(queue, entry) for entry in entries])

    def _send_one(self, queue: str, entry: Entry) -> Answer:
        world, rates = self.world, self.rates
        if world.fault(Fault.ENTRY_FAILS, rates.entry_fails):
            if world.dice(Fault.ENTRY_FAILS).random() < 0.5:
                self.inner.send(queue, [entry])
            return _REFUSED
        delay_s = entry.delay_s
        if world.fault(Fault.LATE, rates.late):
            delay_s += world.dice(Fault.LATE).random() * 5.0
        body = entry.body
        if queue.endswith("-results") and world.fault(Fault.DAMAGED, rates.damaged):
            body = _damage(body)
            self.inner.truth.message_lost(queue, entry.body)
            self.inner.truth.spoiled.add(body)
            world.log("a delivery is damaged on the way")
        sent = self.inner.send(queue, [Entry(body, delay_s=delay_s, priority=entry.priority)])[0]
        if sent.ok and self.person and queue.endswith("-jobs"):
            self.inner.truth.jobs_sent.add(decode_job(body).job)
        return sent

    def receive(
        self, queues: Sequence[str], *, most: int, wait_s: float, lease_s: float
    ) -> list[Message]:
        at = self.world.now

        def deed() -> list[Message]:
            nonlocal at
            at = self.world.now
            found = self.inner.receive(queues, most=most, wait_s=0.0, lease_s=lease_s)
            for message in found:
                if self.world.fault(Fault.TWICE, self.rates.twice):
                    self.world.log("a message will come twice")
                    delay_s = self.world.dice(Fault.TWICE).random() * 60.0
                    self.inner.send(message.lease.queue, [Entry(message.body, delay_s=delay_s)])
            return found

        messages = self._ask(deed)
        self.actor.received(messages, at)
        return messages

    def extend(self, extensions: Sequence[Extension]) -> list[Answer]:
        return self._ask(lambda: [self._unless_failing(self.inner.extend, x) for x in extensions])

    def release(self, leases: Sequence[Lease], *, delay_s: float = 0.0) -> list[Answer]:
        return self._ask(lambda: self.inner.release(leases, delay_s=delay_s))

    def delete(self, leases: Sequence[Lease]) -> list[Answer]:
        return self._ask(lambda: [self._unless_failing(self.inner.delete, x) for x in leases])

    def _unless_failing(self, deed: Callable[[Sequence[_T]], list[Answer]], one: _T) -> Answer:
        if not self.world.fault(Fault.ENTRY_FAILS, self.rates.entry_fails):
            return deed([one])[0]
        if self.world.dice(Fault.ENTRY_FAILS).random() < 0.5:
            deed([one])
        return _REFUSED

    def replace(self, lease: Lease, replacements: Sequence[Replacement]) -> ReplaceAnswer:
        def deed() -> ReplaceAnswer:
            if not self.world.fault(Fault.REPLACE_FAILS, self.rates.entry_fails):
                done = self.inner.replace(lease, replacements)
                if for_s := self.answers_after(done):
                    self.world.let_others_act(for_s)
                if self.world.fault(Fault.INTERLEAVE, self.rates.interleave):
                    # The answer takes a while.
                    self.world.let_others_act(15.0 * self.world.dice(Fault.INTERLEAVE).random())
                return done
            kind = self.world.dice(Fault.REPLACE_FAILS).randrange(3)
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
        known = now - at < self._late_s and earlier.created_at_s == facts.created_at_s
        if known and (not world.faults or world.fault(Fault.LATE_COUNTS, 0.8)):
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

    _away = Fault.STORAGE_AWAY
    _answer_lost = Fault.STORAGE_ANSWER_LOST

    def __init__(
        self,
        actor: Actor,
        inner: WatchedBlobs,
        rates: FaultRates,
        spells: Spells,
        *,
        slow_s: float = 0.0,
    ) -> None:
        super().__init__(actor, rates, spells)
        self.inner = inner
        self.slow_s = slow_s

    def _ask(self, deed: Callable[[], _T]) -> _T:
        gone = self.world.now < max(self.spells.blobs_until, self.actor.storage_cut_until)
        return self._call(deed, StorageUnavailable("storage is away"), gone=gone)

    def put(self, key: str, data: bytes) -> None:
        self._ask(lambda: self._slowly(lambda: self.inner.put(key, data)))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if "/asked/" in key and self.world.fault(Fault.TWO_ASK, 0.15):
            self.world.log("a colleague with another ledger asks for the same runs anew")
            theirs = msgspec.structs.replace(Asked.decode(data), why="a colleague wants it")
            self.inner.put_if_absent(key, theirs.encode())
        return self._ask(lambda: self._slowly(lambda: self.inner.put_if_absent(key, data)))

    def get(self, key: str) -> bytes:
        return self._ask(lambda: self._slowly(lambda: self.inner.get(key)))

    def _slowly(self, deed: Callable[[], _T]) -> _T:
        """Take longer than a lease at times, before or after the deed."""
        if not self.world.fault(Fault.SLOW_STORAGE, self.rates.slow):
            return deed()
        life, dice = self.actor.life, self.world.dice(Fault.SLOW_STORAGE)
        self.world.log(f"storage is slow to answer {self.actor.name}")
        before, for_s = dice.random() < 0.5, self.slow_s * (0.5 + 1.5 * dice.random())
        if before:
            self.world.let_others_act(for_s)
            if self.actor.life != life:
                raise Crash
        done = deed()
        if not before:
            self.world.let_others_act(for_s)
        return done

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        return self._ask(lambda: self.inner.get_range(key, start, stop))

    def list(self, prefix: str) -> Iterator[Blob]:
        def deed() -> tuple[float, list[Blob]]:
            return self.world.now, [*self.inner.list(prefix)]

        at, found = self._ask(deed)
        if prefix.endswith(_CONTROLS):
            self.actor.listed_controls(prefix, found, at)
        return iter(found)

    def folders(self, prefix: str) -> Iterator[str]:
        return self._ask(lambda: iter([*self.inner.folders(prefix)]))

    def delete(self, key: str) -> None:
        self._ask(lambda: self.inner.delete(key))


def _damage(body: str) -> str:
    head, _, texts = body.partition("\n")
    middle = len(texts) // 2
    other = "A" if texts[middle : middle + 1] != "A" else "B"
    return f"{head}\n{texts[:middle]}{other}{texts[middle + 1 :]}"
