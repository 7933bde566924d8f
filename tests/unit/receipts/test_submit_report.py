"""What a submit makes, records and says it did."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec
import pytest

from gapless.declaration.control import ControlState
from gapless.declaration.limits import Limits
from gapless.declaration.runset import MAX_RUNS, RunSet
from gapless.declaration.space import Space
from gapless.declaration.sweep import FrozenSweep
from gapless.storage import layout
from queueing.memory import MemoryQueues
from queueing.port import Answer, Entry
from receipts.errors import (
    CodeChanged,
    LedgerLacksSweep,
    SweepCancelled,
    SweepChanged,
    TooManyRuns,
)
from receipts.looks import Look, read_looks, replace_looks
from tests.unit.receipts.world import CODE, Died, FakeBundle, Fate, World, declare

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


def test_a_sweep_of_which_points_are_left_out_is_extended_by_those_it_lacks(world: World) -> None:
    some, more = (
        declare(space=Space.grid(n=list(range(count))).where("n != 3")) for count in (10, 14)
    )
    assert more.objects
    sweep = world.submit(some).sweep_id
    assert world.submit(more, extend=sweep).extended_by == 4


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


def test_who_changed_a_sweep_is_told_its_name_if_it_were_submitted_beside_the_other(
    world: World,
) -> None:
    world.submit(declare(5))
    later = declare(8)
    with pytest.raises(SweepChanged, match=rf"--new.* \({later.id}\)") as told:
        world.submit(later)
    assert told.value.sweep_id == later.id


def test_a_cancelled_sweep_hides_no_other_of_the_same_name(world: World) -> None:
    first, second = sorted(world.submit(declare(points), new=True).sweep_id for points in (5, 8))
    world.store.set_control(first, state=ControlState.CANCELLED)
    with pytest.raises(SweepChanged) as told:
        world.submit(declare(9))
    assert told.value.earlier_id == second


def with_runs(frozen: FrozenSweep, count: int) -> FrozenSweep:
    """Let a sweep of one point have so many replicates."""
    (part,) = frozen.segment.parts
    part = msgspec.structs.replace(part, replicate_start=0, replicate_stop=count)
    segment = msgspec.structs.replace(frozen.segment, parts=(part,))
    return dataclasses.replace(frozen, segment=segment)


def test_as_many_runs_as_there_may_be_are_not_refused_and_one_more_are(world: World) -> None:
    frozen = declare(1)
    most = with_runs(frozen, MAX_RUNS)
    assert most.segment.count == MAX_RUNS
    with pytest.raises(Died):
        world.submit(most, **world.ports_until(Fate(0)))
    with pytest.raises(TooManyRuns, match=f"sweep {frozen.id} asks for 10,000,000,001 runs"):
        world.submit(with_runs(frozen, MAX_RUNS + 1))


class Full(MemoryQueues):
    """Takes no message."""

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        return []


def test_looks_at_the_queues_of_a_home_that_is_gone_are_forgotten_though_nothing_can_be_sent(
    world: World,
) -> None:
    frozen = declare(5)
    look = Look(
        epoch=0, runs=RunSet.of(3), at_s=1.0, jobs_created_at_s=1.0, results_created_at_s=1.0
    )
    replace_looks(world.ledger, frozen.id, [look])
    assert world.submit(frozen, queues=Full(clock=world.clock)).jobs_pending == 5
    assert read_looks(world.ledger, frozen.id) == []


def test_limits_are_changed_by_a_submit_that_brings_no_code(world: World) -> None:
    sweep = world.submit(declare(5)).sweep_id
    assert world.submit(declare(5, priority=2), None).changed == ("priority",)
    assert world.store.control(sweep).code == CODE.sha256


@pytest.mark.parametrize("job_size", [None, 0, 3])
def test_a_job_holds_at_least_a_run(world: World, job_size: int | None) -> None:
    sweep = world.submit(declare(5), job_size=job_size).sweep_id
    assert world.jobs(sweep) == (2 if job_size == 3 else 5)
    assert RunSet.union(world.on_queue(sweep).values()) == RunSet.span(0, 5)
