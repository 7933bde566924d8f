"""PersistentQueues: for a person's command, which should not end because a service is away.

Every verb is tried again without end while the queues are unavailable, and the person is told what
it waits for. What somebody has to mend first (QueueRefused: a permission, credentials) is an error
at once. Not for programs, which have better things to do while they wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import stamina

from queueing.errors import QueueRefused, QueueUnavailable
from queueing.port import (
    Answer,
    Entry,
    Extension,
    Lease,
    Message,
    QueueFacts,
    Queues,
    ReplaceAnswer,
    Replacement,
)
from queueing.refusals import refusal_of_entry

__all__ = ["PersistentQueues"]

_T = TypeVar("_T")

_CALLER = stamina.RetryingCaller(
    attempts=None, timeout=None, wait_initial=0.5, wait_max=30.0, wait_jitter=2.0
)


class PersistentQueues:
    """Queues that wait out whatever keeps `queues` from working. As safe from threads as those.

    `tell` gets a line for the person for each reason to wait, and one when a wait is over; it is
    called from the threads that use the queues.
    """

    def __init__(self, queues: Queues, *, tell: Callable[[str], None]) -> None:
        self._queues = queues
        self._tell = tell

    def create(self, queue: str) -> None:
        """Make the queue if it is missing; safe to repeat."""
        self._persist(lambda: self._queues.create(queue))

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        """Put messages on a queue; those that were not taken are sent again as long as some are."""
        answers = self._persist(lambda: self._queues.send(queue, entries))
        while left := [
            index
            for index, (entry, answer) in enumerate(zip(entries, answers, strict=True))
            if not answer.ok and not refusal_of_entry(entry)
        ]:
            again = [entries[index] for index in left]
            news = self._persist(lambda again=again: self._queues.send(queue, again))  # type: ignore[misc]
            for index, answer in zip(left, news, strict=True):
                answers[index] = answer
            if not any(answer.ok for answer in news):
                break
        return answers

    def receive(
        self, queues: Sequence[str], *, most: int, wait_s: float, lease_s: float
    ) -> list[Message]:
        """Lease up to `most` visible messages of the queues (named in order of preference).

        A try whose answer is lost may hide as many for a lease: no command that waits receives.
        """
        return self._persist(
            lambda: self._queues.receive(queues, most=most, wait_s=wait_s, lease_s=lease_s)
        )

    def extend(self, extensions: Sequence[Extension]) -> list[Answer]:
        """Renew leases. LEASE_LOST: the message may be in other hands, or gone."""
        return self._persist(lambda: self._queues.extend(extensions))

    def release(self, leases: Sequence[Lease], *, delay_s: float = 0.0) -> list[Answer]:
        """Make messages visible again, after a delay; an outdated lease is no error."""
        return self._persist(lambda: self._queues.release(leases, delay_s=delay_s))

    def delete(self, leases: Sequence[Lease]) -> list[Answer]:
        """Delete messages; OK also for an outdated lease, which deletes nothing."""
        return self._persist(lambda: self._queues.delete(leases))

    def replace(self, lease: Lease, replacements: Sequence[Replacement]) -> ReplaceAnswer:
        """Put messages in a leased one's place, which is deleted only once all of them are sent."""
        return self._persist(lambda: self._queues.replace(lease, replacements))

    def facts(self, queue: str) -> QueueFacts:
        """Count a queue's messages."""
        return self._persist(lambda: self._queues.facts(queue))

    def drop(self, queue: str) -> None:
        """Delete a queue with all its messages; safe to repeat."""
        self._persist(lambda: self._queues.drop(queue))

    def close(self) -> None:
        """Give back what the queues hold on this machine."""
        self._queues.close()

    def _persist(self, verb: Callable[[], _T]) -> _T:
        told: set[str] = set()

        def is_worth_waiting(error: Exception) -> bool:
            if not isinstance(error, QueueUnavailable) or isinstance(error, QueueRefused):
                return False
            if str(error) not in told:
                told.add(str(error))
                self._tell(f"{error}; trying again until it works (ctrl-C ends this)")
            return True

        result = _CALLER(is_worth_waiting, verb)
        if told:
            self._tell("the queues answer again")
        return result
