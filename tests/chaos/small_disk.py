"""A small disk of its own for a folder: filled up, made read-only, and gone at the end.

Needs the right to mount (root); what else there is to disturb a folder with needs none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = ["NoSmallDisk", "SmallDisk", "small_disk"]

_FILLER = "filler"
_PIECES = (2**20, 2**12, 2**9, 1)
_PATIENCE_S = 30


class NoSmallDisk(Exception):
    """This process may not mount a file system."""


class SmallDisk:
    """A mounted tmpfs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shut: list[Path] = []

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Leave not one byte free, or so many."""
        with (self.folder / _FILLER).open("wb", buffering=0) as file:
            for size in _PIECES:
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
            file.truncate(max(0, file.tell() - leave_bytes))

    def free(self) -> None:
        """Give the space back."""
        (self.folder / _FILLER).unlink(missing_ok=True)

    def shut(self, folder: Path) -> None:
        """Make a folder of the disk read-only for everybody, root included."""
        _mount("--bind", str(folder), str(folder))
        self._shut.append(folder)
        _mount("-o", "remount,bind,ro", str(folder))

    def reopen(self, folder: Path) -> None:
        """Undo `shut`."""
        if folder in self._shut:
            self._shut.remove(folder)
            _unmount(folder)

    def release(self) -> None:
        """Undo everything."""
        for folder in list(self._shut):
            self.reopen(folder)
        self.free()


@contextlib.contextmanager
def small_disk(folder: Path, *, size_bytes: int, keep_in: Path) -> Iterator[SmallDisk]:
    """Mount a tmpfs at a folder; NoSmallDisk without the right to.

    When the body raises, what the disk holds is copied to `keep_in` before it is gone.
    """
    folder.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "gapless-chaos", str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoSmallDisk(f"no tmpfs can be mounted here: {error}") from error
    disk = SmallDisk(folder)
    try:
        yield disk
    except BaseException:
        disk.release()
        shutil.copytree(folder, keep_in, symlinks=True)
        raise
    finally:
        disk.release()
        _unmount(folder)


def _mount(*words: str) -> None:
    if os.geteuid() != 0:
        raise PermissionError("only root mounts")
    _run("mount", *words)


def _unmount(folder: Path) -> None:
    try:
        _run("umount", str(folder))
    except subprocess.CalledProcessError:
        # Somebody still has a file open there: it goes with the last of them.
        _run("umount", "--lazy", str(folder))


def _run(*words: str) -> None:
    subprocess.run(
        words, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=_PATIENCE_S
    )
