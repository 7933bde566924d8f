"""Asking anew for runs that have a final result."""

from __future__ import annotations

import pytest

from gapless.declaration.control import Asked, ControlState
from gapless.declaration.runset import RunSet
from gapless.errors import UserMistake
from gapless.results.outcome import Outcome
from gapless.storage import layout
from receipts.errors import SweepCancelled
from receipts.ledger import State, open_ledger
from receipts.reconcile import ExitStatus
from tests.unit.receipts.world import Died, Fate, World, declare


@pytest.fixture
def done(world: World) -> str:
    return finish(world)


def finish(world: World) -> str:
    """A sweep of 100 runs, all stored, ten of them failed, five lost."""
    sweep = world.submit(declare(100), job_size=100).sweep_id
    world.take_jobs(sweep, 1)
    outcomes = {
        Outcome.OK: RunSet.span(0, 85),
        Outcome.FAILED: RunSet.span(85, 95),
        Outcome.LOST: RunSet.span(95, 100),
    }
    world.keep(sweep, {(0, outcome): runs for outcome, runs in outcomes.items()})
    return sweep


def test_runs_by_outcome_are_asked_for_at_the_next_epoch(world: World, done: str) -> None:
    report = world.resubmit(done, [Outcome.FAILED, Outcome.LOST], why="a bug is mended")
    assert report.epoch == 1
    assert report.raised == RunSet.span(85, 100)
    assert report.runs_sent == 15
    assert world.on_queue(done) == {1: RunSet.span(85, 100)}
    (asked,) = world.store.asked(done)
    assert (asked.epoch, asked.runs, asked.why) == (1, RunSet.span(85, 100), "a bug is mended")
    assert world.ledger.submitted(done).sent_runs(1) == RunSet.span(85, 100)


def test_what_is_asked_for_anew_is_not_complete_until_it_is_stored(world: World, done: str) -> None:
    assert world.reconcile(done).complete
    world.resubmit(done, RunSet.of(3))
    assert world.reconcile(done).in_flight == RunSet.of(3)
    world.take_jobs(done, 1)
    assert world.reconcile(done).gaps == RunSet.of(3)
    world.keep(done, {(1, Outcome.OK): RunSet.of(3)})
    assert world.reconcile(done).complete


def test_an_epoch_whose_record_was_lost_is_not_given_again(world: World, done: str) -> None:
    world.resubmit(done, RunSet.of(3))
    world.take_jobs(done, 1)
    world.keep(done, {(1, Outcome.OK): RunSet.of(3)})
    world.blobs.delete(layout.asked(done, 1))
    report = world.resubmit(done, RunSet.of(3))
    assert (report.epoch, report.runs_sent) == (2, 1)
    assert world.on_queue(done) == {2: RunSet.of(3)}


def test_a_gap_of_a_later_epoch_keeps_its_epoch(world: World, done: str) -> None:
    world.resubmit(done, RunSet.of(3, 4))
    world.lose_queues(done)
    world.reconcile(done, resubmit=True)
    assert world.on_queue(done) == {1: RunSet.of(3, 4)}


def test_runs_without_a_result_keep_their_epoch(world: World) -> None:
    sweep = world.submit(declare(10), job_size=5).sweep_id
    stored = world.take_jobs(sweep, 1)
    world.keep(sweep, {(0, Outcome.OK): stored})
    report = world.resubmit(sweep, RunSet.span(0, 10))
    assert report.raised == stored
    assert report.unfinished == RunSet.span(5, 10)
    assert world.on_queue(sweep) == {0: RunSet.span(5, 10), 1: stored}


def test_asking_twice_raises_the_epoch_once(world: World, done: str) -> None:
    world.resubmit(done, RunSet.of(3))
    again = world.resubmit(done, RunSet.of(3))
    assert (again.epoch, again.raised, again.unfinished) == (None, RunSet(), RunSet.of(3))
    assert again.jobs_sent == 0


def test_each_wish_takes_the_next_epoch_of_the_sweep(world: World, done: str) -> None:
    world.resubmit(done, RunSet.of(3))
    assert world.resubmit(done, RunSet.of(4)).epoch == 2
    assert world.on_queue(done) == {1: RunSet.of(3), 2: RunSet.of(4)}


def test_a_resubmit_killed_anywhere_is_finished_by_reconcile_or_by_another() -> None:
    for moment in range(300):
        here = World(open_ledger("sqlite://"))
        sweep = finish(here)
        died = False
        try:
            here.resubmit(sweep, [Outcome.FAILED], **here.ports_until(Fate(moment)))
        except Died:
            died = True
        sent = here.on_queue(sweep).get(1, RunSet())
        asked = RunSet.union(each.runs for each in here.store.asked(sweep))
        assert sent.issubset(here.ledger.submitted(sweep).runs(1))
        assert here.ledger.submitted(sweep).runs(1).issubset(asked)
        if moment % 2:
            here.resubmit(sweep, [Outcome.FAILED])
        elif asked:
            report = here.reconcile(sweep, resubmit=True)
            assert report.exit_status is ExitStatus.IN_FLIGHT
        if asked or moment % 2:
            assert here.on_queue(sweep) == {1: RunSet.span(85, 95)}
            assert here.ledger.count(sweep, State.PENDING) == 0
        here.ledger.close()
        if not died:
            break
    assert 10 < moment < 299


def test_runs_that_are_not_of_the_sweep_are_refused(world: World, done: str) -> None:
    with pytest.raises(UserMistake, match="2 of the runs asked for are not among them"):
        world.resubmit(done, RunSet.of(5, 100, 7_000))
    assert world.store.asked(done) == []


def test_a_cancelled_sweep_is_not_resubmitted(world: World, done: str) -> None:
    world.store.set_control(done, state=ControlState.CANCELLED)
    with pytest.raises(SweepCancelled):
        world.resubmit(done, RunSet.of(5))


def test_a_wish_of_another_ledger_is_honoured(world: World, done: str) -> None:
    world.store.ask(done, Asked(epoch=1, runs=RunSet.of(8), at_s=1.0))
    report = world.resubmit(done, RunSet.of(9))
    assert report.epoch == 2
    assert world.on_queue(done) == {1: RunSet.of(8), 2: RunSet.of(9)}
