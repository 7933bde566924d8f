"""When a job is deleted, decremented, cut up or given back, and what is put in its place.

A replacement names its runs and carries `deaths`: a crash after the replacements are sent and
before the old message is gone repeats these runs, and loses none. Where the queue cannot lease a
replacement to this node (`rules.Remainders`), a job that is worked on keeps its message.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from compute_node.commands import DeleteJob, LetGo, ReplaceJob, SendPieces
from compute_node.events import SweepState
from compute_node.jobs_in_hand import Intent, JobInHand
from compute_node.rules import NodeRules, Remainders
from compute_node.sweeps_in_hand import SweepInHand
from gapless.declaration.messages import Job, encode_job
from gapless.declaration.runset import RunSet
from gapless.pauses import pause_s
from queueing.port import MAX_BATCH, Entry, Lease, Replacement

__all__ = ["cut_off", "failed", "held_again", "next_change", "with_deaths"]


def with_deaths(job: Job, deaths: int) -> Job:
    """Give the job with another number of deaths."""
    return job if job.deaths == deaths else msgspec.structs.replace(job, deaths=deaths)


def failed(job: JobInHand, now: float) -> None:
    """Note that a delete or replace was not done: it is tried again after a growing pause."""
    job.handed_over = RunSet()
    job.changing = False
    job.tries += 1
    job.try_at = now + pause_s(job.tries, who=job.lease.token)


def held_again(job: JobInHand, lease: Lease, now: float) -> None:
    """Note that the remainder is on the queue and leased to this node."""
    job.lease = lease
    job.acknowledged = job.expiring = False
    cut_off(job, now)


def cut_off(job: JobInHand, now: float) -> None:
    """Note that what was handed over is in other jobs on the queue."""
    job.remaining -= job.handed_over
    job.handed_over = RunSet()
    job.changing = False
    job.changed_at = now
    job.tries = 0


def next_change(  # noqa: PLR0911 - one return a rule, the first that holds
    job: JobInHand,
    *,
    now: float,
    rules: NodeRules,
    sweep: SweepInHand,
    busy: RunSet | None,
    new_id: Callable[[], str],
    workers: int,
) -> DeleteJob | LetGo | ReplaceJob | SendPieces | None:
    """Say what is to be done with a job's message now; None: leave it.

    `busy` is None while the job is worked on; else the job is to be given back as soon as none of
    its runs is in `busy`.
    """
    if sweep.facts.state is SweepState.CANCELLED:
        # Its queue is gone or goes: deleting or replacing would make it anew. If it stays after
        # all (the sweep goes on), the message comes again, which costs a lease's length.
        return LetGo(job.lease)
    if not job.remaining:
        return DeleteJob(job.key, job.lease)
    priority = sweep.facts.priority
    if job.intent is Intent.HALVE:
        halved = job.remaining.pieces((len(job.remaining) + 1) // 2)
        halves = [_piece(job, runs, new_id(), deaths=2) for runs in halved]
        return _replace(job, halves, priority=priority)
    if busy is not None:
        if not job.remaining.isdisjoint(busy) and not job.expiring:
            return None
        delay = min(900.0, max(0.0, sweep.unfit_until - now))
        return _replace(job, [_remainder(job, job.remaining)], priority=priority, delay_s=delay)
    if job.intent is Intent.GIVE_BACK:
        return _replace(job, [_remainder(job, job.remaining)], priority=priority)
    if job.intent in (Intent.LOOK_UP, Intent.WAIT):
        return None
    pieces = _split(job, rules=rules, sweep=sweep, new_id=new_id, workers=workers)
    if pieces:
        return _hand_out(job, pieces, rules=rules, priority=priority)
    if job.expiring or _decrement_is_due(job, now=now, rules=rules):
        return _replace(
            job, [_remainder(job, job.remaining)], priority=priority, hold_s=rules.lease_s
        )
    return None


def _hand_out(
    job: JobInHand, pieces: list[Job], *, rules: NodeRules, priority: int
) -> ReplaceJob | SendPieces:
    if rules.remainders is Remainders.LEASED:
        remainder = _remainder(job, job.remaining - job.handed_over)
        return _replace(job, [remainder, *pieces], priority=priority, hold_s=rules.lease_s)
    # The job's message goes on naming them: whoever gets it after a crash of this node finds most
    # of them stored, or repeats them.
    entries = tuple(Entry(encode_job(each), priority=priority) for each in pieces)
    return SendPieces(job.key, job.lease.queue, entries)


def _decrement_is_due(job: JobInHand, *, now: float, rules: NodeRules) -> bool:
    return (
        rules.remainders is Remainders.LEASED
        and job.acknowledged
        and now - job.received_at >= rules.decrement_after_s
        and now - job.changed_at >= rules.decrement_every_s
    )


def _split(
    job: JobInHand,
    *,
    rules: NodeRules,
    sweep: SweepInHand,
    new_id: Callable[[], str],
    workers: int,
) -> list[Job]:
    """Cut a job that would take this node too long: give the pieces for others."""
    took_s = sweep.pace.seconds(len(job.todo))
    if took_s is None or took_s / workers <= rules.split_above_s or len(job.todo) <= workers:
        return []
    mean_s = took_s / len(job.todo)
    kept_todo = job.todo.first(max(workers, int(rules.split_keep_s * workers / mean_s)))
    rest = job.todo - kept_todo
    size = max(len(kept_todo), -(-len(rest) // (MAX_BATCH - 1)))
    # Nobody starts them while the replace is on its way; they leave the job when it is answered.
    job.todo = kept_todo
    job.handed_over = rest
    return [_piece(job, runs, new_id()) for runs in rest.pieces(size)]


def _remainder(job: JobInHand, runs: RunSet) -> Job:
    return msgspec.structs.replace(job.job, runs=runs)


def _piece(job: JobInHand, runs: RunSet, job_id: str, *, deaths: int | None = None) -> Job:
    return msgspec.structs.replace(
        job.job, runs=runs, job=job_id, deaths=job.job.deaths if deaths is None else deaths
    )


def _replace(
    job: JobInHand,
    jobs: list[Job],
    *,
    priority: int,
    delay_s: float = 0.0,
    hold_s: float = 0.0,
) -> ReplaceJob:
    replacements = tuple(
        Replacement(
            encode_job(each),
            lease_s=hold_s if index == 0 else 0.0,
            delay_s=delay_s,
            priority=priority,
        )
        for index, each in enumerate(jobs)
    )
    return ReplaceJob(job.key, job.lease, replacements)
