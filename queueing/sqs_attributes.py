"""The one definition of what a home's queues on Amazon SQS are: their attributes and names.

Every program of a home makes a missing queue, so all of them must make the same one: the values
come from home.json and nowhere else. Standard queues only: the deduplication of a FIFO queue
swallows what is sent again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from queueing.errors import QueueError
from queueing.port import MAX_LEASE_S, MAX_MESSAGE_BYTES

__all__ = ["MAX_PREFIX", "QueueAttributes", "differing", "name_on_sqs"]

MAX_PREFIX = 20
"""Longest prefix of queue names: a sweep's id and what its queue is for need the other 60 signs."""

_MAX_NAME = 80
"""Longest name of a queue (Amazon SQS API Reference, CreateQueue, QueueName)."""
_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
"""Signs of a queue's name (the same page). No dot, so never a FIFO queue ("….fifo")."""
_MAX_LONG_POLL_S = 20.0
"""Bound of ReceiveMessageWaitTimeSeconds (Amazon SQS API Reference, CreateQueue)."""
_RETENTION_S = (60.0, 1_209_600.0)
"""Bounds of MessageRetentionPeriod, 1 minute to 14 days (the same page)."""


@dataclass(frozen=True, slots=True)
class QueueAttributes:
    """How a home's queues are made; durations in seconds, sent as whole ones, rounded up.

    `encryption`: "sqs" (keys of the service's own) or "none".
    """

    retention_s: float
    lease_s: float
    long_poll_s: float = _MAX_LONG_POLL_S
    encryption: Literal["sqs", "none"] = "sqs"

    def __post_init__(self) -> None:
        if not _RETENTION_S[0] <= self.retention_s <= _RETENTION_S[1]:
            raise QueueError(f"a queue keeps messages for 60 to 1209600 s, not {self.retention_s}")
        if not 0.0 < self.lease_s <= MAX_LEASE_S:
            raise QueueError(f"a lease lasts up to {MAX_LEASE_S:.0f} s, not {self.lease_s} s")
        if not 0.0 <= self.long_poll_s <= _MAX_LONG_POLL_S:
            raise QueueError(f"a long poll waits for up to 20 s, not {self.long_poll_s} s")
        if self.encryption not in {"sqs", "none"}:
            raise QueueError(f"encryption is 'sqs' or 'none', not {self.encryption!r}")

    def for_sqs(self) -> dict[str, str]:
        """Write the attributes as CreateQueue takes them."""
        return {
            "MessageRetentionPeriod": str(math.ceil(self.retention_s)),
            "VisibilityTimeout": str(math.ceil(self.lease_s)),
            "ReceiveMessageWaitTimeSeconds": str(math.ceil(self.long_poll_s)),
            "MaximumMessageSize": str(MAX_MESSAGE_BYTES),
            "SqsManagedSseEnabled": "true" if self.encryption == "sqs" else "false",
        }


def name_on_sqs(prefix: str, queue: str) -> str:
    """Give a queue's name on SQS, `<prefix>-<queue>`; QueueError when SQS takes no such name."""
    name = f"{prefix}-{queue}"
    if not prefix or len(prefix) > MAX_PREFIX or not _NAME.fullmatch(prefix):
        raise QueueError(
            f"the prefix of queue names is {prefix[:80]!r}: it has 1 to {MAX_PREFIX} letters, "
            "digits, hyphens and underscores"
        )
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise QueueError(
            f"Amazon SQS takes no queue named {name[:200]!r}: a name has at most {_MAX_NAME} "
            "letters, digits, hyphens and underscores"
        )
    return name


def differing(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Say which attributes of a queue are not as wanted, one line each, for people."""
    return [
        f"{name} is {found.get(name, 'not set')}, this home's is {value}"
        for name, value in wanted.items()
        if found.get(name, "").lower() != value.lower()
    ]
