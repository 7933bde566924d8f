"""Errors counted together: see gapless/results/failures.py."""

from __future__ import annotations

from gapless.results.block import ErrorRecord
from gapless.results.failures import group_failures


def error(run: int, message: str, *, fingerprint: str, kind: str = "exception") -> ErrorRecord:
    return ErrorRecord(
        run=run, kind=kind, type="ValueError", message=message, fingerprint=fingerprint
    )


def test_errors_of_one_place_are_counted_together_the_most_frequent_first() -> None:
    rare = error(1, "rare", fingerprint="a")
    often = [error(run, f"too few\ndarts: {run}", fingerprint="b") for run in (40, 17, 230)]
    first, second = group_failures([rare, *often])
    assert str(first) == "ValueError: too few darts: 17 — 3 runs, for example run 17"
    assert str(second) == "ValueError: rare — run 1"


def test_errors_without_a_fingerprint_are_told_apart_by_their_message() -> None:
    found = group_failures(error(run, f"m{run % 2}", fingerprint="") for run in range(4))
    assert [each.count for each in found] == [2, 2]


def test_what_has_no_type_is_called_by_its_kind_and_long_text_is_cut() -> None:
    (lost,) = group_failures([ErrorRecord(run=3, kind="lost")])
    assert str(lost) == "lost — run 3"
    (long,) = group_failures([error(0, "x" * 10_000, fingerprint="c")])
    assert len(long.title) == 200
