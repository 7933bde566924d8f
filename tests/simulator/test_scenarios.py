"""Every seed is a world of faults that must end complete, no invariant broken on the way.

CI plays some seeds that are always the same and some that every commit gets anew; `make simulate`
plays as many as wished.
"""

import itertools
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from gapless.results.outcome import Outcome
from tests.simulator.found import FOUND
from tests.simulator.plan import Ending, Plan
from tests.simulator.runner import play, replay_command, seeds_of_commit
from tests.simulator.scenario import run_seed

ROOT = Path(__file__).parents[2]
FIXED = 2_000
OF_COMMIT = 500
CHUNK = 50


def commit():
    """Name what is tested: the commit, or the version where there is no git."""
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() if asked.returncode == 0 else version("gapless")


def play_all(seeds):
    failed = [verdict for verdict in map(play, seeds) if verdict.failed]
    assert not failed, "\n".join(
        f"seed {each.seed}: {each.reason}\n    {replay_command(each.seed)}" for each in failed
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, FIXED, CHUNK))
def test_nothing_is_lost_or_doubled_in_the_worlds_from_seed(first):
    play_all(range(first, first + CHUNK))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(OF_COMMIT // CHUNK))
def test_nothing_is_lost_or_doubled_in_the_worlds_of_this_commit(chunk):
    play_all(itertools.islice(seeds_of_commit(commit()), chunk * CHUNK, (chunk + 1) * CHUNK))


@pytest.mark.parametrize("found", FOUND, ids=lambda found: f"seed {found.seed}")
def test_what_a_world_once_found_stays_mended(found):
    run_seed(found.seed, left_out=found.left_out)


def test_a_run_that_a_frozen_machine_cut_off_may_end_well_at_its_next_attempt():
    plan, sweep = Plan(seed=84), "s0-12345678"
    fails_once = next(
        run
        for run in range(1_000)
        if plan.ending(sweep, run, attempt=1) is Ending.FAILS
        and plan.ending(sweep, run, attempt=2) is Ending.OK
    )
    assert plan.allowed(sweep, fails_once) == {Outcome.FAILED, Outcome.LOST}
    plan.froze = True
    assert plan.allowed(sweep, fails_once) == set(Outcome)


def test_the_same_seed_is_the_same_world():
    assert run_seed(39).lines == run_seed(39).lines
