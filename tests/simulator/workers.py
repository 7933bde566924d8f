"""The worker processes of a node of the world, made up: what they would report, on virtual time.

A worker does the runs of its chunks one after the other, each taking virtual time and ending as the
plan says: well, with an exception, by the death of its process, or never.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from compute_node.attempts import Attempt
from compute_node.commands import Chunk
from compute_node.events import (
    BlockMade,
    ChunkEnded,
    Event,
    Progress,
    WorkerDied,
    WorkerUnfit,
)
from compute_node.lost_runs import attempt_record
from compute_node.outbox import Outbox
from gapless.declaration.messages import text_digest
from gapless.declaration.runset import RunSet
from gapless.results.block import ErrorRecord, encode_block
from gapless.results.block_builder import BlockBuilder
from gapless.results.outcome import Outcome
from tests.simulator.faults import Fault
from tests.simulator.plan import Ending, Plan
from tests.simulator.world import Actor, World

__all__ = ["Worker", "Workers"]


class Worker:
    """A worker process: chunks to do, the run it is in, results not yet reported."""

    def __init__(self, sweep: str, code: str) -> None:
        self.sweep = sweep
        self.code = code
        self.chunks: list[Chunk] = []
        self.left: list[int] = []
        self.run: int | None = None
        self.attempt = 1
        self.started_at = 0.0
        self.started_s = 0.0
        self.turn = 0
        self.withdrawn = False
        self.builder: BlockBuilder | None = None
        self.done: list[int] = []
        self.busy_s = 0.0
        self.retries: list[Attempt] = []


class Workers(Actor):
    """The part of a node that has the workers."""

    def __init__(self, world: World, name: str, plan: Plan) -> None:
        super().__init__(world, name)
        self.plan = plan
        self.workers: dict[int, Worker] = {}
        self.seeds: dict[str, list[int]] = {}
        self.outbox: Outbox

    def tell(self, event: Event) -> None:
        """Let the state machine hear of an event soon."""
        raise NotImplementedError

    def begins(self, chunk: Chunk, run: int, attempt: int) -> None:
        """Note that an attempt begins."""

    def progress(self) -> tuple[Progress, ...]:
        """Give what each worker is in, as the pool does."""
        now = self.world.now
        return tuple(
            Progress(worker, each.run, each.attempt, now - each.started_at)
            for worker, each in self.workers.items()
            if each.run is not None
        )

    def if_there(self, worker: int, event: Event) -> None:
        """Tell of a worker unless it is gone."""
        if worker in self.workers:
            self.tell(event)

    def maybe_unfit(self, key: int) -> None:
        """Let a worker, while there are faults, find out after it was ready that it cannot work."""
        worker = self.workers[key]
        if self.world.fault(Fault.WORKER_DIES, self.plan.unfit / 2):
            self.end_worker(key, "exit status 1")
            return
        if not self.world.fault(Fault.UNFIT, self.plan.unfit):
            return

        def end() -> None:
            if self.workers.get(key) is worker:
                del self.workers[key]
                self.tell(WorkerUnfit(key, "the target cannot be called"))

        self.main.at(0.2 + 2.0 * self.world.dice(Fault.UNFIT).random(), end)

    def assign(self, key: int, chunk: Chunk) -> None:
        """Hand a chunk to a worker."""
        worker = self.workers.get(key)
        if worker is None:
            return
        worker.chunks.append(chunk)
        if len(worker.chunks) == 1 and self.world.fault(Fault.WORKER_DIES, self.plan.unfit):
            # Before its first run: nobody is charged for this death.
            self.end_worker(key, "signal 9")
        elif len(worker.chunks) == 1:
            worker.withdrawn = False
            self._begin_chunk(key, worker)

    def withdrawal(self, key: int) -> Callable[[], None]:
        """Give how a worker hears that it shall end what it has now, and nothing it gets later."""
        worker = self.workers.get(key)
        chunk = worker.chunks[0] if worker is not None and worker.chunks else None

        def withdraw() -> None:
            if worker is not None and worker.chunks and worker.chunks[0] is chunk:
                worker.withdrawn = True

        return withdraw

    def _begin_chunk(self, key: int, worker: Worker) -> None:
        chunk = worker.chunks[0]
        worker.left = list(chunk.runs)
        worker.builder = BlockBuilder(chunk.epoch, self.name, worker.code)
        worker.done, worker.retries, worker.busy_s = [], [], 0.0
        self._begin_run(key, worker)

    def _begin_run(self, key: int, worker: Worker) -> None:
        chunk = worker.chunks[0]
        if not worker.left or worker.withdrawn:
            self._end_chunk(key, worker)
            return
        run = worker.left.pop(0)
        worker.run, worker.started_at, worker.started_s = run, self.world.now, self.clock()
        worker.turn += 1
        earlier = [each for each in chunk.earlier if each.run == run]
        worker.attempt = len(earlier) + 1
        self.begins(chunk, run, worker.attempt)
        ending = self.plan.ending(chunk.sweep, run, worker.attempt)
        turn = worker.turn

        def end() -> None:
            if self.workers.get(key) is worker and worker.turn == turn:
                self._end_run(key, worker, ending)

        if ending is not Ending.HANGS:
            self.main.at(self.plan.duration_s(chunk.sweep, run), end)

    def _end_run(self, key: int, worker: Worker, ending: Ending) -> None:
        chunk, run = worker.chunks[0], worker.run
        assert run is not None
        assert worker.builder is not None
        if ending is Ending.KILLS_NODE:
            if self._takes_node_down(chunk.sweep, run):
                self.die()
                return
            ending = Ending.OK
        if ending is Ending.KILLS and not self.plan.commands:
            self.end_worker(key, "signal 11")
            return
        # A command that was killed is told by its worker, which lives.
        killed = ending is Ending.KILLS
        duration_s = self.world.now - worker.started_at
        earlier = [each for each in chunk.earlier if each.run == run]
        attempt = Attempt(
            run=run,
            number=worker.attempt,
            outcome="lost" if killed else "failed",
            exit="signal 11" if killed else "ValueError",
            started_s=worker.started_s,
            duration_s=duration_s,
        )
        again = chunk.retry_lost if killed else ending is Ending.FAILS and chunk.retry_failed
        if again and worker.attempt < chunk.attempts:
            worker.retries.append(attempt)
        else:
            ok = ending is Ending.OK
            records = [*earlier, *(() if ok else (attempt,))]
            worker.builder.add(
                run,
                outcome=Outcome.OK if ok else Outcome[attempt.outcome.upper()],
                complete=ok,
                attempt=worker.attempt,
                started_s=worker.started_s,
                duration_s=duration_s,
                values=self._values(chunk.sweep, worker) if ok else {},
                error=None if ok else ErrorRecord(run=run, kind="exception", type="ValueError"),
                attempts=[attempt_record(each, node=self.name) for each in records],
            )
            worker.done.append(run)
            worker.busy_s += duration_s
        worker.run = None
        if len(worker.done) >= self.plan.runs_a_block:
            self._report_block(key, worker)
        self._begin_run(key, worker)

    def _values(self, sweep: str, worker: Worker) -> dict[str, float]:
        assert worker.run is not None
        return {"y": self.plan.value(self.seeds[sweep][worker.run], worker.started_s)}

    def _takes_node_down(self, sweep: str, run: int) -> bool:
        """Tell whether a run still takes its node down; each time counts for the whole world."""
        deaths = self.world.node_deaths
        if deaths[sweep, run] >= self.plan.node_deaths(sweep, run):
            return False
        deaths[sweep, run] += 1
        return self.world.happens(Fault.KILLS_NODE)

    def _report_block(self, key: int, worker: Worker) -> None:
        assert worker.builder is not None
        if not worker.done:
            return
        chunk = worker.chunks[0]
        text = base64.b64encode(encode_block(worker.builder.build()))
        event = BlockMade(
            sweep=chunk.sweep,
            epoch=chunk.epoch,
            block=self.outbox.add(text),
            runs=RunSet.from_numbers(worker.done),
            digest=text_digest(text.decode("ascii")),
            size_bytes=len(text),
            worker=key,
            chunk=chunk.chunk,
            busy_s=worker.busy_s,
        )
        worker.builder = BlockBuilder(chunk.epoch, self.name, worker.code)
        worker.done, worker.busy_s = [], 0.0
        self.tell(event)

    def _end_chunk(self, key: int, worker: Worker) -> None:
        self._report_block(key, worker)
        chunk = worker.chunks.pop(0)
        self.tell(ChunkEnded(key, chunk.chunk, tuple(worker.retries)))
        if worker.chunks:
            self._begin_chunk(key, worker)

    def end_worker(self, key: int, how: str) -> None:
        """End a process; what it did not report is lost."""
        worker = self.workers.pop(key, None)
        if worker is None:
            return
        facts: dict[str, Any] = {}
        if worker.run is not None:
            facts = {
                "run": worker.run,
                "attempt": worker.attempt,
                "started_s": worker.started_s,
                "duration_s": self.world.now - worker.started_at,
            }
        self.tell(WorkerDied(worker=key, exit=how, **facts))
