"""The example of a command as target: awk, C and arithmetic agree on every stored run."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import gapless

if TYPE_CHECKING:
    from tests.acceptance.programs import Programs

EXAMPLE = Path(__file__).parents[2] / "examples" / "gamblers_ruin"
GOAL, GAMES = 10, 200
RUNS = 5 * 3 * 10


def played(p: float, stake: int, seed: int) -> tuple[float, float]:
    """Play the games of one run: the share won and the mean length."""
    state = seed % 10**9 + 1
    won = steps = 0
    for _ in range(GAMES):
        coins = stake
        while 0 < coins < GOAL:
            state = state * 16807 % 2147483647
            coins += 1 if state / 2147483647 < p else -1
            steps += 1
        won += coins > 0
    return won / GAMES, steps / GAMES


def exact(p: float, stake: int) -> float:
    if p == 0.5:
        return stake / GOAL
    ratio = (1 - p) / p
    return (1 - ratio**stake) / (1 - ratio**GOAL)


def copied(programs: Programs) -> None:
    for path in EXAMPLE.iterdir():
        shutil.copy(path, programs.folder / path.name)


def test_the_example_in_awk_gives_what_arithmetic_gives(programs: Programs) -> None:
    copied(programs)
    answer = programs.do("run", "gamblers_ruin.toml", "--workers", "2")
    assert answer.returncode == 0, answer.stderr + programs.logs()
    table = gapless.open(str(programs.home), "gamblers-ruin").to_pandas()
    assert len(table) == RUNS
    for row in table.itertuples():
        assert (row.won, row.length) == played(row.p, row.stake, row.seed)
    for (p, stake), won in table.groupby(["p", "stake"])["won"].mean().items():
        sure = exact(p, stake)
        assert abs(won - sure) < 5 * math.sqrt(sure * (1 - sure) / (10 * GAMES))


@pytest.mark.skipif(
    shutil.which("cc") is None and os.environ.get("CI") != "true",
    reason="no C compiler on this machine",
)
def test_the_compiled_example_gives_the_same_to_the_last_bit(programs: Programs) -> None:
    copied(programs)
    subprocess.run(["cc", "-O2", "-o", "ruin", "ruin.c"], cwd=programs.folder, check=True)
    text = (programs.folder / "gamblers_ruin.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("command = ")]
    lines[0] = 'name = "compiled"'
    lines.insert(1, 'command = ["./ruin", "{p}", "{stake}", "{goal}", "{games}", "{seed}"]')
    programs.write("compiled.toml", "\n".join(lines))
    answer = programs.do("run", "compiled.toml", "--workers", "2")
    assert answer.returncode == 0, answer.stderr + programs.logs()
    for row in gapless.open(str(programs.home), "compiled").to_pandas().itertuples():
        assert (row.won, row.length) == played(row.p, row.stake, row.seed)


def test_a_command_is_tried_planned_and_refused_like_a_function(programs: Programs) -> None:
    copied(programs)
    dry = programs.do("submit", "gamblers_ruin.toml", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "150" in dry.stdout

    tried = programs.do("submit", "gamblers_ruin.toml", "--test", "3")
    assert tried.returncode == 0, tried.stderr
    broken = (programs.folder / "gamblers_ruin.toml").read_text().replace("ruin.awk", "gone.awk")
    programs.write("broken.toml", broken.replace("gamblers-ruin", "broken"))
    failed = programs.do("submit", "broken.toml", "--test", "3")
    assert failed.returncode != 0
    assert "gone.awk" in failed.stderr + failed.stdout

    missing = broken.replace('"awk", ', '"./walk", ')
    programs.write("missing.toml", missing)
    refused = programs.do("submit", "missing.toml")
    assert refused.returncode != 0
    assert 'found "./walk", expected a program of the code folder' in refused.stderr
    assert "Traceback" not in refused.stderr


def test_failed_commands_are_told_by_name_and_status_and_python_declares_them_too(
    programs: Programs,
) -> None:
    program = programs.write("odd.sh", "#!/bin/sh\necho no $1 today >&2\nexit $(($1 % 2 * 3))\n")
    program.chmod(0o755)
    programs.write(
        "declared.py",
        "import gapless\n"
        "sweep = gapless.Sweep(name='odd', command=['./odd.sh', '{n}'],\n"
        "                      space=gapless.grid(n=[1, 2, 3, 4]), replicates=2)\n"
        "results = gapless.run(sweep, workers=2)\n"
        "print(len(results.to_pandas()))\n",
    )
    assert programs.start_python("declared.py").wait(timeout=60) == 0, programs.logs()
    found: Any = gapless.open(str(programs.home), "odd")
    counted = found.to_pandas().groupby("outcome")["run"].count().to_dict()
    assert counted == {"ok": 4, "failed": 4}
    errors = list(found.errors())
    assert {error.type for error in errors} == {"exit status 3"}
    assert {error.message for error in errors} == {"no 1 today", "no 3 today"}
    assert {error.fingerprint for error in errors} == {"odd.sh: exit status 3"}
