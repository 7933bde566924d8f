"""DaemonPool: does what an executor does, and holds up nobody's end."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from gapless.daemon_pool import DaemonPool


def test_results_and_errors_come_back_in_order() -> None:
    with DaemonPool(3, "few") as pool:
        assert list(pool.map(lambda number: number * 2, range(50))) == list(range(0, 100, 2))
        failing = pool.submit(lambda: {}["missing"])
        with pytest.raises(KeyError, match="missing"):
            failing.result(30.0)


def test_so_many_threads_work_at_once_and_no_more() -> None:
    together, names = threading.Barrier(3), set()

    def meet(_number: int) -> None:
        names.add(threading.current_thread().name)
        together.wait(30.0)

    with DaemonPool(3, "few") as pool:
        list(pool.map(meet, range(9)))
    assert names == {"few-0", "few-1", "few-2"}


def test_a_pool_that_is_left_has_done_everything_and_takes_nothing_more() -> None:
    done: list[int] = []
    with DaemonPool(2, "few") as pool:
        for number in range(20):
            pool.submit(done.append, number)
    assert sorted(done) == list(range(20))
    with pytest.raises(RuntimeError, match="few were ended"):
        pool.submit(done.append, 20)


def test_what_is_cancelled_is_not_begun() -> None:
    begun, go_on = threading.Event(), threading.Event()
    pool = DaemonPool(1, "few")

    def block() -> None:
        begun.set()
        go_on.wait(60.0)

    running = pool.submit(block)
    waiting = [pool.submit(block) for _ in range(5)]
    assert begun.wait(30.0)
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(each.cancelled() for each in waiting)
    assert not running.done()
    go_on.set()
    running.result(30.0)
    pool.shutdown()


def test_ending_within_a_time_leaves_what_takes_longer() -> None:
    go_on = threading.Event()
    pool = DaemonPool(1, "few")
    running = pool.submit(go_on.wait, 60.0)
    pool.shut_down_within(0.0)
    pool.shut_down_within(0.0)
    assert not running.done()
    go_on.set()
    assert running.result(30.0)


def test_threads_that_hang_do_not_keep_a_program_from_ending() -> None:
    program = (
        "import threading\n"
        "from gapless.daemon_pool import DaemonPool\n"
        "begun = threading.Event()\n"
        "def hang():\n"
        "    begun.set()\n"
        "    threading.Event().wait()\n"
        "pool = DaemonPool(2, 'few')\n"
        "pool.submit(hang)\n"
        "assert begun.wait(30.0)\n"
        "pool.shut_down_within(0.1)\n"
        "print('ended')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "ended\n"
