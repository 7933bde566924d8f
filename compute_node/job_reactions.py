"""What becomes of messages and jobs: taken in, set aside, replaced, handed over, let go."""

from __future__ import annotations

from compute_node import job_changes
from compute_node.attempts import Attempt
from compute_node.commands import LetGo, ReadCoverage, RecordLost, Warn, WithdrawChunks
from compute_node.events import (
    CoverageRead,
    JobDeleted,
    JobReplaced,
    LeaseExpiring,
    LeaseLost,
    MessageSetAside,
    PiecesSent,
    ReceiveEnded,
    SweepsCompleted,
    SweepState,
)
from compute_node.holdings import Holdings
from compute_node.jobs_in_hand import Intent, JobInHand, Lane
from compute_node.sweeps_in_hand import SweepInHand
from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.messages import Job, decode_job
from gapless.declaration.runset import RunSet
from gapless.pauses import pause_s
from queueing.port import AnswerStatus, Lease, Message

__all__ = ["JobReactions"]


class JobReactions(Holdings):
    """One method an event of the work queue."""

    def _receive_ended(self, event: ReceiveEnded, now: float) -> None:
        self._receiving = False
        if event.problem:
            self._receive_tries += 1
            self._receive_at = now + pause_s(self._receive_tries, who=self.rules.id_prefix)
        else:
            self._receive_tries = 0
            self._found_nothing = not event.messages
        self._note_queues(event, now)
        for facts in event.sweeps:
            self._learn(facts)
            self._begin_waiting(facts.sweep, known_at=now)
        looked_up = {
            held.job.sweep
            for message in event.messages
            if (held := self._take_in(message, now, unread=event.unread))
            and held.intent is Intent.LOOK_UP
        }
        self._out.extend(ReadCoverage(sweep) for sweep in sorted(looked_up))

    def _note_queues(self, event: ReceiveEnded, now: float) -> None:
        """Remember which queues were empty; a receive that found something tells of no other."""
        for message in event.messages:
            self.sweeps[message.lease.queue.removesuffix("-jobs")].wake()
        if not event.messages and not event.problem:
            for name in self._asked:
                self.sweeps[name].saw_empty(now)
        self._asked = ()

    def _begin_waiting(self, name: str, *, known_at: float) -> None:
        """Begin the jobs that waited to know what was wanted of their sweep at `known_at`."""
        sweep = self.sweeps[name]
        if sweep.facts.state is not SweepState.RUNNING:
            return
        stored = False
        for lane in sweep.lanes.values():
            for job in lane.jobs.values():
                if job.intent is not Intent.WAIT or job.received_at > known_at:
                    continue
                lane.begin(job)
                if job.job.deaths >= self.rules.lost_at_deaths and job.todo:
                    self._record_doomed(sweep, lane, job)
                # Work need not wait for this: doing again what is stored costs only time.
                stored = stored or job.job.deaths > 0
        if stored:
            self._out.append(ReadCoverage(name))

    def _take_in(self, message: Message, now: float, *, unread: frozenset[str]) -> JobInHand | None:
        """Take a job in; None when the message is set aside instead."""
        # It asks for jobs of sweeps it knows, and forgets none.
        source = self.sweeps[message.lease.queue.removesuffix("-jobs")]
        if source.facts.state is SweepState.CANCELLED:
            self._out.append(LetGo(message.lease))
            return None
        job = self._decoded(message)
        if job is None:
            return None
        sweep = self.sweeps[job.sweep]
        deaths = job.deaths + max(0, message.receive_count - 1)
        held = JobInHand(
            key=self._next_key,
            lease=message.lease,
            job=job_changes.with_deaths(job, deaths),
            remaining=job.runs,
            received_at=now,
            changed_at=now,
            intent=self._intent_of(job, deaths, unread),
        )
        self._next_key += 1
        self._job_runs = len(job.runs)
        lane = sweep.lane(job.epoch)
        lane.add(held)
        if deaths >= self.rules.lost_at_deaths and held.todo:
            self._record_doomed(sweep, lane, held)
        return held

    def _intent_of(self, job: Job, deaths: int, unread: frozenset[str]) -> Intent:
        if deaths >= self.rules.halve_at_deaths and len(job.runs) > 1:
            return Intent.HALVE
        if job.sweep in unread:
            # It may ask for newer code, or be of a sweep that is cancelled meanwhile.
            return Intent.WAIT
        if 0 < deaths < self.rules.lost_at_deaths:
            # Whoever had it may have delivered: what is stored need not be done again.
            return Intent.LOOK_UP
        return Intent.WORK

    def _decoded(self, message: Message) -> Job | None:
        """Give the job of a message; None when the message is set aside, by a command."""
        queue_sweep = message.lease.queue.removesuffix("-jobs")
        try:
            job = decode_job(message.body)
        except NewerFormat as error:
            self._release(message.lease, self.rules.newer_delay_s, str(error))
            return None
        except DamagedMessage as error:
            self._quarantine(message, queue_sweep, str(error))
            return None
        if job.sweep != queue_sweep:
            self._quarantine(message, queue_sweep, f"a job of sweep {job.sweep} on {queue_sweep}")
            return None
        return job

    def _record_doomed(self, sweep: SweepInHand, lane: Lane, held: JobInHand) -> None:
        """Record the single run of a job as lost: too many nodes were gone that had it."""
        run, deaths = held.todo.least, held.job.deaths
        held.todo = RunSet()
        lane.recording |= RunSet.of(run)
        attempt = Attempt(
            run=run,
            number=deaths,
            outcome="lost",
            exit=f"its node was gone {deaths} times",
            started_s=0.0,
            duration_s=0.0,
        )
        self._out.append(
            RecordLost(
                sweep=lane.sweep, epoch=lane.epoch, code=sweep.facts.code, attempts=(attempt,)
            )
        )

    def _message_set_aside(self, event: MessageSetAside, _now: float) -> None:
        self._setting_aside = max(0, self._setting_aside - 1)
        if event.problem:
            self._out.append(Warn(f"a message could not be set aside: {event.problem}"))

    def _job_deleted(self, event: JobDeleted, now: float) -> None:
        found = self._job(event.job)
        if found is None:
            return
        lane, job = found
        if event.status is AnswerStatus.FAILED:
            job_changes.failed(job, now)
        else:
            lane.remove(job.key)

    def _job_replaced(self, event: JobReplaced, now: float) -> None:
        found = self._job(event.job)
        held = event.leases[0] if event.leases else None
        if found is None:
            if held is not None:
                self._give_back_unheld(held)
            return
        lane, job = found
        handed = job.handed_over
        if event.status is AnswerStatus.FAILED:
            job_changes.failed(job, now)
            lane.take_back(handed)
        elif event.status is AnswerStatus.OK and held is not None and job.intent is Intent.WORK:
            job_changes.held_again(job, held, now)
            lane.take_back(handed)
        else:
            # What is left is on the queue for anybody: working on would only repeat it.
            lane.remove(job.key)
            if job.intent is Intent.WORK:
                self._withdraw_unwanted(lane)

    def _give_back_unheld(self, lease: Lease) -> None:
        """Give back what is leased to this node for a job that it let go meanwhile.

        Nobody works on it: it would stay hidden as long as this node lives.
        """
        if self.sweeps[lease.queue.removesuffix("-jobs")].facts.state is SweepState.CANCELLED:
            self._out.append(LetGo(lease))
        else:
            self._release(lease, 0.0, "what is left of a job was let go: given back")

    def _pieces_sent(self, event: PiecesSent, now: float) -> None:
        found = self._job(event.job)
        if found is None:
            return
        lane, job = found
        handed = job.handed_over
        if event.status is AnswerStatus.OK:
            job_changes.cut_off(job, now)
        else:
            # Some of them may be on the queue: then these runs are done twice and recorded once.
            job_changes.failed(job, now)
        lane.take_back(handed)

    def _withdraw_unwanted(self, lane: Lane) -> None:
        """Let the workers end what no job in hand wants; what they have done is delivered."""
        for held in lane.chunks.values():
            if all(job.remaining.isdisjoint(held.left) for job in lane.jobs.values()):
                self._out.append(WithdrawChunks(held.worker))

    def _lease_lost(self, event: LeaseLost, _now: float) -> None:
        for lane, job in self._leased(event.lease):
            lane.remove(job.key)

    def _lease_expiring(self, event: LeaseExpiring, _now: float) -> None:
        # `job_changes` puts the remainder in its place: a fresh receive, with 12 h before it.
        for _, job in self._leased(event.lease):
            job.expiring = True

    def _leased(self, lease: Lease) -> list[tuple[Lane, JobInHand]]:
        return [
            (lane, job)
            for sweep in self.sweeps.values()
            for lane in sweep.lanes.values()
            for job in lane.jobs.values()
            if job.lease == lease
        ]

    def _coverage_read(self, event: CoverageRead, _now: float) -> None:
        covered = dict(event.covered)
        for lane in self.sweeps[event.sweep].lanes.values():
            for job in list(lane.jobs.values()):
                # What was read before the job came may be of a shard that was lost since, and is
                # why the job came.
                if job.received_at <= event.looked_at:
                    lane.covered(job, covered.get(lane.epoch, RunSet()))

    def _sweeps_completed(self, event: SweepsCompleted, _now: float) -> None:
        # It speaks of jobs in hand only: what comes later may be there because a shard was lost.
        for name, epoch, total in event.sweeps:
            sweep = self.sweeps.get(name)
            if sweep is None:
                continue
            sweep.complete = True
            for lane in sweep.lanes.values():
                covered = [
                    job
                    for job in lane.jobs.values()
                    if job.greatest < total and job.received_at <= event.looked_at
                ]
                if lane.epoch <= epoch and covered:
                    for job in covered:
                        job.remaining = job.todo = RunSet()
                    self._withdraw(name)
