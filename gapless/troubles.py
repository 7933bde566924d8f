"""What a program says of services that are away: at once, then seldom, and when they are back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Troubles"]

_EVERY_S = 60.0


@dataclass(slots=True)
class _Trouble:
    """Monotonic seconds. `since_at` None: it is over; `told`: it was, since it began."""

    since_at: float | None = None
    warned_at: float | None = None
    told: bool = False


class Troubles:
    """Troubles by kind ("receiving jobs"). Safe to use from several threads.

    `warn` gets one text a minute and kind at most; `tell` gets one text when what was told is over.
    """

    def __init__(
        self,
        *,
        warn: Callable[[str], object],
        tell: Callable[[str], object],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._warn = warn
        self._tell = tell
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._by_kind: dict[str, _Trouble] = {}

    def trouble(self, kind: str, text: str) -> None:
        """Take note that something could not be done; `text` is for the person."""
        now = self._monotonic()
        with self._lock:
            known = self._by_kind.setdefault(kind, _Trouble())
            if known.since_at is None:
                known.since_at, known.told = now, False
            if known.warned_at is not None and now - known.warned_at < _EVERY_S:
                return
            known.warned_at, known.told = now, True
        self._warn(text)

    def well(self, kind: str) -> None:
        """Take note that it was done: the trouble is over, if there was one."""
        with self._lock:
            known = self._by_kind.get(kind)
            if known is None or known.since_at is None:
                return
            lasted_s = self._monotonic() - known.since_at
            known.since_at = None
            if not known.told:
                return
        self._tell(f"{kind} works again, after {lasted_s:.0f} s")
