"""What a person sees while a sweep runs: see gapless/local/progress.py."""

from __future__ import annotations

import pytest

from gapless.local.progress import Lines, Moment, Rate, duration_text


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


def test_the_rate_forgets_what_is_long_ago() -> None:
    rate = Rate()
    for second in range(101):
        rate.add(float(second), 10 * second if second < 50 else 500 + 2 * (second - 50))
    assert rate.per_s == pytest.approx(2.0)
    assert rate.text(Moment(stored=600, not_ok=0, total=640)) == "2 runs/s, about 20 s left"


def test_there_is_no_rate_before_something_is_stored() -> None:
    rate = Rate()
    for second in range(5):
        rate.add(float(second), 7)
    assert rate.per_s is None
    assert rate.text(Moment(stored=7, not_ok=0, total=10)) == ""


def test_lines_are_rare(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for stored in range(50):
        lines.update(Moment(stored=stored, not_ok=0, total=50))
    lines.note("something to know")
    lines.close()
    assert capsys.readouterr().err == "something to know\n"
