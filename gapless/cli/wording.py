"""Wordings that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gapless.cli.output import print_line

if TYPE_CHECKING:
    from gapless.results.failures import Failure

__all__ = ["counted", "failures_document", "print_failures"]

_SHOWN = 3
_IN_DOCUMENT = 100


def counted(count: int, noun: str) -> str:
    """Say a number of things: "1 job", "2,000 jobs"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def print_failures(failures: Sequence[Failure], on: Callable[[str], None] = print_line) -> None:
    """Print why runs are not ok, the most frequent reasons first."""
    if failures:
        on("  why runs are not ok:")
    for each in failures[:_SHOWN]:
        on(f"    {each}")
    if len(failures) > _SHOWN:
        on(f"    and {counted(len(failures) - _SHOWN, 'other error')}")


def failures_document(failures: Sequence[Failure]) -> list[dict[str, Any]]:
    """Give why runs are not ok as a document, at most 100 reasons."""
    return [
        {
            "title": each.title,
            "runs": each.count,
            "example": each.example,
            "fingerprint": each.fingerprint,
        }
        for each in failures[:_IN_DOCUMENT]
    ]
