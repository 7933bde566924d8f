"""Which run a worker is in, readable by its agent at any moment, also after a segmentation fault.

A small file both sides map: run number + 1 (0: between runs), attempt, when the run started
(CLOCK_MONOTONIC, one clock for all processes of a machine), and the process id of its command.
"""

from __future__ import annotations

import mmap
from pathlib import Path

__all__ = ["COMMAND_ITEM", "PAGE_BYTES", "PageReader", "make_page", "open_page"]

PAGE_BYTES = 4096
COMMAND_ITEM = 3
"""Which item holds the process id of the command that runs, 0 when none does."""


def make_page(path: Path) -> None:
    """Make an empty page."""
    path.write_bytes(bytes(PAGE_BYTES))


def open_page(path: Path) -> memoryview:
    """Map the page for its worker: items 0, 1 and 3 by a "Q" cast, item 2 by a "d" cast."""
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), PAGE_BYTES))


class PageReader:
    """The agent's side of a page."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), PAGE_BYTES, prot=mmap.PROT_READ)
        self._bytes = memoryview(self._map)
        self._numbers = self._bytes.cast("Q")
        self._times = self._bytes.cast("d")

    def read(self) -> tuple[int, int, float] | None:
        """Give (run, attempt, started) of the run that is going on; None between runs."""
        for _ in range(3):
            run, attempt, started = self._numbers[0], self._numbers[1], self._times[2]
            if run == self._numbers[0]:
                return (run - 1, attempt, started) if run else None
        return None

    def command(self) -> int:
        """Give the process id of the command that is going on, which is its group's; 0: none."""
        return int(self._numbers[COMMAND_ITEM])

    def close(self) -> None:
        """Unmap."""
        self._numbers.release()
        self._times.release()
        self._bytes.release()
        self._map.close()
