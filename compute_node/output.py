"""What user code printed: a file per worker, emptied after every run that printed.

The worker's stdout and stderr are one file, opened for appending by the agent, so whatever kills
the worker, the agent finds there what its last run printed, and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

__all__ = [
    "HEAD_BYTES",
    "TAIL_BYTES",
    "Capture",
    "Output",
    "join_outputs",
    "read_open",
    "read_output",
]

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
        self._number = os.fstat(fd).st_ino
        # The streams of the start, kept: user code may put others in their place.
        self.raw = _Raw(1, self._fd)
        self._stdout, self._stderr = _Text(self.raw), sys.stderr
        sys.stdout = self._stdout
        self.flush_stdout = self._stdout.flush

    def restore(self) -> None:
        """Give the next run a stdout and stderr again when user code closed them."""
        for number in (1, 2):
            if not self._is_ours(number):
                os.dup2(self._fd, number)
        if _is_closed(self._stdout):
            self.raw = _Raw(1, self._fd)
            self._stdout = sys.stdout = _Text(self.raw)
            self.flush_stdout = self._stdout.flush
        if _is_closed(self._stderr):
            self._stderr = sys.stderr = _Text(_Raw(2, self._fd))

    def _is_ours(self, number: int) -> bool:
        try:
            return os.fstat(number).st_ino == self._number
        except OSError:
            return False

    def take(self) -> Output:
        """Give what was printed since the last call, and empty the file."""
        self.flush()
        output = read_open(self._fd)
        self.empty()
        return output

    def flush(self) -> None:
        """Write what streams still hold."""
        for stream in (self._stdout, self._stderr, sys.stdout, sys.stderr):
            # Closed or replaced by user code: what it wrote elsewhere is its own business.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()

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
        return read_open(fd)
    finally:
        os.close(fd)


def join_outputs(stdout: Output, stderr: Output) -> Output:
    """Put what a command wrote to its two streams one after the other."""
    if not stdout.head:
        return stderr
    if not stderr.head:
        return stdout
    texts = []
    for name, output in (("standard output", stdout), ("standard error", stderr)):
        between = "\n[…]\n" if output.tail else ""
        texts.append(f"--- {name} ---\n{output.head}{between}{output.tail}".rstrip("\n") + "\n")
    text = "".join(texts)
    if len(text) <= HEAD_BYTES + TAIL_BYTES:
        return Output(head=text)
    return Output(head=text[:HEAD_BYTES], tail=text[-TAIL_BYTES:])


def read_open(fd: int) -> Output:
    """Read the beginning and the end of an open file."""
    size = os.fstat(fd).st_size
    if size <= HEAD_BYTES + TAIL_BYTES:
        return Output(head=_text(os.pread(fd, size, 0)))
    return Output(
        head=_text(os.pread(fd, HEAD_BYTES, 0)),
        tail=_text(os.pread(fd, TAIL_BYTES, size - TAIL_BYTES)),
    )


class _Raw(io.FileIO):
    """A descriptor that notes whether Python touched it or a stream over it.

    Asking the streams and the kernel after every run would cost every run more.
    """

    touched = False

    def __init__(self, number: int, spare: int) -> None:
        super().__init__(number, "w", closefd=False)
        self._number = number
        self._spare = spare

    def write(self, data: Any, /) -> int:
        self.touched = True
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
        # User code closed the descriptor, perhaps a run ago.
        os.dup2(self._spare, self._number)
        return super().write(data)

    def close(self) -> None:
        self.touched = True
        super().close()


class _Buffer(io.BufferedWriter):
    """The bytes of a stream; says when it was touched."""

    def __init__(self, raw: _Raw) -> None:
        super().__init__(raw)
        self._noted = raw

    def write(self, data: Any, /) -> int:
        self._noted.touched = True
        return super().write(data)

    def close(self) -> None:
        self._noted.touched = True
        super().close()

    def detach(self) -> Any:
        self._noted.touched = True
        return super().detach()


class _Text(io.TextIOWrapper):
    """A stream; says when it was touched."""

    def __init__(self, raw: _Raw) -> None:
        # By lines: what a run printed before it killed its process is not lost in a buffer.
        super().__init__(
            _Buffer(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        self._noted = raw

    def write(self, text: str, /) -> int:
        self._noted.touched = True
        return super().write(text)

    def close(self) -> None:
        self._noted.touched = True
        super().close()

    def detach(self) -> Any:
        self._noted.touched = True
        return super().detach()


def _is_closed(stream: TextIO) -> bool:
    try:
        return stream.closed
    except ValueError:
        # Its buffer was detached.
        return True


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
