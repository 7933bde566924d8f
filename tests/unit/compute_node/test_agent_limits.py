"""What a run may use, and what its attempts say it used, with real worker processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gapless.declaration.sweep import Limits
from gapless.results.outcome import Outcome

CODE = """
    import os, sys, time
    def f(x):
        print("hello from", x)
        {body}
        return {{"x": x}}
"""
MEMORY = Limits(memory_bytes=1 << 30, attempts=1)


def odd(body: str) -> str:
    return CODE.format(body=body)


@pytest.mark.parametrize(
    "body",
    [
        "if x == 1: bytearray(4 << 30)",
        """if x == 1:
            hoard = []
            while True: hoard.append(bytes(2000))""",
        """if x == 1:
            hoard = []
            try:
                while True: hoard.append(bytes(2000))
            except MemoryError:
                raise""",
    ],
    ids=["one large block", "many small ones", "raised again"],
)
def test_a_run_that_asks_for_too_much_memory_fails_with_evidence(place: Any, body: str) -> None:
    place.submit(odd(body), runs=3, limits=MEMORY)
    assert place.run_node(workers=1) == 0
    found = place.delivered()
    assert found.outcomes == {0: Outcome.OK, 1: Outcome.FAILED, 2: Outcome.OK}
    error = found.errors[1]
    assert error.type == "MemoryError"
    assert "work.py" in error.traceback
    assert error.output_head == "hello from 1\n"
    (attempt,) = found.attempts(1)
    assert 2**20 < attempt.peak_memory <= 1 << 30


def test_an_attempt_of_a_dead_worker_tells_the_memory_it_had_at_most(
    place: Any, start_node: Callable[..., Any]
) -> None:
    body = """if x == 1:
            hoard = b"x" * 200_000_000
            os._exit(7)"""
    place.submit(odd(body), runs=3, limits=Limits(attempts=2))
    assert start_node(idle_exit_s=0.01).wait() == 0
    attempts = place.delivered().attempts(1)
    assert len(attempts) == 2
    assert all(200_000_000 < each.peak_memory < 1_000_000_000 for each in attempts)


def test_a_failed_attempt_tells_the_memory_its_worker_had_at_most(place: Any) -> None:
    body = """if x == 1:
            hoard = b"x" * 200_000_000
            del hoard
            raise ValueError"""
    place.submit(odd(body), runs=2)
    place.run_node(workers=1)
    (attempt,) = place.delivered().attempts(1)
    assert 200_000_000 < attempt.peak_memory < 1_000_000_000


def test_a_run_that_prints_without_end_does_not_fill_the_disk(place: Any) -> None:
    body = """
        if x == 1:
            for _ in range(100): os.write(1, b"y" * (1 << 20))
            until = time.monotonic() + 30
            while os.fstat(1).st_blocks * 512 > 10 << 20:
                assert time.monotonic() < until, "nobody looked at what was printed"
                time.sleep(0.05)
            print("the end")
            raise KeyError"""
    place.submit(odd(body), runs=2)
    place.run_node()
    error = place.delivered().errors[1]
    assert error.type == "KeyError"
    assert error.output_head.startswith("hello from 1\nyyy")
    assert error.output_tail.endswith("yyythe end\n")


def test_what_a_run_left_unwritten_is_not_the_output_of_the_next(place: Any) -> None:
    body = """
        if x == 1: sys.stdout.buffer.write(b"half a line")
        if x == 2: sys.stdout.write("half a line")
        if x == 3: raise ValueError"""
    place.submit(odd(body), runs=4)
    place.run_node(workers=1)
    assert place.delivered().errors[3].output_head == "hello from 3\n"


@pytest.mark.parametrize("verb", ["detach()", "close()", "buffer.close()", "buffer.detach()"])
def test_a_run_that_breaks_its_stdout_harms_no_other(place: Any, verb: str) -> None:
    body = f"""
        if x == 1: sys.stdout.{verb}
        if x == 3: raise ValueError"""
    place.submit(odd(body), runs=4)
    place.run_node(workers=1)
    found = place.delivered()
    assert [found.outcomes[run] for run in range(4)] == [*[Outcome.OK] * 3, Outcome.FAILED]
    assert found.errors[3].output_head == "hello from 3\n"
