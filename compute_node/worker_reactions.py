"""What becomes of workers and of what they were given: ready, done, died, late."""

from __future__ import annotations

from compute_node.attempts import Attempt
from compute_node.commands import ForgetBlocks, RecordLost, WithdrawChunks
from compute_node.crew import WorkerInHand, WorkerStatus
from compute_node.events import (
    BlockMade,
    ChunkEnded,
    Progress,
    SweepState,
    Ticked,
    WorkerDied,
    WorkerReady,
    WorkerUnfit,
)
from compute_node.holdings import Holdings
from compute_node.jobs_in_hand import Lane
from compute_node.sweeps_in_hand import SweepInHand
from gapless.declaration.runset import RunSet

__all__ = ["WorkerReactions"]


class WorkerReactions(Holdings):
    """One method an event of the workers."""

    def _worker_ready(self, event: WorkerReady, _now: float) -> None:
        worker = self.crew.workers[event.worker]
        if worker.status is not WorkerStatus.STARTING:
            # It was killed while it said so.
            return
        worker.become(WorkerStatus.READY)
        sweep = self.sweeps[worker.deployment.sweep]
        sweep.unfit_s = 0.0

    def _worker_unfit(self, event: WorkerUnfit, now: float) -> None:
        worker = self.crew.workers.pop(event.worker)
        sweep = self.sweeps[worker.deployment.sweep]
        for key in worker.chunks:
            lane, held = self._chunk_of(sweep, key)
            del lane.chunks[key]
            lane.take_back(held.left)
        if worker.status is not WorkerStatus.LEAVING:
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
            opened_bytes=event.opened_bytes,
            now=now,
        )

    def _chunk_ended(self, event: ChunkEnded, now: float) -> None:
        worker = self.crew.workers[event.worker]
        worker.held_up = False
        sweep = self.sweeps[worker.deployment.sweep]
        if event.chunk not in worker.chunks:
            # Taken back from behind a long run, or of a sweep that is cancelled.
            return
        worker.chunks.remove(event.chunk)
        lane, held = self._chunk_of(sweep, event.chunk)
        left = held.left
        for attempt in event.retries:
            if attempt.run in left:
                left -= RunSet.of(attempt.run)
                self._attempt_ended(sweep, lane, attempt, now, worker=None)
        del lane.chunks[event.chunk]
        lane.take_back(left)

    def _worker_died(self, event: WorkerDied, now: float) -> None:
        worker = self.crew.workers.pop(event.worker)
        sweep = self.sweeps[worker.deployment.sweep]
        if worker.status is WorkerStatus.STARTING:
            self._unfit(sweep, f"a worker ended while it started: {event.exit}", now)
        charged = not worker.killed or worker.overran == (event.run, event.attempt)
        found = False
        for chunk in worker.chunks:
            lane, held = self._chunk_of(sweep, chunk)
            left = held.left
            del lane.chunks[chunk]
            if charged and not found and event.run is not None and event.run in left:
                found = True
                left -= RunSet.of(event.run)
                attempt = Attempt(
                    run=event.run,
                    number=event.attempt,
                    outcome="timeout" if worker.killed else "lost",
                    exit=_overran(sweep) if worker.killed else event.exit,
                    started_s=event.started_s,
                    duration_s=event.duration_s,
                    peak_memory_bytes=event.peak_memory_bytes,
                )
                self._attempt_ended(sweep, lane, attempt, now, worker=event.worker)
            lane.take_back(left)
        if worker.chunks and not worker.killed and not found:
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
        earlier = lane.attempts.get(run, ())
        lane.attempts[run] = (*earlier, attempt)
        number = len(earlier) + 1
        facts = sweep.facts
        if number < facts.attempts and attempt.outcome in facts.retry_on:
            if lane.wanted(run):
                pause = self.rules.retry_pause_s * 2 ** min(number - 1, 6)
                wait = pause if attempt.outcome == "failed" else 0.0
                lane.retries[run] = now + wait
            return
        # Also when its job went to somebody else while it was under way: a run that outlasts every
        # lease and then takes down its worker would else go round for ever.
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

    def _ticked(self, event: Ticked, _now: float) -> None:
        self._room = event.room
        for progress in event.progress:
            worker = self.crew.workers.get(progress.worker)
            if worker is not None and not worker.killed and worker.chunks:
                self._watch(worker, progress)

    def _watch(self, worker: WorkerInHand, progress: Progress) -> None:
        sweep = self.sweeps[worker.deployment.sweep]
        limit = sweep.facts.time_s
        if limit is not None and progress.running_s > limit:
            worker.overran = progress.run, progress.attempt
            self._kill(worker)
        elif progress.running_s > self.rules.steal_after_s:
            self._free_waiting(sweep, worker, progress.run)

    def _free_waiting(self, sweep: SweepInHand, worker: WorkerInHand, run: int) -> None:
        """Take back what waits behind a long run, for other workers or other nodes.

        The worker may start one of them in this very moment; then it is done twice, recorded once.
        """
        held_here = (self._chunk_of(sweep, chunk)[1] for chunk in worker.chunks)
        if not any(run in held.left for held in held_here):
            # It is still in what was withdrawn before; what waits here it has not read yet.
            return
        worker.held_up = True
        freed = False
        for chunk in list(worker.chunks):
            lane, held = self._chunk_of(sweep, chunk)
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


def _overran(sweep: SweepInHand) -> str:
    return f"killed after {sweep.facts.time_s:g} s (limits.time)"
