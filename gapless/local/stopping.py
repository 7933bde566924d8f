"""Hear SIGINT and SIGTERM without being torn out of what is under way."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopSignals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Count stop signals while the context lasts; outside the main thread it hears none."""

    def __init__(self) -> None:
        self.count = 0
        self.last = signal.SIGINT
        self._heard = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, timeout_s: float) -> None:
        """Wait; a signal ends the wait early."""
        self._heard.wait(timeout_s)
        self._heard.clear()

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.last = signal.Signals(number)
        self._heard.set()
        if self.count > 2:
            # Two were not enough: something hangs that should not. Out, by the usual way.
            raise KeyboardInterrupt
