"""A whole node over a real queue, a real home and real worker processes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from compute_node.commands import UNFIT
from gapless.declaration.sweep import Limits
from gapless.results.outcome import Outcome
from gapless.storage import layout
from gapless.storage.quarantine import kept_messages, read_kept
from queueing.port import Entry

SIMPLE = """
    def f(x, *, seed):
        return {"twice": 2 * x, "seed": seed}
"""
GIVEN_RUN = """
    import os, signal, sys, time
    def f(x, run):
        run.set("early", 1)
        print("hello from", x)
        {body}
        return {{"x": x}}
"""


def odd(body: str) -> str:
    return GIVEN_RUN.format(body=body)


def test_every_run_of_every_job_is_delivered_once_and_the_jobs_are_gone(place: Any) -> None:
    place.submit(SIMPLE, runs=500, job_size=30)
    assert place.run_node() == 0
    found = place.delivered()
    assert found.runs == list(range(500))
    assert found.values("twice") == {run: 2 * run for run in range(500)}
    assert place.jobs() == []
    facts = place.queues.facts(layout.jobs_queue(place.sweep))
    assert (facts.visible, facts.leased, facts.delayed) == (0, 0, 0)


def test_seeds_are_those_of_the_declaration(place: Any) -> None:
    place.submit(SIMPLE, runs=20)
    place.run_node()
    runs = place.store.load(place.sweep).runs
    assert place.delivered().values("seed") == {n: runs.describe(n).seed for n in range(20)}


def test_an_exception_is_a_failed_result_with_traceback_output_and_what_was_set(
    place: Any,
) -> None:
    place.submit(odd("if x == 3: raise ValueError('no') from KeyError('k')"), runs=6)
    assert place.run_node() == 0
    found = place.delivered()
    assert found.runs == list(range(6))
    assert found.outcomes[3] is Outcome.FAILED
    error = found.errors[3]
    assert (error.kind, error.type, error.message) == ("exception", "ValueError", "no")
    assert "KeyError: 'k'" in error.traceback
    assert "compute_node" not in error.traceback
    assert error.output_head == "hello from 3\n"
    assert found.values("early")[3] == 1
    assert [each.exit for each in found.attempts(3)] == ["ValueError"]


@pytest.mark.parametrize(
    ("body", "exit_text"),
    [
        ("if x == 3: os._exit(7)", "exit status 7"),
        ("if x == 3: os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("if x == 3: os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    ],
)
def test_a_run_that_kills_its_worker_is_lost_after_its_attempts_and_no_other_is_charged(
    place: Any, body: str, exit_text: str
) -> None:
    place.submit(odd(body), runs=8, limits=Limits(attempts=2))
    assert place.run_node() == 0
    found = place.delivered()
    assert found.runs == list(range(8))
    assert [run for run, outcome in found.outcomes.items() if outcome is not Outcome.OK] == [3]
    assert found.outcomes[3] is Outcome.LOST
    assert [(each.number, each.exit) for each in found.attempts(3)] == [
        (1, exit_text),
        (2, exit_text),
    ]
    assert found.errors[3].output_head.startswith("hello from 3\n")


def test_a_run_that_is_lost_once_is_ok_at_its_second_attempt(place: Any) -> None:
    place.submit(odd("if x == 3 and run.attempt == 1: os._exit(7)"), runs=8)
    place.run_node()
    found = place.delivered()
    assert set(found.outcomes.values()) == {Outcome.OK}
    assert [(each.number, each.outcome) for each in found.attempts(3)] == [(1, Outcome.LOST)]
    assert max(number for block in found.blocks for number in block.attempt.tolist()) == 2


def test_sys_exit_in_user_code_is_a_failed_result(place: Any) -> None:
    place.submit(odd("if x == 1: sys.exit(0)"), runs=3)
    place.run_node()
    found = place.delivered()
    assert found.outcomes[1] is Outcome.FAILED
    assert found.errors[1].kind == "exit"


def test_a_value_that_cannot_be_stored_fails_its_run_only(place: Any) -> None:
    place.submit(odd("if x == 1: return {'bad': object(), 'good': 5}"), runs=3)
    place.run_node()
    found = place.delivered()
    assert found.outcomes == {0: Outcome.OK, 1: Outcome.FAILED, 2: Outcome.OK}
    assert found.errors[1].kind == "value"
    assert found.values("good") == {1: 5}


def test_a_run_over_its_time_is_killed_with_what_it_started(
    place: Any, is_alive: Callable[[int], bool], until: Callable[..., None]
) -> None:
    note = place.folder / "child"
    body = f"""
        if x == 1:
            import subprocess
            child = subprocess.Popen(["sleep", "1000"])
            open({str(note)!r}, "w").write(str(child.pid))
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(1000)"""
    place.submit(odd(body), runs=4, limits=Limits(time_s=0.3, attempts=1))
    place.run_node()
    found = place.delivered()
    assert found.runs == [0, 1, 2, 3]
    assert found.outcomes[1] is Outcome.TIMEOUT
    assert "limits.time" in found.errors[1].message
    until(lambda: not is_alive(int(note.read_text())))


def test_failed_runs_are_tried_again_when_the_limits_say_so(place: Any) -> None:
    limits = Limits(attempts=2, retry_on=("failed",))
    place.submit(
        odd("if x == 1 and run.attempt == 1: raise OSError('once')"), runs=3, limits=limits
    )
    place.run_node(idle_exit_s=0.01)
    found = place.delivered()
    assert set(found.outcomes.values()) == {Outcome.OK}
    assert [(each.number, each.exit) for each in found.attempts(1)] == [(1, "OSError")]


def test_heavy_printing_is_kept_head_and_tail_of_the_failed_run_only(place: Any) -> None:
    body = """
        for line in range(20000): print("line", line)
        if x == 2: raise RuntimeError"""
    place.submit(odd(body), runs=4)
    place.run_node()
    error = place.delivered().errors[2]
    assert error.output_head.startswith("hello from 2\nline 0\n")
    assert error.output_tail.endswith("line 19999\n")
    assert len(error.output_head) + len(error.output_tail) == 32 * 1024


def test_user_code_may_close_stdout_fork_and_change_its_folder(place: Any) -> None:
    body = """
        if x == 1: sys.stdout.close()
        if x == 2: os.close(1)
        if x == 3: os.chdir("/")
        if x == 4 and os.fork() == 0: return {"from": "a child"}
        if x == 5: (run.folder / "file").write_text("x")"""
    place.submit(odd(body), runs=8)
    place.run_node()
    found = place.delivered()
    assert found.runs == list(range(8))
    assert set(found.outcomes.values()) == {Outcome.OK}
    assert found.values("x") == {run: run for run in range(8)}


def test_a_target_that_cannot_be_imported_gives_the_job_back_and_says_why(
    place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    place.submit("import no_such_module\n", runs=5)
    assert place.run_node(idle_exit_s=None) == UNFIT
    assert "no_such_module" in caplog.text
    facts = place.queues.facts(layout.jobs_queue(place.sweep))
    assert (facts.visible + facts.delayed, facts.leased) == (1, 0)
    assert place.delivered().runs == []


def test_a_message_nobody_can_read_is_kept_in_quarantine(place: Any) -> None:
    place.submit(SIMPLE, runs=3)
    place.queues.send(layout.jobs_queue(place.sweep), [Entry("rubbish")])
    assert place.run_node() == 0
    (key,) = kept_messages(place.blobs, place.sweep)
    kept = read_kept(place.blobs, key)
    assert (kept.queue, kept.body) == (layout.jobs_queue(place.sweep), "rubbish")
    assert "not a job" in kept.reason
    assert place.delivered().runs == [0, 1, 2]


def test_results_too_large_for_a_message_go_by_a_claim(place: Any) -> None:
    code = """
        import os
        def f(x):
            return {"noise": os.urandom(900_000).hex()}
    """
    place.submit(code, runs=2)
    assert place.run_node() == 0
    assert len(list(place.blobs.list("claims/"))) == 2
    assert place.delivered().runs == [0, 1]


def test_a_first_signal_finishes_what_runs_and_gives_the_rest_back(
    place: Any, start_node: Callable[..., Any], until: Callable[..., None]
) -> None:
    started = place.folder / "started"
    body = f"""
        open({str(started)!r}, "a").write("x")
        time.sleep(0.2)"""
    place.submit(odd(body), runs=200)
    node = start_node()
    until(lambda: started.exists() and started.stat().st_size > 6)
    node.stop()
    assert node.wait() == 0
    done = set(place.delivered().runs)
    (rest,) = place.jobs()
    assert set(rest.runs) == set(range(200)) - done
    assert rest.deaths == 0
    assert started.stat().st_size == len(done)


def test_a_second_signal_ends_at_once_and_loses_no_run(
    place: Any, start_node: Callable[..., Any], until: Callable[..., None]
) -> None:
    started = place.folder / "started"
    body = f"""
        open({str(started)!r}, "a").write("x")
        time.sleep(1000)"""
    place.submit(odd(body), runs=20)
    node = start_node()
    until(started.exists)
    node.stop()
    node.stop(signal.SIGINT)
    node.wait(10.0)
    assert {run for job in place.jobs() for run in job.runs} == set(range(20))


def test_workers_and_what_they_started_die_with_a_killed_agent(
    place: Any,
    start_node: Callable[..., Any],
    until: Callable[..., None],
    is_alive: Callable[[int], bool],
) -> None:
    pids = place.folder / "pids"
    body = f"""
        import subprocess
        child = subprocess.Popen(["sleep", "1000"])
        with open({str(pids)!r}, "a") as file: file.write(f"{{os.getpid()}} {{child.pid}} ")
        time.sleep(1000)"""
    place.submit(
        odd(body.replace("{", "{{").replace("}", "}}")).replace("{{", "{").replace("}}", "}"),
        runs=4,
    )
    node = start_node()
    until(lambda: pids.exists() and len(pids.read_text().split()) == 4)
    node.stop(signal.SIGKILL)
    node.wait()
    until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))


def test_a_node_says_in_the_home_what_it_has_in_hand(place: Any) -> None:
    place.submit(SIMPLE, runs=3)
    place.run_node()
    report = json.loads(place.blobs.get(layout.node("node-1")))
    assert report["format"] == "gapless.node/1"
    assert report["sweeps"] == {}
    assert report["mode"] == "ended"


def test_nothing_of_a_node_is_left_in_its_work_folder(place: Any) -> None:
    place.submit(SIMPLE, runs=3)
    place.run_node()
    assert list((place.folder / "work" / "nodes").iterdir()) == []
