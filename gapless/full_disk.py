"""Tell a disk without room from one that is broken: what to do about them differs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["has_no_room", "is_full", "no_room"]

_LEAST_BYTES = 256 * 1024
"""Below this a disk counts as full once something on it failed: SQLite takes its shared memory in
pieces of 32 KiB and a log beside it, and what failed may have given back what it had taken."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_full(folder: Path) -> bool:
    """Tell whether the disk of a folder has next to no room left, or takes no more files."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    # A file system that makes its inodes as needed counts none.
    takes_no_files = disk.f_files > 0 and disk.f_favail == 0
    return takes_no_files or disk.f_bavail * disk.f_frsize < _LEAST_BYTES


def has_no_room(error: OSError) -> bool:
    """Tell whether the operating system says that a disk or a quota is full."""
    return error.errno in _NO_ROOM


def no_room(folder: Path, error: OSError | None = None) -> str:
    """Say that the disk of a folder, or a quota on it, is full; the caller adds how it goes on.

    The same words whoever met it: a person is told once, not of each file that could not grow.
    """
    reason = os.strerror(errno.ENOSPC) if error is None else error.strerror
    return f"the disk of {folder} is full ({reason}): free some of it"
