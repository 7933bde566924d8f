"""What a node decides: events in, commands out. No clock, thread, file, socket or chance in here.

`handle(event, now)` takes what happened (`now`: monotonic seconds, never backwards) and gives what
is to be done. The shell performs the commands in the order given and reports back by events; a
command that is never answered costs time, never a run, because the lease of its job ends.

    RUNNING --DrainAsked--> DRAINING --all delivered and given back--> ENDED
       |                       |
       +------StopAsked--------+--> STOPPING --given back, or stop_s passed--> ENDED

What must hold, whatever the order of events (invariant I2): a run leaves a job only by an
acknowledged delivery, or by an acknowledged replace that names it, or because its sweep is
cancelled or complete, or because a look at the home that began after the job came found its final
result. So `JobInHand.remaining` shrinks in `Lane.acknowledge` and `Lane.covered` only, and a job is
deleted only when nothing of it remains. And no run of a job is begun before it is known what was
wanted of its sweep (state, code, limits) after the job came.
"""

from __future__ import annotations

from compute_node import job_changes
from compute_node.commands import (
    UNFIT,
    AssignChunk,
    Chunk,
    Command,
    Exit,
    LetGo,
    PrepareSweep,
    ReceiveJobs,
)
from compute_node.crew import Demand, WorkerInHand, WorkerStatus
from compute_node.events import (
    Event,
    SweepState,
)
from compute_node.holdings import Mode
from compute_node.jobs_in_hand import ChunkInHand, Intent, Lane
from compute_node.pacing import LONGEST_AHEAD_S
from compute_node.reactions import Reactions
from compute_node.sweeps_in_hand import SweepInHand
from gapless.declaration.runset import RunSet
from queueing.port import MAX_BATCH

__all__ = ["Mode", "NodeState"]

_LONG_RUN_S = 5.0


class NodeState(Reactions):
    """Everything a node knows, and what follows from it."""

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; give what is to be done, in order. After an `Exit` there is no other."""
        self._out = []
        self.react(event, now)
        self._deliver(now)
        self._begin_looked_up(now)
        self._settle_jobs(now)
        self._prepare(now)
        self._staff(now)
        self._assign(now)
        self._receive(now)
        self._end(now)
        out, self._out = self._out, []
        return out

    def resting(self, now: float) -> frozenset[str]:
        """Name the sweeps whose control records need not be looked at yet."""
        return frozenset(
            name
            for name, sweep in self.sweeps.items()
            if self._rests(sweep) and now - sweep.looked_at < self.rules.rest_s
        )

    def _deliver(self, now: float) -> None:
        def nothing_to_wait_for(name: str) -> bool:
            return self.mode is not Mode.RUNNING or self.sweeps[name].chunk_count() == 0

        self._out.extend(self.deliveries.due(now, hurry=nothing_to_wait_for))

    def _begin_looked_up(self, now: float) -> None:
        """Wait no longer than `look_up_s` for what is stored: doing it again costs only time."""
        for sweep in self.sweeps.values():
            for lane in sweep.lanes.values():
                for job in lane.jobs.values():
                    overdue = now - job.received_at >= self.rules.look_up_s
                    if job.intent is Intent.LOOK_UP and overdue:
                        lane.begin(job)

    def _settle_jobs(self, now: float) -> None:
        for sweep in self.sweeps.values():
            returning = self.mode is not Mode.RUNNING or not sweep.open(now)
            for lane in sweep.lanes.values():
                if returning and lane.retries:
                    lane.end_retries()
                busy = self._waited_for(lane) if returning else None
                for job in list(lane.jobs.values()):
                    if job.changing or job.try_at > now:
                        continue
                    change = job_changes.next_change(
                        job,
                        now=now,
                        rules=self.rules,
                        sweep=sweep,
                        busy=busy,
                        new_id=self._new_id,
                        workers=self.crew.slots,
                    )
                    if isinstance(change, LetGo):
                        lane.remove(job.key)
                        self._out.append(change)
                    elif change is not None:
                        if returning and job.remaining:
                            lane.set_aside(job, Intent.GIVE_BACK)
                        job.changing = True
                        self._out.append(change)

    def _waited_for(self, lane: Lane) -> RunSet:
        """Give the runs whose end is waited for before their job is given back."""
        return RunSet() if self.mode is Mode.STOPPING else lane.underway()

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
                sweep.doubted = frozenset(job.key for job in self._jobs(sweep))
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
        if current and not demands and not self.crew.workers:
            # Before the first job is here: importing the user's code takes longer than it.
            first = current[0]
            demands.append(Demand(first, min(self.crew.slots, first.total)))
        self._out.extend(self.crew.retire_idle(current))
        self._out.extend(self.crew.staff(demands))

    def _assign(self, now: float) -> None:
        if self.mode is not Mode.RUNNING or not self._room:
            return
        for sweep in self._by_priority():
            if not any(lane.retries or lane.todo_count for lane in sweep.lanes.values()):
                continue
            deployment = sweep.deployment(now)
            if deployment is None:
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
            run = lane.due_retry(now)
            if run is not None:
                del lane.retries[run]
                earlier = lane.attempts[run]
                runs = RunSet.of(run)
            else:
                runs = lane.take(size, worker.deployment.total)
                # A retry whose chunk was taken back waits here with its attempts.
                earlier = tuple(
                    attempt
                    for run, attempts in lane.attempts.items()
                    if run in runs
                    for attempt in attempts
                )
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
                retry_lost="lost" in facts.retry_on,
            )
            self._next_key += 1
            lane.chunks[chunk.chunk] = ChunkInHand(worker.worker, runs)
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
        asked = self._sweeps_to_ask(now)
        most = self._jobs_wanted()
        if asked and most > 0:
            self._receiving = True
            self._asked = tuple(sweep.facts.sweep for sweep in asked)
            awake = not all(map(self._rests, asked))
            # Those that rest are only looked at, one after the other, if nothing else is wanted.
            wait_s = None if awake else self.rules.rest_look_s * len(asked)
            queues = tuple(f"{sweep}-jobs" for sweep in self._asked)
            self._out.append(ReceiveJobs(queues, most, wait_s))

    def _sweeps_to_ask(self, now: float) -> list[SweepInHand]:
        """Give the sweeps to receive from; of those that rest the few longest not asked, if due."""
        served = [sweep for sweep in self._by_priority() if sweep.open(now)]
        resting = [sweep for sweep in served if self._rests(sweep)]
        if not resting:
            return served
        due = [sweep for sweep in resting if now - sweep.empty_at >= self.rules.rest_s]
        due.sort(key=lambda sweep: sweep.empty_at)
        left_out = {sweep.facts.sweep for sweep in resting} - {
            sweep.facts.sweep for sweep in due[: self.rules.most_resting]
        }
        return [sweep for sweep in served if sweep.facts.sweep not in left_out]

    def _jobs_wanted(self) -> int:
        """Say how many more jobs keep the workers busy without hoarding (0 to MAX_BATCH)."""
        unfinished = runs = 0
        seconds: float = 0.0
        longest = 0.0
        known = True
        for sweep in self.sweeps.values():
            waiting = sweep.available()
            for job in self._jobs(sweep):
                not_begun = job.intent in (Intent.LOOK_UP, Intent.WAIT)
                unfinished += bool(job.todo) or not_begun
                waiting += len(job.remaining) if not_begun else 0
                if job.todo and job.greatest >= (sweep.total or 0):
                    return 0
            mean_s = sweep.pace.mean_s
            if mean_s is None:
                known = known and not waiting
            else:
                seconds += waiting * mean_s
                longest = max(longest, mean_s)
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
        else:
            assert self.mode is Mode.STOPPING
            jobs = any(True for sweep in self.sweeps.values() for _ in self._jobs(sweep))
            if now >= self._end_at or not (jobs or self._receiving):
                self._exit(self._ending)

    def _end_by_itself(self, now: float, *, held: bool) -> None:
        served = [
            sweep for sweep in self.sweeps.values() if sweep.facts.state is not SweepState.CANCELLED
        ]
        if self.rules.only and served and all(now < sweep.unfit_until for sweep in served):
            self._drain(now, Exit(UNFIT, "\n".join(sweep.unfit_text for sweep in served)))
            return
        if held:
            self._found_nothing = False
        # Between two jobs a node is not idle: only a receive that found nothing tells.
        looking = any(sweep.open(now) for sweep in served) and not self._found_nothing
        if held or looking or self._idle_since is None:
            self._idle_since = now
        if self.rules.idle_exit_s is not None and now - self._idle_since >= self.rules.idle_exit_s:
            self._drain(now, Exit(0))
