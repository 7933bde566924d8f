"""The folder that a worker's commands run with, emptied after every run.

Making and removing a folder for every run costs more, on a journaling file system, than starting
the program; emptying one that is empty costs next to nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

__all__ = ["CommandFolder", "newest_folder"]

_NAME = "run-"


class CommandFolder:
    """One folder at a time below `parent`; only one worker uses that."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._number = 0
        self.path = self._made()

    def empty(self) -> None:
        """Make it as new: what cannot be removed stays behind in a folder nobody uses any more."""
        try:
            _remove_all(self.path)
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            self._number += 1
            self.path = self._made()

    def _made(self) -> Path:
        path = self._parent / f"{_NAME}{self._number}"
        path.mkdir(parents=True, exist_ok=True)
        return path


def newest_folder(parent: Path) -> Path | None:
    """Give the folder that was in use when its worker ended; None when there is none."""
    numbers = []
    with contextlib.suppress(OSError):
        for path in parent.iterdir():
            rest = path.name.removeprefix(_NAME)
            if rest != path.name and rest.isdecimal():
                numbers.append(int(rest))
    return parent / f"{_NAME}{max(numbers)}" if numbers else None


def _remove_all(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink()
