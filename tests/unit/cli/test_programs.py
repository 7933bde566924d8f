"""The programs beside `sweep run`: see gapless/local/programs.py and gapless/cli/parent.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gapless.declaration.space import Space
from gapless.declaration.sweep import Sweep
from gapless.local.programs import MAX_RESTARTS, Program, ProgramFailed
from gapless.wiring import open_home

PARENT = """
import signal, sys
from pathlib import Path
from tests.unit.cli.test_programs import aggregator
program = aggregator(Path(sys.argv[1]))
program.start()
print(program._process.pid, flush=True)
signal.pause()
"""


def wait_until(true: Callable[[], bool], *, within_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.01)


def test_a_program_that_ends_at_once_is_started_again_a_bounded_number_of_times(
    tmp_path: Path,
) -> None:
    program = Program("node", ["node", "--no-such-option"], log=tmp_path / "node.log")
    program.start()
    try:
        with pytest.raises(ProgramFailed, match="no-such-option"):
            _restart_for_ever(program)
    finally:
        program.close()
    assert program.restarts == MAX_RESTARTS


def test_an_aggregator_leaves_on_sigterm(tmp_path: Path) -> None:
    make_home(tmp_path / "home")
    program = aggregator(tmp_path)
    program.start()
    try:
        wait_until((tmp_path / "home" / "queue.db").exists)
        program.ask_to_leave()
        assert program.wait(20)
        assert program.exit_status in {0, -signal.SIGTERM}
    finally:
        program.close()


def test_a_program_leaves_when_its_parent_is_killed(tmp_path: Path) -> None:
    make_home(tmp_path / "home")
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PARENT,
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.stdout.close()
        wait_until((tmp_path / "home" / "queue.db").exists)
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not _runs(child))


def make_home(folder: Path) -> None:
    """Make a home with a sweep: an aggregator then looks for results, and makes the queue."""
    sweep = Sweep(name="walk", function="work:work", space=Space.grid(a=[1, 2]))
    open_home(folder, create=True).store.store(sweep.freeze(), None, 0.0)


def _restart_for_ever(program: Program) -> None:
    while True:
        wait_until(lambda: not program.running)
        program.restart()


def aggregator(folder: Path) -> Program:
    return Program(
        "aggregator",
        ["aggregate", "--home", str(folder / "home")],
        log=folder / "logs" / "aggregator.log",
    )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody may be there to reap it.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
