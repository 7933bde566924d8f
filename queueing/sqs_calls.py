"""Requests to Amazon SQS on queues by their logical names: addresses, missing queues, credentials.

A queue that is missing is made with the home's one definition of attributes, and what was asked is
done again, whatever it was. A queue that exists with other attributes is used as it is, and told
once: two programs that each set what they believe in would fight for ever.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from gapless.aws import RAISED, AwsClients, Trouble, trouble_of
from gapless.patience import patiently
from queueing.errors import QueueUnavailable
from queueing.sqs_attributes import QueueAttributes, differing, name_on_sqs
from queueing.sqs_errors import QueueDiffers, QueueMissing, error_for

__all__ = ["METHODS", "SqsCalls"]

_LOG = logging.getLogger("gapless.queues")
_SENT_ONCE = frozenset({"ReceiveMessage"})
"""Operations that are not safe to repeat: a receive whose answer was lost may have hidden messages
for a whole lease, and each repetition would hide as many more."""


class SqsCalls:
    """Sends requests about queues. Safe to use from any thread of the process that made it."""

    def __init__(self, clients: AwsClients, attributes: QueueAttributes, *, prefix: str) -> None:
        self._clients = clients
        self._attributes = attributes.for_sqs()
        self._prefix = prefix
        self._lock = threading.Lock()
        self._urls: dict[str, str] = {}
        self._told: set[str] = set()
        name_on_sqs(prefix, "jobs")

    def ask(self, operation: str, queue: str, **parameters: Any) -> dict[str, Any]:
        """Do `operation` ("SendMessageBatch") on a queue, making the queue if it is missing.

        QueueUnavailable, QueueRefused or RequestRefused when it was not done, as far as anybody
        can tell.
        """

        def once() -> dict[str, Any]:
            url = self._url(queue)
            try:
                return self._ask(operation, queue, QueueUrl=url, **parameters)
            except QueueMissing:
                self._forget(queue, url)
                raise

        try:
            return once()
        except QueueMissing:
            # A crash here leaves an empty queue, or none: the next verb of anybody makes it.
            self.create(queue)
        try:
            # A new queue takes up to a second to be known everywhere (API Reference, CreateQueue).
            return patiently(once, on=QueueMissing)
        except QueueMissing as error:
            raise QueueUnavailable(
                f"queue {queue} was made and Amazon SQS does not know it everywhere yet: try again "
                "in a moment"
            ) from error

    def create(self, queue: str) -> None:
        """Make the queue if it is missing; one with other attributes stays, and is told once."""
        name = name_on_sqs(self._prefix, queue)
        try:
            answer = self._ask("CreateQueue", queue, QueueName=name, Attributes=self._attributes)
        except QueueDiffers:
            url = self._find(queue)
            self._tell_difference(queue, name, url)
        else:
            url = _address_in(answer, queue)
        with self._lock:
            self._urls[queue] = url

    def drop(self, queue: str) -> None:
        """Delete the queue; a missing one is no error."""
        try:
            url = self._find(queue)
            self._ask("DeleteQueue", queue, QueueUrl=url)
        except QueueMissing:
            pass
        with self._lock:
            self._urls.pop(queue, None)

    def _url(self, queue: str) -> str:
        with self._lock:
            url = self._urls.get(queue)
        if url is None:
            url = self._find(queue)
            with self._lock:
                self._urls[queue] = url
        return url

    def _forget(self, queue: str, url: str) -> None:
        with self._lock:
            if self._urls.get(queue) == url:
                del self._urls[queue]

    def _find(self, queue: str) -> str:
        name = name_on_sqs(self._prefix, queue)
        return _address_in(self._ask("GetQueueUrl", queue, QueueName=name), queue)

    def _tell_difference(self, queue: str, name: str, url: str) -> None:
        with self._lock:
            if queue in self._told:
                return
            self._told.add(queue)
        try:
            answer = self._ask("GetQueueAttributes", queue, QueueUrl=url, AttributeNames=["All"])
        except QueueUnavailable as error:
            lines = [str(error)]
        else:
            lines = differing(self._attributes, answer.get("Attributes", {}))
        _LOG.warning(
            "queue %s (%s on SQS) exists with other attributes and is used as it is: %s; to have "
            "it made anew, delete it and reconcile",
            queue,
            name,
            "; ".join(lines) or "it does not say which",
        )

    def _ask(self, operation: str, queue: str, **parameters: Any) -> dict[str, Any]:
        try:
            return self._send(operation, **parameters)
        except RAISED as error:
            raise error_for(error, operation=operation, queue=queue) from error

    def _send(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Send one request; credentials that are not taken are read anew, once."""
        try:
            return self._send_once(operation, parameters)
        except RAISED as error:
            if trouble_of(error) is not Trouble.CREDENTIALS:
                raise
            _LOG.debug("reading credentials anew: %s", error)
        self._clients.renew()
        return self._send_once(operation, parameters)

    def _send_once(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        once = operation in _SENT_ONCE
        client = self._clients.client(attempts=1) if once else self._clients.client()
        verb = getattr(client, METHODS[operation])
        answer: dict[str, Any] = verb(**parameters)
        return answer


def _address_in(answer: Mapping[str, Any], queue: str) -> str:
    url = str(answer.get("QueueUrl", ""))
    if not url:
        # botocore takes a page that some proxy puts in place of the answer for an empty one.
        raise QueueUnavailable(
            f"Amazon SQS did not tell the address of queue {queue}: try again, and see what "
            "answers in its place"
        )
    return url


METHODS = {
    "ChangeMessageVisibilityBatch": "change_message_visibility_batch",
    "CreateQueue": "create_queue",
    "DeleteMessageBatch": "delete_message_batch",
    "DeleteQueue": "delete_queue",
    "GetQueueAttributes": "get_queue_attributes",
    "GetQueueUrl": "get_queue_url",
    "ReceiveMessage": "receive_message",
    "SendMessageBatch": "send_message_batch",
}
"""Every request gapless sends to SQS: what the roles of its programs have to allow."""
