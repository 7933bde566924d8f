"""The worlds alone make every program do everything it can do."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulator.transitions import (
    CHOSEN,
    NONE,
    Gap,
    Measured,
    moves,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_the_chosen_worlds_take_every_transition():
    # A process of its own: what a module does as it is imported is measured too.
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulator", "--transitions"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert f"{len(CHOSEN):,} worlds" in done.stdout


def test_what_no_world_did_is_named():
    lacking = Measured().lacking()
    assert "node never hears of PartDied" in lacking
    assert "aggregator never gives Flush" in lacking
    assert "worker never goes starting -> ready" in lacking


def test_a_change_of_status_that_no_table_has_is_named():
    measured = Measured()
    measured.moves["worker", "leaving", "WorkerReady", "ready"] += 1
    assert "worker goes leaving -> ready, which its table lacks" in measured.lacking()


def test_a_line_or_branch_that_no_world_takes_lacks():
    gaps = [Gap("a/b.py", 7, "if x:"), Gap("a/b.py", 7, "if x:", "return y")]
    lacking = Measured(gaps=gaps).lacking()
    assert lacking[-2:] == ["a/b.py:7: if x:", "a/b.py:7: if x:  ->  return y"]


def test_a_world_that_fails_lacks():
    assert "seed 5: I1" in Measured(failed=["seed 5: I1"]).lacking()


def test_nothing_comes_back_from_the_dead():
    tables = moves()
    assert not {before for before, _ in tables["node"] | tables["aggregator"]} & {"ended"}
    assert not {after for before, after in tables["worker"] if before == "leaving"} - {NONE}


def test_the_table_of_each_program_is_what_its_code_goes_by():
    assert ("pending", "sent") in moves()["receipt"]
    assert ("cancelled", "running") in moves()["sweep of a node"]
    assert ("leaving", "running") not in moves()["aggregator"]
