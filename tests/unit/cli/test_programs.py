"""The programs beside `sweep run`: see gapless/local/programs.py and gapless/cli/parent.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from compute_node.rules import Remainders
from compute_node.settings import NodeSettings
from gapless.cli.leaving import end_in_time, within, working
from gapless.cli.programs import node_settings
from gapless.declaration.space import Space
from gapless.declaration.sweep import Sweep
from gapless.errors import GaplessError, UserMistake
from gapless.local.programs import MAX_RESTARTS, Program, ProgramFailed
from gapless.wiring import Home, open_home
from tests.services.servers import Service
from tests.unit.cli.s3_places import S3Place

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


# How a program ends (gapless/cli/leaving.py)

LEAVING = """
import logging, sys, threading
from gapless.cli.leaving import end_in_time
before = threading.enumerate()
threading.Thread(target=threading.Event().wait).start()
logging.basicConfig(stream=sys.stderr, level=logging.INFO)
logging.info("the last word")
print("on standard output", end="")
end_in_time(7, before=before)
"""


def test_a_program_ends_with_its_status_and_all_it_said_though_a_thread_waits_for_ever() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 7
    assert ended.stdout == "on standard output"
    assert "the last word" in ended.stderr


def test_a_program_without_such_a_thread_ends_as_any_command() -> None:
    with pytest.raises(typer.Exit) as ending:
        end_in_time(4, before=threading.enumerate())
    assert ending.value.exit_code == 4


def test_what_stops_a_program_at_its_work_is_no_mistake_in_its_command_line() -> None:
    def work() -> int:
        raise UserMistake("no credentials any more")

    with pytest.raises(GaplessError, match="no credentials any more") as stopped:
        working(work)
    assert not isinstance(stopped.value, UserMistake)
    assert working(lambda: 3) == 3


def test_a_step_of_the_ending_that_waits_for_a_service_is_left_alone() -> None:
    let_go = threading.Event()
    within(0.05, lambda: let_go.wait() and None)
    let_go.set()
    done: list[int] = []
    within(30.0, lambda: done.append(1))
    assert done == [1]


# What a node works with, by the kind of its home


def test_a_node_of_a_folder_home_leases_remainders_and_lets_no_sweep_rest(tmp_path: Path) -> None:
    settings = settings_of(open_home(tmp_path / "home", create=True))
    assert settings.remainders is Remainders.LEASED
    assert settings.rest_s == 0.0


def test_a_node_of_an_s3_home_knows_that_remainders_are_anybodys_and_each_look_is_billed(
    on_ministack: Service, tmp_path: Path
) -> None:
    place = S3Place(tmp_path, on_ministack)
    place.make_home()
    settings = settings_of(open_home(place.url, create=False))
    assert settings.remainders is Remainders.ANYBODYS
    assert settings.rest_s == 60.0


def settings_of(home: Home) -> NodeSettings:
    queues = home.queues()
    try:
        return node_settings(home, queues, pace=home.pace, node_id="n", sweep_ids=None)
    finally:
        queues.close()


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
