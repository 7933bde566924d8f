"""A small random world around the node's state machine: no run is ever forgotten."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from compute_node.attempts import Attempt
from compute_node.commands import (
    AssignChunk,
    Chunk,
    DeleteJob,
    Exit,
    ForgetBlocks,
    KillWorker,
    PrepareSweep,
    PutQuarantine,
    ReadCoverage,
    ReceiveJobs,
    RecordLost,
    ReleaseJob,
    ReplaceJob,
    RetireWorker,
    SendDelivery,
    SendPieces,
    StartWorker,
    StoreClaim,
    WithdrawChunks,
)
from compute_node.events import (
    BlockMade,
    ChunkEnded,
    ControlsRead,
    CoverageRead,
    DeliveryAcknowledged,
    DeliveryRefused,
    DrainAsked,
    JobDeleted,
    JobReplaced,
    LeaseExpiring,
    LeaseLost,
    PiecesSent,
    Progress,
    ReceiveEnded,
    SweepFacts,
    SweepPrepared,
    SweepState,
    Ticked,
    WorkerDied,
    WorkerReady,
    WorkerUnfit,
)
from compute_node.rules import NodeRules, Remainders
from compute_node.state import NodeState
from gapless.declaration.messages import Job, decode_job, encode_job
from gapless.declaration.runset import RunSet
from queueing.port import AnswerStatus, Lease, Message

SWEEP = "s-00000000"


class World:
    """Queue, workers and result queue of one node, with faults drawn from a seed."""

    def __init__(self, seed: int, *, runs: int, job_size: int, faults: float) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.now = 0.0
        self.tokens = 0
        self.total = runs
        self.queue: list[tuple[str, int]] = []
        self.leased: dict[Lease, tuple[str, int]] = {}
        self.delivered = RunSet()
        self.workers: dict[int, list[Chunk]] = {}
        self.withdrawn: dict[int, int] = {}
        self.retried: dict[int, list[Attempt]] = {}
        self.blocks: dict[int, RunSet] = {}
        self.attempts: Counter[int] = Counter()
        self.todo: list[object] = []
        self.exited: Exit | None = None
        self.ids = 0
        self.remainders = tuple(Remainders)[seed // 3 % 2]
        for index, start in enumerate(range(0, runs, job_size)):
            span = RunSet.span(start, min(runs, start + job_size))
            self.queue.append((encode_job(Job(sweep=SWEEP, job=f"j{index}", runs=span)), 0))
        self.node = self.new_node(0)

    def new_node(self, number: int) -> NodeState:
        node = NodeState(
            NodeRules(
                node="n",
                id_prefix=f"n{number}",
                workers=self.random.choice((1, 2, 5)),
                grace_s=20.0,
                decrement_after_s=2.0,
                decrement_every_s=1.0,
                split_above_s=self.random.choice((5.0, 600.0)),
                split_keep_s=2.0,
                remainders=self.remainders,
                linger_s=0.5,
            )
        )
        self.exited = None
        self.todo = []
        self.workers.clear()
        self.withdrawn.clear()
        self.node = node
        self.tell(ControlsRead((self.facts(),)))
        return node

    def facts(self, state: SweepState = SweepState.RUNNING) -> SweepFacts:
        return SweepFacts(sweep=SWEEP, state=state, attempts=2, time_s=50.0)

    def crash(self, number: int) -> None:
        """The node is gone: its leases end, what it held in memory is lost."""
        for body, count in self.leased.values():
            self.queue.append((body, count))
        self.leased.clear()
        self.blocks.clear()
        self.new_node(number)

    def tell(self, event: object) -> None:
        if self.exited is not None:
            # Its program has ended: it hears of nothing.
            return
        for command in self.node.handle(event, self.now):  # type: ignore[arg-type]
            if isinstance(command, Exit):
                self.exited = command
            self.todo.append(command)
        self.check()

    def unlucky(self) -> bool:
        return self.random.random() < self.faults

    def step(self) -> None:
        self.now += self.random.random() * 0.2
        choice = self.random.random()
        busy = [worker for worker, chunks in self.workers.items() if chunks]
        if self.todo and choice < 0.6:
            self.perform(self.todo.pop(0))
        elif busy and choice < 0.85:
            self.work(self.random.choice(busy))
        elif choice < 0.95:
            self.tell(Ticked(self.progress()))
        elif self.unlucky():
            self.fault()

    def progress(self) -> tuple[Progress, ...]:
        return tuple(
            Progress(worker, chunks[0].runs.least, 1, self.random.choice((0.1, 3.0)))
            for worker, chunks in self.workers.items()
            if chunks
        )

    def fault(self) -> None:
        kind = self.random.randrange(4)
        if kind == 0 and self.leased:
            lease = self.random.choice(list(self.leased))
            self.queue.append(self.leased.pop(lease))
            self.tell(LeaseLost(lease))
        elif kind == 1 and self.leased:
            # The lease ended and nobody told the node.
            lease = self.random.choice(list(self.leased))
            self.queue.append(self.leased.pop(lease))
        elif kind == 2:
            self.tell(ControlsRead((self.facts(SweepState.PAUSED),)))
            self.tell(ControlsRead((self.facts(),)))
        elif kind == 3 and self.leased:
            self.tell(LeaseExpiring(self.random.choice(list(self.leased))))

    def lease(self, body: str, count: int) -> Lease:
        self.tokens += 1
        lease = Lease(f"{SWEEP}-jobs", str(self.tokens))
        self.leased[lease] = (body, count)
        return lease

    def work(self, worker: int) -> None:
        chunk = self.workers[worker][0]
        if self.withdrawn.get(worker, -1) >= chunk.chunk:
            self.workers[worker].pop(0)
            self.tell(ChunkEnded(worker, chunk.chunk))
            return
        if self.unlucky():
            del self.workers[worker]
            run = chunk.runs.least if self.random.random() < 0.7 else None
            number = 1 + len([each for each in chunk.earlier if each.run == run])
            if self.random.random() < 0.1:
                self.retried.pop(chunk.chunk, None)
                self.tell(WorkerUnfit(worker, "its program is gone"))
                return
            self.tell(WorkerDied(worker=worker, exit="killed by SIGSEGV", run=run, attempt=number))
            return
        if self.unlucky() and not chunk.earlier and len(chunk.runs) > 1:
            self.lose(worker, chunk)
            return
        part = chunk.runs.first(self.random.randint(1, len(chunk.runs)))
        self.made(part, chunk.epoch, worker=worker, chunk=chunk.chunk)
        rest = chunk.runs - part
        if not rest:
            self.workers[worker].pop(0)
            lost = tuple(self.retried.pop(chunk.chunk, ()))
            self.tell(ChunkEnded(worker, chunk.chunk, lost))
        else:
            self.workers[worker][0] = Chunk(
                chunk=chunk.chunk, sweep=SWEEP, epoch=chunk.epoch, runs=rest, attempts=2
            )

    def lose(self, worker: int, chunk: Chunk) -> None:
        """A command was killed in its first attempt, and its worker lives on."""
        run = RunSet.of(chunk.runs.least)
        attempt = Attempt(
            run=run.least,
            number=1,
            outcome="lost",
            exit="killed by SIGKILL",
            started_s=self.now,
            duration_s=0.1,
        )
        self.retried.setdefault(chunk.chunk, []).append(attempt)
        self.workers[worker][0] = Chunk(
            chunk=chunk.chunk, sweep=SWEEP, epoch=chunk.epoch, runs=chunk.runs - run, attempts=2
        )

    def made(self, runs: RunSet, epoch: int, *, worker: int | None, chunk: int | None) -> None:
        self.ids += 1
        self.blocks[self.ids] = runs
        self.tell(
            BlockMade(
                sweep=SWEEP,
                epoch=epoch,
                block=self.ids,
                runs=runs,
                digest="0" * 32,
                size_bytes=100 * len(runs),
                worker=worker,
                chunk=chunk,
                busy_s=0.05 * len(runs),
            )
        )

    def perform(self, command: object) -> None:  # noqa: C901, PLR0912 - one case a command
        match command:
            case ReceiveJobs(most=most):
                if self.unlucky():
                    self.tell(ReceiveEnded(problem="away"))
                    return
                got = []
                for _ in range(min(most, len(self.queue))):
                    body, count = self.queue.pop(self.random.randrange(len(self.queue)))
                    got.append(Message(self.lease(body, count + 1), body, count + 1))
                self.tell(ReceiveEnded(tuple(got)))
            case ReadCoverage():
                if not self.unlucky():
                    self.tell(CoverageRead(SWEEP, self.now, ((0, self.delivered),)))
            case PrepareSweep():
                self.tell(SweepPrepared(SWEEP, "", self.total))
            case StartWorker(worker=worker):
                self.workers[worker] = []
                self.tell(WorkerReady(worker))
            case AssignChunk(worker=worker, chunk=chunk):
                if worker in self.workers:
                    self.workers[worker].append(chunk)
            case WithdrawChunks(worker=worker):
                chunks = self.workers.get(worker, [])
                self.withdrawn[worker] = max([c.chunk for c in chunks], default=-1)
            case RetireWorker(worker=worker) | KillWorker(worker=worker):
                if self.workers.pop(worker, None) is not None:
                    self.tell(WorkerDied(worker=worker, exit="exit status 0"))
            case SendDelivery() | StoreClaim():
                self.deliver(command)
            case DeleteJob(job=job, lease=lease):
                if self.unlucky():
                    self.tell(JobDeleted(job, AnswerStatus.FAILED))
                    return
                removed = self.leased.pop(lease, None)
                if removed is not None:
                    # Delivered, or cut off and sent as jobs of their own (I2).
                    assert decode_job(removed[0]).runs.issubset(self.delivered | self.queued())
                self.tell(JobDeleted(job, AnswerStatus.OK))
            case ReplaceJob():
                self.replace(command)
            case SendPieces():
                self.send_pieces(command)
            case RecordLost(attempts=attempts, epoch=epoch):
                self.made(RunSet.of(attempts[-1].run), epoch, worker=None, chunk=None)
            case ForgetBlocks(blocks=blocks):
                for block in blocks:
                    self.blocks.pop(block, None)
            case ReleaseJob() | PutQuarantine():
                raise AssertionError(f"no message here is damaged: {command}")

    def deliver(self, command: SendDelivery | StoreClaim) -> None:
        if self.unlucky():
            if self.random.random() < 0.5:
                # It arrived, and the answer was lost.
                self.delivered |= command.delivery.runs
            self.tell(DeliveryRefused(command.delivery.delivery, "away", away=True))
            return
        assert all(block in self.blocks for block in command.blocks)
        self.delivered |= command.delivery.runs
        self.tell(DeliveryAcknowledged(command.delivery.delivery))

    def replace(self, command: ReplaceJob) -> None:
        if self.unlucky():
            self.tell(JobReplaced(command.job, AnswerStatus.FAILED))
            return
        old = self.leased.get(command.lease)
        if old is None:
            self.tell(JobReplaced(command.job, AnswerStatus.LEASE_LOST))
            return
        leases: list[Lease | None] = []
        kept = RunSet()
        for each in command.replacements:
            kept |= decode_job(each.body).runs
            # A service that cannot hand a lease over sends without one.
            wished = each.lease_s > 0 and self.remainders is Remainders.LEASED
            if wished and not self.unlucky():
                leases.append(self.lease(each.body, 1))
            else:
                self.queue.append((each.body, 0))
                leases.append(None)
        del self.leased[command.lease]
        assert (decode_job(old[0]).runs - kept).issubset(self.delivered | self.queued())
        self.tell(JobReplaced(command.job, AnswerStatus.OK, tuple(leases)))

    def send_pieces(self, command: SendPieces) -> None:
        if self.unlucky():
            if self.unlucky():
                # Some of them were sent all the same.
                self.queue.append((command.pieces[0].body, 0))
            self.tell(PiecesSent(command.job, AnswerStatus.FAILED))
            return
        self.queue.extend((each.body, 0) for each in command.pieces)
        self.tell(PiecesSent(command.job, AnswerStatus.OK))

    def queued(self) -> RunSet:
        """The runs of every message there is."""
        return RunSet.union(
            decode_job(body).runs for body, _ in (*self.queue, *self.leased.values())
        )

    def check(self) -> None:
        """Every run is delivered, or in a message, whatever happens next (I1, I2)."""
        there = self.delivered | self.queued()
        assert len(there) == self.total, RunSet.span(0, self.total) - there
        for sweep in self.node.sweeps.values():
            for lane in sweep.lanes.values():
                self.check_lane(lane)

    def check_lane(self, lane: object) -> None:
        """Within the node no run of a job it works on is nowhere, and none is to do twice."""
        seen = lane.underway()  # type: ignore[attr-defined]
        for job in lane.jobs.values():  # type: ignore[attr-defined]
            assert job.todo.issubset(job.remaining)
            assert seen.isdisjoint(job.todo)
            seen |= job.todo
        for job in lane.jobs.values():  # type: ignore[attr-defined]
            if job.intent.value == "work":
                assert (job.remaining - job.handed_over).issubset(seen)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_fails_every_run_is_delivered_in_the_end(seed: int) -> None:
    faults = (0.0, 0.02, 0.1)[seed % 3]
    world = World(seed, runs=200, job_size=(1, 7, 50, 200)[seed % 4], faults=faults)
    for step in range(60_000):
        if len(world.delivered) == world.total and not world.leased and not world.queue:
            break
        if faults and world.random.random() < 0.0005:
            world.crash(step + 1)
        if step == 30_000:
            world.faults = 0.0
        world.step()
    assert len(world.delivered) == world.total
    assert not world.leased
    assert not world.queue


@pytest.mark.parametrize("seed", range(20))
def test_a_drain_at_any_moment_leaves_every_run_delivered_or_on_the_queue(seed: int) -> None:
    world = World(seed, runs=120, job_size=(1, 30)[seed % 2], faults=0.05)
    for _ in range(world.random.randrange(50, 800)):
        world.step()
    world.faults = 0.0
    world.tell(DrainAsked())
    for _ in range(20_000):
        if world.exited:
            break
        world.step()
    assert world.exited == Exit(0)
    held = RunSet.union(decode_job(body).runs for body, _ in world.queue)
    assert len(held | world.delivered) == world.total
    # What is still leased was received when the node was told that its lease had ended.
    assert RunSet.union(decode_job(body).runs for body, _ in world.leased.values()).issubset(
        held | world.delivered
    )
