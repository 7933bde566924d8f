"""Threads that wait so that the main loop need not: each does one kind of step, in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aggregator.events import Event

__all__ = ["Broken", "Inbox", "Lane"]


@dataclass(frozen=True, slots=True)
class Broken:
    """A step failed in a way nobody foresaw: the program ends with this error."""

    error: Exception


Inbox = queue.SimpleQueue[Event | Broken]


class Lane:
    """One thread that does the steps given to it, one after the other, and reports their events."""

    def __init__(self, name: str, inbox: Inbox) -> None:
        self._inbox = inbox
        self._steps: queue.SimpleQueue[Callable[[], Iterable[Event]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, step: Callable[[], Iterable[Event]]) -> None:
        """Do a step as soon as those before it are done."""
        self._steps.put(step)

    def close(self) -> None:
        """Take no more steps: the thread ends after those given."""
        self._steps.put(None)

    def join(self, within_s: float) -> None:
        """Wait for the end of a closed lane; one whose step waits for a service is left alone."""
        self._thread.join(within_s)

    def _run(self) -> None:
        while True:
            step = self._steps.get()
            if step is None:
                return
            try:
                for event in step():
                    self._inbox.put(event)
            except Exception as error:  # noqa: BLE001 - the boundary of a thread
                self._inbox.put(Broken(error))
