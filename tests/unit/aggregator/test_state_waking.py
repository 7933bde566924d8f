"""Whoever wakes when the machine says so finds what is due, and nobody else need come."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from aggregator.commands import (
    Command,
    DeleteMessages,
    Exit,
    Flush,
    PollSweeps,
    QuarantineMessage,
    ReadCoverage,
    ReceiveDeliveries,
)
from aggregator.events import (
    CoverageRead,
    DeleteFailed,
    Event,
    FlushFailed,
    MessagesDeleted,
    MessageUndecodable,
    OrphansAdopted,
    QuarantineFailed,
    ReceiveFailed,
    ShardStored,
    StopRequested,
    SweepsPolled,
    SweepState,
    SweepsUnread,
    Ticked,
)
from aggregator.policy import Policy
from aggregator.state import AggregatorState
from gapless.declaration.runset import RunSet
from gapless.storage.layout import results_queue
from queueing.port import Lease
from tests.unit.aggregator.made import (
    QUEUE,
    SHARD,
    SWEEP,
    all_of,
    buffered,
    met,
    one_of,
    received,
)

SELDOM = {"poll_s": 9000.0, "coverage_s": 9000.0, "adopt_s": 9000.0}
DELIVERY = buffered(0, 10)
RUBBISH = Lease(QUEUE, "rubbish")


def with_a_flush(**policy: object) -> tuple[AggregatorState, Flush]:
    state = met(flush_age_s=1.0, **SELDOM, **policy)
    state.handle(received(DELIVERY), 100.0)
    return state, one_of(Flush, state.handle(Ticked(), 101.0))


def after_a_failed_flush() -> AggregatorState:
    state, flush = with_a_flush()
    state.handle(FlushFailed(SWEEP, flush.flush, "disk full"), 101.0)
    return state


def after_a_failed_delete() -> AggregatorState:
    state, flush = with_a_flush()
    state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), 101.0)
    state.handle(DeleteFailed((DELIVERY.lease,), SHARD, "away"), 101.0)
    return state


def after_a_failed_quarantine() -> AggregatorState:
    state = met(**SELDOM)
    state.handle(MessageUndecodable(RUBBISH, "?", "no JSON"), 101.0)
    state.handle(QuarantineFailed(RUBBISH, "disk full"), 101.0)
    return state


def after_a_failed_receive() -> AggregatorState:
    state = met(**SELDOM)
    state.handle(ReceiveFailed("away"), 101.0)
    return state


def after_a_home_that_was_away() -> AggregatorState:
    state = AggregatorState(Policy(lease_s=900.0, poll_s=5.0), 101.0)
    state.handle(Ticked(), 101.0)
    state.handle(SweepsUnread("no route"), 101.0)
    return state


def after_a_receive_of_a_complete_sweep() -> AggregatorState:
    state = met(missing=RunSet(), rest_s=60.0, **SELDOM)
    state.handle(received(), 101.0)
    return state


@pytest.mark.parametrize(
    ("made", "longest_s", "kind"),
    [
        (after_a_failed_flush, 0.25, Flush),
        (after_a_failed_delete, 0.25, DeleteMessages),
        (after_a_failed_quarantine, 0.25, QuarantineMessage),
        (after_a_failed_receive, 0.25, ReceiveDeliveries),
        (after_a_home_that_was_away, 5.0, PollSweeps),
        (after_a_receive_of_a_complete_sweep, 60.0, ReceiveDeliveries),
    ],
)
def test_at_the_moment_it_asks_to_be_woken_it_does_what_was_put_off(
    made: Callable[[], AggregatorState], longest_s: float, kind: type[Command]
) -> None:
    state = made()
    due_at = state.wake_at(101.0)
    assert 101.0 + longest_s / 2 <= due_at <= 101.0 + longest_s
    assert not all_of(kind, state.handle(Ticked(), due_at - 0.001))
    assert all_of(kind, state.handle(Ticked(), due_at))


def test_while_only_answers_are_awaited_no_moment_is_worth_waking_for() -> None:
    state = AggregatorState(Policy(lease_s=900.0, poll_s=5.0), 101.0)
    assert one_of(PollSweeps, state.handle(Ticked(), 101.0))
    assert state.wake_at(101.0) == math.inf
    assert not state.handle(Ticked(), 400.0)


@pytest.mark.parametrize("answer", [SweepsPolled({}), SweepsUnread("no route")])
def test_the_home_is_read_again_so_long_after_it_answered(answer: Event) -> None:
    state = AggregatorState(Policy(lease_s=900.0, poll_s=5.0), 101.0)
    state.handle(Ticked(), 101.0)
    state.handle(answer, 140.0)
    assert not all_of(PollSweeps, state.handle(Ticked(), 144.9))
    assert all_of(PollSweeps, state.handle(Ticked(), 145.0))


def test_what_is_not_answered_yet_is_not_asked_again() -> None:
    state = AggregatorState(Policy(lease_s=900.0), 101.0)
    state.handle(Ticked(), 101.0)
    assert len(state.handle(SweepsPolled({SWEEP: SweepState.RUNNING}), 101.0)) == 3
    runs = RunSet.span(0, 10)
    later = state.handle(Ticked(), 900.0)
    assert all_of(PollSweeps, later) == later
    assert state.handle(Ticked(), 1800.0) == []
    answers = [OrphansAdopted(SWEEP, 0), CoverageRead(SWEEP, runs, {0: runs}), received()]
    assert [len(state.handle(answer, 1800.0)) for answer in answers] == [0, 0, 1]


def test_the_age_at_which_a_delivery_is_flushed_counts_from_the_start_of_the_aggregator() -> None:
    state = met(now=5000.0, **SELDOM)
    state.handle(received(buffered(0, 10)), 5200.0)
    # A tenth of 200 s, growing while it waits.
    assert state.wake_at(5200.0) == 5220.0
    assert not all_of(Flush, state.handle(Ticked(), 5222.1))
    assert all_of(Flush, state.handle(Ticked(), 5222.3))


def test_who_is_to_leave_waits_for_a_delete_that_was_put_off_and_goes_once_it_is_done() -> None:
    state = after_a_failed_delete()
    assert not all_of(Exit, state.handle(StopRequested(), 101.0))
    assert not all_of(Exit, state.handle(received(), 101.0))
    due_at = state.wake_at(101.0)
    assert one_of(DeleteMessages, state.handle(Ticked(), due_at))
    assert one_of(Exit, state.handle(MessagesDeleted((DELIVERY.lease,)), due_at)).status == 0


def test_with_all_room_taken_by_what_is_being_deleted_no_empty_flush_starts() -> None:
    state = met(most_undeleted=2, flush_age_s=100.0, **SELDOM)
    flush = one_of(Flush, state.handle(received(buffered(0, 1), buffered(1, 2)), 1.0))
    after = state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), 2.0)
    assert not all_of(Flush, [*after, *state.handle(Ticked(), 3.0)])


def resting(*sweep_ids: str, **policy: object) -> AggregatorState:
    """Give a machine whose sweeps are complete and rest, each not asked since its own second."""
    state = AggregatorState(Policy(lease_s=900.0, rest_s=60.0, **SELDOM, **policy), 0.0)  # type: ignore[arg-type]
    state.handle(SweepsPolled(dict.fromkeys(sweep_ids, SweepState.RUNNING)), 0.0)
    for each in sweep_ids:
        state.handle(OrphansAdopted(each, 0), 0.0)
        state.handle(CoverageRead(each, RunSet.span(0, 10), {}), 0.0)
    return state


def test_all_that_rest_are_looked_at_for_a_second_each() -> None:
    state = resting("a-00000000", "b-00000000", "c-00000000", rest_look_s=1.5)
    state.handle(received(), 10.0)
    asked = one_of(ReceiveDeliveries, state.handle(Ticked(), 70.0))
    assert (len(asked.queues), asked.wait_s) == (3, 4.5)


def test_a_slow_answer_makes_no_resting_sweep_wait_longer_than_its_turn() -> None:
    names = ("a-00000000", "b-00000000", "c-00000000")
    first, second, third = (results_queue(each) for each in names)
    state = resting(*names, most_resting=1)
    state.handle(received(), 10.0)
    assert one_of(ReceiveDeliveries, state.handle(Ticked(), 100.0)).queues == (first,)
    assert one_of(ReceiveDeliveries, state.handle(received(), 101.0)).queues == (second,)
    # By now the first is due again, and the third is due since long before.
    assert one_of(ReceiveDeliveries, state.handle(received(), 200.0)).queues == (third,)


def test_what_is_wanted_of_a_resting_sweep_is_read_after_its_rest_and_not_before() -> None:
    policy = Policy(lease_s=900.0, rest_s=60.0, poll_s=1.0)
    state = AggregatorState(policy, 0.0)
    state.handle(SweepsPolled({SWEEP: SweepState.RUNNING}), 0.0)
    state.handle(OrphansAdopted(SWEEP, 0), 0.0)
    state.handle(CoverageRead(SWEEP, RunSet.span(0, 10), {}), 0.0)
    assert one_of(PollSweeps, state.handle(Ticked(), 59.9)).resting == {SWEEP}
    state.handle(SweepsUnread("no route"), 59.0)
    assert one_of(PollSweeps, state.handle(Ticked(), 60.0)).resting == frozenset()


@pytest.mark.parametrize(
    ("policy", "event", "reason"),
    [
        ({}, StopRequested(), "asked to stop"),
        ({"until_complete": True}, Ticked(), "every sweep is complete"),
        ({"idle_exit_s": 30.0}, Ticked(), "no delivery for 30 s"),
    ],
)
def test_who_leaves_with_nothing_in_hand_says_why(
    policy: dict[str, object], event: Event, reason: str
) -> None:
    state = met(missing=RunSet(), **policy)
    state.handle(event, 30.0)
    assert one_of(Exit, state.handle(received(), 30.0)) == Exit(status=0, reason=reason)


def test_who_has_to_leave_at_once_with_nothing_in_hand_says_why() -> None:
    state = met(stop_s=80.0)
    state.handle(StopRequested(), 1.0)
    assert state.handle(Ticked(), 81.0) == [Exit(status=0, reason="asked to stop")]


def test_idle_time_counts_from_the_last_delivery_or_else_from_the_start() -> None:
    state = met(now=1000.0, idle_exit_s=30.0, **SELDOM)
    assert not all_of(Exit, state.handle(received(), 1029.9))
    state = met(now=1000.0, idle_exit_s=30.0, flush_age_s=1.0, **SELDOM)
    state.handle(received(DELIVERY), 1020.0)
    flush = one_of(Flush, state.handle(Ticked(), 1021.0))
    state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), 1021.0)
    state.handle(MessagesDeleted((DELIVERY.lease,)), 1021.0)
    assert not all_of(Exit, state.handle(received(), 1049.9))
    assert all_of(Exit, state.handle(received(), 1050.0))


def test_what_came_while_the_sweep_was_read_is_judged_by_a_reading_of_its_own_when_leaving() -> (
    None
):
    state = met(20)
    assert one_of(ReadCoverage, state.handle(received(buffered(15, 25)), 1.0))
    state.handle(received(buffered(25, 30)), 1.1)
    state.handle(StopRequested(), 1.1)
    runs = RunSet.span(0, 25)
    assert one_of(ReadCoverage, state.handle(CoverageRead(SWEEP, runs, {0: runs}), 1.2))


def test_of_what_is_left_by_a_flush_the_age_counts_from_that_flush() -> None:
    state = met(flush_rows=10, flush_age_s=60.0, **SELDOM)
    flush = one_of(Flush, state.handle(received(buffered(0, 10), buffered(10, 15)), 100.0))
    state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), 110.0)
    assert state.wake_at(110.0) == 160.0
