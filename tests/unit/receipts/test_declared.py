"""How many runs a job holds when what the home declares is sent, and sent again."""

from __future__ import annotations

import pytest

from gapless.declaration.control import Control, ControlState
from gapless.declaration.runset import RunSet
from receipts.declared import Declared, read_declared
from receipts.errors import LedgerLacksSweep
from receipts.ledger import open_ledger
from tests.unit.receipts.world import World, declare


def declared(**control: object) -> Declared:
    wanted = Control(state=ControlState.RUNNING, version=1, **control)  # type: ignore[arg-type]
    return Declared("walk-1", RunSet.span(0, 1000), (), wanted)


@pytest.mark.parametrize(
    ("run_time_s", "size"), [(0.5, 120), (60.0, 1), (90.0, 1), (0.001, 10_000)]
)
def test_a_job_sent_again_holds_a_minute_of_work_when_the_run_time_is_known(
    run_time_s: float, size: int
) -> None:
    for count in (1, 1000):
        assert declared(run_time_s=run_time_s).job_size_again(count) == size
        assert declared(run_time_s=run_time_s).job_size(count) == size


@pytest.mark.parametrize(
    ("count", "size"),
    [(1, 1), (100, 1), (101, 2), (5000, 50), (999_901, 10_000), (10_000_000, 10_000)],
)
def test_without_a_run_time_what_is_sent_again_makes_about_a_hundred_jobs(
    count: int, size: int
) -> None:
    assert declared().job_size_again(count) == size


def test_without_a_run_time_a_first_submission_makes_about_a_thousand_jobs() -> None:
    assert [declared().job_size(each) for each in (1000, 1001, 2_000_000)] == [1, 2, 2000]


def test_a_sweep_the_ledger_does_not_know_is_told_with_the_ledger() -> None:
    world = World(open_ledger("sqlite://"))
    frozen = declare(5)
    world.store.store(frozen, None, 1.0)
    with pytest.raises(LedgerLacksSweep) as told:
        read_declared(frozen.id, ledger=world.ledger, store=world.store)
    assert frozen.id in str(told.value)
    assert str(world.ledger.location) in str(told.value)
    world.ledger.close()
