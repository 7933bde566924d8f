"""What an aggregator makes of sweeps that come, pause, rest, are cancelled, or are gone."""

from __future__ import annotations

import pytest

from aggregator.commands import (
    AdoptOrphans,
    DeleteMessages,
    DropLeases,
    Exit,
    Flush,
    HoldLeases,
    PollSweeps,
    QuarantineMessage,
    ReadCoverage,
    ReceiveDeliveries,
)
from aggregator.events import (
    CoverageRead,
    CoverageUnread,
    Event,
    MessageQuarantined,
    MessagesDeleted,
    MessageUndecodable,
    OrphansAdopted,
    ShardStored,
    SweepsPolled,
    SweepState,
    Ticked,
)
from aggregator.policy import Policy
from aggregator.state import AggregatorState
from gapless.declaration.runset import RunSet
from queueing.port import Lease
from tests.unit.aggregator.made import (
    QUEUE,
    SHARD,
    SWEEP,
    WASTE,
    all_of,
    buffered,
    met,
    one_of,
    received,
)

DELIVERY = buffered(0, 10)
RUNS = RunSet.span(0, 1000)
ADOPTED = OrphansAdopted(SWEEP, 0)
READ = CoverageRead(SWEEP, RUNS, {0: RUNS})
UNREAD = CoverageUnread(SWEEP, "gone")
RUNNING, PAUSED, CANCELLED = (
    SweepsPolled({SWEEP: state})
    for state in (SweepState.RUNNING, SweepState.PAUSED, SweepState.CANCELLED)
)
GONE = SweepsPolled({})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [ADOPTED, READ]),
        ([], [UNREAD, ADOPTED]),
        ([ADOPTED], [READ]),
        ([READ], [ADOPTED]),
    ],
)
def test_the_late_answers_about_a_sweep_that_is_gone_do_not_bring_it_back(
    before: list[Event], after: list[Event]
) -> None:
    state = AggregatorState(Policy(lease_s=900.0), 0.0)
    for event in (RUNNING, *before, GONE, received()):
        commands = state.handle(event, 1.0)
    for event in after:
        commands += state.handle(event, 1.0)
    assert not all_of(ReceiveDeliveries, commands)


def test_a_sweep_that_comes_back_after_it_was_gone_is_read_anew_at_once() -> None:
    state = met()
    assert not all_of(ReadCoverage, state.handle(GONE, 1.0))
    commands = state.handle(RUNNING, 2.0)
    assert all_of(ReadCoverage, commands)
    assert all_of(AdoptOrphans, commands)


def test_what_is_in_hand_of_a_sweep_that_is_gone_is_stored_and_its_queue_is_left_alone() -> None:
    state = met(flush_age_s=100.0)
    state.handle(received(DELIVERY), 1.0)
    flush = one_of(Flush, state.handle(GONE, 2.0))
    commands = state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), 3.0)
    assert one_of(DropLeases, commands).leases == (DELIVERY.lease,)
    assert not all_of(DeleteMessages, commands)


def test_what_is_quarantined_of_a_cancelled_sweep_is_not_deleted_from_its_queue() -> None:
    state = met()
    rubbish = Lease(QUEUE, "rubbish")
    state.handle(MessageUndecodable(rubbish, "?", "no JSON"), 1.0)
    state.handle(CANCELLED, 2.0)
    commands = state.handle(MessageQuarantined(rubbish, WASTE), 3.0)
    assert not all_of(DeleteMessages, commands)


def test_a_pause_drops_no_lease_and_a_cancel_drops_each_once() -> None:
    state = met(flush_age_s=100.0)
    state.handle(received(DELIVERY), 1.0)
    assert not all_of(DropLeases, state.handle(PAUSED, 2.0))
    assert one_of(DropLeases, state.handle(CANCELLED, 3.0)).leases == (DELIVERY.lease,)
    assert not all_of(DropLeases, state.handle(CANCELLED, 4.0))


def rests_at(state: AggregatorState, now: float) -> bool:
    """Tell whether the sweep's queue, found empty now, is left alone for a while."""
    return not all_of(ReceiveDeliveries, state.handle(received(), now))


def test_a_sweep_rests_after_its_queue_was_empty_for_long_though_it_is_looked_at_meanwhile() -> (
    None
):
    state = met(rest_s=60.0, rest_after_s=600.0)
    assert not rests_at(state, 100.0)
    state.handle(RUNNING, 300.0)
    assert not rests_at(state, 699.0)
    assert rests_at(state, 700.0)


def test_a_sweep_that_was_paused_or_resumed_does_not_rest_before_its_time() -> None:
    state = met(rest_s=60.0, rest_after_s=600.0)
    assert not rests_at(state, 100.0)
    state.handle(PAUSED, 300.0)
    assert not rests_at(state, 400.0)
    assert not rests_at(state, 999.0)
    assert rests_at(state, 1000.0)


@pytest.mark.parametrize(("until_complete", "after_s"), [(False, 30.0), (True, 5.0)])
def test_who_waits_for_the_end_reads_what_is_stored_as_often_as_the_home(
    until_complete: bool, after_s: float
) -> None:
    state = met(until_complete=until_complete, poll_s=5.0, coverage_s=30.0, rest_s=60.0)
    state.handle(READ, 100.0)
    assert not all_of(ReadCoverage, state.handle(Ticked(), 100.0 + after_s - 0.1))
    assert all_of(ReadCoverage, state.handle(Ticked(), 100.0 + after_s))


def test_who_waits_for_the_end_reads_a_complete_sweep_as_often_and_others_seldom() -> None:
    complete = CoverageRead(SWEEP, RUNS, {})
    policy = {"poll_s": 5.0, "coverage_s": 30.0, "rest_s": 60.0, "rest_looks": 10}
    for until_complete, after_s in ((False, 600.0), (True, 5.0)):
        # It waits for another sweep as well.
        state = met(until_complete=until_complete, sweep_ids=(SWEEP, "b-00000000"), **policy)
        state.handle(complete, 100.0)
        assert not all_of(ReadCoverage, state.handle(Ticked(), 100.0 + after_s - 0.1))
        assert all_of(ReadCoverage, state.handle(Ticked(), 100.0 + after_s))


def test_a_sweep_that_could_not_be_read_is_read_again_after_a_while() -> None:
    state = met(poll_s=5.0, coverage_s=30.0)
    assert all_of(ReadCoverage, state.handle(Ticked(), 40.0))
    state.handle(UNREAD, 50.0)
    assert not all_of(ReadCoverage, state.handle(Ticked(), 54.9))
    assert all_of(ReadCoverage, state.handle(Ticked(), 55.0))


def test_the_home_is_read_again_a_while_after_it_was_read() -> None:
    state = met(poll_s=5.0)
    assert all_of(PollSweeps, state.handle(Ticked(), 20.0))
    state.handle(RUNNING, 30.0)
    assert not all_of(PollSweeps, state.handle(Ticked(), 34.9))
    assert all_of(PollSweeps, state.handle(Ticked(), 35.0))


def test_nobody_leaves_before_the_home_was_read() -> None:
    state = AggregatorState(Policy(lease_s=900.0, until_complete=True), 0.0)
    assert all_of(PollSweeps, state.handle(Ticked(), 0.0))
    assert not all_of(Exit, state.handle(Ticked(), 1.0))
    assert all_of(Exit, state.handle(GONE, 2.0))


def test_what_was_adopted_is_read_at_once() -> None:
    state = met(adopt_s=300.0)
    assert all_of(AdoptOrphans, state.handle(Ticked(), 400.0))
    state.handle(READ, 400.0)
    assert not all_of(ReadCoverage, state.handle(OrphansAdopted(SWEEP, 0), 401.0))
    assert all_of(AdoptOrphans, state.handle(Ticked(), 800.0))
    state.handle(READ, 800.0)
    assert all_of(ReadCoverage, state.handle(OrphansAdopted(SWEEP, 1), 801.0))


def test_every_delivery_of_one_receive_is_held() -> None:
    others = (buffered(10, 20), buffered(20, 30))
    commands = met().handle(received(DELIVERY, *others), 1.0)
    held = [each.leases for each in all_of(HoldLeases, commands)]
    assert held == [(each.lease,) for each in (DELIVERY, *others)]


def test_a_delivery_on_the_queue_of_another_sweep_is_set_aside_as_it_came() -> None:
    stray = buffered(0, 10, sweep="other-11111111")
    command = one_of(QuarantineMessage, met().handle(received(stray), 0.0))
    assert (command.lease, command.body) == (stray.lease, stray.body)


def test_after_a_delivery_a_queue_must_be_empty_for_long_again_before_its_sweep_rests() -> None:
    state = met(rest_s=60.0, rest_after_s=600.0, flush_age_s=1.0)
    assert not rests_at(state, 100.0)
    state.handle(received(DELIVERY), 500.0)
    flush = one_of(Flush, state.handle(Ticked(), 501.0))
    state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), 501.0)
    state.handle(MessagesDeleted((DELIVERY.lease,)), 501.0)
    assert not rests_at(state, 502.0)
    assert not rests_at(state, 1101.0)
    assert rests_at(state, 1102.0)
