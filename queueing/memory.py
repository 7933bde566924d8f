"""MemoryQueues: every queue in this process's memory, for tests and simulators.

A backend like any other: it passes the same contract suite. Time comes from outside and is never
advanced here; tokens are counted, so that the same calls give the same tokens. What is in it dies
with the process.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from queueing.errors import QueueError
from queueing.port import (
    MAX_LEASE_S,
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
from queueing.refusals import (
    check_receive,
    refusal_of_delay,
    refusal_of_entry,
    refusal_of_lease,
    refusal_of_replacement,
)

__all__ = ["MemoryQueues"]

_T = TypeVar("_T")

_LOST = Answer(AnswerStatus.LEASE_LOST, "the lease is outdated: the message has moved on")


@dataclass(slots=True)
class _Stored:
    """One message. `visible_at` is 0 when it is ready, as in the SQLite backend."""

    seq: int
    body: str
    priority: int
    visible_at: float
    token: str = ""
    receive_count: int = 0
    leased_at: float = 0.0


@dataclass(slots=True)
class _Queue:
    """The messages of one queue by seq, and two heaps whose outdated entries are skipped."""

    created_at_s: float
    messages: dict[int, _Stored] = field(default_factory=dict)
    ready: list[tuple[int, int]] = field(default_factory=list)
    hidden: list[tuple[float, int]] = field(default_factory=list)
    farthest: float = 0.0

    def put(self, stored: _Stored) -> None:
        """Enter a message where its `visible_at` says."""
        self.messages[stored.seq] = stored
        if stored.visible_at:
            heapq.heappush(self.hidden, (stored.visible_at, stored.seq))
            self.farthest = max(self.farthest, stored.visible_at)
        else:
            heapq.heappush(self.ready, (-stored.priority, stored.seq))

    def make_ready(self, now: float) -> None:
        """Show what is due, and what only a clock that was set back can hide for so long."""
        while self.hidden and self.hidden[0][0] <= now:
            self._show(heapq.heappop(self.hidden))
        bound = now + MAX_LEASE_S
        if self.farthest > bound:
            far = [each for each in self.hidden if each[0] > bound]
            self.hidden = [each for each in self.hidden if each[0] <= bound]
            heapq.heapify(self.hidden)
            self.farthest = bound
            for each in far:
                self._show(each)

    def next_ready(self) -> _Stored | None:
        """Take the first ready message out of the heap of ready ones."""
        while self.ready:
            _, seq = heapq.heappop(self.ready)
            stored = self.messages.get(seq)
            if stored is not None and not stored.visible_at:
                return stored
        return None

    def next_at(self) -> float | None:
        """Give the earliest time at which a hidden message becomes ready."""
        while self.hidden:
            visible_at, seq = self.hidden[0]
            stored = self.messages.get(seq)
            if stored is not None and stored.visible_at == visible_at:
                return visible_at
            heapq.heappop(self.hidden)
        return None

    def _show(self, entry: tuple[float, int]) -> None:
        stored = self.messages.get(entry[1])
        if stored is not None and stored.visible_at == entry[0]:
            stored.visible_at = 0.0
            self.put(stored)


class MemoryQueues:
    """Queues in memory, for one process; safe to use from several threads.

    `clock` gives Unix seconds. `wait` is called, outside the lock, with the seconds a receive would
    sleep; a virtual one advances what `clock` reads, or lets others run. Without it a receive
    sleeps in real time and wakes for a send by another thread: for real clocks only.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        self._clock = clock
        self._wait = wait
        self._changed = threading.Condition()
        self._queues: dict[str, _Queue] = {}
        self._seqs = itertools.count(1)
        self._tokens = itertools.count(1)
        self._closed = False

    def create(self, queue: str) -> None:
        """Make the queue if it is missing; safe to repeat."""
        with self._changed:
            self._queue(queue)

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        """Put messages on a queue; any number of entries."""
        answers: list[Answer] = []
        with self._changed:
            now = self._clock()
            found = self._queue(queue)
            for entry in entries:
                reason = refusal_of_entry(entry)
                answers.append(_answer_to(reason))
                if not reason:
                    visible_at = now + entry.delay_s if entry.delay_s else 0.0
                    found.put(_Stored(next(self._seqs), entry.body, entry.priority, visible_at))
            self._changed.notify_all()
        return answers

    def receive(
        self, queues: Sequence[str], *, most: int, wait_s: float, lease_s: float
    ) -> list[Message]:
        """Lease up to `most` visible messages: queues as named, by priority, first in first out."""
        check_receive(most=most, wait_s=wait_s, lease_s=lease_s)
        if not queues:
            raise QueueError("a receive names at least one queue")
        until = self._clock() + wait_s
        while True:
            with self._changed:
                messages = self._take(queues, most=most, lease_s=lease_s)
                left_s = until - self._clock()
                if messages or left_s <= 0.0 or self._closed:
                    return messages
                times = [self._queue(queue).next_at() for queue in queues]
                next_at = min((each for each in times if each is not None), default=None)
                if next_at is not None:
                    left_s = min(left_s, max(0.0, next_at - self._clock()))
                if self._wait is None:
                    self._changed.wait(left_s)
                    continue
            self._wait(left_s)

    def extend(self, extensions: Sequence[Extension]) -> list[Answer]:
        """Renew leases. LEASE_LOST: the message may be in other hands, or gone."""
        with self._changed:
            now = self._clock()
            return [self._extend_one(each, now) for each in extensions]

    def release(self, leases: Sequence[Lease], *, delay_s: float = 0.0) -> list[Answer]:
        """Make messages visible again, after a delay; an outdated lease is no error."""
        refusal = refusal_of_delay(delay_s)
        if refusal:
            return [_answer_to(refusal)] * len(leases)
        with self._changed:
            now = self._clock()
            for lease in leases:
                stored = self._held(lease)
                if stored is not None:
                    stored.token = ""
                    stored.visible_at = now + delay_s if delay_s else 0.0
                    self._queue(lease.queue).put(stored)
            self._changed.notify_all()
        return [Answer()] * len(leases)

    def delete(self, leases: Sequence[Lease]) -> list[Answer]:
        """Delete messages; OK also for an outdated lease, which deletes nothing."""
        with self._changed:
            for lease in leases:
                stored = self._held(lease)
                if stored is not None:
                    del self._queue(lease.queue).messages[stored.seq]
        return [Answer()] * len(leases)

    def replace(self, lease: Lease, replacements: Sequence[Replacement]) -> ReplaceAnswer:
        """Put messages in a leased one's place, all of them or none; see SqliteQueues.replace."""
        for replacement in replacements:
            reason = refusal_of_replacement(replacement)
            if reason:
                return ReplaceAnswer(_answer_to(reason))
        with self._changed:
            old = self._held(lease)
            if old is None:
                return ReplaceAnswer(_LOST)
            found = self._queue(lease.queue)
            del found.messages[old.seq]
            leases = tuple(
                self._put_in_place(found, lease.queue, old, replacement, index)
                for index, replacement in enumerate(replacements)
            )
            self._changed.notify_all()
        return ReplaceAnswer(Answer(), leases)

    def facts(self, queue: str) -> QueueFacts:
        """Count a queue's messages."""
        with self._changed:
            found = self._queue(queue)
            now = self._clock()
            hidden = [
                each
                for each in found.messages.values()
                if now < each.visible_at <= now + MAX_LEASE_S
            ]
            leased = sum(bool(each.token) for each in hidden)
            return QueueFacts(
                created_at_s=found.created_at_s,
                visible=len(found.messages) - len(hidden),
                leased=leased,
                delayed=len(hidden) - leased,
            )

    def heads(self, queues: Sequence[str]) -> dict[str, list[str]]:
        """Give the first line of every message of each queue, at one moment."""
        return self.read_heads(queues, lambda _queue, heads: list(heads))

    def read_heads(
        self, queues: Sequence[str], read: Callable[[str, Iterator[str]], _T]
    ) -> dict[str, _T]:
        """Give what `read(queue, heads)` makes of each queue's heads, at one moment."""
        with self._changed:
            return {queue: read(queue, self._heads_of(queue)) for queue in queues}

    def drop(self, queue: str) -> None:
        """Delete a queue with all its messages; safe to repeat."""
        with self._changed:
            self._queues.pop(queue, None)

    def close(self) -> None:
        """Wake who waits; a receive that is under way answers what it has."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _heads_of(self, queue: str) -> Iterator[str]:
        found = self._queues.get(queue)
        for _, stored in sorted(found.messages.items()) if found is not None else ():
            yield stored.body.partition("\n")[0]

    def _queue(self, queue: str) -> _Queue:
        if self._closed:
            raise QueueError("the queues were closed by this program")
        if queue not in self._queues:
            self._queues[queue] = _Queue(created_at_s=self._clock())
        return self._queues[queue]

    def _take(self, queues: Sequence[str], *, most: int, lease_s: float) -> list[Message]:
        now = self._clock()
        messages: list[Message] = []
        for queue in queues:
            if len(messages) >= most:
                break
            found = self._queue(queue)
            found.make_ready(now)
            while len(messages) < most and (stored := found.next_ready()) is not None:
                stored.receive_count += 1
                lease = self._lease(found, queue, stored, now + lease_s)
                messages.append(Message(lease, stored.body, stored.receive_count))
        return messages

    def _lease(self, found: _Queue, queue: str, stored: _Stored, until: float) -> Lease:
        stored.token = f"{stored.seq}.{next(self._tokens)}"
        stored.leased_at = self._clock()
        stored.visible_at = until
        found.put(stored)
        return Lease(queue, stored.token)

    def _held(self, lease: Lease) -> _Stored | None:
        digits = lease.token.partition(".")[0]
        stored = self._queue(lease.queue).messages.get(int(digits) if digits.isdigit() else -1)
        return stored if stored is not None and stored.token == lease.token else None

    def _extend_one(self, extension: Extension, now: float) -> Answer:
        reason = refusal_of_lease(extension.lease_s)
        if reason:
            return _answer_to(reason)
        stored = self._held(extension.lease)
        if stored is None:
            return _LOST
        left_s = MAX_LEASE_S - max(0.0, now - stored.leased_at)
        if left_s <= 0.0:
            return Answer(
                AnswerStatus.LEASE_LOST, f"a lease lasts {MAX_LEASE_S:.0f} s from its receive"
            )
        stored.visible_at = now + min(extension.lease_s, left_s)
        self._queue(extension.lease.queue).put(stored)
        return Answer()

    def _put_in_place(
        self, found: _Queue, queue: str, old: _Stored, replacement: Replacement, index: int
    ) -> Lease | None:
        now = self._clock()
        stored = _Stored(
            seq=old.seq if index == 0 else next(self._seqs),
            body=replacement.body,
            priority=replacement.priority or old.priority,
            visible_at=now + replacement.delay_s if replacement.delay_s else 0.0,
        )
        if not replacement.lease_s:
            found.put(stored)
            return None
        stored.receive_count = 1
        return self._lease(found, queue, stored, now + replacement.lease_s)


def _answer_to(reason: str) -> Answer:
    return Answer(AnswerStatus.FAILED, reason) if reason else Answer()
