"""kill -9 of node, worker, aggregator, submitter and `sweep run` itself (acceptance 1)."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

import gapless

if TYPE_CHECKING:
    from tests.acceptance.programs import Programs

RUNS = 20_000
SWEEP = """
name = "kills"
function = "work:work"
replicates = 20
seed = 7
[space.grid]
a = { range = [0, 100] }
b = { linspace = [0.0, 1.0, 10] }
"""
WORK = """
import time
def work(a, b, *, seed):
    time.sleep(0.0008)
    return {"sum": a + b, "seed": seed, "half": seed % 1000 / 2}
"""


def write_sweep(programs: Programs) -> None:
    programs.write("sweep.toml", SWEEP)
    programs.write("work.py", WORK)


def check_every_run_once(programs: Programs) -> None:
    results = gapless.open(str(programs.home), "kills")
    table = results.to_pandas()
    assert sorted(table["run"].tolist()) == list(range(RUNS))
    assert (table["outcome"] == "ok").all()
    assert np.allclose(table["sum"], table["a"] + table["b"])
    assert len(set(results.values("seed").tolist())) == RUNS


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_ten_seeded_moments_lose_nothing_and_double_nothing(
    programs: Programs, seed: int
) -> None:
    write_sweep(programs)
    chance = random.Random(seed)
    running = programs.start("run", "sweep.toml", "--workers", "2")
    victims = ["node", "worker", "aggregator", "run", "worker"] * 2
    chance.shuffle(victims)
    for victim in victims:
        time.sleep(chance.uniform(0.3, 1.3))
        if running.poll() is not None:
            running = programs.start("run", "sweep.toml", "--workers", "2")
        deadline = time.monotonic() + 20
        while not programs.kill(victim, pick=chance.choice):
            assert time.monotonic() < deadline, f"no {victim} to kill\n{programs.logs()}"
            if running.poll() is not None:
                running = programs.start("run", "sweep.toml", "--workers", "2")
            time.sleep(0.02)
    if running.poll() is None:
        running.kill()
        running.wait()
    programs.finish("sweep.toml")
    check_every_run_once(programs)


def test_a_submitter_killed_at_seeded_moments_leaves_nothing_that_the_next_submit_does_not_mend(
    programs: Programs,
) -> None:
    write_sweep(programs)
    chance = random.Random(3)
    for _ in range(8):
        submitter = programs.start("submit", "sweep.toml", "--job-size", "20")
        time.sleep(chance.uniform(0.25, 0.9))
        submitter.kill()
        submitter.wait()
    answer = programs.do("submit", "sweep.toml", "--job-size", "20")
    assert answer.returncode == 0, answer.stderr
    programs.finish("sweep.toml")
    check_every_run_once(programs)
