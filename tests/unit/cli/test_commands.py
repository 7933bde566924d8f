"""Commands as real processes: exit statuses, messages, and what stands on standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FILE = """
name = "tiny"
function = "work:work"
run_time = "1 s"
[space.grid]
a = [1, 2, 3]
b = [0.5, 1.5]
"""
WORK = """
def work(a, b, *, seed):
    if a == 3:
        raise ValueError("three is too much")
    return {"sum": a + b}
"""

PROGRAM_THAT_TELLS_ITS_MODULES = """
import atexit, sys
atexit.register(lambda: print(*sorted(sys.modules)))
from gapless.cli import main
main()
"""


class Place:
    """A folder with a sweep file, and the commands given in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        (folder / "sweep.toml").write_text(FILE)
        (folder / "work.py").write_text(WORK)
        self.environment = {
            **os.environ,
            "GAPLESS_HOME": str(self.home),
            "GAPLESS_CACHE": str(folder.parent / f"{folder.name}-cache"),
            "COLUMNS": "200",
        }

    def do(self, *arguments: str, program: str = "sweep") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).parent / program), *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *arguments: str, status: int = 0) -> Any:
        answer = self.do(*arguments, "--json")
        assert answer.returncode == status, answer.stderr
        return json.loads(answer.stdout)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def submitted(place: Place) -> Place:
    answer = place.do("submit", "sweep.toml")
    assert answer.returncode == 0, answer.stderr
    return place


def test_version_and_help_need_no_home(place: Place) -> None:
    assert place.do("--version").stdout.startswith("gapless ")
    helped = place.do("--help")
    assert helped.returncode == 0
    for command in ("run", "submit", "node", "aggregate", "reconcile", "resubmit", "status"):
        assert f"  {command} " in helped.stdout
    assert not place.home.exists()


def test_an_unknown_command_and_a_wrong_option_are_bad_usage(place: Place) -> None:
    assert place.do("rum").returncode == 2
    assert place.do("submit", "sweep.toml", "--job-size", "0").returncode == 2
    assert place.do("node", "--idle-exit", "soon").returncode == 2
    assert "duration" in place.do("node", "--idle-exit", "soon").stderr


def test_a_sweep_file_that_is_not_there_is_bad_usage(place: Place) -> None:
    answer = place.do("submit", "nothing.toml")
    assert answer.returncode == 2
    assert "nothing.toml" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_dry_run_counts_and_writes_nothing(place: Place) -> None:
    plan = place.json("submit", "sweep.toml", "--dry-run")
    assert (plan["points"], plan["runs"], plan["exact"]) == (6, 6, True)
    assert plan["hours"] == pytest.approx(6 / 3600)
    assert plan["first_points"][0] == {"a": 1, "b": 0.5}
    assert not place.home.exists()
    assert place.json("submit", "sweep.toml")["sweep"] == plan["sweep"]


def test_a_submit_again_sends_nothing(submitted: Place) -> None:
    again = submitted.json("submit", "sweep.toml")
    assert (again["runs_sent"], again["earlier_runs"], again["created"]) == (0, 6, False)


def test_a_hyphenated_program_is_the_same_command(place: Place) -> None:
    assert place.do("sweep.toml", program="sweep-submit").returncode == 0
    assert place.do(program="sweep-reconcile").returncode == 3


def test_a_trial_that_fails_stops_the_submit(place: Place) -> None:
    answer = place.do("submit", "sweep.toml", "--test", "6")
    assert answer.returncode == 5, answer.stderr
    assert "three is too much" in answer.stderr
    assert "nothing was submitted" in answer.stderr
    assert not place.home.exists()


def test_a_trial_that_passes_is_followed_by_the_submit(place: Place) -> None:
    (place.folder / "work.py").write_text("def work(a, b):\n    return a + b\n")
    report = place.json("submit", "sweep.toml", "--test", "3")
    assert len(report["trial"]["runs"]) == 3
    assert report["runs_sent"] == 6


def test_jobs_are_as_large_as_the_trial_says_unless_a_person_does(place: Place) -> None:
    (place.folder / "work.py").write_text("def work(a, b):\n    return a + b\n")
    text = FILE.replace('name = "tiny"', 'name = "many"').replace('run_time = "1 s"', "")
    (place.folder / "many.toml").write_text(f"replicates = 500\n{text}")
    sized = place.do("submit", "many.toml", "--test", "3")
    assert "60 runs" in sized.stderr
    assert "3,000 runs sent in 50 jobs" in sized.stdout
    named = place.do(
        "submit", "many.toml", "--test", "3", "--job-size", "7", "--home", str(place.folder / "b")
    )
    assert "3,000 runs sent in 429 jobs" in named.stdout


def test_a_submit_says_who_does_the_runs(place: Place) -> None:
    said = place.do("submit", "sweep.toml").stderr
    assert "sweep node" in said
    assert "sweep aggregate" in said


def test_status_says_when_runs_are_left_and_nothing_is_queued(submitted: Place) -> None:
    assert "nothing on its queues" not in submitted.do("status").stderr
    (submitted.home / "queue.db").unlink()
    (submitted.folder / "other.toml").write_text(
        (submitted.folder / "sweep.toml").read_text().replace('"tiny"', '"other"')
    )
    assert submitted.do("submit", "other.toml").returncode == 0
    assert "6 runs left and nothing on its queues; `sweep reconcile tiny-" in (
        submitted.do("status").stderr
    )


def test_reconcile_ends_with_3_while_jobs_wait_and_with_4_when_they_are_gone(
    submitted: Place,
) -> None:
    assert submitted.json("reconcile", status=3)["in_flight"] == 6
    (submitted.home / "queue.db").unlink()
    found = submitted.json("reconcile", status=4)
    assert (found["gaps"], found["gap_ranges"]) == (6, [[0, 5]])
    assert submitted.json("reconcile", "--resubmit", status=3)["resubmitted"] == 6
    assert submitted.json("reconcile", status=3)["gaps"] == 0


def test_a_lost_ledger_is_told_and_made_anew(submitted: Place) -> None:
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (submitted.home / name).unlink(missing_ok=True)
    lost = submitted.do("reconcile")
    assert lost.returncode == 1
    assert "--rebuild" in lost.stderr
    assert submitted.do("reconcile", "--rebuild").returncode == 3


def test_status_says_what_is_left_and_reads_only(submitted: Place) -> None:
    (sweep,) = submitted.json("status")["sweeps"]
    assert (sweep["total"], sweep["stored"], sweep["in_flight"], sweep["left"]) == (6, 0, 6, 6)
    table = submitted.do("status", "tiny")
    assert table.returncode == 0
    assert "running" in table.stdout


def test_pause_resume_and_cancel_are_safe_to_repeat(submitted: Place) -> None:
    for command, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        for _ in range(2):
            assert submitted.do(command, "tiny").returncode == 0
        assert submitted.json("status")["sweeps"][0]["state"] == state
    assert submitted.json("reconcile", status=4)["cancelled"] == 6
    assert submitted.do("resume", "tiny").returncode == 0
    assert submitted.json("reconcile", status=4)["gaps"] == 6


def test_an_unknown_sweep_gets_a_clear_answer(submitted: Place) -> None:
    for command in ("pause", "cancel", "status", "results", "reconcile"):
        answer = submitted.do(command, "nothing-like-it")
        assert answer.returncode == 2
        assert "nothing-like-it" in answer.stderr
        assert "tiny-" in answer.stderr


def test_resubmit_wants_runs_or_an_outcome_and_known_ones(submitted: Place) -> None:
    for wrong in ([], ["--runs", "1", "--outcome", "failed"], ["--runs", "9-1"], ["--runs", "x"]):
        assert submitted.do("resubmit", "tiny", *wrong).returncode == 2
    assert "lost" in submitted.do("resubmit", "tiny", "--outcome", "bad").stderr
    assert submitted.do("resubmit", "tiny", "--runs", "17").returncode == 2


def test_a_run_with_failures_ends_with_5_and_resubmitting_them_makes_it_whole(
    place: Place,
) -> None:
    ran = place.do("run", "sweep.toml", "--workers", "1")
    assert ran.returncode == 5, ran.stderr
    assert "--outcome failed" in ran.stderr
    assert place.do("reconcile").returncode == 0
    assert place.json("resubmit", "tiny", "--outcome", "failed")["raised"] == 2
    (place.folder / "work.py").write_text("def work(a, b):\n    return {'sum': a + b}\n")
    changed = place.do("run", "sweep.toml", "--workers", "1")
    assert changed.returncode == 2
    assert "--code" in changed.stderr
    whole = place.json("run", "sweep.toml", "--workers", "1", "--code", "new")
    assert (whole["complete"], whole["outcomes"]["ok"]) == (True, 6)
    table = place.json("results", "--columns", "a,b,sum,epoch")
    assert table["columns"] == ["a", "b", "sum", "epoch"]
    assert all(a + b == total for a, b, total, _ in table["rows"])
    assert sorted(epoch for *_, epoch in table["rows"]) == [0, 0, 0, 0, 1, 1]


def test_files_added_to_the_code_folder_do_not_stop_a_sweep(submitted: Place) -> None:
    (submitted.folder / "notes.txt").write_text("what a person wrote beside the code")
    answer = submitted.do("submit", "sweep.toml")
    assert answer.returncode == 0
    assert "notes.txt" in answer.stderr


def test_results_are_written_as_csv_to_a_file_or_to_standard_output(place: Place) -> None:
    assert place.do("run", "sweep.toml", "--workers", "1").returncode == 5
    answer = place.do("results", "--csv", "-", "--columns", "run,sum")
    assert answer.returncode == 0
    assert answer.stdout.splitlines()[0] == "run,sum"
    assert len(answer.stdout.splitlines()) == 7
    assert place.do("results", "--csv", "out.csv").returncode == 0
    assert (place.folder / "out.csv").read_text().startswith("run,a,b,")
    assert place.do("results", "--columns", "nothing").returncode == 2
    assert place.do("results", "--csv", "no/such/folder.csv").returncode == 2


@pytest.mark.parametrize("program", ["node", "aggregate"])
def test_programs_of_a_home_load_no_ledger_library(submitted: Place, program: str) -> None:
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM_THAT_TELLS_ITS_MODULES,
            *(program, "--home", str(submitted.home), "--idle-exit", "0.1"),
            *(("--workers", "1") if program == "node" else ()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "GAPLESS_CACHE": str(submitted.folder / "cache")},
    )
    assert answer.returncode == 0, answer.stderr
    loaded = answer.stdout.split()
    assert "queueing.sqlite" in loaded
    assert "sqlalchemy" not in loaded
    assert ("h5py" in loaded) == (program == "aggregate")


def test_a_person_may_stop_a_run_and_the_same_command_continues_it(place: Place) -> None:
    (place.folder / "work.py").write_text(
        "import time\ndef work(a, b):\n    time.sleep(1)\n    return a + b\n"
    )
    stopped = subprocess.Popen(
        [str(Path(sys.executable).parent / "sweep"), "run", "sweep.toml", "--workers", "1"],
        cwd=place.folder,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline_s = time.monotonic() + 60
        while not any((place.home / "nodes").glob("*.json")):
            assert time.monotonic() < deadline_s, "no node was heard"
            time.sleep(0.05)
        stopped.send_signal(signal.SIGINT)
        _, said = stopped.communicate(timeout=60)
    finally:
        stopped.kill()
        stopped.wait()
    assert stopped.returncode == 130, said
    assert "sweep run sweep.toml" in said
    assert place.json("status")["sweeps"][0]["left"] > 0
    assert place.do("reconcile").returncode == 3
    assert place.json("run", "sweep.toml", "--workers", "1")["outcomes"]["ok"] == 6
