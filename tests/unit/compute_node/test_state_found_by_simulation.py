"""What the simulator found in the node's state machine, each told again by hand."""

from __future__ import annotations

from compute_node.commands import AssignChunk, RecordLost, RetireWorker, StartWorker
from compute_node.events import (
    ChunkEnded,
    ControlsRead,
    ReceiveEnded,
    SweepFacts,
    SweepPrepared,
    WorkerDied,
    WorkerReady,
)
from compute_node.rules import NodeRules
from compute_node.state import NodeState
from gapless.declaration.messages import Job, encode_job
from gapless.declaration.runset import RunSet
from queueing.port import Lease, Message
from tests.unit.compute_node.a_node import Node, span

IDLE, BUSY = "idle-00000000", "busy-00000000"


def test_a_single_slot_goes_to_the_sweep_with_jobs_and_not_again_to_the_idle_one() -> None:
    state = NodeState(NodeRules(node="n", id_prefix="n-1", workers=1, only=(IDLE, BUSY)))
    facts = (SweepFacts(sweep=IDLE, priority=1), SweepFacts(sweep=BUSY))
    commands = state.handle(ControlsRead(facts), 0.0)
    commands += state.handle(SweepPrepared(IDLE, "", 10), 0.0)
    assert [each.deployment.sweep for each in commands if isinstance(each, StartWorker)] == [IDLE]
    job = Job(sweep=BUSY, job="j", runs=RunSet.span(0, 5))
    lease = Lease(f"{BUSY}-jobs", "t")
    commands += state.handle(ReceiveEnded((Message(lease, encode_job(job), 1),)), 0.0)
    commands += state.handle(SweepPrepared(BUSY, "", 10), 0.0)
    started = []
    for _ in range(20):
        if not commands:
            break
        command = commands.pop(0)
        if isinstance(command, StartWorker):
            started.append(command.deployment.sweep)
            commands += state.handle(WorkerReady(command.worker), 0.0)
        elif isinstance(command, RetireWorker):
            commands += state.handle(WorkerDied(worker=command.worker, exit="status 0"), 0.0)
        elif isinstance(command, AssignChunk):
            break
    assert started == [IDLE, BUSY]
    assert isinstance(command, AssignChunk)
    assert command.chunk.sweep == BUSY


def test_a_retry_taken_back_from_its_chunk_keeps_its_earlier_attempts() -> None:
    node = Node(attempts=3, retry_on=("lost",))
    node.receive(span(0, 1))
    for attempt in (1, 2, 3):
        # A chunk that ends without its run (withdrawn, or its worker was unfit) is given back.
        given_back = node.all(AssignChunk)[-1]
        node.tell(ChunkEnded(given_back.worker, given_back.chunk.chunk))
        chunk = node.all(AssignChunk)[-1]
        assert chunk is not given_back
        assert [each.number for each in chunk.chunk.earlier] == list(range(1, attempt))
        # A worker counts from what it was told of earlier attempts.
        number = len(chunk.chunk.earlier) + 1
        node.tell(WorkerDied(worker=chunk.worker, exit="signal 11", run=0, attempt=number))
        for command in node.all(StartWorker):
            node.commands.remove(command)
            node.tell(WorkerReady(command.worker))
    (lost,) = node.all(RecordLost)
    assert [each.number for each in lost.attempts] == [1, 2, 3]
