"""SqsQueues: the port on Amazon SQS, for homes that several machines share.

What differs from the queues on one machine: no order and no priority (SQS has neither), whole
seconds, counts that are approximate, no look into a queue, no lease handed over by a replace.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence

from gapless.aws import AwsClients
from queueing.errors import QueueError, QueueUnavailable
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
from queueing.refusals import (
    check_receive,
    refusal_of_delay,
    refusal_of_entry,
    refusal_of_lease,
    refusal_of_replacement,
)
from queueing.sqs_attributes import QueueAttributes
from queueing.sqs_batches import Batches, Item
from queueing.sqs_calls import SqsCalls
from queueing.sqs_leases import HeldLeases
from queueing.sqs_receiving import Receiving

__all__ = ["QueueAttributes", "SqsQueues"]

_LOST = Answer(AnswerStatus.LEASE_LOST, "the lease is outdated: the message has moved on")
_COUNTS = {
    "visible": "ApproximateNumberOfMessages",
    "leased": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


class SqsQueues:
    """The queues of a home on SQS. Safe to use from several threads of the process that made it.

    A queue's name on SQS is `<prefix>-<queue>`. Leases are remembered with their times
    (`monotonic`): one that was not received by this object, or that has ended, is a lost lease.
    """

    def __init__(
        self,
        attributes: QueueAttributes,
        *,
        prefix: str,
        clients: AwsClients | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet: the first verb does."""
        self._clients = AwsClients("sqs") if clients is None else clients
        self._pid = os.getpid()
        self._closed = False
        self._calls = SqsCalls(self._clients, attributes, prefix=prefix)
        self._batches = Batches(self._calls)
        self._held = HeldLeases(monotonic)
        self._receiving = Receiving(self._calls, self._held, facts=self._facts, monotonic=monotonic)

    @property
    def requests(self) -> Counter[str]:
        """What was sent so far, retries included, by operation ("SendMessageBatch")."""
        return Counter(self._clients.requests)

    def create(self, queue: str) -> None:
        """Make the queue if it is missing; one with other attributes is told and used as it is."""
        self._check_open()
        self._calls.create(queue)

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        """Put messages on a queue, in batches that go out side by side."""
        self._check_open()
        answers: dict[int, Answer] = {}
        items: list[Item] = []
        for index, entry in enumerate(entries):
            reason = refusal_of_entry(entry)
            if reason:
                answers[index] = Answer(AnswerStatus.FAILED, reason)
            else:
                items.append(_message(index, queue, entry.body, entry.delay_s))
        answers |= self._batches.do("SendMessageBatch", items)
        return _in_order(answers, len(entries))

    def receive(
        self, queues: Sequence[str], *, most: int, wait_s: float, lease_s: float
    ) -> list[Message]:
        """Lease up to `most` messages, at most 10, of the first queue that has any.

        In the order named, but queues seen empty a moment ago come last. Waits whole seconds.
        """
        self._check_open()
        check_receive(most=most, wait_s=wait_s, lease_s=lease_s)
        if not queues:
            raise QueueError("a receive names at least one queue")
        return self._receiving.receive(queues, most=most, wait_s=wait_s, lease_s=lease_s)

    def extend(self, extensions: Sequence[Extension]) -> list[Answer]:
        """Renew leases, in whole seconds, never beyond the 12 hours SQS allows from the receive."""
        self._check_open()
        answers: dict[int, Answer] = {}
        items: list[Item] = []
        asked: dict[int, tuple[Lease, int]] = {}
        for index, extension in enumerate(extensions):
            reason = refusal_of_lease(extension.lease_s)
            # Rounded down: a second too many would be refused as a whole.
            most_s = math.floor(self._held.extendable_s(extension.lease))
            if reason:
                answers[index] = Answer(AnswerStatus.FAILED, reason)
            elif most_s < 1:
                # 0 s would give the message back.
                answers[index] = _LOST
            else:
                lease_s = min(math.ceil(min(extension.lease_s, most_s)), most_s)
                asked[index] = (extension.lease, lease_s)
                items.append(_visibility(index, extension.lease, lease_s))
        done = self._batches.do("ChangeMessageVisibilityBatch", items)
        for index, answer in done.items():
            lease, lease_s = asked[index]
            if answer.ok:
                self._held.extended(lease, lease_s=lease_s)
            elif answer.status is AnswerStatus.LEASE_LOST:
                self._held.forget(lease)
        return _in_order(answers | done, len(extensions))

    def release(self, leases: Sequence[Lease], *, delay_s: float = 0.0) -> list[Answer]:
        """Make messages visible again, after a delay; an outdated lease is no error."""
        self._check_open()
        refusal = refusal_of_delay(delay_s)
        if refusal:
            return [Answer(AnswerStatus.FAILED, refusal)] * len(leases)
        items = [
            _visibility(index, lease, self._delay_of(lease, delay_s))
            for lease, index in _firsts(leases).items()
            # Some service would take an outdated token, and show what others are working on.
            if self._held.is_live(lease)
        ]
        return self._given_back("ChangeMessageVisibilityBatch", items, leases)

    def delete(self, leases: Sequence[Lease]) -> list[Answer]:
        """Delete messages; OK also for an outdated lease, which deletes nothing."""
        self._check_open()
        items = [
            Item(index, lease.queue, {"ReceiptHandle": lease.token})
            for lease, index in _firsts(leases).items()
            if lease.token
        ]
        return self._given_back("DeleteMessageBatch", items, leases)

    def replace(self, lease: Lease, replacements: Sequence[Replacement]) -> ReplaceAnswer:
        """Send messages, and when all of them are acknowledged delete the leased one.

        LEASE_LOST, and nothing is sent, when the lease has ended by this machine's clock. When some
        are not acknowledged the answer is FAILED, or QueueUnavailable is raised; the same replace
        done again sends only what is missing.
        """
        self._check_open()
        for replacement in replacements:
            reason = refusal_of_replacement(replacement)
            if reason:
                return ReplaceAnswer(Answer(AnswerStatus.FAILED, reason))
        if not self._held.is_live(lease):
            return ReplaceAnswer(_LOST)
        unsent = self._held.unsent(lease, replacements)
        items = [
            _message(index, lease.queue, each.body, each.delay_s)
            for index, each in enumerate(unsent)
        ]
        sent = self._batches.do("SendMessageBatch", items)
        self._held.sent(lease, [each for index, each in enumerate(unsent) if sent[index].ok])
        failed = next((answer for answer in sent.values() if not answer.ok), None)
        if failed is not None:
            return ReplaceAnswer(Answer(AnswerStatus.FAILED, failed.reason))
        # A crash here leaves the old message and its replacements: work is repeated, none is lost.
        deleted = self.delete([lease])[0]
        if not deleted.ok:
            raise QueueUnavailable(
                f"what replaces a message of queue {lease.queue} was sent and the message itself "
                f"was not deleted ({deleted.reason}): try again"
            )
        return ReplaceAnswer(Answer(), (None,) * len(replacements))

    def facts(self, queue: str) -> QueueFacts:
        """Count a queue's messages, approximately: counts settle within a minute or more."""
        self._check_open()
        return self._facts(queue)

    def drop(self, queue: str) -> None:
        """Delete a queue with all its messages; SQS bars its name for 60 s."""
        self._check_open()
        self._calls.drop(queue)

    def close(self) -> None:
        """End the threads and connections; leases end by their time. Safe to repeat.

        Waits up to 2 s for batches under way, and for nothing else: in a network that swallows
        everything a request takes minutes to fail.
        """
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        self._batches.close()
        self._clients.close()

    def _facts(self, queue: str) -> QueueFacts:
        names = ["CreatedTimestamp", *_COUNTS.values()]
        found = self._calls.ask("GetQueueAttributes", queue, AttributeNames=names).get(
            "Attributes", {}
        )
        missing = [name for name in names if name not in found]
        if missing:
            raise QueueUnavailable(
                f"Amazon SQS did not tell {', '.join(missing)} of queue {queue}: try again"
            )
        return QueueFacts(
            created_at_s=float(found["CreatedTimestamp"]),
            **{count: int(found[name]) for count, name in _COUNTS.items()},
        )

    def _given_back(
        self, operation: str, items: Sequence[Item], leases: Sequence[Lease]
    ) -> list[Answer]:
        failed: dict[Lease, Answer] = {}
        for index, answer in self._batches.do(operation, items).items():
            if answer.status is AnswerStatus.FAILED:
                failed[leases[index]] = answer
            else:
                self._held.forget(leases[index])
        return [failed.get(lease, Answer()) for lease in leases]

    def _delay_of(self, lease: Lease, delay_s: float) -> int:
        return min(math.ceil(delay_s), math.floor(self._held.extendable_s(lease)))

    def _check_open(self) -> None:
        if self._closed:
            raise QueueError("the queues were closed by this program")
        if os.getpid() != self._pid:
            raise QueueError(
                f"the queues were opened by process {self._pid}: open them again in this one"
            )


def _message(index: int, queue: str, body: str, delay_s: float) -> Item:
    wire = {"MessageBody": body, "DelaySeconds": math.ceil(delay_s)}
    data = body.encode()
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return Item(index, queue, wire, size_bytes=len(data), md5=md5)


def _visibility(index: int, lease: Lease, timeout_s: int) -> Item:
    wire = {"ReceiptHandle": lease.token, "VisibilityTimeout": timeout_s}
    return Item(index, lease.queue, wire)


def _firsts(leases: Sequence[Lease]) -> dict[Lease, int]:
    """Give each lease once, with its first place: a batch with one token twice may be refused."""
    return {lease: index for index, lease in reversed(list(enumerate(leases)))}


def _in_order(answers: dict[int, Answer], count: int) -> list[Answer]:
    return [answers[index] for index in range(count)]
