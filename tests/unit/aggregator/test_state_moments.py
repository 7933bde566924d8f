"""When an aggregator wakes by itself, and how it numbers its flushes."""

from __future__ import annotations

from aggregator.commands import (
    AdoptOrphans,
    DeleteMessages,
    Exit,
    Flush,
    ReceiveDeliveries,
)
from aggregator.events import (
    OrphansAdopted,
    ShardStored,
    StopRequested,
    SweepsPolled,
    SweepState,
    Ticked,
)
from aggregator.policy import Policy
from aggregator.proof import AlreadyFinal
from aggregator.state import AggregatorState
from gapless.declaration.runset import RunSet
from tests.unit.aggregator.made import (
    SHARD,
    SWEEP,
    all_of,
    buffered,
    met,
    one_of,
    received,
)


def test_flushes_are_numbered_one_after_the_other() -> None:
    state = met(flush_age_s=1.0)
    numbers = []
    for start in (0, 10, 20):
        state.handle(received(buffered(start, start + 10)), float(start))
        flush = one_of(Flush, state.handle(Ticked(), start + 1.0))
        numbers.append(flush.flush)
        state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), start + 1.5)
    assert numbers == [1, 2, 3]


def test_an_aggregator_that_may_leave_when_idle_wakes_for_it() -> None:
    state = met(idle_exit_s=50.0, poll_s=900.0, coverage_s=900.0, adopt_s=900.0)
    assert state.wake_at(1.0) == 50.0
    state.handle(received(buffered(0, 10)), 20.0)
    flush = one_of(Flush, state.handle(Ticked(), 40.0))
    state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), 40.0)
    assert state.wake_at(45.0) == 70.0


def test_a_delivery_is_woken_for_when_it_is_old_enough_and_not_before() -> None:
    state = met(flush_age_s=30.0, poll_s=900.0, coverage_s=900.0, adopt_s=900.0)
    state.handle(received(buffered(0, 10)), 3.0)
    assert state.wake_at(3.0) == 33.0
    assert not all_of(Flush, state.handle(Ticked(), 32.9))


def test_orphans_are_looked_for_at_first_of_any_age_and_then_now_and_then() -> None:
    state = AggregatorState(Policy(lease_s=900.0, adopt_s=300.0, adopt_older_than_s=60.0), 0.0)
    first = state.handle(SweepsPolled({SWEEP: SweepState.RUNNING}), 0.0)
    assert all_of(AdoptOrphans, first) == [AdoptOrphans(sweep_id=SWEEP, older_than_s=0.0)]
    assert not all_of(AdoptOrphans, state.handle(Ticked(), 1.0))
    assert not all_of(AdoptOrphans, state.handle(OrphansAdopted(SWEEP, 0), 2.0))
    assert not all_of(AdoptOrphans, state.handle(Ticked(), 301.9))
    later = state.handle(Ticked(), 302.0)
    assert all_of(AdoptOrphans, later) == [AdoptOrphans(sweep_id=SWEEP, older_than_s=60.0)]


def test_who_leaves_looks_for_no_orphans() -> None:
    state = met(adopt_s=10.0)
    state.handle(received(buffered(0, 10)), 1.0)
    state.handle(StopRequested(), 2.0)
    assert not all_of(AdoptOrphans, state.handle(Ticked(), 20.0))


def test_no_more_is_received_than_may_be_held() -> None:
    state = met(most_undeleted=3, flush_age_s=90.0)
    asked = state.handle(received(buffered(0, 10)), 1.0)
    assert one_of(ReceiveDeliveries, asked).most == 2
    asked = state.handle(received(buffered(10, 20)), 1.0)
    assert one_of(ReceiveDeliveries, asked).most == 1


def test_who_waits_for_two_sweeps_does_not_leave_when_one_is_complete() -> None:
    policy = {"until_complete": True, "sweep_ids": (SWEEP, "other-00000000")}
    state = met(10, missing=RunSet(), **policy)
    assert not all_of(Exit, state.handle(received(), 1.0))


def test_a_delivery_of_which_all_is_final_already_is_deleted_by_the_proof_of_that() -> None:
    state = met()
    delivery = buffered(0, 10)
    state.handle(received(delivery), 0.0)
    flush = one_of(Flush, state.handle(Ticked(), 1.0))
    proof = AlreadyFinal(SWEEP, manifests=3)
    answer = ShardStored(SWEEP, flush.flush, None, final=((delivery, proof),))
    deleted = one_of(DeleteMessages, state.handle(answer, 2.0))
    assert deleted == DeleteMessages((delivery.lease,), proof)
