"""Every seed is a world of faults that must end complete, no invariant broken on the way."""

import subprocess
import sys
from pathlib import Path

import pytest

from gapless.results.outcome import Outcome
from tests.simulator.plan import Ending, Plan
from tests.simulator.scenario import run_seed

SEEDS = 200
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_lost_or_doubled_in_the_world_of_seed(seed):
    run_seed(seed)


def test_the_worlds_are_rough():
    unseen = {
        "node0 dies",
        "agg0 dies",
        "person dies",
        "an answer is lost",
        "a message will come twice",
        "is deleted",
        "is purged",
        "is frozen",
        "storage goes away",
        "the queue service goes away",
        "the ledger is lost",
        "is damaged on the way",
        ".h5 is lost",
        "a lease nears its end",
    }
    for seed in range(SEEDS // 4):
        if unseen:
            log = "\n".join(run_seed(seed).lines)
            unseen = {fault for fault in unseen if fault not in log}
    assert not unseen


def test_a_run_that_a_frozen_machine_cut_off_may_end_well_at_its_next_attempt():
    plan = Plan(seed=84)
    sweep = Plan.of(84).sweeps[0].id
    fails_once = 14
    assert plan.ending(sweep, fails_once, attempt=1) is Ending.FAILS
    assert plan.ending(sweep, fails_once, attempt=2) is Ending.OK
    assert plan.allowed(sweep, fails_once) == {Outcome.FAILED, Outcome.LOST}
    plan.froze = True
    assert plan.allowed(sweep, fails_once) == set(Outcome)


def test_one_command_replays_a_seed_and_shows_its_log():
    command = [sys.executable, "-m", "tests.simulator", "3"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert "person: submit" in done.stdout
    assert "seed 3: every invariant held" in done.stdout


def test_the_same_seed_is_the_same_world():
    assert run_seed(39).lines == run_seed(39).lines
