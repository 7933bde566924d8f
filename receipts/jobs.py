"""Cut sets of runs into jobs, and send the jobs of pending receipts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from gapless.declaration.messages import Job, encode_job
from gapless.declaration.runset import RunSet
from gapless.patience import patiently
from gapless.storage import layout
from queueing.errors import QueueRefused, QueueUnavailable
from queueing.port import Answer, AnswerStatus, Entry, Queues
from receipts.ledger import Ledger, NewReceipt, PendingReceipt, State, Why
from receipts.looks import forget_looks
from receipts.ports import Clock, NewId

__all__ = [
    "LARGEST_JOB",
    "Round",
    "Sending",
    "cut",
    "job_size_for",
    "send_pending",
    "telling_what_waits",
    "write_round",
]

_Done = TypeVar("_Done")

LARGEST_JOB = 10_000
"""Most runs of a job unless the caller asks for more."""

_JOBS_AIMED_AT = 1000
_WORK_AIMED_AT_S = 60.0
# As base64 933,000 characters: with its frame below queueing.port.MAX_MESSAGE_BYTES.
_LARGEST_RUNS_BYTES = 700_000
_TRIES = 3
_PAGE = 1000
_SENT_AT_ONCE_CHARACTERS = 4_000_000
_NO_ANSWER = Answer(AnswerStatus.FAILED, "the queue did not answer")


def job_size_for(total: int, *, run_time_s: float | None) -> int:
    """Choose how many runs a job holds: about 60 s of work, or about 1000 jobs; 1..10,000."""
    wanted = total / _JOBS_AIMED_AT if run_time_s is None else _WORK_AIMED_AT_S / run_time_s
    return min(LARGEST_JOB, max(1, math.ceil(wanted)))


def cut(runs: RunSet, size: int) -> Iterator[RunSet]:
    """Cut into sets of at most `size` runs, smallest numbers first, each fit for one message."""
    held: list[tuple[int, int]] = []
    room = size
    for start, stop in runs.ranges():
        position = start
        while position < stop:
            end = min(stop, position + room)
            held.append((position, end))
            room -= end - position
            position = end
            if room == 0:
                yield from _fitting(RunSet.from_ranges(held))
                held, room = [], size
    if held:
        yield from _fitting(RunSet.from_ranges(held))


def _fitting(runs: RunSet) -> Iterator[RunSet]:
    if len(runs.serialize()) > _LARGEST_RUNS_BYTES:
        yield from cut(runs, (len(runs) + 1) // 2)
    else:
        yield runs


@dataclass(frozen=True, slots=True)
class Round:
    """One round of sending a sweep: why, in jobs of which size, and its number."""

    sweep: str
    why: Why
    job_size: int
    generation: int


def write_round(
    ledger: Ledger,
    this: Round,
    runs_by_epoch: Iterable[tuple[int, RunSet]],
    *,
    clock: Clock,
    new_id: NewId,
) -> int:
    """Write pending receipts for sets of runs, a few transactions; give how many.

    A crash in between leaves some of the runs without a receipt: the next submit or reconcile sees
    that and writes those.
    """
    now_s = clock()
    return ledger.write(
        NewReceipt(
            sweep=this.sweep,
            epoch=epoch,
            runs=piece,
            job=new_id(),
            why=this.why,
            generation=this.generation,
            created_at_s=now_s,
        )
        for epoch, runs in runs_by_epoch
        for piece in cut(runs, this.job_size)
    )


@dataclass(slots=True)
class Sending:
    """What became of the pending receipts of a sweep."""

    jobs_sent: int = 0
    runs_sent: int = 0
    jobs_pending: int = 0
    refusals: list[str] = field(default_factory=list)
    """Why the queue refused jobs, each reason once."""


def send_pending(
    sweep_id: str, *, ledger: Ledger, queues: Queues, clock: Clock, priority: int
) -> Sending:
    """Send the job of every pending receipt; mark what the queue acknowledged.

    The caller holds the sweep's lock. A refused job stays pending and is tried 3 times in all.
    QueueUnavailable: what was not acknowledged stays pending; the next call sends it.
    """
    sending = Sending()
    sending.jobs_pending = ledger.count(sweep_id, State.PENDING)
    for _ in range(_TRIES):
        if sending.jobs_pending == 0:
            break
        with telling_what_waits(sweep_id, ledger=ledger):
            _send_once(
                sweep_id, sending, ledger=ledger, queues=queues, clock=clock, priority=priority
            )
        sending.jobs_pending = ledger.count(sweep_id, State.PENDING)
    return sending


@contextmanager
def telling_what_waits(sweep_id: str, *, ledger: Ledger) -> Iterator[None]:
    """Add to the queue's error that nothing is lost by it."""
    try:
        yield
    except QueueUnavailable as error:
        waiting = ledger.count(sweep_id, State.PENDING)
        refused = isinstance(error, QueueRefused)
        when = "that is mended" if refused else "the queue is back"
        kind = QueueRefused if refused else QueueUnavailable
        raise kind(
            f"{error}; {waiting} jobs of sweep {sweep_id} are recorded and wait to be sent: run "
            f"the same command again when {when}"
        ) from error


def _send_once(
    sweep_id: str,
    sending: Sending,
    *,
    ledger: Ledger,
    queues: Queues,
    clock: Clock,
    priority: int,
) -> None:
    queue = layout.jobs_queue(sweep_id)
    # Read before the sends: should the queue be made anew in between, the receipts name the older
    # one, whose messages are known to be gone; the other order could vouch for a job that is gone.
    created_at_s = _patiently(lambda: queues.facts(queue)).created_at_s
    last = 0
    while page := ledger.pending(sweep_id, after=last, most=_PAGE):
        last = page[-1].id
        for batch in _batches(sweep_id, page, priority=priority):
            entries = [entry for _, entry in batch]
            answers = _patiently(functools.partial(queues.send, queue, entries))
            answered = iter(answers)
            done: list[PendingReceipt] = []
            for receipt, _ in batch:
                # An entry without an answer was not sent, as far as anybody knows.
                answer = next(answered, _NO_ANSWER)
                if answer.ok:
                    done.append(receipt)
                elif answer.reason not in sending.refusals:
                    sending.refusals.append(answer.reason)
            if done and not sending.jobs_sent:
                # Before the mark: a crash after the mark would leave a look that lacks these jobs.
                forget_looks(ledger, sweep_id)
            # A crash here leaves jobs sent and not marked: they are sent twice, which is harmless.
            ledger.mark_sent(
                [receipt.id for receipt in done],
                queue_created_at_s=created_at_s,
                sent_at_s=clock(),
            )
            sending.jobs_sent += len(done)
            sending.runs_sent += sum(len(receipt.runs) for receipt in done)


def _batches(
    sweep_id: str, page: list[PendingReceipt], *, priority: int
) -> Iterator[list[tuple[PendingReceipt, Entry]]]:
    batch: list[tuple[PendingReceipt, Entry]] = []
    characters = 0
    for receipt in page:
        body = encode_job(
            Job(sweep=sweep_id, job=receipt.job, runs=receipt.runs, epoch=receipt.epoch)
        )
        if batch and characters + len(body) > _SENT_AT_ONCE_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append((receipt, Entry(body, priority=priority)))
        characters += len(body)
    if batch:
        yield batch


def _patiently(verb: Callable[[], _Done]) -> _Done:
    """Sit out a blip of the queue: what was sent twice is harmless."""
    return patiently(verb, on=QueueUnavailable)
