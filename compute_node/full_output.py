"""The whole output of a run that is not ok, compressed, when it is more than its record holds."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from compute_node.output import Output

__all__ = ["MOST_WAITING_BYTES", "RunFile", "keep_full_output"]

OUTPUT_NAME = "output.txt.gz"
MOST_WAITING_BYTES = 512 * 2**20
"""What such files of a node may take on its disk before they are stored; more are not kept."""
_LEVEL = 4
_PIECE = 1 << 20


class RunFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is stored with the result of a run's attempt, before anybody hears of that.

    `path` is where it waits on this machine, `name` what it is called in the home.
    """

    run: int
    attempt: int
    path: str
    name: str = OUTPUT_NAME


def keep_full_output(
    streams: Sequence[tuple[str, int]],
    shown: Output,
    *,
    run: int,
    attempt: int,
    folder: Path,
    name: str,
) -> RunFile | None:
    """Compress what was printed, if `shown` is only a part of it, into `folder`/`name`.

    `streams` are titles and open files, one after the other; with one stream there is no title.
    None when nothing was kept: a full disk costs the middle of an output, not a result.
    """
    if not shown.tail:
        return None
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _size_of(folder) > MOST_WAITING_BYTES:
            return None
        with path.open("xb") as raw, gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as goal:
            for title, fd in streams:
                if len(streams) > 1:
                    goal.write(f"--- {title} ---\n".encode())
                for piece in _pieces(fd):
                    goal.write(piece)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return RunFile(run=run, attempt=attempt, path=str(path))


def _pieces(fd: int) -> Iterator[bytes]:
    """Read a file that may have holes in it: what was there is gone (see `output_bound`)."""
    size = os.fstat(fd).st_size
    position = 0
    while position < size:
        start, stop = _next_data(fd, position, size)
        if start > position:
            yield f"\n[… {start - position:,} bytes were not kept …]\n".encode()
        while start < stop:
            piece = os.pread(fd, min(_PIECE, stop - start), start)
            if not piece:
                return
            yield piece
            start += len(piece)
        position = stop


def _next_data(fd: int, position: int, size: int) -> tuple[int, int]:
    """Give start and stop of the next stretch that is no hole."""
    offset = os.lseek(fd, 0, os.SEEK_CUR)
    try:
        start = os.lseek(fd, position, os.SEEK_DATA)
        return min(start, size), min(os.lseek(fd, start, os.SEEK_HOLE), size)
    except (OSError, AttributeError):
        # Nothing but a hole is left, or this system does not tell.
        return position, size
    finally:
        os.lseek(fd, offset, os.SEEK_SET)


def _size_of(folder: Path) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                total += entry.stat(follow_symlinks=False).st_size
    return total
