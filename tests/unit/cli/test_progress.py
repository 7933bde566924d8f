"""What a person sees while a sweep runs: see gapless/local/progress.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.local.progress import Lines, Moment, Rate, duration_text
from tests.unit.cli.a_place import Place
from tests.unit.cli.test_ledger_away import started


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (42.4, "42 s"),
        (190, "3 min 10 s"),
        (7500, "2 h 05 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_are_told_in_units_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def at(stored: int) -> Moment:
    return Moment(stored=stored, not_ok=0, total=1000)


def test_the_rate_forgets_what_is_long_ago() -> None:
    rate = Rate()
    for second in range(101):
        rate.add(float(second), at(10 * second if second < 50 else 500 + 2 * (second - 50)))
    assert rate.per_s == pytest.approx(2.0)
    assert rate.text(Moment(stored=600, not_ok=0, total=640)) == "2 runs/s, about 20 s left"


def test_there_is_no_rate_before_something_is_stored() -> None:
    rate = Rate()
    for second in range(5):
        rate.add(float(second), at(7))
    assert rate.per_s is None
    assert rate.text(Moment(stored=7, not_ok=0, total=10)) == ""


def test_a_paused_sweep_has_no_rate_and_begins_a_new_one_when_it_goes_on() -> None:
    rate = Rate()
    for second in range(10):
        rate.add(float(second), at(100 * second))
    assert rate.text(at(900)) == "100 runs/s, about 1.0 s left"
    paused = Moment(stored=900, not_ok=0, total=1000, paused=True)
    rate.add(10.0, paused)
    assert rate.text(paused) == "paused"
    rate.add(60.0, at(900))
    assert rate.text(at(900)) == ""
    rate.add(65.0, at(950))
    assert rate.text(at(950)) == "10 runs/s, about 5.0 s left"


def test_lines_are_rare(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for stored in range(50):
        lines.update(Moment(stored=stored, not_ok=0, total=50))
    lines.note("something to know")
    lines.close()
    assert capsys.readouterr().err == "something to know\n"


def test_a_run_that_is_paused_says_so_where_its_rate_was(tmp_path: Path) -> None:
    place = Place(tmp_path)
    gate = place.folder / "gate"
    (place.folder / "work.py").write_text(_UNTIL_THERE.format(gate=str(gate)))
    with started(place, "run", "sweep.toml", "--workers", "1") as running:
        running.hear("0 of 6 runs stored")
        assert place.do("pause", "tiny").returncode == 0
        running.hear("0 of 6 runs stored, paused")
        assert place.do("resume", "tiny").returncode == 0
        gate.touch()
        status, _ = running.end()
    assert status == 0


_UNTIL_THERE = """
import os, time

def work(a, b):
    while not os.path.exists({gate!r}):
        time.sleep(0.05)
    return {{"sum": a + b}}
"""
