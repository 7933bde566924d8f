"""What user code printed: a file per worker, emptied after every run that printed.

The worker's stdout and stderr are one file, opened for appending by the agent, so whatever kills
the worker, the agent finds there what its last run printed, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HEAD_BYTES", "TAIL_BYTES", "Capture", "Output", "read_output"]

HEAD_BYTES = 8 * 1024
TAIL_BYTES = 24 * 1024


@dataclass(frozen=True, slots=True)
class Output:
    """The beginning and, when there was more, the end of what was printed."""

    head: str = ""
    tail: str = ""


class Capture:
    """The worker's side: `fd` is a duplicate of its stdout that user code does not know."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        # The stream of the start, kept: user code may put another in its place or close it.
        self._streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
        self.flush_stdout = self._streams[0].flush

    def take(self) -> Output:
        """Give what was printed since the last call, and empty the file."""
        for stream in (*self._streams, sys.stdout, sys.stderr):
            # Closed or replaced by user code: what it wrote elsewhere is its own business.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        output = _read(self._fd)
        self.empty()
        return output

    def empty(self) -> None:
        """Forget what was printed."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)


def read_output(path: Path) -> Output:
    """Read what a worker that is gone had printed in its last run."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return Output()
    try:
        return _read(fd)
    finally:
        os.close(fd)


def _read(fd: int) -> Output:
    size = os.fstat(fd).st_size
    if size <= HEAD_BYTES + TAIL_BYTES:
        return Output(head=_text(os.pread(fd, size, 0)))
    return Output(
        head=_text(os.pread(fd, HEAD_BYTES, 0)),
        tail=_text(os.pread(fd, TAIL_BYTES, size - TAIL_BYTES)),
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
