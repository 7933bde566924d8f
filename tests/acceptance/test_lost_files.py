"""queue.db and ledger.db deleted in mid-sweep (acceptance 2)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import gapless
from tests.acceptance.programs import wait_until

if TYPE_CHECKING:
    from tests.acceptance.programs import Programs

RUNS = 6_000
SWEEP = """
name = "losses"
function = "work:work"
seed = 1
[space.grid]
a = { range = [0, 6000] }
"""
WORK = """
import time
def work(a):
    time.sleep(0.001)
    return {"twice": 2 * a}
"""


def write_sweep(programs: Programs) -> None:
    programs.write("sweep.toml", SWEEP)
    programs.write("work.py", WORK)


def stored(programs: Programs) -> int:
    try:
        return len(gapless.open(str(programs.home), "losses").coverage.final())
    except gapless.GaplessError:
        return 0


def check(programs: Programs) -> None:
    table = gapless.open(str(programs.home), "losses").to_pandas()
    assert sorted(table["run"].tolist()) == list(range(RUNS))
    assert (table["twice"] == 2 * table["a"]).all()


def test_queue_db_deleted_twice_under_sweep_run_costs_only_repeated_work(
    programs: Programs,
) -> None:
    write_sweep(programs)
    running = programs.start("run", "sweep.toml", "--workers", "2")
    for enough in (200, 2000):
        wait_until(lambda e=enough: stored(programs) >= e, within_s=60, what=f"{enough} stored")
        for name in ("queue.db", "queue.db-wal", "queue.db-shm"):
            (programs.home / name).unlink(missing_ok=True)
    assert running.wait(timeout=120) == 0, programs.logs()
    assert programs.do("reconcile").returncode == 0
    check(programs)


def test_queue_db_deleted_under_separate_programs_is_found_and_resubmitted_by_reconcile(
    programs: Programs,
) -> None:
    write_sweep(programs)
    assert programs.do("submit", "sweep.toml").returncode == 0
    node = programs.start("node", "--workers", "2")
    aggregator = programs.start("aggregate")
    for enough in (100, 1500):
        wait_until(lambda e=enough: stored(programs) >= e, within_s=60, what=f"{enough} stored")
        (programs.home / "queue.db").unlink()
        answer = programs.do("reconcile")
        deadline = time.monotonic() + 30
        while answer.returncode == 3 and time.monotonic() < deadline:
            answer = programs.do("reconcile")
        # A fast node may have had all the rest in hand by the second time: then nothing was lost.
        statuses = (4,) if enough == 100 else (0, 4)
        assert answer.returncode in statuses, answer.stdout + answer.stderr
        assert programs.do("reconcile", "--resubmit").returncode in (0, 3, 4)
    wait_until(
        lambda: programs.do("reconcile", "--resubmit").returncode == 0,
        within_s=90,
        what="complete",
    )
    assert node.poll() is None
    assert aggregator.poll() is None
    check(programs)


def test_ledger_db_deleted_under_sweep_run_is_rebuilt(programs: Programs) -> None:
    write_sweep(programs)
    running = programs.start("run", "sweep.toml", "--workers", "2")
    for enough in (200, 2000):
        wait_until(lambda e=enough: stored(programs) >= e, within_s=60, what=f"{enough} stored")
        for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
            (programs.home / name).unlink(missing_ok=True)
    assert running.wait(timeout=120) == 0, programs.logs()
    assert programs.do("reconcile").returncode == 0
    check(programs)


def test_a_lost_ledger_is_rebuilt_by_reconcile(programs: Programs) -> None:
    write_sweep(programs)
    assert programs.do("submit", "sweep.toml").returncode == 0
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (programs.home / name).unlink(missing_ok=True)
    answer = programs.do("reconcile", "--rebuild")
    assert answer.returncode == 3, answer.stdout + answer.stderr
    programs.finish("sweep.toml")
    check(programs)
