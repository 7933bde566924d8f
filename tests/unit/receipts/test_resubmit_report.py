"""What a resubmit sends, and what it says it did."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.results.outcome import Outcome
from queueing.port import Answer, AnswerStatus, Entry
from receipts.errors import SweepCancelled
from receipts.ledger import State
from tests.unit.receipts.world import World, declare


class Watching:
    """Queues that note what is sent to them, and refuse it if they are to."""

    def __init__(self, world: World, *, refusing: bool = False) -> None:
        self._queues = world.queues
        self._refusing = refusing
        self.entries: list[Entry] = []

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        self.entries += entries
        if self._refusing:
            return [Answer(AnswerStatus.FAILED, "throttled") for _ in entries]
        return self._queues.send(queue, entries)

    def __getattr__(self, name: str) -> object:
        return getattr(self._queues, name)


def finish(world: World) -> str:
    """A sweep of 20 runs, 15 stored, 5 on the queue."""
    sweep = world.submit(declare(20), job_size=5).sweep_id
    stored = world.take_jobs(sweep, 3)
    world.keep(sweep, {(0, Outcome.OK): stored})
    return sweep


def test_a_resubmit_reports_what_is_asked_for_and_sent(world: World) -> None:
    sweep = finish(world)
    report = world.resubmit(sweep, RunSet.span(0, 20))
    assert report.sweep_id == sweep
    assert (report.epoch, len(report.raised), len(report.unfinished)) == (1, 15, 5)
    assert (report.jobs_sent, report.runs_sent) == (15, 15)
    assert (report.jobs_pending, report.refusals) == (0, ())


def test_a_resubmit_that_the_queue_refuses_reports_what_waits_and_why(world: World) -> None:
    sweep = finish(world)
    stored = RunSet.span(0, 20) - RunSet.union(world.on_queue(sweep).values())
    wanted = stored.first(2)
    report = world.resubmit(sweep, wanted, queues=Watching(world, refusing=True))
    assert (report.jobs_sent, report.runs_sent, report.jobs_pending) == (0, 0, 2)
    assert report.refusals == ("throttled",)
    assert world.ledger.count(sweep, State.PENDING) == 2


def test_who_resubmits_a_cancelled_sweep_is_told_which(world: World) -> None:
    sweep = finish(world)
    world.store.set_control(sweep, state=ControlState.CANCELLED)
    with pytest.raises(SweepCancelled, match=f"sweep {sweep} was cancelled") as told:
        world.resubmit(sweep, RunSet.of(1))
    assert told.value.sweep_id == sweep


def test_jobs_asked_for_anew_have_the_priority_of_their_sweep(world: World) -> None:
    sweep = finish(world)
    world.store.set_control(sweep, priority=7)
    queues = Watching(world)
    world.resubmit(sweep, RunSet.span(0, 20), queues=queues)
    assert {each.priority for each in queues.entries} == {7}


def test_what_is_asked_for_anew_says_when_and_why(world: World) -> None:
    sweep = finish(world)
    before = world.now_s
    world.resubmit(sweep, RunSet.span(0, 20), why="a better seed")
    (asked,) = world.store.asked(sweep)
    assert asked.why == "a better seed"
    assert before < asked.at_s <= world.now_s
