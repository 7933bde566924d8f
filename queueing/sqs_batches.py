"""Many entries, in batches of what Amazon SQS takes, with every entry's answer read.

A batch answered with 200 may have failed in part: entries under `Failed`, and entries that are not
named at all, were not done. Those that may work later are sent again a few times; what then is
left is told entry by entry. When nothing at all was answered the whole verb is QueueUnavailable:
its caller keeps everything and tries again.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gapless.daemon_pool import DaemonPool
from gapless.patience import patiently
from queueing.errors import QueueUnavailable
from queueing.port import MAX_BATCH, MAX_MESSAGE_BYTES, Answer, AnswerStatus
from queueing.sqs_calls import SqsCalls
from queueing.sqs_errors import (
    EntryTrouble,
    RequestRefused,
    ServiceAway,
    is_lost,
    trouble_of_entry,
)

__all__ = ["Batches", "Item", "pack"]

_THREADS = 8
_CLOSE_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a batch: its place in the verb's answers, and what goes over the wire.

    `md5` is what the service should say it stored; "" where it says nothing.
    """

    index: int
    queue: str
    wire: Mapping[str, Any]
    size_bytes: int = 0
    md5: str = ""


def pack(items: Iterable[Item]) -> list[list[Item]]:
    """Put items, in order, into batches of one queue, at most 10 entries and 1 MiB."""
    filling: dict[str, tuple[list[Item], int]] = {}
    packed: list[list[Item]] = []
    for item in items:
        batch, size_bytes = filling.get(item.queue, ([], 0))
        if not batch or len(batch) >= MAX_BATCH or size_bytes + item.size_bytes > MAX_MESSAGE_BYTES:
            batch, size_bytes = [], 0
            packed.append(batch)
        batch.append(item)
        filling[item.queue] = (batch, size_bytes + item.size_bytes)
    return packed


class _Again(QueueUnavailable):
    """Some entries of a batch were not done, and another try may do them."""


@dataclass(slots=True)
class _Batch:
    """One batch: the items that still need an answer, and why they have none."""

    left: list[Item]
    answers: dict[int, Answer] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Verb:
    """One verb's work: what was answered, what was not, and what kept batches from being sent.

    `problems` by queue: one that is barred or refuses keeps no batch of another; `away` keeps all.
    """

    operation: str
    answers: dict[int, Answer] = field(default_factory=dict)
    not_done: dict[int, str] = field(default_factory=dict)
    problems: dict[str, QueueUnavailable] = field(default_factory=dict)
    away: ServiceAway | None = None

    def problem_of(self, queue: str) -> QueueUnavailable | None:
        """Give what makes it vain to send a batch of a queue."""
        return self.away or self.problems.get(queue)

    def met(self, problem: QueueUnavailable, queue: str) -> None:
        """Take note of what an unanswered batch met."""
        if isinstance(problem, ServiceAway):
            self.away = problem
        else:
            self.problems.setdefault(queue, problem)

    def worst(self) -> QueueUnavailable | None:
        """Give the problem that says most of a verb of which nothing was done."""
        return self.away or next(iter(self.problems.values()), None)


class Batches:
    """Does verbs in batches, several at a time. Safe to use from several threads.

    `threads`: how many batches of one long list are under way at once, each with its own client.
    """

    def __init__(self, calls: SqsCalls, *, threads: int = _THREADS) -> None:
        self._calls = calls
        self._threads = threads
        self._lock = threading.Lock()
        self._pool: DaemonPool | None = None
        self._closed = False

    def do(self, operation: str, items: Sequence[Item]) -> dict[int, Answer]:
        """Do a verb for every item; answers by the items' `index`.

        LEASE_LOST for a dead lease token, FAILED with the reason for what was not done; raises
        QueueUnavailable (or QueueRefused) when nothing was done and trying again may help.
        """
        verb = _Verb(operation)
        packed = pack(items)
        if packed:
            # The first one alone: it makes a missing queue, and tells when there is no service.
            self._do_batch(verb, packed[0])
        if len(packed) > 1:
            # A crash here leaves some batches done and others not: each entry stands for itself.
            list(self._open_pool().map(functools.partial(self._do_batch, verb), packed[1:]))
        if verb.not_done and not verb.answers:
            raise verb.worst() or QueueUnavailable(
                f"none of {len(items)} entries was done ({operation} of queue {items[0].queue}): "
                + next(iter(verb.not_done.values()))
            )
        return verb.answers | {
            index: Answer(AnswerStatus.FAILED, reason) for index, reason in verb.not_done.items()
        }

    def close(self) -> None:
        """End the threads, after what they have sent is answered or 2 s; safe to repeat.

        A request that is not answered by then was done or not: nobody waits for it any more.
        """
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shut_down_within(_CLOSE_WITHIN_S)

    def _open_pool(self) -> DaemonPool:
        with self._lock:
            if self._closed:
                raise QueueUnavailable("the queues are being closed by this program")
            if self._pool is None:
                self._pool = DaemonPool(self._threads, "sqs-batch")
            return self._pool

    def _do_batch(self, verb: _Verb, items: list[Item]) -> None:
        queue = items[0].queue
        problem = verb.problem_of(queue)
        if problem is not None or self._closed:
            # The service, or the queue, failed an earlier batch: this one would wait in vain.
            reason = f"not sent: {problem or 'the queues are being closed by this program'}"
            verb.not_done.update((item.index, reason) for item in items)
            return
        batch = _Batch(left=items)
        try:
            patiently(lambda: self._send(verb.operation, batch), on=_Again)
        except _Again:
            pass
        except QueueUnavailable as error:
            verb.met(error, queue)
            batch.reasons.update((item.index, str(error)) for item in batch.left)
        # Written once a batch, by different threads for different keys.
        verb.answers.update(batch.answers)
        verb.not_done.update((item.index, batch.reasons[item.index]) for item in batch.left)

    def _send(self, operation: str, batch: _Batch) -> None:
        """Send what is left of a batch and read the answers; _Again when some have none yet."""
        queue = batch.left[0].queue
        entries = [{"Id": str(item.index), **item.wire} for item in batch.left]
        try:
            answer = self._calls.ask(operation, queue, Entries=entries)
        except RequestRefused as error:
            self._send_apart(operation, batch, error)
            return
        done = {str(each.get("Id")): each for each in answer.get("Successful", ())}
        failed = {str(each.get("Id")): each for each in answer.get("Failed", ())}
        for item in list(batch.left):
            name = str(item.index)
            _read(batch, item, done=done.get(name), failed=failed.get(name))
        if batch.left:
            raise _Again(f"{len(batch.left)} entries of {operation} are to be sent again")

    def _send_apart(self, operation: str, batch: _Batch, refusal: RequestRefused) -> None:
        """Find out which entry a refused request was refused for: the others are to be done."""
        if len(batch.left) == 1:
            (item,) = batch.left
            is_dead = is_lost(refusal.code, refusal.message)
            status = AnswerStatus.LEASE_LOST if is_dead else AnswerStatus.FAILED
            _answer(batch, item, Answer(status, str(refusal)))
            return
        left: list[Item] = []
        for item in batch.left:
            alone = _Batch(left=[item])
            try:
                self._send(operation, alone)
            except _Again:
                left.append(item)
            batch.answers |= alone.answers
            batch.reasons |= alone.reasons
        batch.left = left
        if left:
            raise _Again(f"{len(left)} entries of {operation} are to be sent again")


def _read(
    batch: _Batch,
    item: Item,
    *,
    done: Mapping[str, Any] | None,
    failed: Mapping[str, Any] | None,
) -> None:
    """Read what a batch's answer says of one item. An item named twice was not surely done."""
    if failed is not None:
        reason = f"{failed.get('Code', '')}: {failed.get('Message', '')}"
        trouble = trouble_of_entry(failed)
        if trouble is EntryTrouble.LOST:
            _answer(batch, item, Answer(AnswerStatus.LEASE_LOST, reason))
        elif trouble is EntryTrouble.REFUSED:
            _answer(batch, item, Answer(AnswerStatus.FAILED, reason))
        else:
            batch.reasons[item.index] = reason
    elif done is None:
        batch.reasons[item.index] = "Amazon SQS did not answer for this entry"
    elif item.md5 and done.get("MD5OfMessageBody", item.md5) != item.md5:
        # What it stored is damaged: whoever receives it sees that; the right one is sent again.
        batch.reasons[item.index] = "Amazon SQS stored other bytes than were sent"
    else:
        _answer(batch, item, Answer())


def _answer(batch: _Batch, item: Item, answer: Answer) -> None:
    batch.answers[item.index] = answer
    batch.left = [each for each in batch.left if each is not item]
