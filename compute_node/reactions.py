"""What each event changes in what a node holds.

Nothing here decides about work: that follows for all events alike, in `state`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from compute_node import job_changes
from compute_node.attempts import Attempt
from compute_node.commands import (
    Exit,
    ForgetBlocks,
    PutQuarantine,
    RecordLost,
    Warn,
    WithdrawChunks,
)
from compute_node.crew import Kill, KillReason, WorkerInHand, WorkerStatus
from compute_node.events import (
    BlockMade,
    ChunkEnded,
    ControlsRead,
    DeliveryAcknowledged,
    DeliveryRefused,
    DrainAsked,
    Event,
    JobDeleted,
    JobReplaced,
    LeaseLost,
    MessageSetAside,
    PartDied,
    PreparationFailed,
    Progress,
    ReceiveEnded,
    StopAsked,
    SweepFacts,
    SweepPrepared,
    SweepsCompleted,
    SweepState,
    Ticked,
    WorkerDied,
    WorkerReady,
    WorkerUnfit,
)
from compute_node.holdings import Holdings, Mode
from compute_node.jobs_in_hand import Intent, JobInHand, Lane, Retry
from compute_node.rules import NodeRules
from compute_node.sweeps_in_hand import SweepInHand
from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.messages import decode_job, encode_job
from gapless.declaration.runset import RunSet
from queueing.port import AnswerStatus, Message

__all__ = ["Reactions"]

_LONGEST_PAUSE_S = 30.0
_LONG_RUN_S = 5.0


class Reactions(Holdings):
    """One method an event."""

    def __init__(self, rules: NodeRules) -> None:
        super().__init__(rules)
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            ControlsRead: self._controls_read,
            SweepPrepared: self._sweep_prepared,
            PreparationFailed: self._preparation_failed,
            ReceiveEnded: self._receive_ended,
            MessageSetAside: self._message_set_aside,
            WorkerReady: self._worker_ready,
            WorkerUnfit: self._worker_unfit,
            BlockMade: self._block_made,
            ChunkEnded: self._chunk_ended,
            WorkerDied: self._worker_died,
            DeliveryAcknowledged: self._delivery_acknowledged,
            DeliveryRefused: self._delivery_refused,
            JobDeleted: self._job_deleted,
            JobReplaced: self._job_replaced,
            LeaseLost: self._lease_lost,
            Ticked: self._ticked,
            SweepsCompleted: self._sweeps_completed,
            DrainAsked: self._drain_asked,
            StopAsked: self._stop_asked,
            PartDied: self._part_died,
        }

    def react(self, event: Event, now: float) -> None:
        """Take one event in."""
        self._handlers[type(event)](event, now)

    def _controls_read(self, event: ControlsRead, _now: float) -> None:
        listed = {facts.sweep for facts in event.sweeps}
        for facts in event.sweeps:
            known = self.sweeps.get(facts.sweep)
            if known is None:
                self.sweeps[facts.sweep] = SweepInHand(facts)
            elif known.facts != facts:
                left = known.facts.state is SweepState.RUNNING
                known.facts = facts
                if facts.state is SweepState.PAUSED and left:
                    self._withdraw(facts.sweep)
        for name, sweep in list(self.sweeps.items()):
            if name not in listed and sweep.facts.state is SweepState.RUNNING:
                sweep.facts = _paused(sweep)
                self._withdraw(name)
            if sweep.facts.state is SweepState.CANCELLED:
                self._drop_sweep(sweep)

    def _sweep_prepared(self, event: SweepPrepared, _now: float) -> None:
        sweep = self.sweeps[event.sweep]
        sweep.preparing = False
        sweep.prepare_tries = 0
        sweep.total = event.total
        sweep.prepared_code = event.code
        for job in self._jobs(sweep):
            if job.greatest >= event.total and not job.changing:
                self._out.append(
                    PutQuarantine(
                        job.lease,
                        event.sweep,
                        encode_job(job.job),
                        f"run {job.greatest} of a sweep of {event.total} runs",
                    )
                )
                self._setting_aside += 1
                sweep.lanes[job.job.epoch].remove(job.key)

    def _preparation_failed(self, event: PreparationFailed, now: float) -> None:
        sweep = self.sweeps[event.sweep]
        sweep.preparing = False
        sweep.prepare_tries += 1
        sweep.prepare_at = now + min(_LONGEST_PAUSE_S, 0.5 * 2 ** min(sweep.prepare_tries, 8))
        if event.fatal:
            self._unfit(sweep, event.reason, now)
        elif sweep.prepare_tries == 1:
            self._out.append(Warn(f"sweep {event.sweep} cannot be fetched yet: {event.reason}"))

    def _receive_ended(self, event: ReceiveEnded, now: float) -> None:
        self._receiving = False
        if event.problem:
            if self._receive_tries == 0:
                self._out.append(Warn(f"no jobs can be received for now: {event.problem}"))
            self._receive_at = now + min(_LONGEST_PAUSE_S, 0.25 * 2 ** min(self._receive_tries, 8))
            self._receive_tries += 1
        else:
            self._receive_tries = 0
            self._found_nothing = not event.messages
        for message in event.messages:
            self._take_in(message, now)

    def _take_in(self, message: Message, now: float) -> None:
        queue_sweep = _sweep_of(message.lease.queue)
        try:
            job = decode_job(message.body)
        except NewerFormat as error:
            self._release(message.lease, self.rules.newer_delay_s, str(error))
            return
        except DamagedMessage as error:
            self._quarantine(message, queue_sweep, str(error))
            return
        if job.sweep != queue_sweep:
            self._quarantine(message, queue_sweep, f"a job of sweep {job.sweep} on {queue_sweep}")
            return
        sweep = self.sweeps.get(job.sweep)
        if sweep is None:
            self._release(
                message.lease,
                self.rules.unknown_delay_s,
                f"job {job.job} is of sweep {job.sweep}, which is not in this home: given back",
            )
            return
        deaths = job.deaths + max(0, message.receive_count - 1)
        key = self._next_key
        self._next_key += 1
        held = JobInHand(
            key=key,
            lease=message.lease,
            job=job_changes.with_deaths(job, deaths),
            remaining=job.runs,
            received_at=now,
            changed_at=now,
        )
        self._job_runs = len(job.runs)
        doomed = None
        if deaths >= self.rules.halve_at_deaths and len(job.runs) > 1:
            held.intent = Intent.HALVE
        elif deaths >= self.rules.lost_at_deaths:
            doomed = job.runs.least
        lane = sweep.lane(job.epoch)
        lane.add(held)
        if sweep.facts.state is SweepState.CANCELLED:
            held.remaining = held.todo = RunSet()
        elif doomed is not None and held.todo:
            held.todo = RunSet()
            lane.recording |= RunSet.of(doomed)
            self._out.append(
                RecordLost(
                    sweep=job.sweep,
                    epoch=job.epoch,
                    code=sweep.facts.code,
                    attempts=(
                        Attempt(
                            run=doomed,
                            number=deaths,
                            outcome="lost",
                            exit=f"its node was gone {deaths} times",
                            started_s=0.0,
                            duration_s=0.0,
                        ),
                    ),
                )
            )

    def _message_set_aside(self, event: MessageSetAside, _now: float) -> None:
        self._setting_aside = max(0, self._setting_aside - 1)
        if event.problem:
            self._out.append(Warn(f"a message could not be set aside: {event.problem}"))

    def _worker_ready(self, event: WorkerReady, _now: float) -> None:
        worker = self.crew.workers.get(event.worker)
        if worker is None or worker.status is not WorkerStatus.STARTING:
            return
        worker.status = WorkerStatus.READY
        sweep = self.sweeps[worker.deployment.sweep]
        sweep.unfit_times = 0

    def _worker_unfit(self, event: WorkerUnfit, now: float) -> None:
        worker = self.crew.workers.pop(event.worker, None)
        if worker is None:
            return
        sweep = self.sweeps[worker.deployment.sweep]
        for key in worker.chunks:
            lane, held = self._chunk(sweep, key)
            if lane is not None and held is not None:
                del lane.chunks[key]
                lane.take_back(held.left)
        if worker.killed is None and worker.status is not WorkerStatus.LEAVING:
            self._unfit(sweep, event.text, now)

    def _block_made(self, event: BlockMade, now: float) -> None:
        sweep = self.sweeps[event.sweep]
        if sweep.facts.state is SweepState.CANCELLED:
            self._out.append(ForgetBlocks((event.block,)))
            return
        sweep.lane(event.epoch).reported(event.block, event.runs, event.chunk)
        if event.worker is not None:
            sweep.pace.measure(runs=len(event.runs), busy_s=event.busy_s)
            sweep.barren_deaths = 0
        self.deliveries.add(
            sweep=event.sweep,
            block=event.block,
            epoch=event.epoch,
            runs=event.runs,
            digest=event.digest,
            size_bytes=event.size_bytes,
            now=now,
        )

    def _chunk_ended(self, event: ChunkEnded, now: float) -> None:
        worker = self.crew.workers.get(event.worker)
        if worker is None:
            return
        worker.held_up = False
        sweep = self.sweeps[worker.deployment.sweep]
        lane, held = self._chunk(sweep, event.chunk)
        if event.chunk in worker.chunks:
            worker.chunks.remove(event.chunk)
        if lane is None or held is None:
            return
        left = held.left
        for attempt in event.retries:
            if attempt.run in left:
                left -= RunSet.of(attempt.run)
                self._attempt_ended(sweep, lane, attempt, now, worker=None)
        del lane.chunks[event.chunk]
        lane.take_back(left)

    def _worker_died(self, event: WorkerDied, now: float) -> None:
        worker = self.crew.workers.pop(event.worker, None)
        if worker is None:
            return
        sweep = self.sweeps[worker.deployment.sweep]
        kill = worker.killed
        if worker.status is WorkerStatus.STARTING and kill is None:
            self._unfit(sweep, f"a worker ended while it started: {event.exit}", now)
        charged = kill is None or (
            kill.reason is KillReason.TIMEOUT
            and kill.run == event.run
            and kill.attempt == event.attempt
        )
        found = False
        for chunk in worker.chunks:
            lane, held = self._chunk(sweep, chunk)
            if lane is None or held is None:
                continue
            left = held.left
            del lane.chunks[chunk]
            if charged and not found and event.run is not None and event.run in left:
                found = True
                left -= RunSet.of(event.run)
                attempt = Attempt(
                    run=event.run,
                    number=event.attempt,
                    outcome="lost" if kill is None else "timeout",
                    exit=event.exit if kill is None else _overran(sweep),
                    started_s=event.started_s,
                    duration_s=event.duration_s,
                    peak_memory_bytes=event.peak_memory_bytes,
                )
                self._attempt_ended(sweep, lane, attempt, now, worker=event.worker)
            lane.take_back(left)
        if worker.chunks and kill is None and not found:
            # Nobody is charged for a death between runs, so only this count ends a circle of them.
            sweep.barren_deaths += 1
            if sweep.barren_deaths >= self.rules.barren_deaths:
                sweep.barren_deaths = 0
                self._unfit(sweep, f"workers end between runs: {event.exit}", now)

    def _attempt_ended(
        self, sweep: SweepInHand, lane: Lane, attempt: Attempt, now: float, *, worker: int | None
    ) -> None:
        """Try the run again, or record what became of it."""
        run = attempt.run
        if not lane.wanted(run):
            lane.attempts.pop(run, None)
            return
        earlier = lane.attempts.get(run, ())
        lane.attempts[run] = (*earlier, attempt)
        number = len(earlier) + 1
        facts = sweep.facts
        if number < facts.attempts and attempt.outcome in facts.retry_on:
            pause = self.rules.retry_pause_s * 2 ** min(number - 1, 6)
            wait = pause if attempt.outcome == "failed" else 0.0
            lane.retries[run] = Retry(run, now + wait)
            return
        lane.recording |= RunSet.of(run)
        self._out.append(
            RecordLost(
                sweep=lane.sweep,
                epoch=lane.epoch,
                code=facts.code,
                attempts=lane.attempts[run],
                worker=worker,
            )
        )

    def _delivery_acknowledged(self, event: DeliveryAcknowledged, _now: float) -> None:
        name, blocks = self.deliveries.acknowledged(event.delivery)
        if not blocks:
            return
        for lane in self.sweeps[name].lanes.values():
            lane.acknowledge(blocks)
        self._out.append(ForgetBlocks(blocks))

    def _delivery_refused(self, event: DeliveryRefused, now: float) -> None:
        self.deliveries.refused(event.delivery, away=event.away, now=now)
        self._out.append(Warn(f"delivery {event.delivery} waits: {event.reason}"))

    def _job_deleted(self, event: JobDeleted, now: float) -> None:
        lane, job = self._job(event.job)
        if lane is None or job is None:
            return
        if event.status is AnswerStatus.FAILED:
            job_changes.failed(job, now)
        else:
            lane.remove(job.key)

    def _job_replaced(self, event: JobReplaced, now: float) -> None:
        lane, job = self._job(event.job)
        if lane is None or job is None:
            return
        if event.status is AnswerStatus.FAILED:
            job_changes.failed(job, now)
            handed, job.handed_over = job.handed_over, RunSet()
            lane.take_back(handed)
            return
        held = event.leases[0] if event.leases else None
        if event.status is AnswerStatus.OK and held is not None and job.intent is Intent.WORK:
            job_changes.held_again(job, held, now)
        else:
            # What is left is on the queue for anybody: working on would only repeat it.
            lane.remove(job.key)

    def _lease_lost(self, event: LeaseLost, _now: float) -> None:
        for sweep in self.sweeps.values():
            for lane in sweep.lanes.values():
                for job in list(lane.jobs.values()):
                    if job.lease == event.lease:
                        lane.remove(job.key)

    def _ticked(self, event: Ticked, _now: float) -> None:
        self._room = event.room
        for progress in event.progress:
            worker = self.crew.workers.get(progress.worker)
            if worker is not None and worker.killed is None and worker.chunks:
                self._watch(worker, progress)

    def _watch(self, worker: WorkerInHand, progress: Progress) -> None:
        sweep = self.sweeps[worker.deployment.sweep]
        limit = sweep.facts.time_s
        if limit is not None and progress.running_s > limit:
            self._kill(worker, Kill(KillReason.TIMEOUT, progress.run, progress.attempt))
        elif progress.running_s > self.rules.steal_after_s:
            self._free_waiting(sweep, worker, progress.run)

    def _free_waiting(self, sweep: SweepInHand, worker: WorkerInHand, run: int) -> None:
        """Take back what waits behind a long run, for other workers or other nodes.

        The worker may start one of them in this very moment; then it is done twice, recorded once.
        """
        held_here = (self._chunk(sweep, chunk)[1] for chunk in worker.chunks)
        if not any(held is not None and run in held.left for held in held_here):
            # It is still in what was withdrawn before; what waits here it has not read yet.
            return
        worker.held_up = True
        freed = False
        for chunk in list(worker.chunks):
            lane, held = self._chunk(sweep, chunk)
            if lane is None or held is None:
                continue
            if run in held.left:
                waiting = held.left - RunSet.span(0, run + 1)
                held.left -= waiting
            else:
                waiting = held.left
                del lane.chunks[chunk]
                worker.chunks.remove(chunk)
            if waiting:
                freed = True
                lane.take_back(waiting)
        if freed:
            self._out.append(WithdrawChunks(worker.worker))

    def _sweeps_completed(self, event: SweepsCompleted, _now: float) -> None:
        # It speaks of jobs in hand only: what comes later may be there because a shard was lost.
        for name, epoch, total in event.sweeps:
            sweep = self.sweeps.get(name)
            if sweep is None:
                continue
            for lane in sweep.lanes.values():
                covered = [job for job in lane.jobs.values() if job.greatest < total]
                if lane.epoch <= epoch and covered:
                    for job in covered:
                        job.remaining = job.todo = RunSet()
                    self._withdraw(name)

    def _drain_asked(self, event: DrainAsked, now: float) -> None:
        if self.mode is not Mode.RUNNING:
            return
        self._drain(now, Exit(event.status, event.message))

    def _part_died(self, event: PartDied, now: float) -> None:
        text = f"the node's {event.part} ended with an error: {event.reason}"
        self._out.append(Warn(text))
        if self.mode is Mode.RUNNING:
            self._drain(now, Exit(1, text))
        else:
            self._ending = Exit(1, text)

    def _stop_asked(self, _event: StopAsked, now: float) -> None:
        self.mode = Mode.STOPPING
        self._end_at = now + self.rules.stop_s
        self._kill_all()
        for sweep in self.sweeps.values():
            for job in self._jobs(sweep):
                job.try_at = 0.0


def _sweep_of(queue: str) -> str:
    return queue.removesuffix("-jobs")


def _paused(sweep: SweepInHand) -> SweepFacts:
    return dataclasses.replace(sweep.facts, state=SweepState.PAUSED)


def _overran(sweep: SweepInHand) -> str:
    return f"killed after {sweep.facts.time_s:g} s (limits.time)"
