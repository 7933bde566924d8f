"""Receipts compared with what is stored; runs whose shard is gone are gaps, whatever was sent."""

from __future__ import annotations

import pytest

from gapless.declaration.runset import RunSet
from gapless.results.coverage import Coverage, CoverageReader
from gapless.results.outcome import Outcome
from gapless.storage import layout
from receipts.comparison import ReceiptComparison, compare_receipts
from receipts.errors import LedgerLacksSweep
from receipts.reconcile import ExitStatus
from tests.unit.receipts.world import World, declare


def compare(world: World, sweep: str, coverage: Coverage | None = None) -> ReceiptComparison:
    if coverage is None:
        coverage = CoverageReader(world.blobs, sweep).refresh()
    return compare_receipts(sweep, ledger=world.ledger, store=world.store, coverage=coverage)


def lose_shards(world: World, sweep: str) -> None:
    for blob in [*world.blobs.list(layout.shards_prefix(sweep))]:
        world.blobs.delete(blob.key)


def test_ledger_and_home_agree_after_a_submit_and_when_all_is_stored(world: World) -> None:
    sweep = world.submit(declare(100), job_size=50).sweep_id
    assert compare(world, sweep) == ReceiptComparison(without_receipt=RunSet(), unasked=RunSet())
    world.keep(sweep, {(0, Outcome.OK): RunSet.span(0, 100)})
    assert compare(world, sweep) == ReceiptComparison(without_receipt=RunSet(), unasked=RunSet())


def test_runs_without_a_receipt_are_named_though_they_are_stored(world: World) -> None:
    sweep = world.submit(declare(100)).sweep_id
    world.keep(sweep, {(0, Outcome.OK): RunSet.span(0, 100)})
    row = world.ledger.sweep(sweep)
    assert row is not None
    world.ledger.forget_sweep(sweep)
    world.ledger.record_sweep(row)
    found = compare(world, sweep)
    assert found.without_receipt == RunSet.span(0, 100)
    assert found.unasked == RunSet.span(0, 100)


def test_results_at_an_epoch_nobody_asked_for_are_named(world: World) -> None:
    sweep = world.submit(declare(100)).sweep_id
    world.keep(sweep, {(0, Outcome.OK): RunSet.span(0, 90), (2, Outcome.OK): RunSet.of(5, 6)})
    assert compare(world, sweep).unasked == RunSet.of(5, 6)


def test_what_was_asked_anew_has_its_receipt_at_that_epoch(world: World) -> None:
    sweep = world.submit(declare(100)).sweep_id
    world.keep(sweep, {(0, Outcome.OK): RunSet.span(0, 100)})
    world.resubmit(sweep, RunSet.of(3, 4))
    world.keep(sweep, {(1, Outcome.OK): RunSet.of(3, 4)})
    assert compare(world, sweep) == ReceiptComparison(without_receipt=RunSet(), unasked=RunSet())


def test_a_sweep_the_ledger_does_not_know_is_an_error(world: World) -> None:
    sweep = world.submit(declare(10)).sweep_id
    world.ledger.forget_sweep(sweep)
    with pytest.raises(LedgerLacksSweep):
        compare(world, sweep)


def test_runs_whose_shard_was_taken_away_are_gaps_at_once_and_sent_again(world: World) -> None:
    sweep = world.submit(declare(100), job_size=25).sweep_id
    done = world.take_jobs(sweep, 4)
    world.keep(sweep, {(0, Outcome.OK): done})
    assert world.reconcile(sweep).exit_status is ExitStatus.COMPLETE
    lose_shards(world, sweep)
    report = world.reconcile(sweep)
    assert (report.gaps, report.exit_status) == (RunSet.span(0, 100), ExitStatus.GAPS)
    assert world.reconcile(sweep, resubmit=True).resubmitted == 100
    assert world.on_queue(sweep) == {0: RunSet.span(0, 100)}


def test_runs_whose_shard_was_taken_away_are_gaps_at_the_epoch_they_were_asked_for(
    world: World,
) -> None:
    sweep = world.submit(declare(100), job_size=100).sweep_id
    world.keep(sweep, {(0, Outcome.OK): world.take_jobs(sweep, 1)})
    first = {blob.key for blob in world.blobs.list(layout.shards_prefix(sweep))}
    world.resubmit(sweep, RunSet.of(3, 4))
    world.keep(sweep, {(1, Outcome.OK): world.take_jobs(sweep, 10)})
    assert world.reconcile(sweep).exit_status is ExitStatus.COMPLETE
    for blob in [*world.blobs.list(layout.shards_prefix(sweep))]:
        if blob.key not in first:
            world.blobs.delete(blob.key)
    assert world.reconcile(sweep, resubmit=True).gaps == RunSet.of(3, 4)
    assert world.on_queue(sweep) == {1: RunSet.of(3, 4)}


def test_on_queues_that_only_count_two_looks_show_that_stored_runs_are_gone(
    world: World,
) -> None:
    counted = world.counted()
    sweep = world.submit(declare(100), job_size=25, queues=counted).sweep_id
    world.keep(sweep, {(0, Outcome.OK): world.take_jobs(sweep, 4)})
    world.now_s += 1000.0
    lose_shards(world, sweep)
    first = world.reconcile(sweep, queues=counted, resubmit=True)
    assert first.exit_status is ExitStatus.IN_FLIGHT
    assert first.look_again_in_s is not None
    world.now_s += 200.0
    assert world.reconcile(sweep, queues=counted, resubmit=True).resubmitted == 100
    assert world.on_queue(sweep) == {0: RunSet.span(0, 100)}
