"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest

from gapless.declaration.durations import format_duration, parse_duration, parse_memory, parse_size
from gapless.errors import UserMistake


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5 ms", 0.005),
        ("10 min", 600.0),
        ("10min", 600.0),
        ("2 h", 7_200.0),
        ("1.5 h", 5_400.0),
        (".5 s", 0.5),
        ("3 d", 259_200.0),
        ("7 us", 7e-6),
        (" 30 ", 30.0),
        (30, 30.0),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_read_as_seconds(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("2 GB", 2 * 10**9),
        ("512 MiB", 512 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("10 kB", 10_000),
        ("10 KB", 10_000),
        ("1 TB", 10**12),
        ("100 B", 100),
        ("4096", 4096),
        (4096, 4096),
    ],
)
def test_a_size_is_read_as_bytes(text: str | float, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "", "ms", "5 parsecs", "-1 s", "0 s", 0, -3, "1e3 s", "5 5 s", "inf", "nan", True,
        float("inf"), float("nan"), "9" * 50 + " s", "5 MS", "\u0661 s",
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_examples(text: str | float) -> None:
    with pytest.raises(UserMistake, match='expected a duration above 0, like "5 ms"'):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "GB", "2 XB", "-1 GB", "0 B", 0, "0.4 B", "2 gb", True, "1e3"]
)
def test_what_is_no_size_is_refused_with_examples(text: str | float) -> None:
    with pytest.raises(UserMistake, match='expected a size above 0, like "2 GB"'):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.005, "5 ms"), (90, "1.5 min"), (7200, "2 h"), (0.0000005, "0.5 us"), (86400, "1 d")],
)
def test_seconds_are_written_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("text", ["2", "2 B", 2, "15.9 MB"])
def test_a_limit_of_memory_that_nothing_can_start_with_is_refused(text: str | int) -> None:
    with pytest.raises(UserMistake, match='expected a size of at least 16 MB, like "2 GB"'):
        parse_memory(text)
    assert parse_memory("16 MB") == 16_000_000
