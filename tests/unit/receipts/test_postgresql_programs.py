"""Several real programs on one ledger, in PostgreSQL and in SQLite: no run is submitted twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import stamina

from gapless.declaration.messages import decode_job
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from receipts.errors import LedgerDamaged, LedgerLacksSweep
from receipts.ledger import Ledger, State, open_ledger
from receipts.rebuild import open_and_rebuild
from receipts.reconcile import ExitStatus
from tests.services.postgresql import PostgresqlServer
from tests.unit.receipts.world import Died, Fate, World, declare

PROGRAM = Path(__file__).with_name("ledger_program.py")
ROOT = Path(__file__).parents[3]
RUNS, JOB_SIZE = 3000, 7


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture(params=["postgresql", "sqlite"])
def location(request: pytest.FixtureRequest, home: Path) -> str:
    if request.param == "sqlite":
        return str(home)
    return str(request.getfixturevalue("postgresql_url"))


class Program:
    """A submitter or a reconciler in a process of its own."""

    def __init__(self, work: str, location: str, home: Path, *, runs: int, job_size: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), work, location, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._tell(f"{runs} {job_size}")

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def go(self) -> None:
        self._tell("go")

    def heard(self, word: str) -> None:
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if said != f"{word}\n":
            raise AssertionError(self.process.communicate(timeout=60)[1])

    def end(self) -> str:
        """Wait for its end; give what it complained of."""
        return self.process.communicate(timeout=60)[1]


@contextmanager
def programs(
    works: list[str], location: str, home: Path, *, runs: int = RUNS, job_size: int = JOB_SIZE
) -> Iterator[list[Program]]:
    started = [Program(each, location, home, runs=runs, job_size=job_size) for each in works]
    try:
        for each in started:
            each.heard("ready")
        yield started
    finally:
        for each in started:
            each.process.kill()
            each.process.communicate(timeout=60)


def jobs_of(world: World, sweep_id: str) -> list[RunSet]:
    queue = layout.jobs_queue(sweep_id)
    return [decode_job(head).runs for head in world.queues.heads([queue])[queue]]


def all_at_once(found: list[Program]) -> None:
    for each in found:
        each.go()
    for each in found:
        each.heard("done")


def test_two_submitters_and_two_reconcilers_at_once_send_every_run_once(
    location: str, home: Path
) -> None:
    sweep_id = declare(RUNS).declaration.id
    with programs(["submit", "submit", "reconcile", "reconcile"], location, home) as found:
        all_at_once(found)
        ledger = open_ledger(location)
        world = World(ledger, home, now_s=time.time())
        jobs = jobs_of(world, sweep_id)
        assert sum(len(runs) for runs in jobs) == RUNS
        assert RunSet.union(jobs) == RunSet.span(0, RUNS)
        first_jobs = len(jobs)
        assert ledger.count(sweep_id, State.SENT) == first_jobs

        # All is lost at once: each reconciler finds every run a gap, one of them sends it.
        world.lose_queues(sweep_id)
        all_at_once(found)
        jobs = jobs_of(world, sweep_id)
        assert sum(len(runs) for runs in jobs) == RUNS
        assert RunSet.union(jobs) == RunSet.span(0, RUNS)
        assert ledger.count(sweep_id, State.SENT) == first_jobs + len(jobs)
        assert ledger.count(sweep_id, State.PENDING) == 0
        ledger.close()
        world.queues.close()


def test_a_submitter_killed_in_the_middle_leaves_the_rest_to_another(
    location: str, home: Path
) -> None:
    runs = 8000
    sweep_id = declare(runs).declaration.id
    ledger = open_ledger(location)
    with programs(["submit", "submit"], location, home, runs=runs, job_size=1) as (one, other):
        one.go()
        wait_for_sent(ledger, sweep_id)
        one.process.kill()
        other.go()
        other.heard("done")
    assert ledger.count(sweep_id, State.SENT) == runs
    assert len(ledger.submitted(sweep_id).runs(0)) == runs
    world = World(ledger, home, now_s=time.time())
    jobs = jobs_of(world, sweep_id)
    assert RunSet.union(jobs) == RunSet.span(0, runs)
    # What was sent and not marked when it died went out twice: one batch.
    assert len(jobs) <= runs + 1000
    ledger.close()
    world.queues.close()


def wait_for_sent(ledger: Ledger, sweep_id: str) -> None:
    deadline = time.monotonic() + 60
    while not ledger.count(sweep_id, State.SENT):
        assert time.monotonic() < deadline


def test_after_a_restart_of_the_server_the_same_command_goes_on(
    postgresql_alone: PostgresqlServer, home: Path
) -> None:
    runs = 8000
    sweep_id = declare(runs).declaration.id
    url = postgresql_alone.new_url()
    ledger = open_ledger(url)
    with programs(["submit", "submit"], url, home, runs=runs, job_size=1) as (one, other):
        one.go()
        wait_for_sent(ledger, sweep_id)
        postgresql_alone.stop()
        assert "LedgerInterrupted" in (said := one.end())
        assert f"sweep {sweep_id}" in said
        assert "run the same command again" in said
        postgresql_alone.start()
        other.go()
        other.heard("done")
    with stamina.set_testing(True, attempts=5):
        assert ledger.count(sweep_id, State.SENT) == runs
    world = World(ledger, home, now_s=time.time())
    jobs = jobs_of(world, sweep_id)
    assert RunSet.union(jobs) == RunSet.span(0, runs)
    assert len(jobs) <= runs + 1000
    ledger.close()
    world.queues.close()


@pytest.mark.parametrize("loss", ["dropped", "one table dropped", "damaged"])
def test_a_lost_ledger_is_made_anew_from_the_home(
    loss: str, postgresql_url: str, postgresql: PostgresqlServer, home: Path
) -> None:
    ledger = open_ledger(postgresql_url, home="s3://bucket/home")
    world = World(ledger, home, now_s=time.time())
    sweep_id = world.submit(declare(300)).sweep_id
    world.resubmit(sweep_id, RunSet.span(0, 5))
    ledger.close()
    if loss == "dropped":
        postgresql.sql(postgresql_url, "DROP SCHEMA gapless CASCADE")
        world.ledger = open_ledger(postgresql_url)
        with pytest.raises(LedgerLacksSweep, match="--rebuild"):
            world.reconcile(sweep_id)
        world.ledger.close()
    elif loss == "damaged":
        postgresql.sql(postgresql_url, "UPDATE gapless.receipts SET runs = '\\x00' WHERE id = 3")
        world.ledger = open_ledger(postgresql_url)
        with pytest.raises(LedgerDamaged, match="--rebuild"):
            world.reconcile(sweep_id)
        world.ledger.close()
    else:
        postgresql.sql(postgresql_url, "DROP TABLE gapless.receipts")

    world.ledger, report = open_and_rebuild(
        postgresql_url,
        store=world.store,
        clock=world.clock,
        new_id=world.new_id,
        home="s3://bucket/home",
    )

    assert report.sweeps == (sweep_id,)
    assert (report.set_aside is None) is (loss == "dropped")
    if report.set_aside is not None:
        kept = f"SELECT count(*) FROM {report.set_aside}.sweeps"
        assert postgresql.sql(postgresql_url, kept) == [(1,)]
    found = world.reconcile(sweep_id)
    assert found.exit_status is ExitStatus.IN_FLIGHT
    assert len(found.gaps) == 0
    assert found.submitted == 300
    world.lose_queues(sweep_id)
    assert world.reconcile(sweep_id, resubmit=True).resubmitted == 300
    world.ledger.close()
    world.queues.close()


def test_a_submit_that_dies_before_any_call_is_finished_by_the_next(postgresql_url: str) -> None:
    calls = 0
    while True:
        ledger = open_ledger(f"{postgresql_url}?schema=dying_{calls}")
        world = World(ledger)
        frozen = declare(40)
        died = False
        try:
            world.submit(frozen, job_size=10, **world.ports_until(Fate(calls)))
        except Died:
            died = True
        sweep_id = world.submit(frozen, job_size=10).sweep_id
        assert world.on_queue(sweep_id) == {0: RunSet.span(0, 40)}
        assert ledger.count(sweep_id, State.PENDING) == 0
        assert ledger.submitted(sweep_id).runs(0) == RunSet.span(0, 40)
        assert ledger.count(sweep_id, State.SENT) == 4
        ledger.close()
        if not died:
            break
        calls += 1
    assert calls > 10
