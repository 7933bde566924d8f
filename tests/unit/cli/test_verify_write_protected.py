"""`sweep verify --dry-run` of a home that cannot be written: an archive, a backup, a snapshot."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from gapless.wiring import open_home
from tests.unit.cli.a_place import Place
from tests.unit.cli.test_verify import Sweep100
from tests.unit.cli.write_protected import do_write_protected

LOOK = ("verify", "--dry-run")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def home(place: Place) -> Sweep100:
    return Sweep100(open_home(place.home, create=True))


def files(place: Place) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.home.rglob("*") if path.is_file()}


def test_it_is_compared_with_the_receipts_and_nothing_is_written(
    place: Place, home: Sweep100
) -> None:
    home.keep_runs(0, 100)
    before = files(place)
    answer = do_write_protected(place, *LOOK)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "1 shard read, 100 rows" in answer.stdout
    assert "complete: every declared run has its result" in answer.stdout
    assert answer.stderr.count("\n") == 1
    assert "compared with the receipts, not the queues" in answer.stderr
    assert files(place) == before


def test_receipts_that_lack_are_told_there_too(place: Place, home: Sweep100) -> None:
    home.keep_runs(0, 100)
    with closing(open_home(place.home, create=False).ledger()) as ledger:
        row = ledger.sweep(home.sweep_id)
        assert row is not None
        ledger.forget_sweep(home.sweep_id)
        ledger.record_sweep(row)
    answer = do_write_protected(place, *LOOK, "--json")
    assert answer.returncode == 0, answer.stderr
    (found,) = json.loads(answer.stdout)["sweeps"]
    assert (found["without_receipt"], found["unasked"]) == (100, 100)
    assert (found["no_ledger"], found["reconcile"]) == ("", None)
    assert "cannot be written" in found["no_queues"]


def test_a_damaged_shard_is_found_there(place: Place, home: Sweep100) -> None:
    home.keep_runs(0, 60)
    bad = home.keep_runs(60, 100)
    home.flip(home.shard_key(bad), 5000)
    answer = do_write_protected(place, *LOOK)
    assert answer.returncode == 4, answer.stdout + answer.stderr
    assert f"shard {bad.shard_id} (changed)" in answer.stdout
    assert home.aside() == {}


def test_without_a_ledger_one_line_says_so(place: Place, home: Sweep100) -> None:
    home.keep_runs(0, 100)
    for path in place.home.glob("ledger.db*"):
        path.unlink()
    answer = do_write_protected(place, *LOOK)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (line,) = answer.stderr.splitlines()
    assert "compared with the declaration alone: there is no ledger" in line


@pytest.mark.parametrize("kept", [("-wal", "-shm"), ("-wal",)])
def test_a_ledger_whose_program_was_killed_is_read_or_told(
    place: Place, home: Sweep100, kept: tuple[str, ...]
) -> None:
    home.keep_runs(0, 100)
    copies: dict[str, bytes] = {}
    with closing(open_home(place.home, create=False).ledger()) as ledger:
        row = ledger.sweep(home.sweep_id)
        assert row is not None
        ledger.forget_sweep(home.sweep_id)
        # As it lies on the disk while it is open: what was forgotten is in its -wal alone.
        for suffix in ("", *kept):
            copies[suffix] = (place.home / f"ledger.db{suffix}").read_bytes()
    for suffix, data in copies.items():
        (place.home / f"ledger.db{suffix}").write_bytes(data)
    answer = do_write_protected(place, *LOOK)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (line,) = answer.stderr.splitlines()
    # Never what the file held before.
    assert "compared with the declaration alone" in line
    assert ("knows nothing of it" in line) == ("-shm" in kept)


def test_without_dry_run_it_says_to_use_it(place: Place, home: Sweep100) -> None:
    answer = do_write_protected(place, "verify")
    assert answer.returncode == 1
    assert "cannot be written" in answer.stderr
    assert "--dry-run" in answer.stderr


def test_reconcile_says_what_tells_of_it(place: Place, home: Sweep100) -> None:
    answer = do_write_protected(place, "reconcile")
    assert answer.returncode == 1
    assert "`sweep verify --dry-run`" in answer.stderr
