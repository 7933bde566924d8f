"""A sweep of which too many runs fail pauses itself; mended and resumed it becomes complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gapless

if TYPE_CHECKING:
    from tests.acceptance.programs import Programs

SWEEP = """
name = "fragile"
function = "walk:step"
[space.grid]
a = { range = [0, 600] }
[limits]
max_failures = "5%"
"""
WALK = """
import time

def step(a):
    time.sleep(0.05)
    return {"inverse": 1 / BROKEN}
"""


def test_a_sweep_with_too_many_failures_pauses_itself_and_goes_on_when_mended(
    programs: Programs,
) -> None:
    programs.write("sweep.toml", SWEEP)
    programs.write("walk.py", WALK.replace("BROKEN", "0"))
    answer = programs.do("run", "sweep.toml", "--workers", "2", "--grace", "5s")
    assert answer.returncode == 1, answer.stderr + programs.logs()
    (status,) = programs.json("status")["sweeps"]
    assert status["state"] == "paused"
    said = " ".join(answer.stderr.split())
    for expected in (
        "paused itself",
        "max_failures = 5% allows 30",
        f"sweep resubmit {status['sweep']} --outcome failed",
        f"sweep resume {status['sweep']}",
    ):
        assert expected in said
    assert "of 600 runs ended not ok" in status["paused_itself"]
    assert status["paused_itself"] in " ".join(programs.do("status").stdout.split())
    assert status["left"] > 0
    assert 30 < status["outcomes"]["failed"] < 600

    # Without anything mended: it says the same again, and does not wait for ever.
    again = programs.do("run", "sweep.toml", "--workers", "2", "--grace", "5s")
    assert again.returncode == 1
    assert "paused itself" in again.stderr

    programs.write("walk.py", WALK.replace("BROKEN", "2"))
    for command in (
        ("submit", "sweep.toml", "--code", "new"),
        ("resubmit", "fragile", "--outcome", "failed"),
        ("resume", "fragile"),
    ):
        done = programs.do(*command)
        assert done.returncode == 0, done.stderr
    finished = programs.do("run", "sweep.toml", "--workers", "2")
    assert finished.returncode == 0, finished.stderr + programs.logs()
    table = gapless.open(str(programs.home), "fragile").to_pandas()
    assert len(table) == 600
    assert set(table["inverse"]) == {0.5}
