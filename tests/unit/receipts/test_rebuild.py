"""A lost ledger, made anew from the home."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.declaration.runset import RunSet
from gapless.results.outcome import Outcome
from gapless.storage import layout
from receipts.errors import LedgerDamaged
from receipts.ledger import State, open_ledger
from receipts.rebuild import open_and_rebuild, rebuild
from receipts.reconcile import ExitStatus
from receipts.sqlite_file import file_identity, set_file_aside
from tests.unit.receipts.world import Died, Dying, Fate, World, declare


def test_a_rebuilt_ledger_finds_what_the_lost_one_would_have(world: World) -> None:
    sweep = world.submit(declare(100), job_size=25).sweep_id
    world.keep(sweep, {(0, Outcome.OK): world.take_jobs(sweep, 1)})
    lost = world.take_jobs(sweep, 1)
    world.ledger = open_ledger("sqlite://")
    report = rebuild(ledger=world.ledger, store=world.store, clock=world.clock, new_id=world.new_id)
    assert (report.sweeps, report.runs) == ((sweep,), 100)
    assert world.ledger.count(sweep, State.UNKNOWN) == 1
    found = world.reconcile(sweep)
    assert (found.submitted, found.gaps) == (100, lost)
    assert found.in_flight == RunSet.span(50, 100)
    again = world.reconcile(sweep, resubmit=True)
    assert again.exit_status is ExitStatus.IN_FLIGHT
    assert world.on_queue(sweep) == {0: RunSet.span(25, 100)}
    world.ledger.close()


def test_extensions_and_later_epochs_are_rebuilt(world: World) -> None:
    sweep = world.submit(declare(10), job_size=10).sweep_id
    world.submit(declare(14), extend=sweep, job_size=10)
    world.keep(sweep, {(0, Outcome.FAILED): world.take_jobs(sweep, 9)})
    world.resubmit(sweep, RunSet.of(0, 13))
    world.lose_queues(sweep)
    world.ledger = open_ledger("sqlite://")
    report = rebuild(ledger=world.ledger, store=world.store, clock=world.clock, new_id=world.new_id)
    assert report.runs == 16
    submitted = world.ledger.submitted(sweep)
    assert submitted.sent == {0: RunSet.span(0, 14), 1: RunSet.of(0, 13)}
    assert world.reconcile(sweep).gaps == RunSet.of(0, 13)
    world.ledger.close()


def test_rebuilding_a_whole_ledger_changes_nothing(world: World) -> None:
    sweep = world.submit(declare(100), job_size=25).sweep_id
    report = rebuild(ledger=world.ledger, store=world.store, clock=world.clock, new_id=world.new_id)
    assert (report.sweeps, report.runs) == ((), 0)
    assert world.ledger.count(sweep, State.UNKNOWN) == 0


def test_after_a_rebuild_the_same_file_sends_nothing_twice(world: World) -> None:
    frozen = declare(100)
    world.submit(frozen, job_size=25)
    world.ledger = open_ledger("sqlite://")
    rebuild(ledger=world.ledger, store=world.store, clock=world.clock, new_id=world.new_id)
    assert world.submit(frozen).jobs_sent == 0
    world.ledger.close()


def test_a_rebuild_killed_anywhere_is_finished_by_the_next() -> None:
    for moment in range(100):
        here = World(open_ledger("sqlite://"))
        sweeps = [here.submit(declare(10, name=name), job_size=5).sweep_id for name in ("a", "b")]
        here.ledger.close()
        here.ledger = open_ledger("sqlite://")
        dying = Dying(here.ledger, Fate(moment))
        died = False
        try:
            rebuild(
                ledger=dying,  # type: ignore[arg-type]
                store=here.store,
                clock=here.clock,
                new_id=here.new_id,
            )
        except Died:
            died = True
        rebuild(ledger=here.ledger, store=here.store, clock=here.clock, new_id=here.new_id)
        for sweep in sweeps:
            assert here.ledger.submitted(sweep).sent == {0: RunSet.span(0, 10)}
            assert here.reconcile(sweep).in_flight == RunSet.span(0, 10)
        here.ledger.close()
        if not died:
            break
    assert 5 < moment < 99


def test_a_damaged_ledger_is_moved_aside_and_made_anew(tmp_path: Path, world: World) -> None:
    sweep = world.submit(declare(10), job_size=10).sweep_id
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(LedgerDamaged):
        open_ledger(tmp_path)
    ledger, report = open_and_rebuild(
        tmp_path, store=world.store, clock=lambda: 1234.5, new_id=world.new_id
    )
    assert report.set_aside == tmp_path / "ledger.db.damaged-1234"
    assert report.set_aside.read_bytes() == b"no database" * 1000
    assert report.sweeps == (sweep,)
    assert world.reconcile(sweep, ledger=ledger).in_flight == RunSet.span(0, 10)
    ledger.close()


def test_two_damaged_ledgers_are_both_kept(tmp_path: Path, world: World) -> None:
    for content in (b"first" * 500, b"second" * 500):
        (tmp_path / "ledger.db").write_bytes(content)
        ledger, _ = open_and_rebuild(
            tmp_path, store=world.store, clock=lambda: 1234.5, new_id=world.new_id
        )
        ledger.close()
    kept = {path.read_bytes()[:5] for path in tmp_path.glob("ledger.db.damaged-*")}
    assert kept == {b"first", b"secon"}


def test_a_ledger_that_another_program_made_anew_meanwhile_is_not_moved_aside(
    tmp_path: Path, world: World
) -> None:
    sweep = world.submit(declare(10), job_size=10).sweep_id
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database" * 1000)
    found_damaged = file_identity(path)
    first, _ = open_and_rebuild(
        tmp_path, store=world.store, clock=lambda: 1234.5, new_id=world.new_id
    )
    assert set_file_aside(path, seen=found_damaged, now_s=1240.0) is None
    assert world.reconcile(sweep, ledger=first).in_flight == RunSet.span(0, 10)
    first.close()


def test_a_page_damaged_in_the_middle_is_found(tmp_path: Path, world: World) -> None:
    sweep = world.submit(declare(2_000), job_size=1, ledger=(first := open_ledger(tmp_path)))
    first.close()
    path = tmp_path / "ledger.db"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    ledger, report = open_and_rebuild(
        tmp_path, store=world.store, clock=world.clock, new_id=world.new_id
    )
    assert report.set_aside is not None
    assert world.reconcile(sweep.sweep_id, ledger=ledger).in_flight == RunSet.span(0, 2_000)
    ledger.close()


def test_a_ledger_that_is_simply_missing_is_made_from_the_home(
    tmp_path: Path, world: World
) -> None:
    sweep = world.submit(declare(10), job_size=10, ledger=(first := open_ledger(tmp_path)))
    first.close()
    (tmp_path / "ledger.db").unlink()
    ledger, report = open_and_rebuild(
        tmp_path, store=world.store, clock=world.clock, new_id=world.new_id
    )
    assert (report.set_aside, report.runs) == (None, 10)
    assert ledger.sweep(sweep.sweep_id) is not None
    ledger.close()


def test_a_sweep_that_cannot_be_read_does_not_keep_others_from_being_rebuilt(
    world: World,
) -> None:
    broken = world.submit(declare(10, name="a")).sweep_id
    sound = world.submit(declare(10, name="b")).sweep_id
    world.blobs.put(layout.segment(broken, 0), b"{}")
    world.ledger = open_ledger("sqlite://")
    report = rebuild(ledger=world.ledger, store=world.store, clock=world.clock, new_id=world.new_id)
    assert report.sweeps == (sound,)
    (problem,) = report.problems
    assert problem.startswith(f"{broken}: ")
    assert world.ledger.sweep(broken) is None
    world.ledger.close()
