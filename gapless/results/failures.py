"""Why runs are not ok: errors alike in place and type, counted together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gapless.results.block import ErrorRecord

__all__ = ["Failure", "group_failures"]

_MOST_TITLE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Errors of one fingerprint: `count` runs have it; `example` is the lowest of their numbers.

    `title` is the error of that run in one line.
    """

    title: str
    count: int
    example: int
    fingerprint: str

    def __str__(self) -> str:
        if self.count == 1:
            return f"{self.title} — run {self.example}"
        return f"{self.title} — {self.count:,} runs, for example run {self.example}"


def group_failures(errors: Iterable[ErrorRecord]) -> list[Failure]:
    """Count errors by fingerprint, the most frequent first; the errors need not be kept."""
    found: dict[str, Failure] = {}
    for error in errors:
        key = error.fingerprint or f"{error.kind}:{error.type}:{error.message[:_MOST_TITLE]}"
        before = found.get(key)
        lowest = before is None or error.run < before.example
        found[key] = Failure(
            title=_title(error) if before is None or lowest else before.title,
            count=1 if before is None else before.count + 1,
            example=error.run if before is None or lowest else before.example,
            fingerprint=error.fingerprint,
        )
    return sorted(found.values(), key=lambda each: (-each.count, each.example))


def _title(error: ErrorRecord) -> str:
    # Of a value that was refused, the message names it and says why.
    kind = "value" if error.kind == "value" else error.type or error.kind
    message = " ".join(error.message.split())
    title = f"{kind}: {message}" if message and message != kind else kind
    return title if len(title) <= _MOST_TITLE else f"{title[: _MOST_TITLE - 1]}…"
