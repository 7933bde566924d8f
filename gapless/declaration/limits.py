"""What an attempt may use, when another one is worth it, and when a sweep pauses itself."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import msgspec

from gapless.declaration.errors import BadLimits

__all__ = ["MAX_PRIORITY", "RETRIABLE", "Limits"]

RETRIABLE = ("failed", "timeout", "lost")
"""The outcomes after which another attempt can be asked for."""

MAX_PRIORITY = 1_000
"""Priorities run from -1,000 to 1,000; higher ones are worked on first."""

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*", re.ASCII)
_MOST_ATTEMPTS = 1_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a sweep; they apply from the next job on and are no part of its identity.

    `time_s` (seconds) and `memory_bytes` hold for each attempt, `attempts` counts all tries of a
    run, `retry_on` names the outcomes worth another one. The sweep pauses itself when more than
    `max_failures` runs (a number, or text like "5%" of its runs) have ended not `ok`.
    """

    time_s: float | None = None
    memory_bytes: int | None = None
    attempts: int = 3
    retry_on: tuple[str, ...] = ("lost", "timeout")
    max_failures: str | int | None = None

    def __post_init__(self) -> None:
        if self.time_s is not None and not _within(self.time_s, 0, math.inf):
            raise BadLimits(f"time_s is {self.time_s!r}, expected seconds above 0")
        if self.memory_bytes is not None and not _counts(self.memory_bytes):
            raise BadLimits(f"memory_bytes is {self.memory_bytes!r}, expected bytes above 0")
        if not _counts(self.attempts) or self.attempts > _MOST_ATTEMPTS:
            raise BadLimits(f"attempts is {self.attempts!r}, expected 1 to {_MOST_ATTEMPTS}")
        retry_on: object = self.retry_on
        if isinstance(retry_on, str) or any(each not in RETRIABLE for each in self.retry_on):
            raise BadLimits(
                f"retry_on is {self.retry_on!r}, expected some of {', '.join(RETRIABLE)}"
            )
        if self.max_failures is not None and _share(self.max_failures) is None:
            raise BadLimits(
                f"max_failures is {self.max_failures!r}, expected a number of runs or like '5%'"
            )

    def failures_allowed(self, total: int) -> int | None:
        """Count how many of `total` runs may end not `ok`; None: any number."""
        if self.max_failures is None:
            return None
        share = _share(self.max_failures)
        if isinstance(share, Fraction):
            return math.floor(total * share)
        return share


def _within(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low < value < high


def _counts(value: object) -> bool:
    return type(value) is int and value >= 1


def _share(max_failures: str | int) -> Fraction | int | None:
    if isinstance(max_failures, int):
        return max_failures if max_failures >= 0 and max_failures is not True else None
    match = _PERCENT.fullmatch(max_failures)
    if match is None or Fraction(match[1]) > 100:
        return None
    return Fraction(match[1]) / 100
