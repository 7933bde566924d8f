"""The bounds an aggregator keeps when nobody gives it others."""

from __future__ import annotations

import pytest

from aggregator.commands import (
    AdoptOrphans,
    DeleteMessages,
    Exit,
    Flush,
    ReadCoverage,
    ReceiveDeliveries,
)
from aggregator.events import (
    CoverageRead,
    FlushFailed,
    OrphansAdopted,
    ShardStored,
    StopRequested,
    SweepsPolled,
    SweepState,
    Ticked,
)
from aggregator.policy import Policy
from aggregator.state import AggregatorState
from gapless.declaration.runset import RunSet
from gapless.storage.layout import results_queue
from tests.unit.aggregator.made import (
    SHARD,
    SWEEP,
    all_of,
    buffered,
    met,
    one_of,
    received,
)

MANY = 10_000_000
USUAL = {"flush_age_s": 60.0}


def test_half_a_million_rows_are_flushed_and_one_less_are_not() -> None:
    state = met(MANY, **USUAL)
    assert not all_of(Flush, state.handle(received(buffered(0, 499_999)), 1.0))
    assert all_of(Flush, state.handle(received(buffered(499_999, 500_000)), 1.0))


def test_64_megabytes_are_flushed_and_a_byte_less_are_not() -> None:
    state = met(**USUAL)
    assert not all_of(Flush, state.handle(received(buffered(0, 1, size_bytes=63_999_999)), 1.0))
    assert all_of(Flush, state.handle(received(buffered(1, 2, size_bytes=1)), 1.0))


def test_five_thousand_deliveries_are_flushed_and_one_less_are_not() -> None:
    state = met(MANY, **USUAL)
    deliveries = [buffered(start, start + 1, size_bytes=1) for start in range(5_000)]
    assert not all_of(Flush, state.handle(received(*deliveries[1:]), 1.0))
    assert all_of(Flush, state.handle(received(deliveries[0]), 1.0))


def test_ten_thousand_messages_are_held_at_most() -> None:
    state = met(MANY, **USUAL)
    deliveries = [buffered(start, start + 1, size_bytes=1) for start in range(10_000)]
    asked = state.handle(received(*deliveries[1:]), 1.0)
    assert one_of(ReceiveDeliveries, asked).most == 1
    assert not all_of(ReceiveDeliveries, state.handle(received(deliveries[0]), 1.0))


def test_128_megabytes_are_held_at_most() -> None:
    state = met(**USUAL)
    asked = state.handle(received(buffered(0, 1, size_bytes=127_999_999)), 1.0)
    assert all_of(ReceiveDeliveries, asked)
    assert not all_of(ReceiveDeliveries, state.handle(received(buffered(1, 2, size_bytes=1)), 1.0))


def test_twenty_thousand_stored_deliveries_are_known_again() -> None:
    state = met(MANY)
    deliveries = [buffered(start, start + 1, size_bytes=1) for start in range(20_001)]
    flush = one_of(Flush, state.handle(received(*deliveries), 1.0))
    state.handle(ShardStored(SWEEP, flush.flush, SHARD, stored=flush.batch), 2.0)
    assert not all_of(DeleteMessages, state.handle(received(deliveries[0]), 3.0))
    assert all_of(DeleteMessages, state.handle(received(deliveries[1]), 3.0))


def test_what_is_stored_is_read_every_30_s() -> None:
    state = met()
    assert not all_of(ReadCoverage, state.handle(Ticked(), 29.9))
    assert all_of(ReadCoverage, state.handle(Ticked(), 30.0))


def test_orphans_older_than_a_minute_are_looked_for_every_five_minutes() -> None:
    state = met()
    assert not all_of(AdoptOrphans, state.handle(Ticked(), 299.9))
    assert one_of(AdoptOrphans, state.handle(Ticked(), 300.0)).older_than_s == 60.0


def test_who_leaves_tries_storage_four_times() -> None:
    state = met(flush_age_s=60.0)
    state.handle(received(buffered(0, 10)), 0.0)
    flush = one_of(Flush, state.handle(StopRequested(), 1.0))
    state.handle(received(), 1.0)
    for now in (1.0, 2.0, 4.0):
        assert not all_of(Exit, state.handle(FlushFailed(SWEEP, flush.flush, "full"), now))
        assert all_of(Flush, state.handle(Ticked(), now + 1.0))
    assert all_of(Exit, state.handle(FlushFailed(SWEEP, flush.flush, "full"), 6.0))


def test_who_leaves_is_gone_after_80_s() -> None:
    state = met()
    state.handle(StopRequested(), 1.0)
    assert not all_of(Exit, state.handle(Ticked(), 80.9))
    assert all_of(Exit, state.handle(Ticked(), 81.0))


def test_no_sweep_rests_unless_that_is_asked_for() -> None:
    state = met(missing=RunSet())
    assert one_of(ReceiveDeliveries, state.handle(received(), 1.0)).wait_s is None


def test_what_is_stored_of_a_resting_sweep_is_read_at_every_tenth_look() -> None:
    state = met(missing=RunSet(), rest_s=60.0)
    state.handle(CoverageRead(SWEEP, RunSet.span(0, 1000), {}), 0.0)
    assert not all_of(ReadCoverage, state.handle(Ticked(), 599.9))
    assert all_of(ReadCoverage, state.handle(Ticked(), 600.0))


def found(state: AggregatorState, *sweep_ids: str, now: float = 0.0) -> None:
    """Let the home name sweeps of which everything is stored."""
    state.handle(SweepsPolled(dict.fromkeys(sweep_ids, SweepState.RUNNING)), now)
    for each in sweep_ids:
        state.handle(OrphansAdopted(each, 0), now)
        state.handle(CoverageRead(each, RunSet.span(0, 10), {}), now)


def test_fifteen_sweeps_that_rest_are_looked_at_at_a_time() -> None:
    state = AggregatorState(Policy(lease_s=900.0, rest_s=60.0), 0.0)
    found(state, *(f"s{number:02d}-00000000" for number in range(16)))
    state.handle(received(), 10.0)
    assert len(one_of(ReceiveDeliveries, state.handle(Ticked(), 100.0)).queues) == 15


@pytest.mark.parametrize("now", [60.0, 5000.0])
def test_a_sweep_that_was_complete_when_it_was_found_is_looked_at_at_once(now: float) -> None:
    state = AggregatorState(Policy(lease_s=900.0, rest_s=60.0), 0.0)
    found(state, SWEEP)
    other = "b-00000000"
    found(state, SWEEP, other, now=now)
    asked = one_of(ReceiveDeliveries, state.handle(received(), now))
    assert asked.queues == (results_queue(other),)


def test_a_sweep_is_read_as_soon_as_it_is_found() -> None:
    state = AggregatorState(Policy(lease_s=900.0), 0.0)
    commands = state.handle(SweepsPolled({SWEEP: SweepState.RUNNING}), 0.0)
    assert all_of(ReadCoverage, commands)
    assert all_of(AdoptOrphans, commands)
