"""The Queue port: what a node, an aggregator, a submitter ask of any queue service.

Verbs: send, receive, extend, release, delete, replace. Every batch is answered entry by entry; an
entry that is not `OK` was not done. A missing queue is created again by any verb (empty: what it
held is found by reconcile), so no verb fails because a queue is gone. `QueueUnavailable` means that
the service cannot be reached: the caller keeps its work and tries again.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = [
    "MAX_BATCH",
    "MAX_DELAY_S",
    "MAX_LEASE_S",
    "MAX_MESSAGE_BYTES",
    "Answer",
    "AnswerStatus",
    "Entry",
    "Extension",
    "Lease",
    "Message",
    "QueueFacts",
    "Queues",
    "ReplaceAnswer",
    "Replacement",
]

MAX_MESSAGE_BYTES = 1_048_576
"""Largest message and largest batch (Amazon SQS Developer Guide, "message quotas": 1 MiB)."""
MAX_BATCH = 10
"""Most entries in one batch (Amazon SQS API Reference, SendMessageBatch)."""
MAX_LEASE_S = 43_200.0
"""Longest visibility timeout, from the receive (Amazon SQS Developer Guide: 12 hours)."""
MAX_DELAY_S = 900.0
"""Longest delay of a message (Amazon SQS API Reference, DelaySeconds: 15 minutes)."""


class AnswerStatus(enum.Enum):
    """What became of one entry of a batch."""

    OK = "ok"
    LEASE_LOST = "lease lost"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one entry; `reason` is for people."""

    status: AnswerStatus = AnswerStatus.OK
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether it was done."""
        return self.status is AnswerStatus.OK


@dataclass(frozen=True, slots=True)
class Entry:
    """A message to send: an ASCII body, not empty; higher priority is received first."""

    body: str
    delay_s: float = 0.0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """A time-limited right to one message: its queue and the lease token the service gave."""

    queue: str
    token: str


@dataclass(frozen=True, slots=True)
class Message:
    """A received message. `receive_count` is 1 at its first receive."""

    lease: Lease
    body: str
    receive_count: int


@dataclass(frozen=True, slots=True)
class Extension:
    """A wish that a lease lasts `lease_s` from now (never beyond MAX_LEASE_S from its receive)."""

    lease: Lease
    lease_s: float


@dataclass(frozen=True, slots=True)
class Replacement:
    """A message put in a leased one's place; `lease_s` > 0: the caller wishes to hold it."""

    body: str
    lease_s: float = 0.0
    delay_s: float = 0.0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ReplaceAnswer:
    """The answer to a replace.

    `leases[i]` is the lease of replacement i, None where it was sent without one (a service that
    cannot hand over a lease answers None even when one was wished for).
    """

    answer: Answer
    leases: tuple[Lease | None, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """Counts (approximate on a remote service) and when the queue was created (Unix seconds)."""

    created_at_s: float
    visible: int
    leased: int
    delayed: int


class Queues(Protocol):
    """A queue service that holds many queues by name. Safe to use from several threads."""

    def create(self, queue: str) -> None:
        """Make the queue if it is missing; safe to repeat."""

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        """Put messages on a queue, durable when answered OK; any number of entries."""

    def receive(
        self, queues: Sequence[str], *, most: int, wait_s: float, lease_s: float
    ) -> list[Message]:
        """Lease up to `most` visible messages of the queues (named in order of preference).

        First by priority, then first in first out. Waits up to `wait_s` for the first one; returns
        at once when there is any.
        """

    def extend(self, extensions: Sequence[Extension]) -> list[Answer]:
        """Renew leases. LEASE_LOST: the message may be in other hands, or gone."""

    def release(self, leases: Sequence[Lease], *, delay_s: float = 0.0) -> list[Answer]:
        """Make messages visible again, after a delay; an outdated lease is no error."""

    def delete(self, leases: Sequence[Lease]) -> list[Answer]:
        """Delete messages; OK also for an outdated lease, which deletes nothing."""

    def replace(self, lease: Lease, replacements: Sequence[Replacement]) -> ReplaceAnswer:
        """Put messages in a leased one's place, which is deleted only once all of them are sent.

        LEASE_LOST when the lease is outdated: then nothing was sent where the service can tell.
        """

    def facts(self, queue: str) -> QueueFacts:
        """Count a queue's messages."""

    def drop(self, queue: str) -> None:
        """Delete a queue with all its messages; safe to repeat."""

    def close(self) -> None:
        """Give back what the service holds on this machine; leases of this process end."""
