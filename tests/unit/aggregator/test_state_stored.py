"""What becomes of deliveries when a flush ended, when messages are set aside, and of failures."""

from __future__ import annotations

import dataclasses
from typing import cast

import pytest

from aggregator.commands import (
    DeleteMessages,
    DropLeases,
    Exit,
    Flush,
    HoldLeases,
    QuarantineMessage,
    ReadCoverage,
    ReleaseMessages,
)
from aggregator.events import (
    CoverageRead,
    CoverageUnread,
    DeleteFailed,
    Event,
    FlushFailed,
    MessageQuarantined,
    MessagesDeleted,
    MessageUndecodable,
    QuarantineFailed,
    ReceiveFailed,
    ShardStored,
    StopRequested,
    Ticked,
)
from aggregator.proof import AlreadyFinal
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

FIRST, SECOND, THIRD, FOURTH = (buffered(start, start + 10) for start in (0, 10, 20, 30))
RUBBISH = Lease(QUEUE, "rubbish")
FINAL = AlreadyFinal(SWEEP, manifests=3)


def flushed(**policy: object) -> tuple[AggregatorState, Flush]:
    """Give a machine that flushes four deliveries."""
    state = met(**policy)
    state.handle(received(FIRST, SECOND, THIRD, FOURTH), 0.0)
    return state, one_of(Flush, state.handle(Ticked(), 1.0))


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(AssertionError):
        met().handle(cast("Event", "a word"), 0.0)


def test_every_delivery_of_a_flush_leaves_in_its_own_way() -> None:
    state, flush = flushed()
    commands = state.handle(
        ShardStored(
            SWEEP,
            flush.flush,
            SHARD,
            stored=(FIRST, SECOND),
            final=((THIRD, FINAL),),
            rejected=((FOURTH, "damaged"),),
        ),
        2.0,
    )
    assert all_of(DeleteMessages, commands) == [
        DeleteMessages((FIRST.lease, SECOND.lease), SHARD),
        DeleteMessages((THIRD.lease,), FINAL),
    ]
    assert all_of(QuarantineMessage, commands) == [
        QuarantineMessage(FOURTH.lease, FOURTH.body, "damaged")
    ]
    assert all_of(ReadCoverage, commands)


def test_copies_of_what_is_given_back_or_rejected_go_with_it() -> None:
    state, flush = flushed()
    again, twice = (buffered(start, start + 10, token=f"copy-{start}") for start in (20, 30))
    state.handle(received(again, twice), 1.5)
    answer = ShardStored(
        SWEEP, flush.flush, SHARD, stored=(FIRST, SECOND), rejected=((THIRD, "?"),), newer=(FOURTH,)
    )
    commands = state.handle(answer, 2.0)
    assert [each.lease for each in all_of(QuarantineMessage, commands)] == [
        THIRD.lease,
        again.lease,
    ]
    released = ReleaseMessages((FOURTH.lease, twice.lease), 900.0)
    assert all_of(ReleaseMessages, commands) == [released]


def test_so_many_stored_deliveries_are_known_again_and_no_more() -> None:
    state, flush = flushed(most_remembered=1)
    state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), 2.0)
    assert not all_of(DeleteMessages, state.handle(received(FIRST), 3.0))
    assert one_of(DeleteMessages, state.handle(received(FOURTH), 3.0)).leases == (FOURTH.lease,)


def test_what_nobody_can_decode_is_quarantined_with_the_reason() -> None:
    commands = met().handle(MessageUndecodable(RUBBISH, "?", "no JSON"), 0.0)
    assert one_of(QuarantineMessage, commands) == QuarantineMessage(RUBBISH, "?", "no JSON")


def test_what_nobody_can_decode_is_left_to_others_by_who_leaves() -> None:
    state = met()
    state.handle(StopRequested(), 1.0)
    commands = state.handle(MessageUndecodable(RUBBISH, "?", "no JSON"), 1.0)
    assert commands == [ReleaseMessages((RUBBISH,), 0)]


def test_a_queue_that_stays_away_is_asked_less_and_less_often_until_it_answers() -> None:
    state, now, pauses = met(), 1.0, []
    for _ in range(4):
        state.handle(ReceiveFailed("away"), now)
        pauses.append(state.wake_at(now) - now)
        now += 3.0
        state.handle(Ticked(), now)
    assert all(
        longest_s / 2 <= pause_s <= longest_s
        for longest_s, pause_s in zip((0.25, 0.5, 1.0, 2.0), pauses, strict=True)
    )
    state.handle(received(), now)
    state.handle(ReceiveFailed("away"), now)
    assert state.wake_at(now) - now == pytest.approx(pauses[0])


def test_a_delete_that_keeps_failing_is_tried_less_and_less_often() -> None:
    state, flush = flushed()
    state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), 1.0)
    leases = tuple(each.lease for each in flush.batch)
    now = 1.0
    for longest_s in (0.25, 0.5, 1.0, 2.0):
        assert not all_of(DropLeases, state.handle(DeleteFailed(leases, SHARD, "away"), now))
        assert not all_of(DeleteMessages, state.handle(Ticked(), now + longest_s * 0.49))
        now += longest_s
        assert one_of(DeleteMessages, state.handle(Ticked(), now)).leases == leases


def test_a_quarantine_that_keeps_failing_is_tried_less_and_less_often() -> None:
    state = met()
    state.handle(MessageUndecodable(RUBBISH, "?", "no JSON"), 1.0)
    now = 1.0
    for longest_s in (0.25, 0.5, 1.0, 2.0):
        state.handle(QuarantineFailed(RUBBISH, "away"), now)
        assert not all_of(QuarantineMessage, state.handle(Ticked(), now + longest_s * 0.49))
        now += longest_s
        assert all_of(QuarantineMessage, state.handle(Ticked(), now))


def leaving_with_one_stored(**policy: object) -> AggregatorState:
    state = met(flush_age_s=100.0, **policy)
    state.handle(received(FIRST), 0.0)
    flush = one_of(Flush, state.handle(StopRequested(), 1.0))
    state.handle(received(), 1.0)
    state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), 1.0)
    return state


def test_who_leaves_tries_a_delete_so_often_and_then_leaves_the_message_to_its_lease() -> None:
    state = leaving_with_one_stored(tries_when_stopping=3)
    now = 1.0
    for _ in range(2):
        failed = state.handle(DeleteFailed((FIRST.lease,), SHARD, "away"), now)
        assert not all_of(Exit, failed)
        now += 1.0
        assert all_of(DeleteMessages, state.handle(Ticked(), now))
    commands = state.handle(DeleteFailed((FIRST.lease,), SHARD, "away"), now)
    assert one_of(DropLeases, commands).leases == (FIRST.lease,)
    assert one_of(Exit, commands).status == 0
    assert not all_of(ReleaseMessages, commands)


def test_who_leaves_waits_for_every_delete() -> None:
    state, flush = flushed()
    state.handle(StopRequested(), 1.0)
    state.handle(received(), 1.0)
    batch = flush.batch
    answer = ShardStored(SWEEP, flush.flush, SHARD, stored=batch[:2], final=((batch[2], FINAL),))
    state.handle(dataclasses.replace(answer, rejected=((batch[3], "?"),)), 2.0)
    assert not all_of(Exit, state.handle(MessagesDeleted((FIRST.lease, SECOND.lease)), 3.0))
    assert not all_of(Exit, state.handle(MessagesDeleted((THIRD.lease,)), 3.0))
    state.handle(MessageQuarantined(FOURTH.lease, WASTE), 3.0)
    state.handle(CoverageUnread(SWEEP, "away"), 3.0)
    assert one_of(Exit, state.handle(MessagesDeleted((FOURTH.lease,)), 3.0)).status == 0


def test_who_leaves_tries_a_quarantine_so_often_and_then_gives_the_message_back() -> None:
    state = met(tries_when_stopping=3)
    state.handle(MessageUndecodable(RUBBISH, "?", "no JSON"), 1.0)
    state.handle(StopRequested(), 1.0)
    state.handle(received(), 1.0)
    now = 1.0
    for _ in range(2):
        assert not all_of(Exit, state.handle(QuarantineFailed(RUBBISH, "away"), now))
        now += 1.0
        assert all_of(QuarantineMessage, state.handle(Ticked(), now))
    commands = state.handle(QuarantineFailed(RUBBISH, "away"), now)
    assert one_of(ReleaseMessages, commands) == ReleaseMessages((RUBBISH,), 0)
    assert one_of(Exit, commands).status == 0


def test_who_leaves_without_storage_gives_back_all_it_has_and_says_why() -> None:
    state = met(40, flush_rows=10, tries_when_stopping=2)
    strange = buffered(35, 45)
    flush = one_of(Flush, state.handle(received(FIRST, SECOND, strange), 0.0))
    assert flush.batch == (FIRST,)
    state.handle(StopRequested(), 1.0)
    state.handle(received(), 1.0)
    for now in (1.0, 2.0):
        state.handle(Ticked(), now)
        commands = state.handle(FlushFailed(SWEEP, flush.flush, "folder is read-only"), now)
    leases = (FIRST.lease, SECOND.lease, strange.lease)
    assert one_of(ReleaseMessages, commands) == ReleaseMessages(leases, 0)
    assert one_of(DropLeases, commands).leases == leases
    reason = f"storage did not take a shard of sweep {SWEEP}: folder is read-only"
    assert one_of(Exit, commands) == Exit(status=1, reason=reason)


def test_who_leaves_goes_when_what_nobody_can_decode_is_quarantined_and_deleted() -> None:
    state = met()
    state.handle(MessageUndecodable(RUBBISH, "?", "no JSON"), 1.0)
    state.handle(StopRequested(), 1.0)
    assert not all_of(Exit, state.handle(received(), 1.0))
    commands = state.handle(MessageQuarantined(RUBBISH, WASTE), 2.0)
    assert commands == [DeleteMessages((RUBBISH,), WASTE)]
    assert one_of(Exit, state.handle(MessagesDeleted((RUBBISH,)), 2.0)).status == 0


def test_after_a_quarantine_that_succeeded_a_failure_is_the_first_again() -> None:
    state = met()
    other = Lease(QUEUE, "other")
    pauses = []
    for lease in (RUBBISH, other):
        state.handle(MessageUndecodable(lease, "?", "no JSON"), 1.0)
        state.handle(QuarantineFailed(lease, "away"), 1.0)
        pauses.append(state.wake_at(1.0) - 1.0)
        assert one_of(QuarantineMessage, state.handle(Ticked(), 1.25)).lease == lease
        state.handle(MessageQuarantined(lease, WASTE), 1.25)
    assert pauses == [pytest.approx(pauses[0])] * 2


def test_a_message_that_comes_twice_under_one_token_is_set_aside_twice_without_harm() -> None:
    state = met(tries_when_stopping=1)
    for _ in range(2):
        state.handle(MessageUndecodable(RUBBISH, "?", "no JSON"), 1.0)
    for _ in range(2):
        assert one_of(DeleteMessages, state.handle(MessageQuarantined(RUBBISH, WASTE), 1.0))
        state.handle(MessagesDeleted((RUBBISH,)), 1.0)
    for _ in range(2):
        state.handle(MessageUndecodable(RUBBISH, "?", "no JSON"), 2.0)
    state.handle(StopRequested(), 2.0)
    state.handle(received(), 2.0)
    for _ in range(2):
        commands = state.handle(QuarantineFailed(RUBBISH, "away"), 2.0)
        assert one_of(ReleaseMessages, commands).leases == (RUBBISH,)
    assert one_of(Exit, commands).status == 0


def test_a_lease_is_held_once_from_the_receive_until_it_is_set_aside() -> None:
    state = met()
    commands = state.handle(MessageUndecodable(RUBBISH, "?", "no JSON"), 0.0)
    assert one_of(HoldLeases, commands) == HoldLeases((RUBBISH,))
    assert state.held == {RUBBISH}
    state.handle(received(FIRST), 0.0)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    commands = state.handle(
        ShardStored(SWEEP, flush.flush, None, rejected=((FIRST, "damaged"),)), 1.0
    )
    assert not all_of(HoldLeases, commands)
    assert state.held == {RUBBISH, FIRST.lease}


def test_every_delivery_of_runs_that_the_sweep_does_not_have_is_set_aside() -> None:
    state = met(20)
    strange = [buffered(start, start + 10) for start in (30, 40)]
    state.handle(received(*strange), 1.0)
    runs = RunSet.span(0, 20)
    commands = state.handle(CoverageRead(SWEEP, runs, {0: runs}), 1.0)
    assert [each.lease for each in all_of(QuarantineMessage, commands)] == [
        each.lease for each in strange
    ]
