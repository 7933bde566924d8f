"""What reconcile sends where queues can only be counted, and what that does to its looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gapless.declaration.control import Asked, ControlState
from gapless.declaration.runset import RunSet
from gapless.results.outcome import Outcome
from gapless.storage import layout
from queueing.port import Answer, Entry
from receipts.ledger import open_ledger
from receipts.reconcile import ExitStatus
from tests.unit.receipts.world import CountedQueues, World, declare


@pytest.fixture
def world() -> Iterator[World]:
    made = World(open_ledger("sqlite://"), tick_s=0.001)
    yield made
    made.ledger.close()


class Full(CountedQueues):
    """Takes no message."""

    def send(self, queue: str, entries: list[Entry]) -> list[Answer]:
        return []


def test_a_sweep_of_which_nothing_could_be_sent_is_pending_as_a_whole(world: World) -> None:
    full = Full(world.queues, world.clock)
    sweep = world.submit(declare(20), queues=full, job_size=10).sweep_id
    report = world.reconcile(sweep, queues=full)
    assert (report.pending, report.in_flight) == (RunSet.span(0, 20), RunSet())
    assert (report.jobs_pending, report.exit_status) == (2, ExitStatus.GAPS)
    assert (report.damaged_messages, report.newer_messages) == ((), 0)


def test_a_gap_whose_new_job_could_not_be_sent_is_pending_and_not_in_flight(world: World) -> None:
    queues = world.counted()
    sweep = world.submit(declare(20), queues=queues, job_size=10).sweep_id
    lost = world.purge(layout.jobs_queue(sweep))
    for _ in range(2):
        world.now_s += 120.0
        report = world.reconcile(sweep, queues=queues)
    assert report.gaps == lost
    full = Full(world.queues, world.clock)
    assert world.reconcile(sweep, queues=full, resubmit=True, force=True).jobs_pending == 20
    # From now on the counts say that jobs may be queued.
    world.queues.send(layout.jobs_queue(sweep), [Entry("a remainder")])
    report = world.reconcile(sweep, queues=full)
    assert (report.pending, report.in_flight) == (lost, RunSet())


def test_what_is_sent_makes_the_look_just_taken_void_and_announces_no_other(world: World) -> None:
    queues = world.counted()
    sweep = world.submit(declare(20), queues=queues, job_size=10).sweep_id
    world.purge(layout.jobs_queue(sweep))
    world.keep(sweep, {(0, Outcome.OK): RunSet.span(0, 10)})
    # As after a resubmit that died when it had written the record.
    world.store.ask(sweep, Asked(epoch=1, runs=RunSet.of(0), at_s=1.0))
    world.now_s += 120.0
    assert world.reconcile(sweep, queues=queues).look_again_in_s == pytest.approx(120.0)
    report = world.reconcile(sweep, queues=queues, resubmit=True)
    assert (report.unsent, report.jobs_sent) == (RunSet.of(0), 1)
    assert report.look_again_in_s is None


def test_a_shard_without_its_manifest_is_looked_into_after_a_minute_and_not_before(
    world: World,
) -> None:
    sweep = world.submit(declare(20), job_size=10).sweep_id
    world.blobs.put(
        layout.shard(sweep, "20260101T000000000000Z-agg-1-000001"),
        b"the rest was lost with its writer",
    )
    world.now_s += 59.9
    assert world.reconcile(sweep).storage_problems == ()
    world.now_s += 0.2
    (problem,) = world.reconcile(sweep).storage_problems
    assert "agg-1-000001" in problem


def test_the_queues_of_a_cancelled_sweep_are_told_as_holding_nothing(world: World) -> None:
    sweep = world.submit(declare(20), job_size=10).sweep_id
    world.store.set_control(sweep, state=ControlState.CANCELLED)
    report = world.reconcile(sweep, queues=world.counted())
    assert (report.jobs_queued, report.deliveries_queued, report.newer_messages) == (0, 0, 0)
    assert (report.damaged_messages, report.in_flight) == ((), RunSet())


def test_every_page_of_pending_receipts_is_sent(world: World) -> None:
    # More pages than a submit tries: with each try it would send one.
    sent = world.submit(declare(4_001), job_size=1)
    assert (sent.jobs_sent, sent.jobs_pending) == (4_001, 0)
