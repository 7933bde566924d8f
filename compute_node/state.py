"""What a node decides: events in, commands out. No clock, thread, file, socket or chance in here.

`handle(event, now)` takes what happened (`now`: monotonic seconds, never backwards) and gives what
is to be done. The shell performs the commands in the order given and reports back by events; a
command that is never answered costs time, never a run, because the lease of its job ends.

    RUNNING --DrainAsked--> DRAINING --all delivered and given back--> ENDED
       |                       |
       +------StopAsked--------+--> STOPPING --given back, or stop_s passed--> ENDED

What must hold, whatever the order of events (invariant I2): a run leaves a job only by an
acknowledged delivery, or by an acknowledged replace that names it, or because its sweep is
cancelled or complete. So `JobInHand.remaining` shrinks in `Lane.acknowledge` only, and a job is
deleted only when nothing of it remains.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

from compute_node import job_changes
from compute_node.attempts import Attempt
from compute_node.commands import (
    AssignChunk,
    Chunk,
    Command,
    Exit,
    ForgetBlocks,
    KillWorker,
    PrepareSweep,
    PutQuarantine,
    ReceiveJobs,
    RecordLost,
    ReleaseJob,
    Warn,
    WithdrawChunks,
)
from compute_node.crew import Crew, Demand, Kill, KillReason, WorkerInHand, WorkerStatus
from compute_node.deliveries import Deliveries
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
from compute_node.jobs_in_hand import ChunkInHand, Intent, JobInHand, Lane, Retry
from compute_node.pacing import LONGEST_AHEAD_S
from compute_node.rules import NodeRules
from compute_node.sweeps_in_hand import SweepInHand
from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.messages import decode_job, encode_job
from gapless.declaration.runset import RunSet
from queueing.port import MAX_BATCH, AnswerStatus, Lease, Message

__all__ = ["Mode", "NodeState"]

_LONGEST_PAUSE_S = 30.0
_LONG_RUN_S = 5.0


class Mode(enum.Enum):
    """Where the node is in its life."""

    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    ENDED = "ended"


class NodeState:
    """Everything a node knows, and what follows from it."""

    def __init__(self, rules: NodeRules) -> None:
        self.rules = rules
        self.mode = Mode.RUNNING
        self.sweeps: dict[str, SweepInHand] = {}
        self.crew = Crew(rules.workers)
        self.deliveries = Deliveries(
            node=rules.node,
            new_id=self._new_id,
            most_bytes=rules.most_message_bytes,
            linger_s=rules.linger_s,
            most_in_flight=rules.most_in_flight,
        )
        self._out: list[Command] = []
        self._ids = 0
        self._next_key = 1
        self._receiving = False
        self._receive_at = 0.0
        self._receive_tries = 0
        self._setting_aside = 0
        self._job_runs = 0.0
        self._room = True
        self._idle_since: float | None = None
        self._end_at = 0.0
        self._ending = Exit(0)
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

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; give what is to be done, in order."""
        self._out = []
        if self.mode is Mode.ENDED:
            return []
        self._handlers[type(event)](event, now)
        self._deliver(now)
        self._settle_jobs(now)
        self._prepare(now)
        self._staff(now)
        self._assign(now)
        self._receive(now)
        self._end(now)
        out, self._out = self._out, []
        return out

    # What happened -----------------------------------------------------------------------------

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
        if sweep.facts.state is SweepState.CANCELLED or job.epoch <= sweep.completed_epoch:
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
        for name, epoch in event.epochs:
            sweep = self.sweeps.get(name)
            if sweep is None:
                continue
            sweep.completed_epoch = max(sweep.completed_epoch, epoch)
            for lane in sweep.lanes.values():
                if lane.epoch <= epoch:
                    for job in lane.jobs.values():
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

    # What follows ------------------------------------------------------------------------------

    def _deliver(self, now: float) -> None:
        def nothing_to_wait_for(name: str) -> bool:
            return self.mode is not Mode.RUNNING or self.sweeps[name].chunk_count() == 0

        self._out.extend(self.deliveries.due(now, hurry=nothing_to_wait_for))

    def _settle_jobs(self, now: float) -> None:
        for sweep in self.sweeps.values():
            returning = self.mode is not Mode.RUNNING or not sweep.open(now)
            for lane in sweep.lanes.values():
                busy: RunSet | None = None
                for job in list(lane.jobs.values()):
                    if job.changing or job.try_at > now:
                        continue
                    if returning and job.remaining and busy is None:
                        stopping = self.mode is Mode.STOPPING
                        busy = RunSet() if stopping else lane.underway()
                    change = job_changes.next_change(
                        job,
                        now=now,
                        rules=self.rules,
                        sweep=sweep,
                        busy=busy if returning else None,
                        new_id=self._new_id,
                        workers=self.crew.slots,
                    )
                    if change is not None:
                        if returning and job.remaining:
                            lane.set_aside(job, Intent.GIVE_BACK)
                        job.changing = True
                        self._out.append(change)

    def _prepare(self, now: float) -> None:
        if self.mode is not Mode.RUNNING:
            return
        for index, sweep in enumerate(self._by_priority()):
            if sweep.preparing or not sweep.open(now) or now < sweep.prepare_at:
                continue
            # The preferred sweep before its first job is here: fetching and importing take longest.
            if not (self._jobs(sweep) or (index == 0 and not self.crew.workers)):
                continue
            outgrown = sweep.total is not None and any(
                job.greatest >= sweep.total and not job.changing for job in self._jobs(sweep)
            )
            if sweep.total is None or sweep.prepared_code != sweep.facts.code or outgrown:
                sweep.preparing = True
                self._out.append(PrepareSweep(sweep.facts.sweep, sweep.facts.code))

    def _staff(self, now: float) -> None:
        if self.mode is not Mode.RUNNING:
            return
        demands = []
        current = []
        for sweep in self._by_priority():
            deployment = sweep.deployment(now)
            if deployment is None:
                continue
            current.append(deployment)
            waiting = sweep.available() + sum(len(lane.retries) for lane in sweep.lanes.values())
            if waiting:
                size = sweep.pace.chunk_runs(todo=waiting, workers=self.crew.slots)
                demands.append(Demand(deployment, min(self.crew.slots, -(-waiting // size))))
            elif not self.crew.workers and len(current) == 1:
                # Before the first job is here: importing the user's code takes longer than it.
                demands.append(Demand(deployment, min(self.crew.slots, deployment.total)))
        self._out.extend(self.crew.retire_idle(current))
        self._out.extend(self.crew.staff(demands))

    def _assign(self, now: float) -> None:
        if self.mode is not Mode.RUNNING or not self._room:
            return
        for sweep in self._by_priority():
            deployment = sweep.deployment(now)
            if deployment is None:
                continue
            if not any(lane.retries or lane.todo_count for lane in sweep.lanes.values()):
                continue
            workers = [
                each
                for each in self.crew.serving(sweep.facts.sweep)
                if each.deployment == deployment and each.status is WorkerStatus.READY
            ]
            for depth in (0, 1):
                for worker in workers:
                    if len(worker.chunks) == depth and not (worker.chunks and worker.held_up):
                        self._feed(sweep, worker, now)

    def _feed(self, sweep: SweepInHand, worker: WorkerInHand, now: float) -> None:
        todo = sweep.available()
        size = sweep.pace.chunk_runs(todo=todo, workers=self.crew.slots)
        if worker.chunks:
            seconds = sweep.pace.seconds(size)
            if seconds is None or seconds > LONGEST_AHEAD_S:
                return
        facts = sweep.facts
        for lane in sweep.lanes.values():
            earlier: tuple[Attempt, ...] = ()
            run = lane.due_retry(now) if lane.retries else None
            if run is not None:
                del lane.retries[run]
                earlier = lane.attempts[run]
                runs = RunSet.of(run)
            else:
                runs = lane.take(size, sweep.total or 0)
            if not runs:
                continue
            chunk = Chunk(
                chunk=self._next_key,
                sweep=facts.sweep,
                epoch=lane.epoch,
                runs=runs,
                earlier=earlier,
                attempts=facts.attempts,
                retry_failed="failed" in facts.retry_on,
            )
            self._next_key += 1
            lane.chunks[chunk.chunk] = ChunkInHand(chunk, worker.worker, runs)
            worker.chunks.append(chunk.chunk)
            self._out.append(AssignChunk(worker.worker, chunk))
            return

    def _receive(self, now: float) -> None:
        if (
            self.mode is not Mode.RUNNING
            or self._receiving
            or not self._room
            or now < self._receive_at
        ):
            return
        queues = tuple(
            f"{sweep.facts.sweep}-jobs" for sweep in self._by_priority() if sweep.open(now)
        )
        most = self._jobs_wanted()
        if queues and most > 0:
            self._receiving = True
            self._out.append(ReceiveJobs(queues, most))

    def _jobs_wanted(self) -> int:
        """Say how many more jobs keep the workers busy without hoarding (0 to MAX_BATCH)."""
        unfinished = runs = 0
        seconds: float = 0.0
        longest = 0.0
        known = True
        for sweep in self.sweeps.values():
            waiting = sweep.available()
            for job in self._jobs(sweep):
                unfinished += bool(job.todo)
                if job.todo and job.greatest >= (sweep.total or 0):
                    return 0
            took = sweep.pace.seconds(waiting)
            if took is None:
                known = known and not waiting
            else:
                seconds += took
                longest = max(longest, sweep.pace.mean_s or 0.0)
            runs += waiting
        room = self.rules.most_jobs - unfinished
        slots = self.crew.slots
        if not known or longest == 0.0:
            lacking = 2.0 * slots - runs
        elif longest > _LONG_RUN_S:
            lacking = float(self.crew.idle_count - runs)
        else:
            lacking = (self.rules.ahead_s * slots - seconds) / longest
        if lacking <= 0 or room <= 0:
            return 0
        if not self._job_runs:
            return 1
        return max(1, min(MAX_BATCH, room, int(lacking / self._job_runs)))

    def _end(self, now: float) -> None:
        held = any(
            not lane.empty for sweep in self.sweeps.values() for lane in sweep.lanes.values()
        )
        if self.mode is Mode.RUNNING:
            self._end_by_itself(now, held=held)
        elif self.mode is Mode.DRAINING:
            if (
                not held
                and self.deliveries.empty
                and not self._receiving
                and not self._setting_aside
            ):
                self._exit(self._ending)
            elif now >= self._end_at:
                self._kill_all()
                if now >= self._end_at + self.rules.farewell_s:
                    text = "the queue or the home was away to the end: what was done is repeated"
                    self._exit(Exit(1, self._ending.message or text))
        elif self.mode is Mode.STOPPING:
            jobs = any(True for sweep in self.sweeps.values() for _ in self._jobs(sweep))
            if now >= self._end_at or not (jobs or self._receiving):
                self._exit(self._ending)

    def _end_by_itself(self, now: float, *, held: bool) -> None:
        served = [
            sweep for sweep in self.sweeps.values() if sweep.facts.state is not SweepState.CANCELLED
        ]
        if (
            self.rules.only
            and served
            and all(sweep.unfit_text and now < sweep.unfit_until for sweep in served)
        ):
            self._drain(now, Exit(1, "\n".join(sweep.unfit_text for sweep in served)))
            return
        if held or self._idle_since is None:
            self._idle_since = now
        if self.rules.idle_exit_s is not None and now - self._idle_since >= self.rules.idle_exit_s:
            self._drain(now, Exit(0))

    # Small things ------------------------------------------------------------------------------

    def _drain(self, now: float, ending: Exit) -> None:
        self.mode = Mode.DRAINING
        self._ending = ending
        self._end_at = now + self.rules.grace_s
        self.deliveries.hurry()
        for name in self.sweeps:
            self._withdraw(name)

    def _exit(self, ending: Exit) -> None:
        self.mode = Mode.ENDED
        self._out.append(ending)

    def _withdraw(self, sweep: str) -> None:
        for worker in self.crew.serving(sweep):
            if worker.chunks:
                self._out.append(WithdrawChunks(worker.worker))

    def _kill(self, worker: WorkerInHand, kill: Kill) -> None:
        worker.killed = kill
        worker.status = WorkerStatus.LEAVING
        self._out.append(KillWorker(worker.worker))

    def _kill_all(self) -> None:
        for worker in self.crew.workers.values():
            if worker.killed is None:
                self._kill(worker, Kill(KillReason.STOP))

    def _drop_sweep(self, sweep: SweepInHand) -> None:
        for worker in self.crew.serving(sweep.facts.sweep):
            if worker.killed is None:
                worker.chunks.clear()
                self._kill(worker, Kill(KillReason.STOP))
        for lane in sweep.lanes.values():
            lane.forget()
        dropped = self.deliveries.drop(sweep.facts.sweep)
        if dropped:
            self._out.append(ForgetBlocks(dropped))

    def _unfit(self, sweep: SweepInHand, text: str, now: float) -> None:
        if now < sweep.unfit_until:
            return
        sweep.unfit_times += 1
        delay = min(900.0, self.rules.unfit_delay_s * 2 ** min(sweep.unfit_times - 1, 8))
        sweep.unfit_until = now + delay
        sweep.unfit_text = f"this node cannot run sweep {sweep.facts.sweep}: {text}"
        self._out.append(Warn(sweep.unfit_text))
        self._withdraw(sweep.facts.sweep)

    def _release(self, lease: Lease, delay_s: float, why: str) -> None:
        self._setting_aside += 1
        self._out.extend((Warn(why), ReleaseJob(lease, delay_s)))

    def _quarantine(self, message: Message, sweep: str, why: str) -> None:
        self._setting_aside += 1
        self._out.extend(
            (
                Warn(f"a message of sweep {sweep} goes to quarantine: {why}"),
                PutQuarantine(message.lease, sweep, message.body, why),
            )
        )

    def _by_priority(self) -> list[SweepInHand]:
        return sorted(self.sweeps.values(), key=lambda sweep: -sweep.facts.priority)

    def _jobs(self, sweep: SweepInHand) -> list[JobInHand]:
        return [job for lane in sweep.lanes.values() for job in lane.jobs.values()]

    def _job(self, key: int) -> tuple[Lane | None, JobInHand | None]:
        for sweep in self.sweeps.values():
            for lane in sweep.lanes.values():
                if key in lane.jobs:
                    return lane, lane.jobs[key]
        return None, None

    def _chunk(self, sweep: SweepInHand, key: int) -> tuple[Lane | None, ChunkInHand | None]:
        for lane in sweep.lanes.values():
            if key in lane.chunks:
                return lane, lane.chunks[key]
        return None, None

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self.rules.id_prefix}-{self._ids}"


def _sweep_of(queue: str) -> str:
    return queue.removesuffix("-jobs")


def _paused(sweep: SweepInHand) -> SweepFacts:
    return dataclasses.replace(sweep.facts, state=SweepState.PAUSED)


def _overran(sweep: SweepInHand) -> str:
    return f"killed after {sweep.facts.time_s:g} s (limits.time)"
