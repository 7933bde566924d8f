"""Keep what one run prints from filling the disk.

The file is open for appending in the worker and in whatever it started, so it may lose its middle
at any time: the writers go on at its end. Where the file system can, the middle becomes a hole:
length, head and tail stay as they are. Elsewhere the file is cut after its head, and what comes
later is its tail.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

from compute_node.output import HEAD_BYTES, TAIL_BYTES

__all__ = ["MOST_OUTPUT_BYTES", "bound_output", "cut_after_head"]

MOST_OUTPUT_BYTES = 64 * 2**20
_PUNCH_HOLE_KEEP_SIZE = 3
"""FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE (fallocate(2), Linux)."""
_KEPT_AT_END_BYTES = TAIL_BYTES + 2**20
"""The tail, and room for what the worker writes while the hole is made."""
_BLOCK_BYTES = 512
"""The unit of st_blocks (stat(2))."""


def bound_output(path: Path, *, most_bytes: int = MOST_OUTPUT_BYTES) -> None:
    """Free the middle of a file that takes more than `most_bytes` on disk; none is no error.

    A worker that empties the file in this very moment loses some of what its next run printed.
    """
    with contextlib.suppress(OSError):
        facts = path.stat()
        if facts.st_blocks * _BLOCK_BYTES <= most_bytes:
            return
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            stop = facts.st_size - _KEPT_AT_END_BYTES
            if stop > HEAD_BYTES and not _punch(fd, HEAD_BYTES, stop - HEAD_BYTES):
                cut_after_head(fd)
        finally:
            os.close(fd)


def cut_after_head(fd: int) -> None:
    """Leave the head only, where no hole can be made."""
    if os.fstat(fd).st_size > HEAD_BYTES:
        os.ftruncate(fd, HEAD_BYTES)


def _punch(fd: int, start: int, length: int) -> bool:
    if sys.platform != "linux":
        return False
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, start, length) == 0)
