"""Many seeds are played by many processes, and none passes unseen."""

import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.simulator.runner import Crew, Verdict, play, seeds_of_commit

ROOT = Path(__file__).parents[2]


def dies_at_three(seed):
    if seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return Verdict(seed, steps=1)


def hangs_at_three(seed):
    if seed == 3:
        threading.Event().wait()
    return Verdict(seed, steps=1)


def fails_at_odd_seeds(seed):
    return Verdict(seed, reason="I1: odd" if seed % 2 else "")


def played(play_one, seeds, **settings):
    with Crew(2, play_one=play_one, **settings) as crew:
        return {verdict.seed: verdict for verdict in crew.play(seeds)}


def test_every_seed_gets_its_verdict():
    verdicts = played(fails_at_odd_seeds, range(9))
    assert {seed: verdict.failed for seed, verdict in verdicts.items()} == {
        seed: bool(seed % 2) for seed in range(9)
    }


def test_a_seed_whose_process_dies_is_a_failure_and_the_others_are_played():
    verdicts = played(dies_at_three, range(6))
    assert set(verdicts) == set(range(6))
    assert [seed for seed, verdict in verdicts.items() if verdict.failed] == [3]
    assert verdicts[3].reason == "its process died: status -9"


def test_a_seed_that_hangs_is_a_failure_and_the_others_are_played():
    verdicts = played(hangs_at_three, range(6), longest_s=4.0)
    assert set(verdicts) == set(range(6))
    assert [seed for seed, verdict in verdicts.items() if verdict.failed] == [3]
    assert "it hangs" in verdicts[3].reason


def test_a_world_is_played_to_its_end():
    verdict = play(3)
    assert not verdict.failed
    assert verdict.steps > 100


def test_the_seeds_of_a_commit_are_the_same_for_everybody():
    assert [*itertools.islice(seeds_of_commit("959ced5"), 3)] == [
        239300166988061,
        144224056443410,
        256239042149804,
    ]


def test_the_seeds_of_two_commits_have_nothing_in_common():
    one, other = (set(itertools.islice(seeds_of_commit(each), 500)) for each in ("a", "b"))
    assert len(one | other) == 1000


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tests.simulator", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_one_command_replays_a_seed_and_shows_its_log():
    done = run("3")
    assert done.returncode == 0
    assert "person: submit" in done.stdout
    assert "seed 3: every invariant held" in done.stdout


def test_a_replay_may_leave_out_faults():
    assert "interleave" in run("5").stdout
    done = run("5", "--without", "interleave,late#1")
    assert done.returncode == 0
    assert "interleave" not in done.stdout


def test_a_fault_that_does_not_exist_cannot_be_left_out():
    done = run("5", "--without", "earthquake")
    assert done.returncode != 0
    assert "no such faults: earthquake; there are queue-away" in done.stderr


def test_one_command_plays_many_seeds_and_says_how_fast(tmp_path):
    done = run("--seeds", "6", "--first", "40", "--workers", "2", "--logs", str(tmp_path / "logs"))
    assert done.returncode == 0, done.stdout
    assert "played 6 worlds" in done.stdout
    assert "worlds a minute: 0 failed" in done.stdout
    assert not (tmp_path / "logs").exists()


def test_a_seed_that_hangs_is_shown_with_its_log_and_the_command_that_replays_it(tmp_path):
    done = run("--seeds", "1", "--longest", "0.001", "--logs", str(tmp_path))
    assert done.returncode == 1
    assert "seed 0: it hangs" in done.stdout
    assert "python -m tests.simulator 0" in done.stdout
    assert "replay it: python -m tests.simulator 0" in (tmp_path / "0.log").read_text()


def test_an_interrupted_run_says_how_far_it_came(tmp_path):
    command = [sys.executable, "-m", "tests.simulator", "--seeds", "1000000", "--workers", "1"]
    # A session of its own, for the signal goes to all its processes as a terminal's does.
    program = subprocess.Popen(
        [*command, "--longest", "0.001", "--logs", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    alarm = threading.Timer(60.0, program.kill)
    alarm.start()
    try:
        # The first failure tells that the worlds are being played.
        first = program.stdout.readline()
        os.killpg(program.pid, signal.SIGINT)
        rest = program.stdout.read()
    finally:
        alarm.cancel()
        program.kill()
        program.wait()
        program.stdout.close()
    assert "it hangs" in first
    assert "interrupted after" in rest
    assert "Traceback" not in rest


@pytest.mark.parametrize("arguments", [(), ("3", "--seeds", "4"), ("--seeds", "4", "--shrink")])
def test_a_command_that_makes_no_sense_is_refused(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: python -m tests.simulator" in done.stderr
