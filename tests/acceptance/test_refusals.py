"""What cannot be delivered or stored for a while stays where it was (acceptance 3)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gapless
from gapless.declaration.messages import decode_delivery, decode_job
from gapless.declaration.runset import RunSet
from gapless.wiring import open_home
from tests.acceptance.programs import wait_until

if TYPE_CHECKING:
    from tests.acceptance.programs import Programs

ODD_NODE = str(Path(__file__).with_name("odd_node.py"))
RUNS = 2_000
SWEEP = """
name = "refusals"
function = "work:work"
seed = 1
[space.grid]
a = { range = [0, 2000] }
"""
WORK = """
import time
def work(a):
    time.sleep(0.002)
    return {"twice": 2 * a}
"""


def submit(programs: Programs, *arguments: str) -> str:
    programs.write("sweep.toml", SWEEP)
    programs.write("work.py", WORK)
    answer = programs.do("submit", "sweep.toml", *arguments)
    assert answer.returncode == 0, answer.stderr
    return next((programs.home / "sweeps").iterdir()).name


def complete(programs: Programs) -> bool:
    return programs.do("reconcile").returncode == 0


def check(programs: Programs) -> None:
    table = gapless.open(str(programs.home), "refusals").to_pandas()
    assert sorted(table["run"].tolist()) == list(range(RUNS))
    assert (table["twice"] == 2 * table["a"]).all()


def runs_somewhere(programs: Programs, sweep_id: str) -> RunSet:
    """Read the queues at one moment, then the manifests: what is on its way or stored."""
    home = open_home(programs.home, create=False)
    queues = home.queues()
    try:
        heads = queues.heads([f"{sweep_id}-jobs", f"{sweep_id}-results"])
    finally:
        queues.close()
    jobs = RunSet.union(decode_job(body).runs for body in heads[f"{sweep_id}-jobs"])
    sent = RunSet.union(decode_delivery(head).runs for head in heads[f"{sweep_id}-results"])
    return jobs | sent | gapless.open(str(programs.home), "refusals").coverage.final()


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder refuse new files: by its mode, or for root by the immutable attribute."""
    if os.geteuid() != 0:
        mode = folder.stat().st_mode
        folder.chmod(0o500)
        yield
        folder.chmod(mode)
        return
    chattr = shutil.which("chattr")
    made = chattr and subprocess.run([chattr, "+i", str(folder)], check=False).returncode == 0
    if not made:
        if os.environ.get("CI"):
            pytest.fail("chattr +i does not work here, and root ignores modes")
        pytest.skip("root ignores modes and chattr +i does not work here")
    try:
        yield
    finally:
        subprocess.run([str(chattr), "-i", str(folder)], check=True)


def test_a_delivery_refused_in_part_stays_with_its_job_until_it_is_sent(
    programs: Programs,
) -> None:
    sweep_id = submit(programs)
    node = programs.start_python(ODD_NODE, str(programs.home), "--refuse", "6", "--linger", "0.1")
    wait_until(lambda: programs.logs().count("refused ") == 6, within_s=60, what="6 refusals")
    assert len(runs_somewhere(programs, sweep_id)) == RUNS
    programs.start("aggregate")
    wait_until(lambda: complete(programs), within_s=60, what="complete")
    assert node.poll() is None
    check(programs)


def test_a_refused_flush_keeps_its_messages_until_the_folder_can_be_written(
    programs: Programs,
) -> None:
    sweep_id = submit(programs)
    shards = programs.home / "sweeps" / sweep_id / "shards"
    shards.mkdir(exist_ok=True)
    with read_only(shards):
        programs.start("node", "--workers", "1")
        aggregator = programs.start("aggregate")
        queues = open_home(programs.home, create=False).queues()
        jobs = f"{sweep_id}-jobs"
        wait_until(lambda: not any(queues.heads([jobs])[jobs]), within_s=60, what="all delivered")
        wait_until(lambda: "shards" in programs.logs(), within_s=30, what="a refused flush is told")
        queues.close()
        assert not list(shards.glob("*.h5"))
        assert len(runs_somewhere(programs, sweep_id)) == RUNS
        assert aggregator.poll() is None
    wait_until(lambda: complete(programs), within_s=60, what="complete")
    check(programs)


def test_a_home_gone_for_a_while_is_waited_for(programs: Programs) -> None:
    submit(programs)
    node = programs.start("node", "--workers", "1")
    aggregator = programs.start("aggregate")
    wait_until(lambda: not complete(programs), within_s=10, what="started")
    wait_until(
        lambda: len(gapless.open(str(programs.home), "refusals").coverage.final()) > 100,
        within_s=30,
        what="100 stored",
    )
    away = programs.home.with_name("away")
    programs.home.rename(away)
    time.sleep(3)
    assert not programs.home.exists(), "a home that is away must not be made anew elsewhere"
    away.rename(programs.home)
    wait_until(
        lambda: programs.do("reconcile", "--resubmit").returncode == 0, within_s=60, what="complete"
    )
    assert node.poll() is None
    assert aggregator.poll() is None
    check(programs)


def test_a_node_killed_after_several_deliveries_repeats_only_undelivered_runs(
    programs: Programs,
) -> None:
    notes = programs.folder.parent / "notes"
    programs.write("work.py", NOTING_WORK.format(notes=str(notes)))
    programs.write("sweep.toml", 'order = "declared"\n' + SWEEP.replace("2000", "600"))
    assert programs.do("submit", "sweep.toml", "--job-size", "600").returncode == 0
    sweep_id = next((programs.home / "sweeps").iterdir()).name
    node = programs.start_python(
        ODD_NODE, str(programs.home), "--decrement", "0.5", "--linger", "0.4"
    )
    queues = open_home(programs.home, create=False).queues()
    results, jobs = f"{sweep_id}-results", f"{sweep_id}-jobs"

    def left() -> RunSet:
        return RunSet.union(decode_job(body).runs for body in queues.heads([jobs])[jobs])

    wait_until(
        lambda: len(queues.heads([results])[results]) >= 3 and len(left()) < 500,
        within_s=60,
        what="the third delivery, and a decremented job",
    )
    node.kill()
    node.wait()
    delivered = RunSet.union(
        decode_delivery(head).runs for head in queues.heads([results])[results]
    )
    remaining = left()
    queues.close()
    assert len(delivered | remaining) == 600
    assert len(remaining) < 500
    before = len(notes.read_text().split())
    programs.finish("sweep.toml")
    again = [int(line) for line in notes.read_text().split()[before:]]
    # What was decremented away is not repeated; what was done since the last decrement may be.
    assert sorted(again) == sorted(remaining)


NOTING_WORK = """
import time
def work(a):
    with open({notes!r}, "a") as file:
        file.write(f"{{a}}\\n")
    time.sleep(0.01)
    return {{"twice": 2 * a}}
"""
