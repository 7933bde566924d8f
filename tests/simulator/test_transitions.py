"""The worlds alone make every program do everything it can do."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulator.transitions import (
    CHOSEN,
    NONE,
    OPEN,
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


def test_everything_listed_as_open_stands_in_its_function_and_says_why():
    for (file, name, text, to), why in OPEN.items():
        source = (ROOT / file).read_text()
        assert f"def {name}(" in source
        assert text in source
        assert to in source or to == "the end"
        assert len(why.split()) > 3


def test_what_no_world_did_is_named():
    lacking = Measured().lacking()
    assert "node never hears of PartDied" in lacking
    assert "aggregator never gives Flush" in lacking
    assert "worker never goes starting -> ready" in lacking


def test_a_change_of_status_that_no_table_has_is_named():
    measured = Measured()
    measured.moves["worker", "leaving", "WorkerReady", "ready"] += 1
    assert "worker goes leaving -> ready, which its table lacks" in measured.lacking()


def test_a_gap_that_is_not_listed_lacks_in_whatever_function():
    listed = next(iter(OPEN))
    gap = Gap(*listed[:2], 1, "if this is new:", "")
    assert Measured(gaps=[gap]).open_gaps() == [gap]


def test_what_is_listed_once_may_lack_once():
    file, function, text, to = next(iter(OPEN))
    gaps = [Gap(file, function, line, text, to) for line in (1, 2)]
    assert Measured(gaps=gaps).open_gaps() == gaps[1:]
    assert not Measured(gaps=gaps).needless() or len(OPEN) > 1


def test_nothing_comes_back_from_the_dead():
    tables = moves()
    assert not {before for before, _ in tables["node"] | tables["aggregator"]} & {"ended"}
    assert not {after for before, after in tables["worker"] if before == "leaving"} - {NONE}


def test_the_table_of_each_program_is_what_its_code_goes_by():
    assert ("pending", "sent") in moves()["receipt"]
    assert ("cancelled", "running") in moves()["sweep of a node"]
    assert ("leaving", "running") not in moves()["aggregator"]
