"""The same command goes on when files appeared beside the code, and asks when the code changed."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import gapless
from gapless.results.shard import read_shard
from tests.acceptance.programs import BIN

if TYPE_CHECKING:
    from tests.acceptance.programs import Programs

SWEEP = """
name = "same"
function = "walk:step"
[space.grid]
a = [{values}]
"""
WALK = "def step(a):\n    return {{'value': a * {factor}}}\n"


def write(programs: Programs, *, values: str = "1, 2, 3", factor: int = 1) -> None:
    programs.write("sweep.toml", SWEEP.format(values=values))
    programs.write("walk.py", WALK.format(factor=factor))


def run_into(programs: Programs, log: str, *options: str) -> tuple[int, str]:
    """Run the sweep as a shell does for `>> log 2>&1`; give its status and what it said."""
    path = programs.folder / log
    with path.open("ab") as file:
        start = file.seek(0, os.SEEK_END)
        done = subprocess.run(
            [str(BIN / "sweep"), "run", "sweep.toml", "--workers", "1", *options],
            cwd=programs.folder,
            env=programs.environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            timeout=120,
            check=False,
        )
    return done.returncode, path.read_bytes()[start:].decode()


def complete(programs: Programs, log: str, *options: str) -> str:
    status, said = run_into(programs, log, *options)
    assert status == 0, said + programs.logs()
    return said


def values_by_parameter(programs: Programs) -> dict[int, int]:
    table = gapless.open(str(programs.home), "same").to_pandas()
    return dict(zip(table["a"].tolist(), table["value"].tolist(), strict=True))


def codes_by_parameter(programs: Programs) -> dict[int, str]:
    """The code each stored run names, read from the shards alone."""
    found: dict[int, str] = {}
    for path in programs.home.glob("sweeps/*/shards/*.h5"):
        shard = read_shard(path.read_bytes())
        found.update(zip(shard.params["a"].tolist(), shard.rows.code.tolist(), strict=True))
    return found


def test_the_log_of_the_command_in_the_code_folder_is_no_code(programs: Programs) -> None:
    write(programs)
    for log in ("run.log", "out.txt"):
        complete(programs, log)
        assert "nothing was left to do" in complete(programs, log)


def test_a_log_that_grows_from_the_first_call_on_does_not_stop_the_same_command(
    programs: Programs,
) -> None:
    write(programs)
    first = complete(programs, "out.txt")
    assert "nothing was left to do" not in first
    said = complete(programs, "out.txt")
    assert "nothing was left to do" in said
    assert "the code folder holds more" not in said


def test_results_and_pictures_put_beside_the_code_do_not_stop_the_same_command(
    programs: Programs,
) -> None:
    write(programs)
    complete(programs, "run.log")
    with (programs.folder / "results.csv").open("w", newline="") as file:
        gapless.open(str(programs.home), "same").write_csv(file)
    programs.write("figures/plot.svg", "<svg/>")
    said = complete(programs, "run.log")
    assert "nothing was left to do" in said
    assert "(figures/plot.svg added, results.csv added): the stored code goes on" in said


def test_changed_code_is_named_and_either_code_goes_on_when_asked(programs: Programs) -> None:
    write(programs, factor=1)
    complete(programs, "run.log")
    (sweep_id,) = [path.name for path in programs.home.glob("sweeps/*")]

    write(programs, factor=10)
    status, said = run_into(programs, "run.log")
    assert status == 2
    assert "(walk.py changed)" in said
    assert "--code old" in said
    assert "--code new" in said
    assert "Traceback" not in said

    # What is not used may even be broken.
    write(programs, values="1, 2, 3, 4")
    programs.write("walk.py", "def step(a:")
    complete(programs, "run.log", "--extend", sweep_id, "--code", "old")
    assert values_by_parameter(programs) == {1: 1, 2: 2, 3: 3, 4: 4}
    codes = codes_by_parameter(programs)
    assert len(set(codes.values())) == 1

    write(programs, factor=10, values="1, 2, 3, 4, 5")
    status, said = run_into(programs, "run.log", "--extend", sweep_id)
    assert status == 2
    assert "(walk.py changed)" in said
    complete(programs, "run.log", "--extend", sweep_id, "--code", "new")
    assert values_by_parameter(programs) == {1: 1, 2: 2, 3: 3, 4: 4, 5: 50}
    later = codes_by_parameter(programs)
    assert {a: later[a] for a in codes} == codes
    assert later[5] not in codes.values()

    # The new code is the sweep's code now: the same command has nothing to ask.
    assert "nothing was left to do" in complete(programs, "run.log", "--extend", sweep_id)
