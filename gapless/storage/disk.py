"""The few calls that make a file durable, in one place, so that tests can make each of them fail.

A file is durable once its bytes are (fsync of the file) and its name is (fsync of the folder that
lists it). macOS answers fsync before the drive has written: there F_FULLFSYNC is asked for.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Disk", "folders_above"]

_FULL_FSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


class Disk:
    """The operating system's calls, each doing one step; OSError when a step fails."""

    def make_folder(self, path: Path) -> None:
        """Make one folder; its parent must exist; FileExistsError when it is there."""
        path.mkdir()

    def write_new(self, path: Path, data: bytes) -> None:
        """Make a file that must not exist, write all of `data` and fsync it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            self.write(descriptor, data)
            self.flush(descriptor)
        finally:
            os.close(descriptor)

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all of `data`, however many calls it takes."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def flush(self, descriptor: int) -> None:
        """Wait until what was written is on the medium."""
        if _FULL_FSYNC is None:
            os.fsync(descriptor)
        else:
            fcntl.fcntl(descriptor, _FULL_FSYNC)

    def rename(self, old: Path, new: Path) -> None:
        """Put `old` in the place of `new`, which any reader sees whole: the old or the new one."""
        old.replace(new)

    def link(self, old: Path, new: Path) -> None:
        """Give the file `old` a second name; FileExistsError when `new` is there."""
        os.link(old, new)

    def flush_folder(self, path: Path) -> tuple[int, int]:
        """Wait until the folder's list of names is on the medium; give its device and inode."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.flush(descriptor)
            status = os.fstat(descriptor)
            return status.st_dev, status.st_ino
        finally:
            os.close(descriptor)


def folders_above(folder: Path) -> Iterator[Path]:
    """Give the folders on the way from `folder` to the root of its file system, nearest first.

    A folder that was made with those above it lasts when each of them was flushed.
    """
    while not os.path.ismount(folder):
        folder = folder.parent
        yield folder
