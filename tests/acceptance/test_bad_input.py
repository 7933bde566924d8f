"""Each mistake has its message and exit status, and leaves nothing half-done (acceptance 4, 5)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

import gapless

if TYPE_CHECKING:
    from tests.acceptance.programs import Programs

WORK = "def work(a):\n    return {'value': 1}\n"
GOOD = 'name = "mistakes"\nfunction = "work:work"\n[space.grid]\na = [1, 2]\n'

MISTAKES = {
    "an unknown key": (
        GOOD.replace("[space.grid]", "replicate = 3\n[space.grid]"),
        ["replicate", "replicates"],
    ),
    "an empty space": (GOOD.replace("[1, 2]", "[]"), ["a", "empty"]),
    "a where that keeps nothing": (
        GOOD.replace("[space.grid]", '[space]\nwhere = "a > 5"\n[space.grid]'),
        ["where", "a > 5"],
    ),
    "a missing function": (GOOD.replace("work:work", "work:wrok"), ["wrok", "work"]),
    "a missing module": (GOOD.replace("work:work", "wrok:work"), ["wrok"]),
    "a parameter the space lacks": (GOOD.replace("a = ", "b = "), ["a"]),
    "a table with a ragged row": (
        GOOD.replace("[space.grid]\na = [1, 2]", '[space]\ntable = "corners.csv"'),
        ["corners.csv", "3"],
    ),
    "no TOML": ("name = ", ["line 1"]),
}


def write(programs: Programs, text: str) -> None:
    programs.write("sweep.toml", text)
    programs.write("work.py", WORK)
    programs.write("corners.csv", "a,b\n1,2\n3\n")


@pytest.mark.parametrize("command", ["run", "submit"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_and_nothing_is_left(
    programs: Programs, mistake: str, command: str
) -> None:
    text, words = MISTAKES[mistake]
    write(programs, text)
    answer = programs.do(command, "sweep.toml")
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr
    for word in [*words, "sweep.toml"]:
        assert word in answer.stderr, answer.stderr
    assert not (programs.home / "sweeps").exists()
    assert not (programs.home / "queue.db").exists()


def test_a_home_that_cannot_be_written_is_told(programs: Programs) -> None:
    write(programs, GOOD)
    programs.write("home", "a file where the home should be")
    answer = programs.do("run", "sweep.toml")
    assert answer.returncode == 1
    assert "home" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_dry_run_of_a_million_million_runs_answers_at_once_and_says_what_submit_will_say(
    programs: Programs,
) -> None:
    axes = "\n".join(f"{name} = {{ range = [0, 1000] }}" for name in "abcd")
    write(programs, GOOD.replace("a = [1, 2]", axes))
    programs.write("work.py", "def work(a, b, c, d):\n    return 1\n")
    started = time.monotonic()
    answer = programs.do("submit", "sweep.toml", "--dry-run")
    assert time.monotonic() - started < 5
    assert answer.returncode == 2
    assert "1,000,000,000,000" in answer.stdout
    assert "at most 10,000,000,000" in answer.stderr
    assert not programs.home.exists()
    refused = programs.do("submit", "sweep.toml")
    assert refused.returncode == 2
    assert "--dry-run" in refused.stderr


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ('["scale", 0.1]', ["scale", 0.1]),
        ("[[1, 2], [3, [4]]]", [[1, 2], [3, [4]]]),
        ("[{ none = true }, 2]", [None, 2]),
    ],
)
def test_mixed_and_nested_values_of_an_axis_are_fine(
    programs: Programs, axis: str, expected: list[object]
) -> None:
    write(programs, GOOD.replace("[1, 2]", axis))
    programs.write("work.py", "def work(a):\n    return {'seen': repr(a)}\n")
    answer = programs.do("run", "sweep.toml", "--workers", "1")
    assert answer.returncode == 0, answer.stderr + programs.logs()
    results = gapless.open(str(programs.home), "mistakes").to_pandas()
    assert sorted(map(repr, results["a"].tolist())) == sorted(map(repr, expected))
    assert sorted(results["seen"].tolist()) == sorted(map(repr, expected))


def test_a_users_files_named_like_our_packages_work(programs: Programs) -> None:
    for name in ("sweep.py", "results.py", "storage.py", "infra.py", "queue.py", "receipts.py"):
        programs.write(name, f"NAME = {name!r}\n")
    write(programs, GOOD)
    programs.write(
        "work.py",
        "import infra, results, storage, sweep\n"
        "def work(a):\n"
        "    return {'names': sweep.NAME + results.NAME + storage.NAME + infra.NAME}\n",
    )
    answer = programs.do("run", "sweep.toml", "--workers", "1")
    assert answer.returncode == 0, answer.stderr + programs.logs()
    seen = gapless.open(str(programs.home), "mistakes").to_pandas()["names"].tolist()
    assert seen == ["sweep.pyresults.pystorage.pyinfra.py"] * 2


def test_failures_are_stored_with_traceback_and_output_and_told_by_the_exit_status(
    programs: Programs,
) -> None:
    write(programs, GOOD)
    programs.write(
        "work.py",
        "def work(a):\n"
        "    print('about to think of', a)\n"
        "    if a == 2:\n"
        "        raise ValueError('two is too much')\n"
        "    return {'value': a}\n",
    )
    answer = programs.do("run", "sweep.toml", "--workers", "1", "--json")
    assert answer.returncode == 5, answer.stderr + programs.logs()
    assert json.loads(answer.stdout)
    (error,) = gapless.open(str(programs.home), "mistakes").errors()
    assert error.type == "ValueError"
    assert "two is too much" in error.message
    assert "work.py" in error.traceback
    assert "about to think of 2" in error.output_head
