"""What a submit makes, records and says it did."""

from __future__ import annotations

import pytest

from gapless.declaration.control import ControlState
from gapless.declaration.limits import Limits
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from receipts.errors import CodeChanged, LedgerLacksSweep, SweepCancelled
from tests.unit.receipts.world import FakeBundle, World, declare

OTHER = FakeBundle(b"def walk(n, seed): return 1")


class Watching:
    """Queues that note which are made."""

    def __init__(self, world: World) -> None:
        self._queues = world.queues
        self.made: list[str] = []

    def create(self, queue: str) -> None:
        self.made.append(queue)
        self._queues.create(queue)

    def __getattr__(self, name: str) -> object:
        return getattr(self._queues, name)


def test_a_submit_makes_the_two_queues_of_its_sweep_and_no_other(world: World) -> None:
    queues = Watching(world)
    sweep = world.submit(declare(5), queues=queues).sweep_id
    assert queues.made == [layout.jobs_queue(sweep), layout.results_queue(sweep)]


def test_a_first_submit_says_what_it_did_and_when_is_recorded(world: World) -> None:
    before = world.now_s
    report = world.submit(declare(25), job_size=10)
    assert (report.created, report.extended_by, report.earlier_runs) == (True, 0, 0)
    assert (report.total, report.jobs_sent, report.runs_sent) == (25, 3, 25)
    assert (report.jobs_pending, report.refusals, report.changed) == (0, (), ())
    row = world.ledger.sweep(report.sweep_id)
    assert row is not None
    assert (row.id, row.name) == (report.sweep_id, "walk")
    assert row.digest == world.store.declaration(report.sweep_id).digest
    assert before < row.submitted_at_s <= world.now_s


def test_the_same_again_says_that_every_run_had_a_receipt(world: World) -> None:
    world.submit(declare(25))
    report = world.submit(declare(25))
    assert (report.created, report.earlier_runs, report.jobs_sent) == (False, 25, 0)


def test_what_an_extension_changes_of_limits_and_code_is_the_next_version(world: World) -> None:
    sweep = world.submit(declare(5)).sweep_id
    before = world.now_s
    larger = declare(8, limits=Limits(attempts=7), priority=4)
    report = world.submit(larger, OTHER, extend=sweep, code="new")
    assert report.extended_by == 3
    assert sorted(report.changed) == ["code", "limits", "priority"]
    control = world.store.control(sweep)
    assert (control.limits.attempts, control.priority, control.code) == (7, 4, OTHER.sha256)
    assert control.why == "submitted again"
    assert before < control.at_s <= world.now_s
    assert world.store.get_object(OTHER.sha256) == OTHER.data


def test_what_is_submitted_again_with_other_limits_says_when(world: World) -> None:
    sweep = world.submit(declare(5)).sweep_id
    before = world.now_s
    assert world.submit(declare(5, priority=2)).changed == ("priority",)
    control = world.store.control(sweep)
    assert (control.why, control.priority) == ("submitted again", 2)
    assert before < control.at_s <= world.now_s


def test_who_changed_the_code_is_told_of_which_sweep(world: World) -> None:
    sweep = world.submit(declare(5)).sweep_id
    with pytest.raises(CodeChanged, match=f"the code of sweep {sweep} changed") as told:
        world.submit(declare(5), OTHER)
    assert told.value.sweep_id == sweep
    assert told.value.changes is not None
    assert "walk.py" in str(told.value)


def test_who_submits_a_cancelled_sweep_again_is_told_which(world: World) -> None:
    sweep = world.submit(declare(5)).sweep_id
    world.store.set_control(sweep, state=ControlState.CANCELLED)
    with pytest.raises(SweepCancelled, match=f"sweep {sweep} was cancelled"):
        world.submit(declare(5))


def test_who_lost_the_ledger_is_told_which_sweep_and_which_ledger(world: World) -> None:
    sweep = world.submit(declare(5)).sweep_id
    world.ledger.forget_sweep(sweep)
    for options in ({}, {"extend": sweep}):
        with pytest.raises(LedgerLacksSweep, match=f"holds sweep {sweep}") as told:
            world.submit(declare(5), **options)
        assert str(world.ledger.location) in str(told.value)


@pytest.mark.parametrize("job_size", [None, 0, 3])
def test_a_job_holds_at_least_a_run(world: World, job_size: int | None) -> None:
    sweep = world.submit(declare(5), job_size=job_size).sweep_id
    assert world.jobs(sweep) == (2 if job_size == 3 else 5)
    assert RunSet.union(world.on_queue(sweep).values()) == RunSet.span(0, 5)
