"""What an aggregator holds of one sweep: each delivery in one place, and what is still missing."""

from __future__ import annotations

import dataclasses

import pytest

from aggregator.buffers import SweepBuffer
from aggregator.events import SweepState
from aggregator.policy import Policy
from gapless.declaration.runset import RunSet
from queueing.port import Lease
from tests.unit.aggregator.made import SHARD, SWEEP, buffered

NOTHING = RunSet()


def span(start: int, stop: int) -> RunSet:
    return RunSet.span(start, stop)


def buffer(total: int = 100, *, missing: RunSet | None = None) -> SweepBuffer:
    held = SweepBuffer(SWEEP)
    held.learn(span(0, total), {0: span(0, total) if missing is None else missing}, 0.0)
    return held


def policy(**changes: object) -> Policy:
    return Policy(lease_s=900.0, **changes)  # type: ignore[arg-type]


def test_deliveries_wait_and_are_counted_from_the_first_on() -> None:
    held = buffer()
    assert held.empty
    held.add(buffered(0, 10, size_bytes=70), 5.0)
    held.add(buffered(10, 15, size_bytes=30), 9.0)
    assert not held.empty
    assert (held.oldest_at, held.rows, held.size_bytes, held.held_bytes) == (5.0, 15, 100, 100)
    assert held.missing == {0: span(0, 100)}
    assert held.awaited == {0: span(15, 100)}


@pytest.mark.parametrize("known", [True, False])
def test_a_delivery_of_runs_the_sweep_is_not_known_to_have_is_puzzling(known: bool) -> None:
    held = buffer(8) if known else SweepBuffer(SWEEP)
    strange = buffered(5, 10, size_bytes=70)
    held.add(strange, 5.0)
    assert (held.puzzling, held.waiting) == ([strange], [])
    assert (held.rows, held.size_bytes, held.held_bytes) == (0, 0, 70)
    assert not held.empty


def test_a_batch_holds_the_oldest_up_to_so_many_rows() -> None:
    held = buffer()
    deliveries = [buffered(10 * n, 10 * n + 10, size_bytes=7) for n in range(4)]
    for each in deliveries:
        held.add(each, 1.0)
    flush = held.open_flush(3, policy(flush_rows=20), 6.0)
    assert (flush.number, flush.batch, flush.size_bytes) == (3, tuple(deliveries[:2]), 14)
    assert (flush.due_at, flush.failures) == (6.0, 0)
    assert (held.waiting, held.rows, held.size_bytes) == (deliveries[2:], 20, 14)
    assert held.held_bytes == 28
    held.close_flush()
    assert (held.flush, held.held_bytes) == (None, 14)


def test_a_batch_holds_the_oldest_up_to_so_many_bytes() -> None:
    held = buffer()
    deliveries = [buffered(10 * n, 10 * n + 10, size_bytes=7) for n in range(4)]
    for each in deliveries:
        held.add(each, 1.0)
    assert len(held.open_flush(1, policy(flush_bytes=21), 6.0).batch) == 3
    held.close_flush()
    assert len(held.open_flush(2, policy(), 6.0).batch) == 1
    assert (held.rows, held.size_bytes, held.waiting) == (0, 0, [])


def test_a_sweep_is_complete_when_nothing_is_missing_at_any_epoch() -> None:
    held = SweepBuffer(SWEEP)
    assert not held.complete
    held.learn(span(0, 4), {0: NOTHING, 1: span(0, 2)}, 0.0)
    assert not held.complete
    held.learn(span(0, 4), {0: NOTHING, 1: NOTHING}, 0.0)
    assert held.complete


def test_what_is_in_hand_completes_a_sweep_once_and_only_if_something_was_missing() -> None:
    held = buffer(20)
    assert not held.completes()
    held.add(buffered(0, 20), 0.0)
    assert held.completes()
    assert not held.complete
    assert not buffer(20, missing=NOTHING).completes()
    assert not SweepBuffer(SWEEP).completes()


def test_stored_rows_are_missing_no_more_at_their_epoch_and_earlier_ones() -> None:
    held = SweepBuffer(SWEEP)
    held.learn(span(0, 9), {0: span(0, 9), 1: span(0, 9), 2: span(0, 9)}, 0.0)
    held.mark_stored(buffered(0, 4, epoch=1), SHARD)
    assert held.missing == {0: span(4, 9), 1: span(4, 9), 2: span(0, 9)}


def test_a_delivery_that_was_stored_is_known_again_and_another_of_its_id_is_not() -> None:
    held = buffer()
    delivery = buffered(0, 4)
    assert held.stored_proof(delivery.delivery) is None
    held.mark_stored(delivery, SHARD)
    assert held.stored_proof(delivery.delivery) is SHARD
    forged = buffered(4, 8, name=delivery.delivery.delivery).delivery
    assert held.stored_proof(forged) is None


def test_the_last_twenty_thousand_stored_deliveries_are_remembered() -> None:
    held = buffer()
    deliveries = [buffered(0, 1, name=f"d{number}") for number in range(20_001)]
    for each in deliveries[:-1]:
        held.mark_stored(each, SHARD)
    assert held.stored_proof(deliveries[0].delivery) is SHARD
    held.mark_stored(deliveries[-1], SHARD)
    assert held.stored_proof(deliveries[0].delivery) is None
    assert held.stored_proof(deliveries[1].delivery) is SHARD
    assert held.stored_proof(deliveries[-1].delivery) is SHARD


def test_a_copy_is_known_by_its_body_and_leaves_with_all_its_leases() -> None:
    held = buffer()
    first = buffered(0, 4)
    copy = dataclasses.replace(first, lease=Lease(first.lease.queue, "copy"))
    changed = dataclasses.replace(copy, body=first.body + " ")
    assert held.twin_of(copy) is None
    held.add(first, 0.0)
    assert held.twin_of(copy) is first
    assert held.twin_of(changed) is None
    held.copies.setdefault(first.lease, []).append(copy.lease)
    assert held.leases_of(first) == (first.lease, copy.lease)
    assert held.let_go(first) == (first.lease, copy.lease)
    assert held.twin_of(copy) is None
    assert held.leases_of(first) == (first.lease,)


def test_letting_one_of_two_with_one_id_go_keeps_the_other_known() -> None:
    held = buffer()
    first = buffered(0, 4)
    second = dataclasses.replace(first, lease=Lease(first.lease.queue, "2"), body="other")
    held.add(first, 0.0)
    held.add(second, 0.0)
    held.let_go(first)
    assert held.twin_of(second) is second


def test_what_is_read_counts_what_is_in_hand_and_judges_what_was_puzzling_before() -> None:
    held = buffer(8)
    in_flush, waiting = buffered(0, 2), buffered(2, 4)
    held.add(in_flush, 0.0)
    held.open_flush(1, policy(), 0.0)
    held.add(waiting, 0.0)
    added, strange = buffered(8, 10, size_bytes=5), buffered(50, 60)
    held.add(added, 0.0)
    held.add(strange, 0.0)
    held.begin_reading()
    late = buffered(70, 80)
    held.add(late, 0.0)
    assert held.reading
    assert held.learn(span(0, 12), {0: span(0, 12)}, 7.0) == [strange]
    assert held.puzzling == [late]
    assert held.waiting == [waiting, added]
    assert held.awaited == {0: span(4, 8) | span(10, 12)}
    assert held.missing == {0: span(0, 12)}
    assert held.runs == span(0, 12)


def test_a_delivery_that_was_puzzling_waits_from_when_it_was_understood() -> None:
    held = SweepBuffer(SWEEP)
    held.add(buffered(0, 4), 1.0)
    held.begin_reading()
    assert held.learn(span(0, 4), {0: span(0, 4)}, 7.0) == []
    assert (held.oldest_at, held.rows) == (7.0, 4)


def test_a_sweep_rests_when_nothing_is_in_hand_nor_to_be_expected() -> None:
    resting = policy(rest_s=60.0, rest_after_s=600.0)
    held = buffer()
    assert not held.rests(resting)
    held.saw_empty(100.0)
    held.saw_empty(699.0)
    assert not held.rests(resting)
    held.saw_empty(700.0)
    assert held.rests(resting)
    assert (held.empty_since, held.empty_at) == (100.0, 700.0)
    assert not held.rests(policy(rest_s=0.0))
    assert held.rests(policy(rest_s=0.5))
    held.add(buffered(0, 4), 0.0)
    assert not held.rests(resting)


@pytest.mark.parametrize(
    ("state", "rests"),
    [
        (SweepState.RUNNING, False),
        (SweepState.PAUSED, False),
        (SweepState.CANCELLED, True),
        (SweepState.GONE, True),
    ],
)
def test_a_sweep_of_which_nothing_is_to_come_rests_at_once(state: SweepState, rests: bool) -> None:
    held = buffer()
    held.state = state
    assert held.rests(policy(rest_s=60.0)) is rests
    held.learn(span(0, 9), {0: NOTHING}, 0.0)
    assert held.rests(policy(rest_s=60.0))


def test_what_waits_again_comes_first_and_counts_with_what_came_since() -> None:
    held = buffer()
    first, second = buffered(0, 20, size_bytes=300), buffered(20, 30, size_bytes=200)
    for each in (first, second):
        held.add(each, 5.0)
    held.open_flush(1, policy(), 6.0)
    later = buffered(30, 39, size_bytes=50)
    held.add(later, 7.0)
    held.close_flush((second,))
    assert held.waiting == [second, later]
    assert (held.rows, held.size_bytes, held.held_bytes) == (19, 250, 250)
