"""How a sweep that runs here is shown: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Bar", "Lines", "Moment", "Silence", "Watcher", "duration_text", "watcher_for_stderr"]

_LINE_EVERY_S = 10.0
_RATE_OVER_S = 20.0


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a sweep is: runs with a final result, those of them not ok, and all its runs.

    `paused`: nodes take no more of it.
    """

    stored: int
    not_ok: int
    total: int
    paused: bool = False


class Watcher(Protocol):
    """Whoever is told how a run goes."""

    def note(self, text: str) -> None:
        """Take one sentence for the person."""

    def update(self, moment: Moment) -> None:
        """Take how far it is; called about twice a second."""

    def close(self) -> None:
        """Stop showing; safe to repeat."""


class Silence:
    """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def update(self, moment: Moment) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class Rate:
    """Runs a second over the last 20 s, and how long the rest takes at that rate."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def add(self, now_s: float, moment: Moment) -> None:
        """Take how far it is at a monotonic time; a pause begins the measurement anew."""
        if moment.paused:
            self._seen.clear()
            return
        self._seen.append((now_s, moment.stored))
        while len(self._seen) > 2 and now_s - self._seen[1][0] > _RATE_OVER_S:
            del self._seen[0]

    @property
    def per_s(self) -> float | None:
        """Runs a second; None while nothing has been stored."""
        if len(self._seen) < 2:
            return None
        (start_s, before), (end_s, after) = self._seen[0], self._seen[-1]
        if after <= before or end_s <= start_s:
            return None
        return (after - before) / (end_s - start_s)

    def text(self, moment: Moment) -> str:
        """Say rate and time left, or that it is paused."""
        if moment.paused and moment.stored < moment.total:
            return "paused"
        rate = self.per_s
        if rate is None:
            return ""
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        if moment.stored >= moment.total:
            return f"{shown} runs/s"
        left = duration_text((moment.total - moment.stored) / rate)
        return f"{shown} runs/s, about {left} left"


class Lines:
    """A plain line every 10 s on standard error."""

    def __init__(self, word: Callable[[str], str] = str) -> None:
        self._word = word
        self._rate = Rate()
        self._next_s = time.monotonic() + _LINE_EVERY_S

    def note(self, text: str) -> None:
        """Print a line."""
        sys.stderr.write(self._word(text) + "\n")
        sys.stderr.flush()

    def update(self, moment: Moment) -> None:
        """Print a line when it is time."""
        now_s = time.monotonic()
        self._rate.add(now_s, moment)
        if now_s < self._next_s:
            return
        self._next_s = now_s + _LINE_EVERY_S
        parts = [f"{moment.stored:,} of {moment.total:,} runs stored"]
        if moment.not_ok:
            parts.append(f"{moment.not_ok:,} not ok")
        rate = self._rate.text(moment)
        self.note(", ".join([*parts, rate] if rate else parts))

    def close(self) -> None:
        """Nothing to put away."""


class Bar:
    """A progress bar of rich on standard error."""

    def __init__(self, word: Callable[[str], str] = str) -> None:
        self._word = word
        self._rate = Rate()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        text = self._word(text)
        if self._bar is None:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        else:
            self._bar.console.print(text, markup=False, highlight=False)

    def update(self, moment: Moment) -> None:
        """Move the bar."""
        self._rate.add(time.monotonic(), moment)
        if self._bar is None:
            self._bar = _make_bar()
            self._task = self._bar.add_task("", total=moment.total, note="")
            self._bar.start()
        assert self._task is not None
        note = self._rate.text(moment)
        if moment.not_ok:
            note = f"{moment.not_ok:,} not ok  {note}"
        self._bar.update(self._task, completed=moment.stored, total=moment.total, note=note)

    def close(self) -> None:
        """Leave the last state of the bar on the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def watcher_for_stderr(word: Callable[[str], str] = str) -> Watcher:
    """Choose a bar when standard error is a terminal, else lines; `word` rewords notes."""
    return Bar(word) if sys.stderr.isatty() else Lines(word)


def duration_text(seconds: float) -> str:
    """Say a duration to people: 0.8 s, 42 s, 3 min 10 s, 2 h 05 min, 3 d 4 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400:,} d {whole % 86_400 // 3600} h"


def _make_bar() -> Progress:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    return Progress(
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.completed:,} of {task.total:,} runs"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        refresh_per_second=4,
    )
