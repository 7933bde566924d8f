"""How a node ends, and what it forgets of a sweep that is cancelled."""

from __future__ import annotations

import pytest

from compute_node.commands import (
    AssignChunk,
    Exit,
    ForgetBlocks,
    PutQuarantine,
    Warn,
    WithdrawChunks,
)
from compute_node.events import (
    ControlsRead,
    DrainAsked,
    MessageSetAside,
    PartDied,
    ReceiveEnded,
    StopAsked,
    SweepFacts,
    SweepPrepared,
    SweepState,
    Ticked,
    WorkerDied,
)
from gapless.declaration.messages import Job, encode_job
from queueing.port import Lease, Message
from tests.unit.compute_node.a_node import Node, S, span


def resting_node() -> Node:
    """A node whose receive was answered, so that nothing keeps it from leaving."""
    node = Node()
    node.tell(ReceiveEnded(problem="away"))
    node.commands.clear()
    return node


def test_a_node_that_is_asked_to_stop_ends_with_status_0() -> None:
    node = resting_node()
    node.tell(StopAsked())
    assert node.all(Exit) == [Exit(0)]


def test_a_node_with_nothing_in_hand_drains_at_once_and_ends_as_it_was_told() -> None:
    node = resting_node()
    node.tell(DrainAsked(5, "enough"))
    assert node.all(Exit) == [Exit(5, "enough")]


def test_a_part_that_dies_while_the_node_drains_makes_it_end_with_status_1() -> None:
    node = resting_node()
    node.receive(span(0, 1))
    (chunk,) = node.all(AssignChunk)
    node.tell(DrainAsked(0, "enough"))
    node.tell(PartDied("reporter", "no space left"))
    assert not node.all(Exit)
    node.make(chunk)
    node.acknowledge()
    (lane,) = node.state.sweeps[S].lanes.values()
    lane.jobs.clear()
    node.tell(Ticked())
    (ending,) = node.all(Exit)
    assert ending.status == 1
    assert "reporter" in ending.message
    assert "no space left" in ending.message


def test_a_node_leaves_once_what_it_set_aside_is_set_aside() -> None:
    node = resting_node()
    lease = Lease(f"{S}-jobs", "x")
    node.tell(ReceiveEnded((Message(lease, "no job", 1),)))
    node.tell(ReceiveEnded(problem="away"))
    node.tell(DrainAsked())
    assert not node.all(Exit)
    node.tell(MessageSetAside(lease))
    assert node.all(Exit) == [Exit(0)]


def test_a_job_of_runs_that_the_sweep_does_not_have_goes_to_quarantine_as_it_came() -> None:
    node = Node(total=10)
    body = encode_job(Job(sweep=S, job="j", runs=span(8, 12)))
    lease = Lease(f"{S}-jobs", "x")
    node.tell(ReceiveEnded((Message(lease, body, 1),)))
    node.tell(SweepPrepared(S, "", 10))
    (put,) = node.all(PutQuarantine)
    assert (put.lease, put.sweep, put.body) == (lease, S, body)
    assert put.reason == "run 11 of a sweep of 10 runs"


def test_results_that_wait_to_be_delivered_are_forgotten_with_their_cancelled_sweep() -> None:
    node = Node()
    node.receive(span(0, 2))
    (chunk,) = node.all(AssignChunk)
    node.state.deliveries._most_in_flight = 0
    node.make(chunk)
    assert not node.state.deliveries.empty
    node.tell(ControlsRead((SweepFacts(sweep=S, version=1, state=SweepState.CANCELLED),)))
    assert node.all(ForgetBlocks) == [ForgetBlocks((1,))]
    assert node.state.deliveries.empty


def test_a_worker_killed_with_its_cancelled_sweep_charges_nobody() -> None:
    node = Node(attempts=1)
    node.receive(span(0, 1))
    node.tell(ControlsRead((SweepFacts(sweep=S, version=1, state=SweepState.CANCELLED),)))
    node.commands.clear()
    assert node.tell(WorkerDied(worker=1, exit="signal 9", run=0)) == []


def set_aside(node: Node, *bodies: str) -> list[Lease]:
    leases = [Lease(f"{S}-jobs", body) for body in bodies]
    messages = [Message(lease, lease.token, 1) for lease in leases]
    node.tell(ReceiveEnded(tuple(messages)))
    node.tell(ReceiveEnded(problem="away"))
    return leases


@pytest.mark.parametrize("kind", ["no job", "newer"])
def test_a_node_leaves_when_each_of_two_messages_is_set_aside(kind: str) -> None:
    node = resting_node()
    newer = encode_job(Job(sweep=S, job="j", runs=span(0, 1))).replace("job/1", "job/9")
    bodies = ("a", "b") if kind == "no job" else (newer, newer + " ")
    first, second = set_aside(node, *bodies)
    node.tell(DrainAsked())
    node.tell(MessageSetAside(first))
    assert not node.all(Exit)
    node.tell(MessageSetAside(second))
    assert node.all(Exit) == [Exit(0)]


def test_a_node_leaves_when_jobs_beyond_their_sweep_are_set_aside() -> None:
    node = Node(total=10)
    node.tell(ReceiveEnded(problem="away"))
    node.receive(span(8, 11), span(9, 12))
    node.tell(SweepPrepared(S, "", 10))
    put = node.all(PutQuarantine)
    assert len(put) == 2
    assert not node.state.sweeps[S].lanes[0].jobs
    node.tell(ReceiveEnded(problem="away"))
    node.tell(DrainAsked())
    node.tell(MessageSetAside(put[0].lease))
    assert not node.all(Exit)
    node.tell(MessageSetAside(put[1].lease))
    assert node.all(Exit) == [Exit(0)]


def test_the_last_run_of_a_sweep_is_no_run_beyond_it() -> None:
    node = Node(total=10)
    node.state.sweeps[S].total = 9
    node.receive(span(9, 10))
    node.tell(SweepPrepared(S, "", 10))
    assert not node.all(PutQuarantine)
    node.receive(span(10, 11))
    node.tell(SweepPrepared(S, "", 10))
    assert len(node.all(PutQuarantine)) == 1


def test_a_part_that_dies_is_told_and_ends_the_node() -> None:
    node = resting_node()
    node.tell(PartDied("reporter", "no space left"))
    text = "the node's reporter ended with an error: no space left"
    assert node.all(Warn) == [Warn(text)]
    assert node.all(Exit) == [Exit(1, text)]


def test_blocks_of_an_acknowledged_delivery_leave_the_outbox() -> None:
    node = Node()
    node.receive(span(0, 1))
    node.make(node.all(AssignChunk)[0])
    node.acknowledge()
    assert node.all(ForgetBlocks) == [ForgetBlocks((1,))]


def test_workers_of_a_sweep_that_left_the_home_end_their_chunks() -> None:
    node = Node()
    node.receive(span(0, 1))
    node.tell(ControlsRead(()))
    assert node.all(WithdrawChunks) == [WithdrawChunks(1)]


def test_workers_of_a_paused_sweep_end_their_chunks_once() -> None:
    node = Node()
    node.receive(span(0, 1))
    node.tell(ControlsRead((SweepFacts(sweep=S, version=1, priority=4),)))
    assert not node.all(WithdrawChunks)
    node.tell(ControlsRead((SweepFacts(sweep=S, version=2, state=SweepState.PAUSED),)))
    assert node.all(WithdrawChunks) == [WithdrawChunks(1)]
    paused = SweepFacts(sweep=S, version=3, state=SweepState.PAUSED, priority=1)
    node.tell(ControlsRead((paused,)))
    assert len(node.all(WithdrawChunks)) == 1


def test_a_stopping_node_that_hears_nothing_leaves_after_a_moment() -> None:
    node = Node()
    node.receive(span(0, 1))
    node.tell(StopAsked())
    node.tell(Ticked(), after=1.25)
    assert not node.all(Exit)
    node.tell(Ticked(), after=0.25)
    assert node.all(Exit) == [Exit(0)]


def test_a_node_that_cannot_run_a_sweep_takes_it_up_again_after_a_quarter_of_an_hour_at_most() -> (
    None
):
    node = Node()
    held = node.state.sweeps[S]
    delays = []
    for _ in range(11):
        node.now = max(node.now, held.unfit_until)
        node.state._unfit(held, "no such module", node.now)
        delays.append(held.unfit_until - node.now)
    assert delays == [30.0, 60.0, 120.0, 240.0, 480.0] + [900.0] * 6
