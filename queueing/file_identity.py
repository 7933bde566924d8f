"""Whether an open file is still the one its path names."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_at"]


def is_at(descriptor: int, path: Path) -> bool:
    """Tell whether the path leads to the very file that is open (device and inode)."""
    try:
        found = path.stat()
    except OSError:
        return False
    mine = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)
