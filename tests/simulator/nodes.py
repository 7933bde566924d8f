"""A node of the world: the real state machine, errands and outbox; its workers are made up.

A worker does the runs of its chunks one after the other, each taking virtual time and ending as the
plan says: well, with an exception, by the death of its process, or never.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from compute_node.attempts import Attempt
from compute_node.commands import (
    AssignChunk,
    Chunk,
    Command,
    DeleteJob,
    Exit,
    ForgetBlocks,
    KillWorker,
    PrepareSweep,
    PutQuarantine,
    ReceiveJobs,
    RecordLost,
    ReleaseJob,
    ReplaceJob,
    RetireWorker,
    SendDelivery,
    StartWorker,
    StoreClaim,
    Warn,
    WithdrawChunks,
)
from compute_node.errands import Errands
from compute_node.events import (
    BlockMade,
    ChunkEnded,
    ControlsRead,
    DrainAsked,
    Event,
    LeaseLost,
    PreparationFailed,
    Progress,
    SweepPrepared,
    SweepsCompleted,
    SweepState,
    Ticked,
    WorkerDied,
    WorkerReady,
)
from compute_node.lost_runs import attempt_record, lost_block
from compute_node.outbox import Outbox
from compute_node.output import Output
from compute_node.rules import NodeRules
from compute_node.state import NodeState
from compute_node.watches import CompletenessWatch, read_controls
from gapless.declaration.messages import text_digest
from gapless.declaration.runset import RunSet
from gapless.errors import GaplessError
from gapless.results.block import ErrorRecord, encode_block
from gapless.results.block_builder import BlockBuilder
from gapless.results.outcome import Outcome
from gapless.storage.sweeps import SweepStore
from queueing.leases import Renewals
from tests.simulator.plan import Ending, Plan, value_of
from tests.simulator.ports import FaultyBlobs, FaultyQueues
from tests.simulator.world import Actor, Crash, Lane, World

__all__ = ["SimNode"]

_CRASH = 0.0005
_TICK_S = 1.0
_CONTROL_S = 5.0
_COMPLETENESS_S = 7.0
_NOWHERE = Path("/nonexistent/never-written")


class _Worker:
    """A worker process: chunks to do, the run it is in, results not yet reported."""

    def __init__(self, sweep: str, code: str) -> None:
        self.sweep = sweep
        self.code = code
        self.chunks: list[Chunk] = []
        self.left: list[int] = []
        self.run: int | None = None
        self.attempt = 1
        self.started_at = 0.0
        self.turn = 0
        self.withdrawn = False
        self.builder: BlockBuilder | None = None
        self.done: list[int] = []
        self.retries: list[Attempt] = []


class SimNode(Actor):
    """Starts at once, and again some time after each death."""

    def __init__(self, world: World, name: str, *, lease_s: float, plan: Plan) -> None:
        super().__init__(world, name)
        self.lease_s = lease_s
        self.plan = plan
        self.queues: FaultyQueues
        self.blobs: FaultyBlobs

    def start(self) -> None:
        """Begin a life."""
        world = self.world
        world.log(f"{self.name} starts")
        self.main = self.inbox = Lane(self)
        names = ("receive", "send", "send2", "change", "prepare", "control", "watch", "renew")
        self.lanes = {name: Lane(self) for name in names}
        self.workers: dict[int, _Worker] = {}
        self.seeds: dict[str, list[int]] = {}
        rules = NodeRules(
            node=self.name,
            id_prefix=f"{self.name}-{world.new_id()}",
            workers=world.random.randrange(1, 4),
            lease_s=self.lease_s,
            grace_s=10.0,
            farewell_s=10.0,
            decrement_after_s=self.lease_s / 4,
            decrement_every_s=self.lease_s / 4,
            split_above_s=world.random.choice((5.0, 600.0)),
            split_keep_s=2.0,
            most_message_bytes=world.random.choice((900, 2500, 1_000_000)),
        )
        self.state = NodeState(rules)
        self.outbox = Outbox(_NOWHERE)
        self.renewals = Renewals(
            self.queues,
            lease_s=self.lease_s,
            on_lost=lambda lease: self.tell(LeaseLost(lease)),
            monotonic=world.clock,
        )
        self.errands = Errands(
            blobs=self.blobs,
            queues=self.queues,
            keeper=self.renewals,  # type: ignore[arg-type] # hold and drop are all it needs
            outbox=self.outbox,
            work_folder=_NOWHERE,
            lease_s=self.lease_s,
            wait_s=0.0,
        )
        self.files = SweepStore(self.blobs)
        self.completeness = CompletenessWatch(self.files, self.blobs)
        self.lanes["renew"].at(0.001, self._renew)
        self.lanes["control"].at(0.001, self._read_controls)
        self.lanes["watch"].at(_COMPLETENESS_S, self._watch_completeness)
        self.main.at(0.001, self._tick)

    def died(self) -> None:
        """Start again after a while."""
        self.frozen_until = 0.0
        self.start_later(1.0)

    def stop(self) -> None:
        """Ask it to drain, as SIGTERM does."""
        self.tell(DrainAsked())

    def tell(self, event: Event) -> None:
        """Let the state machine hear of an event soon."""
        self.inbox.after_others(0.001, lambda: self._handle(event))

    def _handle(self, event: Event) -> None:
        self.renewals.beat()
        for command in self.state.handle(event, self.world.now):
            if self.world.chance(_CRASH):
                raise Crash
            self.perform(command)

    def perform(self, command: Command) -> None:  # noqa: C901, PLR0912
        """Do a command, in its lane; a planted bug overrides this."""
        match command:
            case ReceiveJobs():
                self._do("receive", 0.5, lambda: [self.errands.receive(command, lambda _: None)])
            case PrepareSweep():
                self._do("prepare", 1.0, lambda: [self._prepare(command)])
            case SendDelivery() | StoreClaim():
                lane = self.world.random.choice(("send", "send2"))
                self._do(lane, 0.3, lambda: [self.deliver(command)])
            case DeleteJob():
                self._do("change", self._slow(), lambda: self.errands.delete([command]))
            case ReplaceJob():
                self._do("change", self._slow(), lambda: [self.errands.replace(command)])
            case ReleaseJob():
                self._do("change", 0.2, lambda: [self.errands.release(command)])
            case PutQuarantine():
                self._do("change", 0.2, lambda: [self.errands.quarantine(command)])
            case ForgetBlocks(blocks=blocks):
                self.outbox.forget(blocks)
            case StartWorker(worker=worker, deployment=deployment):
                self.workers[worker] = _Worker(deployment.sweep, deployment.code)
                self.main.at(0.2, lambda: self._if_there(worker, WorkerReady(worker)))
            case AssignChunk(worker=worker, chunk=chunk):
                self._assign(worker, chunk)
            case WithdrawChunks(worker=worker):
                if worker in self.workers:
                    self.workers[worker].withdrawn = True
            case RetireWorker(worker=worker):
                self._end_worker(worker, "exit status 0")
            case KillWorker(worker=worker):
                self._end_worker(worker, "signal 9")
            case RecordLost():
                self.tell(lost_block(command, Output(), node=self.name, outbox=self.outbox))
            case Warn():
                pass
            case Exit():
                self.world.log(f"{self.name} leaves: status {command.status}")
                self.life += 1
                self.died()

    def deliver(self, command: SendDelivery | StoreClaim) -> Event:
        """Send a delivery; a planted bug overrides this."""
        return self.errands.deliver(command)

    def _slow(self) -> float:
        """Give how long a change of a job may take; now and then longer than a lease."""
        return 1.5 * self.lease_s if self.world.chance(0.01) else 0.2

    def _do(self, lane: str, most_s: float, step: Callable[[], Iterable[Event]]) -> None:
        def act() -> None:
            for event in step():
                self.tell(event)

        self.lanes[lane].after_others(self.world.random.random() * most_s, act)

    def _prepare(self, command: PrepareSweep) -> Event:
        try:
            runs = self.files.load(command.sweep).runs
            # As a node does: everything the runs need is here before a worker starts.
            self.seeds[command.sweep] = runs.seeds(runs.all.to_array()).tolist()
        except GaplessError as error:
            return PreparationFailed(command.sweep, str(error))
        return SweepPrepared(command.sweep, command.code, runs.total)

    # What goes on by itself -----------------------------------------------------------------------

    def _tick(self) -> None:
        now = self.world.now
        progress = tuple(
            Progress(worker, each.run, each.attempt, now - each.started_at)
            for worker, each in self.workers.items()
            if each.run is not None
        )
        self.main.at(_TICK_S, self._tick)
        self._handle(Ticked(progress))

    def _renew(self) -> None:
        self.lanes["renew"].at(self.renewals.turn(), self._renew)

    def _read_controls(self) -> None:
        self.lanes["control"].at(_CONTROL_S, self._read_controls)
        try:
            self.tell(ControlsRead(read_controls(self.files, ())))
        except GaplessError:
            self.world.log(f"{self.name} cannot read the home")

    def _watch_completeness(self) -> None:
        self.lanes["watch"].at(_COMPLETENESS_S, self._watch_completeness)
        try:
            served = [
                facts.sweep
                for facts in read_controls(self.files, ())
                if facts.state is not SweepState.CANCELLED
            ]
            found = {sweep: self.completeness.completed(sweep) for sweep in served}
        except GaplessError:
            return
        complete = tuple((sweep, *at) for sweep, at in found.items() if at is not None)
        if complete:
            self.tell(SweepsCompleted(complete))

    # Workers --------------------------------------------------------------------------------------

    def _if_there(self, worker: int, event: Event) -> None:
        if worker in self.workers:
            self.tell(event)

    def _assign(self, key: int, chunk: Chunk) -> None:
        worker = self.workers.get(key)
        if worker is None:
            return
        worker.chunks.append(chunk)
        if len(worker.chunks) == 1:
            worker.withdrawn = False
            self._begin_chunk(key, worker)

    def _begin_chunk(self, key: int, worker: _Worker) -> None:
        chunk = worker.chunks[0]
        worker.left = list(chunk.runs)
        worker.builder = BlockBuilder(chunk.epoch, self.name, worker.code)
        worker.done, worker.retries = [], []
        self._begin_run(key, worker)

    def _begin_run(self, key: int, worker: _Worker) -> None:
        chunk = worker.chunks[0]
        if not worker.left or worker.withdrawn:
            self._end_chunk(key, worker)
            return
        run = worker.left.pop(0)
        worker.run, worker.started_at = run, self.world.now
        worker.turn += 1
        earlier = [each for each in chunk.earlier if each.run == run]
        worker.attempt = len(earlier) + 1
        ending = self.plan.ending(chunk.sweep, run, worker.attempt)
        turn = worker.turn

        def end() -> None:
            if self.workers.get(key) is worker and worker.turn == turn:
                self._end_run(key, worker, ending)

        if ending is not Ending.HANGS:
            self.main.at(self.plan.duration_s(chunk.sweep, run), end)

    def _end_run(self, key: int, worker: _Worker, ending: Ending) -> None:
        chunk, run = worker.chunks[0], worker.run
        assert run is not None
        assert worker.builder is not None
        if ending is Ending.KILLS:
            self._end_worker(key, "signal 11")
            return
        duration_s = self.world.now - worker.started_at
        earlier = [each for each in chunk.earlier if each.run == run]
        attempt = Attempt(
            run=run,
            number=worker.attempt,
            outcome="failed",
            exit="ValueError",
            started_s=worker.started_at,
            duration_s=duration_s,
        )
        if ending is Ending.FAILS and chunk.retry_failed and worker.attempt < chunk.attempts:
            worker.retries.append(attempt)
        else:
            ok = ending is Ending.OK
            records = [*earlier, *(() if ok else (attempt,))]
            worker.builder.add(
                run,
                outcome=Outcome.OK if ok else Outcome.FAILED,
                complete=ok,
                attempt=worker.attempt,
                started_s=worker.started_at,
                duration_s=duration_s,
                values={"y": value_of(self.seeds[chunk.sweep][run])} if ok else {},
                error=None if ok else ErrorRecord(run=run, kind="exception", type="ValueError"),
                attempts=[attempt_record(each, node=self.name) for each in records],
            )
            worker.done.append(run)
        worker.run = None
        if len(worker.done) >= self.plan.runs_a_block:
            self._report_block(key, worker)
        self._begin_run(key, worker)

    def _report_block(self, key: int, worker: _Worker) -> None:
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
            busy_s=0.5 * len(worker.done),
        )
        worker.builder = BlockBuilder(chunk.epoch, self.name, worker.code)
        worker.done = []
        self.tell(event)

    def _end_chunk(self, key: int, worker: _Worker) -> None:
        self._report_block(key, worker)
        chunk = worker.chunks.pop(0)
        self.tell(ChunkEnded(key, chunk.chunk, tuple(worker.retries)))
        if worker.chunks:
            self._begin_chunk(key, worker)

    def _end_worker(self, key: int, how: str) -> None:
        worker = self.workers.pop(key, None)
        if worker is None:
            return
        facts: dict[str, Any] = {}
        if worker.run is not None:
            facts = {
                "run": worker.run,
                "attempt": worker.attempt,
                "started_s": worker.started_at,
                "duration_s": self.world.now - worker.started_at,
            }
        self.tell(WorkerDied(worker=key, exit=how, **facts))
