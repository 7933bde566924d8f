"""`sweep run` on a home whose disk is full, as a real process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.small_disk import SmallDisk
from tests.unit.cli.a_place import Place
from tests.unit.cli.test_ledger_away import started


@pytest.fixture
def place(tmp_path: Path, small_disk: SmallDisk) -> Place:
    place = Place(tmp_path)
    place.home = small_disk.folder / "sweeps"
    place.environment["GAPLESS_HOME"] = str(place.home)
    return place


def test_a_run_that_cannot_start_on_a_full_disk_says_so_and_how_it_goes_on(
    place: Place, small_disk: SmallDisk
) -> None:
    small_disk.fill(leave_bytes=100_000)
    told = place.do("run", "sweep.toml", "--workers", "1")
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith(f"sweep: the disk of {place.home} is full (")
    assert told.stderr.endswith("free some of it, then run the same command again\n")
    assert "damaged" not in told.stderr
    small_disk.free()
    assert place.do("run", "sweep.toml", "--workers", "1").returncode == 5


def test_a_run_whose_disk_fills_up_says_so_and_goes_on_by_itself(
    place: Place, small_disk: SmallDisk
) -> None:
    (place.folder / "work.py").write_text(_UNTIL_TOLD.format(gate=str(place.folder / "gate")))
    with started(place, "run", "sweep.toml", "--workers", "1") as running:
        running.hear("0 of 6 runs stored")
        small_disk.fill()
        (place.folder / "gate").touch()
        running.hear(f"the disk of {place.home} is full")
        small_disk.free()
        status, printed = running.end()
    assert status == 0
    assert "6 of 6 runs stored" in printed
    about_it = [line for line in running.said if "is full" in line]
    assert [line.partition("; ")[2] for line in about_it] == ["going on by itself\n"]
    assert "the disk has room again\n" in running.said


_UNTIL_TOLD = """
import os, time

def work(a, b):
    while not os.path.exists({gate!r}):
        time.sleep(0.05)
    return {{"sum": a + b}}
"""
