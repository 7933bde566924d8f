"""Commands that wait for a queue or for storage, and what they come back with.

Each function performs one command and gives the event that answers it. What cannot be reached is
an answer too: the state machine keeps the work and asks again later.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from compute_node.commands import (
    DeleteJob,
    PrepareSweep,
    PutQuarantine,
    ReceiveJobs,
    ReleaseJob,
    ReplaceJob,
    SendDelivery,
    SendPieces,
    StoreClaim,
)
from compute_node.errors import NodeError
from compute_node.events import (
    DeliveryAcknowledged,
    DeliveryRefused,
    Event,
    JobDeleted,
    JobReplaced,
    MessageSetAside,
    PiecesSent,
    PreparationFailed,
    ReceiveEnded,
    SweepFacts,
    SweepPrepared,
)
from compute_node.outbox import Outbox
from compute_node.sweep_files import prepare_sweep
from compute_node.watches import facts_of
from gapless.declaration.errors import DeclarationError
from gapless.declaration.messages import Claim, encode_delivery
from gapless.errors import GaplessError
from gapless.patience import patiently
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import StorageError, StorageUnavailable
from gapless.storage.quarantine import keep_message
from gapless.storage.sweeps import SweepStore
from queueing.errors import QueueError, QueueUnavailable
from queueing.leases import LeaseKeeper
from queueing.port import MAX_MESSAGE_BYTES, Answer, AnswerStatus, Entry, Lease, Queues

__all__ = ["Errands"]


class Errands:
    """Performs what waits. Safe to use from several threads."""

    def __init__(
        self,
        *,
        blobs: Blobs,
        queues: Queues,
        keeper: LeaseKeeper,
        outbox: Outbox,
        work_folder: Path,
        lease_s: float,
        wait_s: float,
    ) -> None:
        self._blobs = blobs
        self._store = SweepStore(blobs)
        self._queues = queues
        self._keeper = keeper
        self._outbox = outbox
        self._work_folder = work_folder
        self._lease_s = lease_s
        self._wait_s = wait_s

    def receive(self, command: ReceiveJobs, rest: Callable[[float], object]) -> Event:
        """Receive jobs; `rest(seconds)` waits when the queue itself did not.

        What is wanted of their sweeps is read after them: what a person changed before a job was
        sent is known before the job is begun.
        """
        begun = time.monotonic()
        wait_s = self._wait_s if command.wait_s is None else command.wait_s
        try:
            # Once: a reply that was lost hides what it brought for a lease, and a second try at
            # once would find the next message and hide that too. The state machine waits longer.
            messages = self._queues.receive(
                command.queues, most=command.most, wait_s=wait_s, lease_s=self._lease_s
            )
        except GaplessError as error:
            return ReceiveEnded(problem=str(error))
        for message in messages:
            self._keeper.hold(message.lease)
        if not messages:
            rest(max(0.0, wait_s - (time.monotonic() - begun)))
        read = [self._facts(sweep) for sweep in {_sweep_of(message.lease) for message in messages}]
        return ReceiveEnded(
            tuple(messages),
            sweeps=tuple(each for each in read if isinstance(each, SweepFacts)),
            unread=frozenset(each for each in read if isinstance(each, str)),
        )

    def _facts(self, sweep: str) -> SweepFacts | str:
        """Read what is wanted of a sweep now; its name when that cannot be told."""
        try:
            return facts_of(sweep, _patiently(lambda: self._store.control(sweep)))
        except (GaplessError, OSError) as error:
            _log.debug("what is wanted of sweep %s cannot be read: %s", sweep, error)
            return sweep

    def prepare(self, command: PrepareSweep) -> Event:
        """Bring a sweep to this machine."""
        try:
            total = _patiently(
                lambda: prepare_sweep(
                    self._store, sweep=command.sweep, code=command.code, work=self._work_folder
                )
            )
        except (StorageUnavailable, OSError) as error:
            return PreparationFailed(command.sweep, str(error))
        except GaplessError as error:
            # What the home holds stays as it is; whatever else is off (credentials) may be mended.
            fatal = isinstance(error, (StorageError, DeclarationError))
            return PreparationFailed(command.sweep, str(error), fatal=fatal)
        return SweepPrepared(command.sweep, command.code, total)

    def deliver(self, command: SendDelivery | StoreClaim) -> Event:
        """Send a delivery, by a claim if so asked; NodeError when its blocks are gone."""
        delivery = command.delivery
        try:
            self._store_files(delivery.sweep, command.blocks)
            texts = self._outbox.get(command.blocks)
            if isinstance(command, StoreClaim):
                # A crash after this put leaves an object nobody names; it expires with the claims.
                data = "\n".join(texts).encode("ascii")
                key = layout.claim(delivery.delivery)
                _patiently(lambda: self._blobs.put_if_absent(key, data))
                claim = Claim(
                    key=key, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)
                )
                body = encode_delivery(msgspec.structs.replace(delivery, claim=claim), [])
            else:
                body = encode_delivery(delivery, texts)
            if len(body) > MAX_MESSAGE_BYTES:
                reason = f"it has {len(body):,} bytes, a message holds {MAX_MESSAGE_BYTES:,}"
                return DeliveryRefused(delivery.delivery, reason, away=False)
            queue = layout.results_queue(delivery.sweep)
            answer = _only(_patiently(lambda: self._queues.send(queue, [Entry(body)])))
        except (QueueUnavailable, StorageUnavailable, OSError) as error:
            return DeliveryRefused(delivery.delivery, str(error), away=True)
        except NodeError:
            # Its blocks will not come back: asked again and again, nobody would ever do these runs.
            raise
        except GaplessError as error:
            # Not for what it holds: nobody has seen it.
            away = not isinstance(error, (QueueError, StorageError))
            return DeliveryRefused(delivery.delivery, str(error), away=away)
        if answer.ok:
            return DeliveryAcknowledged(delivery.delivery)
        return DeliveryRefused(delivery.delivery, answer.reason, away=False)

    def _store_files(self, sweep: str, blocks: Sequence[int]) -> None:
        """Store what goes with these blocks: who reads of a row may ask for its files."""
        for file in self._outbox.files(blocks):
            try:
                data = Path(file.path).read_bytes()
            except OSError as error:
                _log.warning("a file of run %s is gone from this machine: %s", file.run, error)
            else:
                # A crash after this put leaves a file that the same run's next attempt replaces.
                key = layout.run_file(sweep, file.run, file.attempt, file.name)
                _patiently(partial(self._blobs.put, key, data))
            self._outbox.file_stored(file)

    def delete(self, commands: Sequence[DeleteJob]) -> list[Event]:
        """Delete jobs that have nothing left, in one batch."""
        try:
            leases = [command.lease for command in commands]
            answers = _patiently(lambda: self._queues.delete(leases))
        except GaplessError as error:
            return [JobDeleted(each.job, AnswerStatus.FAILED, str(error)) for each in commands]
        events: list[Event] = []
        for index, command in enumerate(commands):
            # An entry without an answer was not done.
            answer = answers[index] if index < len(answers) else _UNANSWERED
            if answer.status is not AnswerStatus.FAILED:
                self._keeper.drop(command.lease)
            events.append(JobDeleted(command.job, answer.status, answer.reason))
        return events

    def replace(self, command: ReplaceJob) -> Event:
        """Put what is left of a job, or its pieces, in its place."""
        try:
            reply = _patiently(lambda: self._queues.replace(command.lease, command.replacements))
        except GaplessError as error:
            return JobReplaced(command.job, AnswerStatus.FAILED, reason=str(error))
        if reply.answer.status is not AnswerStatus.FAILED:
            self._keeper.drop(command.lease)
        for lease in reply.leases:
            if lease is not None:
                self._keeper.hold(lease)
        return JobReplaced(
            command.job, reply.answer.status, tuple(reply.leases), reply.answer.reason
        )

    def send_pieces(self, command: SendPieces) -> Event:
        """Send what was cut off a job, all of it or it counts as not sent."""
        try:
            answers = _patiently(lambda: self._queues.send(command.queue, command.pieces))
        except GaplessError as error:
            return PiecesSent(command.job, AnswerStatus.FAILED, str(error))
        refused = [answer.reason for answer in answers if not answer.ok]
        if refused or len(answers) < len(command.pieces):
            reason = refused[0] if refused else _UNANSWERED.reason
            return PiecesSent(command.job, AnswerStatus.FAILED, reason)
        return PiecesSent(command.job, AnswerStatus.OK)

    def release(self, command: ReleaseJob) -> Event:
        """Give a message back unread."""
        self._keeper.drop(command.lease)
        try:
            answer = _only(
                _patiently(lambda: self._queues.release([command.lease], delay_s=command.delay_s))
            )
        except GaplessError as error:
            return MessageSetAside(command.lease, str(error))
        return MessageSetAside(command.lease, "" if answer.ok else answer.reason)

    def quarantine(self, command: PutQuarantine) -> Event:
        """Store a message nobody can decode, then delete it."""
        self._keeper.drop(command.lease)
        try:
            # Durable first: a crash in between leaves both, and the next node does the same again.
            _patiently(
                lambda: keep_message(
                    self._blobs, queue=command.lease.queue, body=command.body, reason=command.reason
                )
            )
            answer = _only(_patiently(lambda: self._queues.delete([command.lease])))
        except GaplessError as error:
            return MessageSetAside(command.lease, str(error))
        return MessageSetAside(command.lease, "" if answer.ok else answer.reason)


_log = logging.getLogger("gapless.node")
_Done = TypeVar("_Done")
_UNANSWERED = Answer(AnswerStatus.FAILED, "the queue did not answer for it")


def _only(answers: Sequence[Answer]) -> Answer:
    return answers[0] if answers else _UNANSWERED


def _sweep_of(lease: Lease) -> str:
    return lease.queue.removesuffix("-jobs")


def _patiently(verb: Callable[[], _Done]) -> _Done:
    """Sit out a blip, before the state machine hears of it and waits longer."""
    return patiently(verb, on=(QueueUnavailable, StorageUnavailable))
