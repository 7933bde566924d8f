"""SqliteQueues: the queues of a folder home, in one file, for many processes of one machine."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from queueing import sqlite_verbs as verbs
from queueing.errors import QueueError, QueueUnavailable
from queueing.network_file_system import read_mountinfo, refuse_network_file_system
from queueing.owners import Owner, abandoned, known_owners
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
from queueing.sqlite_library import load
from queueing.sqlite_sessions import PATIENCE_S, Sessions

__all__ = ["SqliteQueues"]

_T = TypeVar("_T")

# A waiting receive looks for a send this often (0.7 % of a core): with the commits of the send and
# of the receive it wakes well within 50 ms.
_TICK_LEAST_S = 0.005
_TICK_MOST_S = 0.010
_OWNERS_S = 0.1
"""How often a waiting receive tries the locks of the owners of leases."""

# Bounds of one transaction, so that no other process waits long for its turn.
_MOST_ENTRIES = 1_000
_MOST_BYTES = 8 * 1024 * 1024
_MOST_DROPPED = 20_000


class SqliteQueues:
    """Queues in the SQLite file `path` (made when missing), on a disk of this machine.

    Safe to use from several threads and processes; a forked child opens it anew. `clock` gives Unix
    seconds; `monotonic` and `sleep` serve only the waiting of `receive`. `owners` is the folder of
    the owners of leases, by default beside the file; `patience_s` is how long others may hold the
    file before a verb raises QueueUnavailable.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        owners: Path | None = None,
        patience_s: float = PATIENCE_S,
        mountinfo: Callable[[], str] = read_mountinfo,
    ) -> None:
        load()
        refuse_network_file_system(path, mountinfo)
        self._path = path
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._owners = path.parent / "owners" if owners is None else owners
        self._owner = Owner(self._owners)
        self._sessions = Sessions(path, patience_s=patience_s)
        self._closed = False

    def create(self, queue: str) -> None:
        """Make the queue if it is missing; safe to repeat."""
        self._write(lambda handle: verbs.ensure(handle, [queue], now=self._clock()))

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        """Put messages on a queue, durable when answered OK; 1,000 a transaction."""
        answers = [_answer_to(refusal_of_entry(entry)) for entry in entries]
        good = [index for index, answer in enumerate(answers) if answer.ok]
        if not good:
            self.create(queue)
            return answers
        done = 0
        try:
            for batch in _batches(good, entries):
                self._send_batch(queue, [entries[index] for index in batch])
                done += len(batch)
        except QueueUnavailable as error:
            if not done:
                raise
            # What was sent stays sent and is answered OK; the caller sends the rest again.
            for index in good[done:]:
                answers[index] = Answer(AnswerStatus.FAILED, str(error))
        return answers

    def receive(
        self, queues: Sequence[str], *, most: int, wait_s: float, lease_s: float
    ) -> list[Message]:
        """Lease up to `most` visible messages: queues as named, by priority, first in first out.

        Waits up to `wait_s` for the first one, and wakes for a send by any process, for the
        earliest message that becomes visible, and for a lease whose owner is gone.
        """
        check_receive(most=most, wait_s=wait_s, lease_s=lease_s)
        if not queues:
            raise QueueError("a receive names at least one queue")
        if self._owner.names:
            # Who had something before mostly finds something: looking first would be in vain.
            messages = self._take(queues, most=most, lease_s=lease_s)
            if messages:
                return messages
        return self._look_and_take(queues, most=most, wait_s=wait_s, lease_s=lease_s)

    def extend(self, extensions: Sequence[Extension]) -> list[Answer]:
        """Renew leases. LEASE_LOST: the message may be in other hands, or gone."""
        answers = [_answer_to(refusal_of_lease(each.lease_s)) for each in extensions]
        good = [index for index, answer in enumerate(answers) if answer.ok]
        for start in range(0, len(good), _MOST_ENTRIES):
            batch = good[start : start + _MOST_ENTRIES]
            renewed = self._extend_batch([extensions[index] for index in batch])
            for index, answer in zip(batch, renewed, strict=True):
                answers[index] = answer
        return answers

    def release(self, leases: Sequence[Lease], *, delay_s: float = 0.0) -> list[Answer]:
        """Make messages visible again, after a delay; an outdated lease is no error."""
        refusal = refusal_of_delay(delay_s)
        if refusal or not leases:
            return [_answer_to(refusal)] * len(leases)
        answers: list[Answer] = []
        for start in range(0, len(leases), _MOST_ENTRIES):
            answers += self._release_batch(leases[start : start + _MOST_ENTRIES], delay_s)
        return answers

    def delete(self, leases: Sequence[Lease]) -> list[Answer]:
        """Delete messages; OK also for an outdated lease, which deletes nothing."""
        answers: list[Answer] = []
        for start in range(0, len(leases), _MOST_ENTRIES):
            answers += self._delete_batch(leases[start : start + _MOST_ENTRIES])
        return answers

    def replace(self, lease: Lease, replacements: Sequence[Replacement]) -> ReplaceAnswer:
        """Put messages in a leased one's place, in one transaction: all of it or nothing.

        The first one takes the place of the old message in the queue, the others go last. One with
        `lease_s` > 0 is leased to the caller from now. A priority of 0 keeps the old message's.
        """
        for replacement in replacements:
            reason = refusal_of_replacement(replacement)
            if reason:
                return ReplaceAnswer(_answer_to(reason))
        owner = self._owner_name()
        return self._write(
            lambda handle: verbs.replace(
                handle, lease, replacements, owner=owner, now=self._clock()
            )
        )

    def facts(self, queue: str) -> QueueFacts:
        """Count a queue's messages, exactly; O(messages)."""
        while True:
            found = self._read(lambda handle: verbs.count(handle, queue, now=self._clock()))
            if found is not None:
                return found
            self.create(queue)

    def heads(self, queues: Sequence[str]) -> dict[str, list[str]]:
        """Give the first line of every message of each queue, in one read transaction.

        Visible, leased and delayed ones; an empty list for a queue that is missing.
        """
        return self._read(
            lambda handle: {
                queue: [head for _, head in sorted(verbs.first_lines(handle, queue))]
                for queue in queues
            }
        )

    def read_heads(
        self, queues: Sequence[str], read: Callable[[str, Iterator[str]], _T]
    ) -> dict[str, _T]:
        """Give what `read(queue, heads)` makes of each queue's heads, in one read transaction.

        The heads come in no order, and those of a million messages are not in memory at once.
        `read` may be called again from the first queue on, when the file was replaced meanwhile,
        and must not use the queues.
        """
        return self._read(
            lambda handle: {
                queue: read(queue, (head for _, head in verbs.first_lines(handle, queue)))
                for queue in queues
            }
        )

    def drop(self, queue: str) -> None:
        """Delete a queue with all its messages; safe to repeat."""
        up_to = self._read(lambda handle: verbs.last_seq(handle, queue))
        # The queue goes first: a crash in the middle leaves messages without a queue, which the
        # next drop removes, and never an old queue that looks whole.
        self._write(lambda handle: verbs.forget_queue(handle, queue))
        while self._write(
            lambda handle: verbs.drop_some(handle, queue, up_to=up_to, most=_MOST_DROPPED)
        ):
            pass

    def close(self) -> None:
        """End the leases of this process and close the file."""
        if self._closed:
            return
        ended = False
        try:
            names = self._owner.names
            if names and self._path.exists():
                self._end_leases_of(names)
            ended = True
        finally:
            self._closed = True
            if ended:
                self._owner.close()
            else:
                # The dropped lock says the same to everybody; a file that is gone would say that
                # the owner lives.
                self._owner.leave()
            self._sessions.close()

    def _send_batch(self, queue: str, entries: list[Entry]) -> None:
        self._write(lambda handle: verbs.send(handle, queue, entries, now=self._clock()))

    def _extend_batch(self, extensions: list[Extension]) -> list[Answer]:
        owner = self._owner_name()
        return self._write(
            lambda handle: verbs.extend(handle, extensions, owner=owner, now=self._clock())
        )

    def _release_batch(self, leases: Sequence[Lease], delay_s: float) -> list[Answer]:
        return self._write(
            lambda handle: verbs.release(handle, leases, delay_s=delay_s, now=self._clock())
        )

    def _delete_batch(self, leases: Sequence[Lease]) -> list[Answer]:
        return self._write(lambda handle: verbs.delete(handle, leases, now=self._clock()))

    def _end_leases_of(self, owners: Sequence[str]) -> int:
        return self._write(lambda handle: verbs.end_leases_of(handle, owners))

    def _look_and_take(
        self, queues: Sequence[str], *, most: int, wait_s: float, lease_s: float
    ) -> list[Message]:
        until = self._monotonic() + wait_s
        look_at_owners = -1.0
        while True:
            seen = self._changes()
            outlook = self._read(lambda handle: verbs.look_ahead(handle, queues, now=self._clock()))
            if outlook.ready or not outlook.all_known:
                messages = self._take(queues, most=most, lease_s=lease_s)
                if messages:
                    return messages
            now = self._monotonic()
            if now >= look_at_owners:
                if self._end_abandoned_leases():
                    continue
                look_at_owners = now + _OWNERS_S
            if now >= until:
                return []
            self._await(seen, next_at=outlook.next_at, until=min(until, look_at_owners))
            if self._closed:
                return []

    def _take(self, queues: Sequence[str], *, most: int, lease_s: float) -> list[Message]:
        owner = self._owner_name()
        return self._write(
            lambda handle: verbs.take(
                handle, queues, most=most, lease_s=lease_s, owner=owner, now=self._clock()
            )
        )

    def _end_abandoned_leases(self) -> int:
        """Make the leases of owners that are gone ready; give how many there were."""
        ended = 0
        for name in self._read(verbs.owners_of_leases):
            if name in self._owner.names:
                continue
            with abandoned(self._owners, name) as is_gone:
                if is_gone:
                    # Under its lock: the name can come back to nobody. A crash here frees the lock
                    # and keeps the file: the next receive does it again.
                    ended += self._end_leases_of([name])
        return ended

    def _owner_name(self) -> str:
        try:
            if self._owner.names:
                return self._owner.name()
            self._tidy_owners()
            return self._owner.name()
        except OSError as error:
            raise QueueUnavailable(
                f"no lease can be taken: {self._owners} cannot be written ({error}); "
                "mend the folder, then it goes on"
            ) from error

    def _tidy_owners(self) -> None:
        """Remove the files of owners that are gone, which nobody else would."""
        for name in known_owners(self._owners):
            with abandoned(self._owners, name) as is_gone:
                if is_gone:
                    self._end_leases_of([name])

    def _await(self, seen: tuple[int, int], *, next_at: float | None, until: float) -> None:
        """Sleep until something may have become visible, or `until` on the monotonic clock."""
        while not self._closed:
            left_s = until - self._monotonic()
            if next_at is not None:
                left_s = min(left_s, next_at - self._clock())
            if left_s <= 0.0 or self._has_changed(seen):
                return
            tick_s = random.uniform(_TICK_LEAST_S, _TICK_MOST_S)  # noqa: S311 - jitter
            self._sleep(min(left_s, tick_s))

    def _changes(self) -> tuple[int, int]:
        self._check_open()
        return self._sessions.changes()

    def _has_changed(self, seen: tuple[int, int]) -> bool:
        try:
            return self._changes() != seen
        except QueueError:
            # Closed by another thread between two looks: the receive ends empty.
            if self._closed:
                return True
            raise

    def _read(self, work: Callable[[Any], _T]) -> _T:
        self._check_open()
        return self._sessions.read(work)

    def _write(self, work: Callable[[Any], _T]) -> _T:
        self._check_open()
        return self._sessions.write(work)

    def _check_open(self) -> None:
        if self._closed:
            raise QueueError(f"the queue at {self._path} was closed by this program")


def _answer_to(reason: str) -> Answer:
    return Answer(AnswerStatus.FAILED, reason) if reason else Answer()


def _batches(indices: Sequence[int], entries: Sequence[Entry]) -> Iterator[list[int]]:
    batch: list[int] = []
    size = 0
    for index in indices:
        length = len(entries[index].body)
        if batch and (len(batch) >= _MOST_ENTRIES or size + length > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(index)
        size += length
    if batch:
        yield batch
