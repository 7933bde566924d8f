"""Sweeps of which there is nothing to do are looked at seldom, and are not forgotten."""

from __future__ import annotations

from typing import Any

from compute_node.commands import AssignChunk, ReceiveJobs, WithdrawChunks
from compute_node.events import (
    ControlsRead,
    ReceiveEnded,
    SweepFacts,
    SweepsCompleted,
    SweepState,
    Ticked,
)
from gapless.declaration.messages import Job, encode_job
from queueing.port import Lease, Message
from tests.unit.compute_node.a_node import Node, S, span

REST = {"rest_s": 60.0, "rest_after_s": 600.0, "only": ()}
POLL_S = 20.0


class Idle(Node):
    """A node whose receives find nothing, however long it waits."""

    def __init__(self, **rules: Any) -> None:
        super().__init__(rules={**REST, **rules})
        self.tell(ReceiveEnded(problem="nothing was asked yet"))
        self.tell(Ticked(), after=1.0)
        assert self.all(ReceiveJobs)

    def wait(self, seconds: float, problem: str = "") -> list[ReceiveJobs]:
        """Let time pass; give the receives that ended meanwhile, with this problem."""
        ended: list[ReceiveJobs] = []
        until = self.now + seconds
        while self.now < until:
            under_way = self.all(ReceiveJobs)
            self.commands.clear()
            if under_way:
                (receive,) = under_way
                wait_s = POLL_S if receive.wait_s is None else receive.wait_s
                self.tell(ReceiveEnded(problem=problem), after=wait_s)
                ended.append(receive)
            else:
                self.tell(Ticked(), after=1.0)
        return ended


def test_a_queue_found_empty_for_ten_minutes_is_looked_at_once_a_minute_for_a_second() -> None:
    node = Idle()
    busy = node.wait(500.0)
    assert {each.wait_s for each in busy} == {None}
    assert len(busy) >= 24
    node.wait(200.0)
    resting = node.wait(600.0)
    assert 9 <= len(resting) <= 11
    assert {each.wait_s for each in resting} == {1.0}


def test_where_nothing_rests_an_empty_queue_is_received_from_all_the_time() -> None:
    node = Idle(rest_s=0.0)
    receives = node.wait(2000.0)
    assert len(receives) >= 95
    assert {each.wait_s for each in receives} == {None}


def test_a_message_wakes_its_sweep() -> None:
    node = Idle()
    node.wait(900.0)
    node.receive(span(0, 1))
    node.finish()
    node.acknowledge()
    assert node.state.resting(node.now) == frozenset()
    node.state.sweeps[S].lanes.clear()
    assert not node.state.sweeps[S].rests(600.0)


def test_a_queue_that_could_not_be_asked_is_not_taken_for_empty() -> None:
    node = Idle()
    node.wait(1000.0, problem="away")
    assert node.state.resting(node.now) == frozenset()
    assert {each.wait_s for each in node.wait(500.0)} == {None}


def test_a_receive_that_found_a_job_tells_of_no_other_queue_that_it_is_empty() -> None:
    node = Idle()
    other = SweepFacts(sweep="t-00000000")
    node.tell(ControlsRead((SweepFacts(sweep=S), other)))
    for number in range(100):
        node.receive(span(number, number + 1))
        node.finish()
        node.acknowledge()
        node.tell(Ticked(), after=20.0)
        node.tell(ControlsRead((SweepFacts(sweep=S), other)))
    assert node.state.resting(node.now) == frozenset()


def test_a_complete_sweep_that_was_never_asked_for_a_job_is_looked_at_at_once_and_shortly() -> None:
    node = Idle()
    node.tell(ReceiveEnded(problem="away"))
    node.tell(SweepsCompleted(((S, 0, 10_000),), node.now))
    node.commands.clear()
    node.tell(Ticked(), after=1.0)
    assert node.all(ReceiveJobs) == [ReceiveJobs((f"{S}-jobs",), 1, 1.0)]


def test_a_resting_sweep_is_asked_for_a_job_again_after_a_minute_and_not_before() -> None:
    node = Idle()
    node.tell(SweepsCompleted(((S, 0, 10_000),), node.now))
    node.tell(ReceiveEnded())
    node.commands.clear()
    node.tell(Ticked(), after=59.0)
    assert not node.all(ReceiveJobs)
    node.tell(Ticked(), after=1.0)
    assert node.all(ReceiveJobs)


def test_no_second_receive_is_begun_while_one_is_under_way() -> None:
    node = Idle()
    node.commands.clear()
    for _ in range(100):
        node.tell(Ticked(), after=1.0)
    assert not node.all(ReceiveJobs)


def test_a_node_in_a_long_run_does_not_take_its_queues_for_empty() -> None:
    node = Idle()
    node.receive(span(0, 2))
    node.commands.clear()
    for _ in range(100):
        node.tell(Ticked(), after=60.0)
    assert not node.state.sweeps[S].rests(600.0)


def test_what_is_wanted_of_a_resting_sweep_is_looked_at_once_a_minute() -> None:
    node = Idle()
    node.wait(900.0)
    node.tell(ControlsRead((SweepFacts(sweep=S),)))
    assert node.state.resting(node.now) == {S}
    assert node.state.resting(node.now + 59.0) == {S}
    assert node.state.resting(node.now + 60.0) == frozenset()


def test_cancelled_and_complete_sweeps_rest_at_once_until_something_changes() -> None:
    node = Idle()
    node.tell(ControlsRead((SweepFacts(sweep=S, version=1, state=SweepState.CANCELLED),)))
    assert node.state.resting(node.now) == {S}
    node.tell(ControlsRead((SweepFacts(sweep=S, version=2),)))
    assert node.state.resting(node.now) == frozenset()
    node.tell(SweepsCompleted(((S, 0, 10_000),), node.now))
    assert node.state.resting(node.now) == {S}
    node.tell(ControlsRead((SweepFacts(sweep=S, version=3, priority=2),)))
    assert node.state.resting(node.now) == frozenset()


def test_a_resting_sweep_is_in_the_home_and_one_that_is_not_named_is_not() -> None:
    node = Idle()
    node.tell(ControlsRead((), resting=frozenset({S})))
    assert node.state.sweeps[S].facts.state is SweepState.RUNNING
    node.tell(ControlsRead(()))
    assert node.state.sweeps[S].facts.state is SweepState.PAUSED


def test_a_job_that_waits_for_its_sweeps_record_is_not_begun_by_a_look_that_left_it_out() -> None:
    node = Idle()
    body = encode_job(Job(sweep=S, job="j", runs=span(0, 3)))
    message = Message(Lease(f"{S}-jobs", "1"), body, 1)
    node.tell(ReceiveEnded((message,), unread=frozenset({S})))
    node.tell(ControlsRead((), resting=frozenset({S})))
    assert not node.all(AssignChunk)
    assert not node.all(WithdrawChunks)
    node.tell(ControlsRead((SweepFacts(sweep=S),)))
    assert node.all(AssignChunk)


def test_of_many_resting_sweeps_each_is_looked_at_and_none_often() -> None:
    node = Idle()
    names = [f"s{number:02}-00000000" for number in range(40)]
    node.tell(ControlsRead(tuple(SweepFacts(sweep=name) for name in (S, *names))))
    node.wait(900.0)
    asked = node.wait(1200.0)
    assert max(len(each.queues) for each in asked) <= 15
    for name in names:
        times = sum(1 for each in asked if f"{name}-jobs" in each.queues)
        assert 12 <= times <= 21
