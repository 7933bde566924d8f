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
    ReleaseMessages,
)
from aggregator.events import (
    CoverageRead,
    CoverageUnread,
    DeleteFailed,
    DeliveriesReceived,
    FlushFailed,
    LeaseLost,
    MessageQuarantined,
    MessagesDeleted,
    MessageUndecodable,
    NewerFormatReceived,
    OrphansAdopted,
    QuarantineFailed,
    ReceiveFailed,
    ShardStored,
    StopRequested,
    SweepsPolled,
    SweepState,
    Ticked,
)
from aggregator.policy import Policy, flush_age_s
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


def stored(flush: Flush, **more) -> ShardStored:
    more.setdefault("stored", flush.batch)
    return ShardStored(flush.sweep_id, flush.flush, SHARD, **more)


def test_a_message_is_deleted_only_with_the_proof_of_its_shard():
    state = met()
    delivery = buffered(0, 10)
    before = state.handle(received(delivery), 0.0)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    meanwhile = state.handle(Ticked(), 2.0)
    after = state.handle(stored(flush), 2.0)
    assert not all_of(DeleteMessages, before + meanwhile)
    assert one_of(DeleteMessages, after) == DeleteMessages((delivery.lease,), SHARD)


def test_leases_are_held_from_the_receive_until_the_delete_is_done():
    state = met()
    delivery = buffered(0, 10)
    assert one_of(HoldLeases, state.handle(received(delivery), 0.0)).leases == (delivery.lease,)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    assert not all_of(DropLeases, state.handle(stored(flush), 1.0))
    dropped = state.handle(MessagesDeleted((delivery.lease,)), 1.0)
    assert one_of(DropLeases, dropped).leases == (delivery.lease,)
    assert not state.held


@pytest.mark.parametrize(
    ("policy", "size_bytes"),
    [({"flush_rows": 20}, 1), ({"flush_bytes": 200}, 100), ({"flush_messages": 2}, 1)],
)
def test_enough_rows_or_bytes_or_messages_start_a_flush(policy, size_bytes):
    state = met(flush_age_s=100.0, **policy)
    first = state.handle(received(buffered(0, 10, size_bytes=size_bytes)), 0.0)
    second = state.handle(received(buffered(10, 20, size_bytes=size_bytes)), 0.0)
    assert not all_of(Flush, first)
    assert len(one_of(Flush, second).batch) == 2


def test_age_starts_a_flush_and_wakes_the_loop_for_it():
    state = met(flush_age_s=7.0, poll_s=100.0)
    state.handle(received(buffered(0, 10)), 10.0)
    assert state.wake_at(10.0) == 17.0
    assert not all_of(Flush, state.handle(Ticked(), 16.9))
    assert all_of(Flush, state.handle(Ticked(), 17.0))


def test_the_flush_age_grows_with_the_running_time_and_stays_below_half_the_lease():
    long_lease = Policy(lease_s=900.0)
    assert flush_age_s(long_lease, running_s=0.0) == 1.0
    assert flush_age_s(long_lease, running_s=300.0) == 30.0
    assert flush_age_s(long_lease, running_s=1e6) == 60.0
    assert flush_age_s(Policy(lease_s=20.0), running_s=1e6) < 10.0
    assert flush_age_s(Policy(lease_s=20.0, flush_age_s=3600.0), running_s=0.0) < 10.0


def test_what_completes_the_sweep_is_flushed_at_once():
    state = met(20, flush_age_s=60.0)
    assert not all_of(Flush, state.handle(received(buffered(0, 10)), 0.0))
    assert len(one_of(Flush, state.handle(received(buffered(10, 20)), 0.0)).batch) == 2


def test_stored_coverage_counts_towards_completing_the_sweep():
    state = met(20, missing=RunSet.span(15, 20), flush_age_s=60.0)
    assert all_of(Flush, state.handle(received(buffered(15, 20)), 0.0))


def test_a_delivery_of_a_later_epoch_completes_what_was_asked_for_before():
    state = met(20, flush_age_s=60.0)
    assert all_of(Flush, state.handle(received(buffered(0, 20, epoch=2)), 0.0))


def test_a_delivery_of_an_earlier_epoch_does_not_complete_what_was_asked_anew():
    state = met(20, flush_age_s=60.0)
    state.handle(CoverageRead(SWEEP, RunSet.span(0, 20), {1: RunSet.span(0, 20)}), 0.0)
    assert not all_of(Flush, state.handle(received(buffered(0, 20, epoch=0)), 0.0))


def test_runs_asked_anew_are_learned_when_a_complete_sweep_gets_deliveries():
    state = met(20, missing=RunSet(), flush_age_s=60.0)
    commands = state.handle(received(buffered(0, 20, epoch=1)), 100.0)
    commands += state.handle(Ticked(), 101.0)
    assert one_of(ReadCoverage, commands).sweep_id == SWEEP
    known = CoverageRead(SWEEP, RunSet.span(0, 20), {1: RunSet.span(0, 20)})
    assert all_of(Flush, state.handle(known, 101.0))


def test_a_failed_flush_keeps_the_batch_and_its_number_and_deletes_nothing():
    state = met()
    state.handle(received(buffered(0, 10)), 0.0)
    first = one_of(Flush, state.handle(Ticked(), 1.0))
    failed = state.handle(FlushFailed(SWEEP, first.flush, "disk full"), 1.0)
    state.handle(received(buffered(10, 20)), 1.0)
    again = one_of(Flush, state.handle(Ticked(), 1.0 + 0.25))
    assert not all_of(DeleteMessages, failed)
    assert not all_of(DropLeases, failed)
    assert again == first


def test_a_failing_storage_is_asked_less_and_less_often():
    state = met()
    state.handle(received(buffered(0, 10)), 0.0)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    now = 1.0
    for longest_s in (0.25, 0.5, 1.0, 2.0):
        state.handle(FlushFailed(SWEEP, flush.flush, "away"), now)
        assert not all_of(Flush, state.handle(Ticked(), now + longest_s * 0.49))
        now += longest_s
        assert all_of(Flush, state.handle(Ticked(), now))


def test_two_aggregators_that_met_one_outage_do_not_come_back_in_step():
    due = set()
    for who in ("agg-1", "agg-2"):
        state = met(who=who)
        state.handle(ReceiveFailed("away"), 0.0)
        due.add(state.wake_at(0.0))
    assert len(due) == 2


def test_receiving_goes_on_while_a_flush_is_in_progress():
    state = met()
    state.handle(received(buffered(0, 10)), 0.0)
    assert all_of(Flush, state.handle(Ticked(), 1.0))
    commands = state.handle(received(buffered(10, 20)), 1.0)
    assert all_of(ReceiveDeliveries, commands)
    assert not all_of(Flush, commands)


def test_a_delete_that_failed_in_part_is_tried_again_for_the_rest_with_the_same_proof():
    state = met()
    first, second = buffered(0, 10), buffered(10, 20)
    state.handle(received(first, second), 0.0)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    state.handle(stored(flush), 1.0)
    failed = DeleteFailed((second.lease,), SHARD, "refused", deleted=(first.lease,))
    assert one_of(DropLeases, state.handle(failed, 1.0)).leases == (first.lease,)
    assert not all_of(DeleteMessages, state.handle(Ticked(), 1.1))
    again = one_of(DeleteMessages, state.handle(Ticked(), 1.0 + 0.25))
    assert again == DeleteMessages((second.lease,), SHARD)


def test_what_nobody_can_decode_is_quarantined_before_it_is_deleted():
    state = met()
    lease = Lease(QUEUE, "t")
    commands = state.handle(MessageUndecodable(lease, "rubbish", "no JSON"), 0.0)
    assert one_of(QuarantineMessage, commands).body == "rubbish"
    assert not all_of(DeleteMessages, commands)
    failed = state.handle(QuarantineFailed(lease, "storage away"), 0.0)
    assert not all_of(DeleteMessages, failed)
    assert all_of(QuarantineMessage, state.handle(Ticked(), 0.25))
    done = state.handle(MessageQuarantined(lease, WASTE), 1.0)
    assert one_of(DeleteMessages, done) == DeleteMessages((lease,), WASTE)


def test_a_delivery_that_names_another_sweep_than_its_queue_is_quarantined():
    state = met()
    stray = buffered(0, 10, sweep="other-11111111")
    command = one_of(QuarantineMessage, state.handle(received(stray), 0.0))
    assert "names sweep other-11111111" in command.reason
    assert not all_of(Flush, state.handle(Ticked(), 5.0))


def test_runs_outside_the_sweep_are_looked_up_again_before_the_delivery_is_quarantined():
    state = met(20)
    commands = state.handle(received(buffered(15, 30)), 1.0)
    assert one_of(ReadCoverage, commands).sweep_id == SWEEP
    known = CoverageRead(SWEEP, RunSet.span(0, 20), {0: RunSet.span(0, 20)})
    command = one_of(QuarantineMessage, state.handle(known, 1.0))
    assert "20-29" in command.reason


def test_runs_of_a_segment_appended_meanwhile_are_stored():
    state = met(20)
    state.handle(received(buffered(15, 30)), 1.0)
    appended = CoverageRead(SWEEP, RunSet.span(0, 30), {0: RunSet.span(15, 30)})
    commands = state.handle(appended, 1.0)
    assert not all_of(QuarantineMessage, commands)
    assert one_of(Flush, commands).batch == (buffered(15, 30),)


def test_a_message_of_a_newer_format_is_given_back_with_a_delay_and_never_deleted():
    state = met()
    lease = Lease(QUEUE, "t")
    commands = state.handle(NewerFormatReceived(lease, "format 2"), 0.0)
    assert one_of(ReleaseMessages, commands) == ReleaseMessages((lease,), 900.0)
    assert not all_of(DeleteMessages, commands)
    assert lease not in state.held


def test_a_block_of_a_newer_format_is_given_back_too():
    state = met()
    delivery = buffered(0, 10)
    state.handle(received(delivery), 0.0)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    event = ShardStored(SWEEP, flush.flush, None, newer=(delivery,))
    commands = state.handle(event, 1.0)
    assert one_of(ReleaseMessages, commands) == ReleaseMessages((delivery.lease,), 900.0)
    assert not all_of(DeleteMessages, commands)


def test_what_did_not_fit_in_memory_is_stored_next_before_what_came_since():
    state = met()
    first, second, later = buffered(0, 10), buffered(10, 15), buffered(15, 16)
    state.handle(received(first, second), 0.0)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    assert flush.batch == (first, second)
    state.handle(received(later), 1.0)
    commands = state.handle(stored(flush, stored=(first,), unopened=(second,)), 1.0)
    assert one_of(DeleteMessages, commands).leases == (first.lease,)
    assert not all_of(ReleaseMessages, commands)
    assert one_of(Flush, commands).batch == (second, later)
    assert {second.lease, later.lease} <= state.held


def test_a_delivery_rejected_at_the_flush_is_quarantined_and_the_rest_is_deleted():
    state = met()
    good, bad = buffered(0, 10), buffered(10, 20)
    state.handle(received(good, bad), 0.0)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    commands = state.handle(stored(flush, stored=(good,), rejected=((bad, "damaged"),)), 1.0)
    assert one_of(DeleteMessages, commands).leases == (good.lease,)
    assert one_of(QuarantineMessage, commands).lease == bad.lease
    assert all_of(ReadCoverage, commands)


def test_a_lost_lease_changes_nothing():
    state = met()
    delivery = buffered(0, 10)
    state.handle(received(delivery), 0.0)
    assert not all_of(DropLeases, state.handle(LeaseLost(delivery.lease), 0.5))
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    assert flush.batch == (delivery,)
    assert one_of(DeleteMessages, state.handle(stored(flush), 1.0)).leases == (delivery.lease,)


def test_a_message_delivered_twice_is_stored_once_and_both_copies_are_deleted():
    state = met()
    first, copy = buffered(0, 10, token="a"), buffered(0, 10, token="b")
    state.handle(received(first), 0.0)
    state.handle(received(copy), 0.5)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    assert flush.batch == (first,)
    deleted = one_of(DeleteMessages, state.handle(stored(flush), 1.0))
    assert deleted.leases == (first.lease, copy.lease)


def test_a_message_that_comes_back_after_it_was_stored_is_deleted_by_the_same_proof():
    state = met()
    state.handle(received(buffered(0, 10, token="a")), 0.0)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    state.handle(stored(flush), 1.0)
    back = buffered(0, 10, token="b")
    commands = state.handle(received(back), 2.0)
    assert one_of(DeleteMessages, commands) == DeleteMessages((back.lease,), SHARD)
    assert not all_of(Flush, state.handle(Ticked(), 10.0))


def test_a_paused_sweep_is_served_and_a_cancelled_one_is_not():
    state = met(state=SweepState.PAUSED)
    assert all_of(ReceiveDeliveries, state.handle(received(), 1.0))
    state.handle(SweepsPolled({SWEEP: SweepState.CANCELLED}), 5.0)
    assert not all_of(ReceiveDeliveries, state.handle(received(), 5.0))


def test_a_cancelled_sweep_is_flushed_and_its_queue_is_left_alone():
    state = met(flush_age_s=100.0)
    delivery = buffered(0, 10)
    state.handle(received(delivery), 0.0)
    commands = state.handle(SweepsPolled({SWEEP: SweepState.CANCELLED}), 5.0)
    assert one_of(DropLeases, commands).leases == (delivery.lease,)
    flush = one_of(Flush, commands)
    assert not all_of(DeleteMessages, state.handle(stored(flush), 5.0))
    assert not state.held


def test_stopping_flushes_deletes_and_leaves_with_status_0():
    state = met(flush_age_s=100.0)
    delivery = buffered(0, 10)
    state.handle(received(delivery), 0.0)
    flush = one_of(Flush, state.handle(StopRequested(), 1.0))
    state.handle(DeliveriesReceived(()), 1.0)
    assert one_of(DeleteMessages, state.handle(stored(flush), 1.0)).leases == (delivery.lease,)
    assert one_of(Exit, state.handle(MessagesDeleted((delivery.lease,)), 1.0)).status == 0


def test_what_is_received_while_leaving_is_given_back():
    state = met()
    state.handle(Ticked(), 0.0)
    assert not all_of(Exit, state.handle(StopRequested(), 1.0))
    late = buffered(0, 10)
    commands = state.handle(received(late), 1.1)
    assert one_of(ReleaseMessages, commands) == ReleaseMessages((late.lease,), 0)
    assert one_of(Exit, commands).status == 0


def test_leaving_while_storage_is_away_gives_everything_back_with_status_1():
    state = met(flush_age_s=100.0, tries_when_stopping=2)
    delivery = buffered(0, 10)
    state.handle(received(delivery), 0.0)
    flush = one_of(Flush, state.handle(StopRequested(), 1.0))
    state.handle(DeliveriesReceived(()), 1.0)
    state.handle(FlushFailed(SWEEP, flush.flush, "folder is read-only"), 1.0)
    assert all_of(Flush, state.handle(Ticked(), 1.0 + 0.25))
    commands = state.handle(FlushFailed(SWEEP, flush.flush, "folder is read-only"), 2.0)
    assert one_of(ReleaseMessages, commands) == ReleaseMessages((delivery.lease,), 0)
    assert not all_of(DeleteMessages, commands)
    assert one_of(Exit, commands).status == 1


def test_leaving_while_the_home_cannot_be_read_gives_back_what_was_unclear():
    state = met(20)
    puzzling = buffered(15, 30)
    state.handle(received(puzzling), 1.0)
    state.handle(StopRequested(), 1.0)
    state.handle(received(), 1.0)
    commands = state.handle(CoverageUnread(SWEEP, "storage away"), 1.0)
    assert one_of(ReleaseMessages, commands).leases == (puzzling.lease,)
    assert one_of(Exit, commands).status == 0


def test_a_delivery_that_came_while_the_sweep_was_read_is_not_judged_by_that_reading():
    state = met(20)
    early, late = buffered(15, 25), buffered(25, 30)
    assert one_of(ReadCoverage, state.handle(received(early), 1.0))
    state.handle(received(late), 1.1)
    runs = RunSet.span(0, 25)
    commands = state.handle(CoverageRead(SWEEP, runs, {0: runs}), 1.2)
    assert not all_of(QuarantineMessage, commands)
    assert one_of(ReadCoverage, commands)
    commands = state.handle(CoverageRead(SWEEP, runs, {0: runs}), 1.3)
    assert one_of(QuarantineMessage, commands).body == late.body


def test_until_complete_leaves_only_when_manifests_cover_every_run():
    state = met(20, until_complete=True, sweep_ids=(SWEEP,))
    delivery = buffered(0, 20)
    commands = state.handle(received(delivery), 0.0)
    flush = one_of(Flush, commands)
    state.handle(received(), 0.0)
    assert not all_of(Exit, state.handle(stored(flush), 1.0))
    state.handle(MessagesDeleted((delivery.lease,)), 1.0)
    assert one_of(Exit, state.handle(received(), 1.0)).status == 0


def test_copies_of_a_complete_sweep_do_not_delay_the_leaving():
    state = met(20, until_complete=True, flush_age_s=60.0)
    assert not all_of(Flush, state.handle(received(buffered(0, 10)), 0.0))
    complete = CoverageRead(SWEEP, RunSet.span(0, 20), {})
    assert all_of(Flush, state.handle(complete, 1.0))


def test_until_complete_waits_for_a_sweep_that_is_not_there_yet():
    state = met(20, missing=RunSet(), until_complete=True, sweep_ids=(SWEEP, "late-22222222"))
    assert not all_of(Exit, state.handle(received(), 1.0))


def test_an_idle_aggregator_leaves_when_it_was_told_to():
    state = met(idle_exit_s=30.0)
    assert not all_of(Exit, state.handle(received(), 29.0))
    state.handle(Ticked(), 30.0)
    assert one_of(Exit, state.handle(received(), 30.1)).status == 0


def test_an_aggregator_is_not_idle_before_a_receive_found_nothing():
    state = met(idle_exit_s=30.0, flush_age_s=10.0)
    state.handle(ReceiveFailed("away"), 1.0)
    state.handle(Ticked(), 600.0)
    state.handle(received(buffered(0, 1)), 601.0)
    flush = one_of(Flush, state.handle(Ticked(), 612.0))
    state.handle(stored(flush), 613.0)
    leases = tuple(each.lease for each in flush.batch)
    assert not all_of(Exit, state.handle(MessagesDeleted(leases), 700.0))
    assert one_of(Exit, state.handle(received(), 701.0)).status == 0


def test_too_many_undeleted_messages_stop_receiving_and_start_a_flush():
    state = met(most_undeleted=2, flush_age_s=100.0)
    commands = state.handle(received(buffered(0, 1), buffered(1, 2)), 0.0)
    assert not all_of(ReceiveDeliveries, commands)
    flush = one_of(Flush, commands)
    state.handle(stored(flush), 1.0)
    leases = tuple(each.lease for each in flush.batch)
    assert all_of(ReceiveDeliveries, state.handle(MessagesDeleted(leases), 1.0))


def test_a_full_buffer_stops_receiving():
    state = met(most_buffered_bytes=1000, flush_bytes=10_000, flush_age_s=100.0)
    commands = state.handle(received(buffered(0, 1, size_bytes=1000)), 0.0)
    assert not all_of(ReceiveDeliveries, commands)
    assert all_of(Flush, commands)


def test_a_queue_that_does_not_answer_is_asked_again_after_a_pause():
    state = met()
    assert not all_of(ReceiveDeliveries, state.handle(ReceiveFailed("away"), 1.0))
    assert all_of(ReceiveDeliveries, state.handle(Ticked(), 1.0 + 0.25))


def test_a_batch_is_bounded_and_the_rest_waits_for_the_next():
    state = met(flush_rows=15, flush_age_s=100.0)
    commands = state.handle(
        received(buffered(0, 10), buffered(10, 20), buffered(20, 30), buffered(30, 40)), 0.0
    )
    flush = one_of(Flush, commands)
    assert [each.rows for each in flush.batch] == [10, 10]
    following = one_of(Flush, state.handle(stored(flush), 0.0))
    assert [each.delivery.runs.least for each in following.batch] == [20, 30]


def test_the_sweep_with_most_to_store_is_flushed_first():
    state = met(flush_age_s=1.0)
    other = "other-11111111"
    state.handle(SweepsPolled(dict.fromkeys((SWEEP, other), SweepState.RUNNING)), 0.0)
    runs = RunSet.span(0, 100)
    state.handle(CoverageRead(other, runs, {0: runs}), 0.0)
    big = buffered(0, 10, sweep=other, queue=f"{other}-results", size_bytes=1000)
    state.handle(received(buffered(0, 10), big), 0.0)
    assert one_of(Flush, state.handle(Ticked(), 1.0)).sweep_id == other


def rest(**policy):
    return met(missing=RunSet(), rest_s=60.0, rest_after_s=600.0, **policy)


def asked_in(state, start, stop):
    """Let time pass with an empty queue from `start`; give the receives that were asked for."""
    asked, now = [], float(start)
    commands = state.handle(received(), now)
    while now < stop:
        receives = all_of(ReceiveDeliveries, commands)
        asked += receives
        if receives:
            now += 20.0 if asked[-1].wait_s is None else asked[-1].wait_s
            commands = state.handle(received(), now)
        else:
            now += 1.0
            commands = state.handle(Ticked(), now)
        if all_of(PollSweeps, commands):
            (poll,) = all_of(PollSweeps, commands)
            states = {} if poll.resting else {SWEEP: SweepState.RUNNING}
            commands += state.handle(SweepsPolled(states, poll.resting), now)
        if all_of(ReadCoverage, commands):
            commands += state.handle(CoverageRead(SWEEP, RunSet.span(0, 1000), {}), now)
    return asked


def test_a_complete_sweep_is_looked_at_once_a_minute_for_a_second():
    asked = asked_in(rest(), 0, 600)
    assert 9 <= len(asked) <= 12
    assert {each.wait_s for each in asked[1:]} == {1.0}


def test_a_queue_found_empty_for_ten_minutes_is_looked_at_once_a_minute():
    state = met(rest_s=60.0, rest_after_s=600.0)
    lacking = {0: RunSet.span(0, 1000)}
    now, early, late = 0.0, 0, 0
    commands = state.handle(received(), now)
    while now < 1800.0:
        receives = all_of(ReceiveDeliveries, commands)
        early += now < 500.0 and bool(receives)
        late += now > 900.0 and bool(receives)
        now += (receives[0].wait_s or 20.0) if receives else 1.0
        commands = state.handle(received() if receives else Ticked(), now)
        if all_of(ReadCoverage, commands):
            commands += state.handle(CoverageRead(SWEEP, RunSet.span(0, 1000), lacking), now)
    assert early >= 24
    assert 13 <= late <= 16


def test_where_nothing_rests_a_complete_sweep_is_received_from_all_the_time():
    asked = asked_in(met(missing=RunSet()), 0, 600)
    assert len(asked) >= 29


def test_what_is_wanted_and_stored_of_a_resting_sweep_is_looked_at_seldom():
    state = rest()
    commands = []
    for now in range(1, 1201):
        found = state.handle(Ticked(), float(now))
        for poll in all_of(PollSweeps, found):
            states = {} if poll.resting else {SWEEP: SweepState.RUNNING}
            state.handle(SweepsPolled(states, poll.resting), float(now))
        for _ in all_of(ReadCoverage, found):
            state.handle(CoverageRead(SWEEP, RunSet.span(0, 1000), {}), float(now))
        for _ in all_of(AdoptOrphans, found):
            state.handle(OrphansAdopted(SWEEP, 0), float(now))
        commands += found
    looked = [poll for poll in all_of(PollSweeps, commands) if not poll.resting]
    assert 18 <= len(looked) <= 21
    assert len(all_of(PollSweeps, commands)) >= 230
    assert len(all_of(ReadCoverage, commands)) <= 3
    assert len(all_of(AdoptOrphans, commands)) <= 3


def test_a_delivery_wakes_a_resting_sweep_and_its_runs_are_read_again():
    state = rest()
    asked_in(state, 0, 300)
    commands = state.handle(received(buffered(0, 10, epoch=1)), 320.0)
    assert one_of(ReceiveDeliveries, commands).wait_s is None
    assert all_of(ReadCoverage, state.handle(Ticked(), 321.5))


def test_a_resting_sweep_is_gone_when_the_home_does_not_name_it():
    state = rest()
    state.handle(SweepsPolled({}, frozenset({SWEEP})), 1.0)
    state.handle(received(), 1.0)
    commands = state.handle(SweepsPolled({}), 2.0)
    assert not all_of(ReceiveDeliveries, commands + state.handle(Ticked(), 100.0))


def test_a_stop_gives_up_what_storage_does_not_take_in_time_and_says_what_it_leaves():
    state = met(stop_s=80.0)
    first, second = buffered(0, 10), buffered(10, 20)
    state.handle(received(first), 0.0)
    assert all_of(Flush, state.handle(Ticked(), 1.0))
    state.handle(received(second), 1.0)
    # Neither the flush nor the receive is ever answered.
    state.handle(StopRequested(), 2.0)
    assert not all_of(Exit, state.handle(Ticked(), 81.9))
    assert state.wake_at(81.9) == 82.0
    commands = state.handle(Ticked(), 82.0)
    assert set(one_of(ReleaseMessages, commands).leases) == {first.lease, second.lease}
    leaving = one_of(Exit, commands)
    assert leaving.status == 1
    assert "2 messages stay on the queue" in leaving.reason


def test_a_stop_with_nothing_in_hand_waits_no_longer_for_a_receive_than_it_may_store():
    state = met(stop_s=80.0)
    state.handle(received(), 0.0)
    state.handle(StopRequested(), 1.0)
    leaving = one_of(Exit, state.handle(Ticked(), 81.0))
    assert leaving.status == 0


def test_what_is_stored_and_not_deleted_yet_is_not_given_back_by_a_stop():
    state = met(stop_s=80.0)
    state.handle(received(buffered(0, 10)), 0.0)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    assert all_of(DeleteMessages, state.handle(stored(flush), 1.0))
    state.handle(StopRequested(), 2.0)
    commands = state.handle(Ticked(), 82.0)
    assert not all_of(ReleaseMessages, commands)
    assert one_of(Exit, commands).status == 1
