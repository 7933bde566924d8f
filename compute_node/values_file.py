"""The file a command records its values in: its last complete version counts.

The command may write it at any time, again and again, and may be killed in the middle of a write.
So while the command runs the file is read whenever it changed, and each complete version is kept
beside it, where it is also found by whoever clears up after this process.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

from compute_node.command_folder import newest_folder
from compute_node.recorded_values import (
    MOST_VALUES_BYTES,
    Recorded,
    ValuesUnreadable,
    decode_json,
    is_hdf5,
    last_json_line,
)

__all__ = ["KEPT", "OUTPUT", "STDOUT", "ValuesFile", "read_left", "read_stdout"]

OUTPUT = "output"
"""The file's name in the folder of its run ($GAPLESS_OUTPUT)."""
KEPT = "kept"
"""The last complete version, in the worker's folder of runs."""
STDOUT = "stdout"
"""What the command wrote to its standard output, in the worker's folder of runs."""

_MOST_STDOUT_BYTES = 64 * 2**20
_SHARE_OF_TIME = 0.05

ReadHdf5 = Callable[[bytes], Recorded]


class ValuesFile:
    """The values file of one run. `read_hdf5` may raise ValuesUnreadable.

    `share`: of the time a run takes, how much may be spent on reading what it recorded so far.
    """

    def __init__(
        self, path: Path, *, kept: Path, read_hdf5: ReadHdf5, share: float = _SHARE_OF_TIME
    ) -> None:
        self._path = path
        self._kept_path = kept
        self._read_hdf5 = read_hdf5
        self._share = share
        self._seen: tuple[int, ...] = ()
        self._next_look_at = 0.0
        self.kept: Recorded | None = None

    def look(self) -> None:
        """Keep the version that is there now, if it is another one and complete."""
        now = time.monotonic()
        if now < self._next_look_at:
            return
        with contextlib.suppress(OSError, ValuesUnreadable):
            facts = _facts(self._path.stat())
            if facts == self._seen:
                return
            if _is_being_written(facts[0]):
                return
            data = _read(self._path)
            self._seen = facts
            self.kept = _decode(data, self._read_hdf5)
            self._keep(data)
        self._next_look_at = now + (time.monotonic() - now) / self._share

    def last(self) -> tuple[Recorded | None, str]:
        """Give the last complete version after the command ended, and what is wrong with the file.

        (None, "") when there was no file.
        """
        try:
            data = _read(self._path)
            return _decode(data, self._read_hdf5), ""
        except FileNotFoundError:
            return self.kept, ""
        except (OSError, ValuesUnreadable) as error:
            return self.kept, str(error)

    def forget(self) -> None:
        """Remove what was kept."""
        if self.kept is not None:
            self._kept_path.unlink(missing_ok=True)

    def _keep(self, data: bytes) -> None:
        # Nothing of this outlives the machine: no fsync.
        temporary = self._kept_path.with_suffix(".tmp")
        temporary.write_bytes(data)
        temporary.replace(self._kept_path)


def read_left(run_folder: Path, read_hdf5: ReadHdf5) -> Recorded | None:
    """Give what the last run of a worker that is gone had recorded; None when it had not."""
    folder = newest_folder(run_folder) or run_folder
    for path in (folder / OUTPUT, run_folder / KEPT):
        with contextlib.suppress(OSError, ValuesUnreadable):
            return _decode(_read(path), read_hdf5)
    with contextlib.suppress(OSError):
        fd = os.open(run_folder / STDOUT, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return read_stdout(fd)
        finally:
            os.close(fd)
    return None


def read_stdout(fd: int) -> Recorded | None:
    """Give the values in the last line that is a JSON object; None when there is none."""
    size = os.fstat(fd).st_size
    if not size:
        return None
    start = max(0, size - _MOST_STDOUT_BYTES)
    data = os.pread(fd, size - start, start)
    return last_json_line(data)


def _read(path: Path) -> bytes:
    """Read a file that did not change meanwhile; OSError, ValuesUnreadable."""
    # Without waiting: it might be a pipe that nobody writes into.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise ValuesUnreadable("is no file")
        if before.st_size > MOST_VALUES_BYTES:
            raise ValuesUnreadable(
                f"has {before.st_size:,} bytes, the most is {MOST_VALUES_BYTES:,}: record a "
                "summary, and keep the rest elsewhere"
            )
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MOST_VALUES_BYTES + 1)
        if _facts(os.fstat(fd)) != _facts(before) or len(data) != before.st_size:
            raise ValuesUnreadable("was written to while it was read")
        return data
    finally:
        os.close(fd)


def _decode(data: bytes, read_hdf5: ReadHdf5) -> Recorded:
    return read_hdf5(data) if is_hdf5(data) else decode_json(data)


def _facts(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _is_being_written(inode: int) -> bool:
    """Tell whether a writer holds a lock on the file, as the HDF5 library does.

    Looked up, not tried: a lock of ours, however short, could make the command's own attempt fail.
    """
    if sys.platform != "linux":
        return False
    try:
        locks = Path("/proc/locks").read_bytes()
    except OSError:
        return False
    ending = b":%d" % inode
    return any(
        b" WRITE " in line and any(word.endswith(ending) for word in line.split())
        for line in locks.splitlines()
    )
