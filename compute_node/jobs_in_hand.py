"""Which runs a node has in hand, and where each of them is.

The runs of one sweep asked for at one epoch form a *lane*. Within a lane a run of a job in hand is

    to do -> in a chunk -> in a block of the outbox -> acknowledged (it leaves the job)
               |  ^
               v  |
            to retry / being recorded as lost

and never nowhere: what a chunk does not report comes back to a job that still wants it
(`Lane.take_back`). A run is to do in one job only, however many jobs hold it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from compute_node.attempts import Attempt
from gapless.declaration.messages import Job
from gapless.declaration.runset import RunSet
from queueing.port import Lease

__all__ = ["TRANSITIONS", "ChunkInHand", "Intent", "JobInHand", "Lane"]


class Intent(enum.Enum):
    """What the node wants with a job.

    LOOK_UP: work, once it is known what of it is stored. WAIT: work, once it is known what is
    wanted of its sweep since the job came.
    """

    WORK = "work"
    LOOK_UP = "look up"
    WAIT = "wait"
    HALVE = "halve"
    GIVE_BACK = "give back"


TRANSITIONS: Mapping[Intent, frozenset[Intent]] = {
    Intent.WORK: frozenset({Intent.GIVE_BACK}),
    Intent.WAIT: frozenset({Intent.WORK, Intent.GIVE_BACK}),
    Intent.LOOK_UP: frozenset({Intent.WORK, Intent.GIVE_BACK}),
    Intent.HALVE: frozenset({Intent.GIVE_BACK}),
    Intent.GIVE_BACK: frozenset(),
}
"""What a node may want of a job instead; it comes in with any of them but GIVE_BACK."""


@dataclass(slots=True)
class JobInHand:
    """A job, its lease, and what of it is not acknowledged yet (`remaining`).

    `changing`: a delete or replace is on its way, no other may start. `handed_over`: what a replace
    on its way puts in other jobs; it stays in `remaining` until that is answered. `expiring`: its
    lease cannot be renewed much longer.
    """

    key: int
    lease: Lease
    job: Job
    remaining: RunSet
    received_at: float
    changed_at: float
    intent: Intent = Intent.WORK
    todo: RunSet = field(default_factory=RunSet)
    handed_over: RunSet = field(default_factory=RunSet)
    greatest: int = field(init=False)
    changing: bool = False
    acknowledged: bool = False
    expiring: bool = False
    tries: int = 0
    try_at: float = 0.0

    def __post_init__(self) -> None:
        """Note the greatest run the job came with: it is asked for at every event."""
        self.greatest = self.job.runs.greatest

    def become(self, intent: Intent) -> None:
        """Change what is wanted with it."""
        if intent is not self.intent:
            assert intent in TRANSITIONS[self.intent], (self.intent, intent)
            self.intent = intent


@dataclass(slots=True)
class ChunkInHand:
    """A chunk at a worker; `left` are its runs that were not reported."""

    worker: int
    left: RunSet


class Lane:
    """The runs of one sweep and epoch that this node has in hand.

    `retries`: the runs to be tried again, and not before when (the clock of `now`).
    """

    def __init__(self, sweep: str, epoch: int) -> None:
        self.sweep = sweep
        self.epoch = epoch
        self.jobs: dict[int, JobInHand] = {}
        self.chunks: dict[int, ChunkInHand] = {}
        self.blocks: dict[int, RunSet] = {}
        self.retries: dict[int, float] = {}
        self.attempts: dict[int, tuple[Attempt, ...]] = {}
        self.recording = RunSet()

    @property
    def empty(self) -> bool:
        """Tell whether nothing is in hand."""
        return not (self.jobs or self.chunks or self.blocks or self.retries or self.recording)

    @property
    def todo_count(self) -> int:
        """Count the runs that wait for a worker, retries left out."""
        return sum(len(job.todo) for job in self.jobs.values())

    def underway(self) -> RunSet:
        """Give the runs that left a job's todo and are not acknowledged."""
        return RunSet.union(
            [
                *(chunk.left for chunk in self.chunks.values()),
                *self.blocks.values(),
                RunSet.from_numbers(self.retries),
                self.recording,
            ]
        )

    def taken(self) -> RunSet:
        """Give the runs that are to do or underway."""
        return RunSet.union([self.underway(), *(job.todo for job in self.jobs.values())])

    def add(self, job: JobInHand) -> None:
        """Take a job in; runs that an earlier job brought are not done twice."""
        if job.intent is Intent.WORK:
            job.todo = job.remaining - self.taken()
        self.jobs[job.key] = job

    def begin(self, job: JobInHand) -> None:
        """Work on a job that was looked up, or waited."""
        job.become(Intent.WORK)
        job.todo = job.remaining - self.taken()

    def covered(self, job: JobInHand, runs: RunSet) -> None:
        """Take runs off a job whose final results are stored durably, and work on the rest."""
        if not job.remaining.isdisjoint(runs):
            job.remaining -= runs
            job.todo -= runs
            job.handed_over -= runs
        for run in [run for run in self.attempts if run in runs]:
            del self.attempts[run]
        if job.intent is Intent.LOOK_UP:
            self.begin(job)

    def remove(self, key: int) -> None:
        """Let a job go; runs of it that another job holds are that one's to do now."""
        job = self.jobs.pop(key, None)
        if job is not None and (job.todo or job.handed_over):
            self.take_back(job.todo | job.handed_over)

    def set_aside(self, job: JobInHand, intent: Intent) -> None:
        """Work on a job no longer; runs of it that another job holds are that one's to do now."""
        todo, job.todo = job.todo, RunSet()
        job.become(intent)
        if todo:
            self.take_back(todo)

    def take_back(self, runs: RunSet) -> None:
        """Make runs to do again, in the first job that still wants them; others are forgotten."""
        rest = runs - self.taken()
        for job in self.jobs.values():
            if not rest:
                return
            if job.intent is Intent.WORK:
                part = job.remaining & rest
                if part:
                    job.todo |= part
                    rest -= part

    def wanted(self, run: int) -> bool:
        """Tell whether a job in hand still waits for this run."""
        return any(run in job.remaining for job in self.jobs.values())

    def available(self, total: int) -> int:
        """Count the runs to do of jobs whose numbers are all below `total`."""
        return sum(len(job.todo) for job in self.jobs.values() if job.greatest < total)

    def take(self, count: int, total: int) -> RunSet:
        """Take up to `count` runs off the jobs, first job first."""
        taken: list[RunSet] = []
        for job in self.jobs.values():
            if count <= 0:
                break
            if not job.todo or job.greatest >= total:
                continue
            part = job.todo.first(count)
            job.todo -= part
            count -= len(part)
            taken.append(part)
        return taken[0] if len(taken) == 1 else RunSet.union(taken)

    def due_retry(self, now: float) -> int | None:
        """Give a run that is to be tried again by now; retries nobody wants are forgotten.

        Their attempts are not: they count if the run comes back.
        """
        for run, due_at in list(self.retries.items()):
            if not self.wanted(run):
                del self.retries[run]
            elif due_at <= now:
                return run
        return None

    def end_retries(self) -> None:
        """Try no run again here: who gets its job next does."""
        runs = RunSet.from_numbers(self.retries)
        self.retries.clear()
        self.take_back(runs)

    def reported(self, block: int, runs: RunSet, chunk: int | None) -> None:
        """Note that final results of `runs` lie in the outbox."""
        held = self.chunks.get(chunk) if chunk is not None else None
        expected = False
        if held is not None:
            expected = runs.issubset(held.left)
            held.left -= runs
        elif chunk is None:
            expected = runs.issubset(self.recording)
            self.recording -= runs
        self.blocks[block] = runs
        if not expected:
            for job in self.jobs.values():
                job.todo -= runs
        for run in [run for run in self.attempts if run in runs]:
            self.attempts.pop(run)
            self.retries.pop(run, None)

    def acknowledge(self, blocks: Iterable[int]) -> None:
        """Take the runs of delivered blocks off every job."""
        runs = RunSet.union(self.blocks.pop(block, RunSet()) for block in blocks)
        for job in self.jobs.values():
            if not job.remaining.isdisjoint(runs):
                job.remaining -= runs
                job.todo -= runs
                job.acknowledged = True

    def forget(self) -> None:
        """Drop everything but the jobs, which then want nothing (their sweep was cancelled)."""
        self.chunks.clear()
        self.blocks.clear()
        self.retries.clear()
        self.attempts.clear()
        self.recording = RunSet()
        for job in self.jobs.values():
            job.remaining = job.todo = RunSet()
