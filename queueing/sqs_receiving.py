"""Receiving from several queues of SQS, which takes one request a queue.

Long polls only: they ask all servers of a queue, and are billed once for the whole wait. Queues
that may hold something are looked at first, in the caller's order, for a second each; then every
queue gets its share of the wait, the one that was seen empty longest ago first. So an idle program
makes about three requests a minute for each queue, whatever their number, and a busy queue is not
kept waiting by an empty one.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gapless.aws import LONG_POLL_S
from queueing.errors import QueueUnavailable
from queueing.port import MAX_BATCH, Lease, Message, QueueFacts
from queueing.sqs_calls import SqsCalls
from queueing.sqs_errors import ServiceAway
from queueing.sqs_leases import HeldLeases

__all__ = ["CeilingWatch", "Receiving", "Rota"]

_LOG = logging.getLogger("gapless.queues")
_LOOK_S = 1.0
"""The shortest long poll (Amazon SQS API Reference, ReceiveMessage: whole seconds)."""
_STOP_AFTER_S = 5.0
"""With no service at all every queue fails slowly: no further one is asked after this time."""
_STOP_AFTER_AWAY = 2
"""Queues asked without any answer before the rest is left alone: one may be a connection that had
ended meanwhile; each one more may hide messages for a lease, its answer lost."""
_ALARM_LEASED = 100_000
"""Messages in flight at which an empty receive is suspicious. At 120,000 SQS answers a long poll
with nothing and no error (Amazon SQS Developer Guide, "Amazon SQS message quotas")."""
_ASK_EVERY_S = 300.0


class Rota:
    """Whose turn it is: a pure rule about when each queue was last seen empty (monotonic s)."""

    def __init__(self) -> None:
        self._empty_at: dict[str, float] = {}

    def order(
        self, queues: Sequence[str], *, now: float, wait_s: float
    ) -> tuple[list[str], list[str]]:
        """Part queues into those to look at, as named, and those seen empty, longest ago first."""
        idle = [
            queue
            for queue in queues
            if queue in self._empty_at and now - self._empty_at[queue] < wait_s
        ]
        fresh = [queue for queue in queues if queue not in idle]
        return fresh, sorted(idle, key=lambda queue: self._empty_at[queue])

    def saw(self, queue: str, *, is_empty: bool, now: float) -> None:
        """Take note of what a queue's receive brought."""
        if is_empty:
            self._empty_at[queue] = now
        else:
            self._empty_at.pop(queue, None)


class CeilingWatch:
    """Asks, now and then, whether a queue that seems empty has its messages in flight instead."""

    def __init__(self, facts: Callable[[str], QueueFacts]) -> None:
        self._facts = facts
        self._ask_at: dict[str, float] = {}

    def saw(self, queue: str, *, is_empty: bool, now: float) -> None:
        """Take note of what a queue's receive brought; ask and tell when it is time to."""
        ask_at = self._ask_at.setdefault(queue, now + _ASK_EVERY_S)
        if not is_empty or now < ask_at:
            if not is_empty:
                self._ask_at[queue] = now + _ASK_EVERY_S
            return
        self._ask_at[queue] = now + _ASK_EVERY_S
        try:
            facts = self._facts(queue)
        except QueueUnavailable as error:
            _LOG.debug("queue %s was not counted: %s", queue, error)
            return
        if facts.leased >= _ALARM_LEASED:
            _LOG.warning(
                "queue %s gives nothing, and about %d of its messages are received and not deleted "
                "(%d visible): at 120,000 Amazon SQS gives out no more, without an error; see that "
                "an aggregator stores and deletes, that no program holds more than it works on, or "
                "wait for the leases to end",
                queue,
                facts.leased,
                facts.visible,
            )


class Receiving:
    """Receives from queues in turn. Safe to use from several threads."""

    def __init__(
        self,
        calls: SqsCalls,
        held: HeldLeases,
        *,
        facts: Callable[[str], QueueFacts],
        monotonic: Callable[[], float],
    ) -> None:
        self._calls = calls
        self._held = held
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._rota = Rota()
        self._ceiling = CeilingWatch(facts)
        self._troubled: set[str] = set()

    def receive(
        self, queues: Sequence[str], *, most: int, wait_s: float, lease_s: float
    ) -> list[Message]:
        """Lease up to `most` messages (10 in one request) of the first queue that has any.

        A queue that is unavailable does not keep the others waiting: QueueUnavailable only when
        none of them could be asked.
        """
        problems: dict[str, QueueUnavailable] = {}
        begun = self._monotonic()
        asked = away = 0
        for queue, poll_s in self._turns(list(dict.fromkeys(queues)), problems, wait_s=wait_s):
            if problems and self._monotonic() - begun > max(wait_s, _STOP_AFTER_S):
                break
            try:
                messages = self._ask(queue, most=most, poll_s=poll_s, lease_s=lease_s)
            except QueueUnavailable as error:
                problems[queue] = error
                away += isinstance(error, ServiceAway)
                if away >= _STOP_AFTER_AWAY:
                    break
                continue
            asked += 1
            if messages:
                self._tell(problems)
                return messages
        if problems and not asked:
            raise next(iter(problems.values()))
        self._tell(problems)
        return []

    def _turns(
        self, queues: list[str], problems: dict[str, QueueUnavailable], *, wait_s: float
    ) -> Iterator[tuple[str, int]]:
        """Give queues and the whole seconds of their long polls; left when one has something."""
        until = self._monotonic() + wait_s
        if len(queues) == 1:
            while True:
                left_s = until - self._monotonic()
                yield queues[0], min(math.ceil(max(left_s, 0.0)), int(LONG_POLL_S))
                if problems or until - self._monotonic() < _LOOK_S / 2:
                    return
        with self._lock:
            fresh, idle = self._rota.order(queues, now=self._monotonic(), wait_s=wait_s)
        for queue in fresh:
            yield queue, int(until - self._monotonic() >= _LOOK_S)
        while until - self._monotonic() >= _LOOK_S / 2:
            waiting = [queue for queue in [*idle, *fresh] if queue not in problems]
            if not waiting:
                return
            for index, queue in enumerate(waiting):
                left_s = until - self._monotonic()
                if left_s < _LOOK_S / 2:
                    return
                share_s = round(left_s / (len(waiting) - index))
                yield queue, min(max(share_s, int(_LOOK_S)), int(LONG_POLL_S))

    def _ask(self, queue: str, *, most: int, poll_s: int, lease_s: float) -> list[Message]:
        asked_at = self._monotonic()
        whole_lease_s = math.ceil(lease_s)
        answer = self._calls.ask(
            "ReceiveMessage",
            queue,
            MaxNumberOfMessages=min(most, MAX_BATCH),
            WaitTimeSeconds=poll_s,
            VisibilityTimeout=whole_lease_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        found = answer.get("Messages") or []
        messages = [message for each in found if (message := _read(queue, each)) is not None]
        for message in messages:
            self._held.enter(message.lease, asked_at=asked_at, lease_s=whole_lease_s)
        now = self._monotonic()
        with self._lock:
            self._troubled.discard(queue)
            self._rota.saw(queue, is_empty=not found, now=now)
        self._ceiling.saw(queue, is_empty=not found, now=now)
        return messages

    def _tell(self, problems: dict[str, QueueUnavailable]) -> None:
        """Say once of each queue that it is left out for now."""
        with self._lock:
            new = [queue for queue in problems if queue not in self._troubled]
            self._troubled.update(new)
        for queue in new:
            _LOG.warning("receiving from the other queues meanwhile: %s", problems[queue])


def _read(queue: str, found: dict[str, Any]) -> Message | None:
    body, token = str(found.get("Body", "")), str(found.get("ReceiptHandle", ""))
    md5 = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    if not token or found.get("MD5OfBody", md5) != md5:
        # Left alone: it is whole on the service, and comes again when its lease ends.
        _LOG.warning(
            "a message of queue %s was damaged on its way and is left to come again", queue
        )
        return None
    count = found.get("Attributes", {}).get("ApproximateReceiveCount", "1")
    return Message(Lease(queue, token), body, max(1, int(count)))
