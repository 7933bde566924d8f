"""Every seed is a world of faults that must end complete, no invariant broken on the way."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulator.scenario import run_seed

SEEDS = 200
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_lost_or_doubled_in_the_world_of_seed(seed):
    run_seed(seed)


def test_the_worlds_are_rough():
    lines = "\n".join(line for seed in range(20) for line in run_seed(seed).lines)
    for fault in (
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
    ):
        assert fault in lines


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
