"""queue.db on the disk: made once, opened, watched, and made anew when it is lost or damaged.

An open SQLite connection goes on committing into a file that was deleted, and a -shm left behind
gives newcomers "disk I/O error". So:

- who opens, makes or closes does so under a lock on `queue.lock`, one at a time;
- a new file is built beside and renamed into place, after -wal and -shm left behind are gone;
- each connection remembers device, inode and size of queue.db, -wal and -shm, and `state` compares
  them with what the paths say now (about 2 us a file). While a connection is open nobody else may
  replace or shrink any of the three;
- a file that fails this, or that SQLite calls damaged, is moved aside, never mended: what it held
  is found by reconcile, and every other process sees a new inode and comes along. A file that
  shares its -wal with a stranger could be corrupted unseen.

queue.db must never be opened other than by SQLite: closing any descriptor of a file drops every
POSIX lock this process has on it.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gapless.full_disk import has_no_room, is_full, no_room
from queueing.errors import QueueDiskFull, QueueUnavailable
from queueing.file_identity import is_at
from queueing.sqlite_library import load
from queueing.sqlite_schema import DAMAGED, NotAQueue, build, connect, look

__all__ = ["FileState", "OpenFile", "QueueFile", "fsync_folder", "result_code"]

_LOCK_RETRY_S = 0.005
_MOST_TRIES = 4
_NO_FILE = (0, 0, 0)
_IOERR = 10
_FULL = 13
_CANTOPEN = 14
_IOERR_FSYNC = 1034
"""SQLite's extended result code for an fsync that failed."""


class FileState(enum.Enum):
    """What the paths say of the files a connection has open."""

    INTACT = "intact"
    REPLACED = "replaced"
    DAMAGED = "damaged"


def result_code(error: BaseException) -> int:
    """Give SQLite's extended result code of an error (0 when it has none)."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0)


def fsync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Vanished(Exception):
    """A file was deleted between its opening and the first look at its path."""


class OpenFile:
    """A connection to queue.db and what its files were when it was opened.

    `use` is held while the connection works, so that nobody closes it in the middle.
    """

    __slots__ = ("_files", "_paths", "handle", "use")

    def __init__(self, handle: Any, path: Path) -> None:
        self.handle = handle
        self.use = threading.Lock()
        self._paths = (str(path), f"{path}-wal", f"{path}-shm")
        self._files = [_stat(each) for each in self._paths]
        if _NO_FILE in self._files:
            # "Nothing there" would compare equal to what a deleted file leaves, for ever.
            raise _Vanished

    def state(self) -> FileState:
        """Compare the open files with what their paths say now."""
        for index, path in enumerate(self._paths):
            known, found = self._files[index], _stat(path)
            if found == known:
                continue
            if found[:2] != known[:2]:
                return FileState.REPLACED if index == 0 else FileState.DAMAGED
            if found[2] < known[2]:
                return FileState.DAMAGED
            self._files[index] = found
        return FileState.INTACT

    def is_at(self, path: Path) -> bool:
        """Tell whether this is the file that lies at the path now."""
        return _stat(str(path))[:2] == self._files[0][:2]

    def changes(self) -> int:
        """Give a number that changes when another connection has committed."""
        (number,) = self.handle.execute("PRAGMA data_version").fetchone()
        return int(number)

    def close(self) -> None:
        """Close the connection; call it under the lock of the QueueFile."""
        with self.use:
            self.handle.close()


class QueueFile:
    """The path of a queue.db: opens it, makes it when it is missing, sets it aside when damaged."""

    def __init__(self, path: Path, *, patience_s: float) -> None:
        self.path = path
        self._lock_path = path.with_name("queue.lock")
        self._new_path = path.with_name(f"{path.name}.new")
        self._patience_s = patience_s
        # Only here: a folder that goes away later is waited for, and not made anew in its place.
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)

    def open(self) -> OpenFile:
        """Open the file, made first when missing or damaged. QueueUnavailable when it cannot."""
        with self.locked():
            for _ in range(_MOST_TRIES):
                if not self.path.exists():
                    self._create()
                try:
                    return self._open_here()
                except load().DatabaseError as error:
                    if not self.path.exists():
                        # Deleted after the look above: made anew like any other.
                        continue
                    if not self._tells_damage(error):
                        raise
                    self._set_aside()
                except _Vanished:
                    if self.path.exists():
                        # -wal or -shm, pulled away from under everybody who has the file open.
                        self._set_aside()
                except NotAQueue:
                    self._set_aside()
        raise QueueUnavailable(
            f"the queue at {self.path} was damaged or deleted each of {_MOST_TRIES} times it was "
            "made anew; look for a program that writes there"
        )

    def mend(self, opened: OpenFile, error: BaseException | None) -> None:
        """Look again, under the lock, at a file found unfit; set it aside if it really is damaged.

        The connection is closed in any case; `open` gives the next one.
        """
        with self.locked():
            try:
                if opened.is_at(self.path) and self._is_damaged(opened, error):
                    self._set_aside()
            finally:
                # The path leads elsewhere by now or holds no file: SQLite sees that and leaves
                # -wal and -shm, which may be a newcomer's, alone.
                opened.close()

    def lacks_room(self, error: BaseException) -> bool:
        """Tell whether SQLite failed because the disk is full.

        It says so by "disk I/O error" where -shm or -wal could not grow. A failed fsync is not
        meant: what it left of the file is not known, room or not.
        """
        code = result_code(error)
        if code & 0xFF == _FULL:
            return True
        may_be = code & 0xFF in {_IOERR, _CANTOPEN} and code != _IOERR_FSYNC
        return may_be and is_full(self.path.parent)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold queue.lock; QueueUnavailable when others hold it too long or the folder is unfit."""
        try:
            descriptor = self._take_lock()
        except OSError as error:
            if has_no_room(error):
                raise QueueDiskFull(no_room(self.path.parent, error)) from error
            raise QueueUnavailable(
                f"the queue at {self.path} cannot be reached: {error}; "
                "mend the folder, then it goes on"
            ) from error
        try:
            yield
        except OSError as error:
            if has_no_room(error):
                raise QueueDiskFull(no_room(self.path.parent, error)) from error
            raise QueueUnavailable(f"the queue at {self.path} cannot be used: {error}") from error
        finally:
            os.close(descriptor)

    def _take_lock(self) -> int:
        give_up_at = time.monotonic() + self._patience_s
        while True:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The lock file itself may have been deleted while we waited for it.
                if is_at(descriptor, self._lock_path):
                    return descriptor
            except BlockingIOError:
                pass
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            if time.monotonic() >= give_up_at:
                raise QueueUnavailable(
                    f"{self._lock_path} was held by another program for {self._patience_s:.0f} s; "
                    "look for a stopped program that uses this queue"
                )
            time.sleep(random.uniform(0.1, 1.0) * _LOCK_RETRY_S)  # noqa: S311 - jitter

    def _create(self) -> None:
        new, path = str(self._new_path), str(self.path)
        for litter in (new, f"{new}-wal", f"{new}-shm", f"{new}-journal"):
            _remove(litter)
        build(self._new_path)
        # A crash here leaves queue.db.new, which the next creator removes. A -wal that is not this
        # file's own would be read into it, so these go before the rename: a crash between leaves
        # no queue.db, and the next creator starts again.
        for left_over in (f"{path}-wal", f"{path}-shm", f"{path}-journal"):
            _remove(left_over)
        # Names may reach the disk in any order: a loss of power could bring a -wal back beside the
        # new file.
        fsync_folder(self.path.parent)
        self._new_path.replace(self.path)
        fsync_folder(self.path.parent)

    def _open_here(self) -> OpenFile:
        handle = connect(self.path)
        try:
            look(handle)
            handle.execute("PRAGMA busy_timeout=0")
            return OpenFile(handle, self.path)
        except BaseException:
            handle.close()
            raise

    def _is_damaged(self, opened: OpenFile, error: BaseException | None) -> bool:
        if opened.state() is FileState.DAMAGED:
            return True
        # Linux marks pages clean after a failed fsync: a later fsync of the same file proves
        # nothing, so it is never asked again.
        if error is not None and result_code(error) == _IOERR_FSYNC:
            return True
        try:
            handle = connect(self.path)
        except load().DatabaseError as opening:
            return self._tells_damage(opening)
        try:
            look(handle)
            (verdict,) = handle.execute("PRAGMA quick_check(1)").fetchone()
        except NotAQueue:
            return True
        except load().DatabaseError as looking:
            return self._tells_damage(looking)
        else:
            return bool(verdict != "ok")
        finally:
            handle.close()

    def _tells_damage(self, error: BaseException) -> bool:
        if self.lacks_room(error):
            return False
        # "no such table" and "no such column" come as the plain SQLITE_ERROR (1).
        code = result_code(error)
        return code & 0xFF in DAMAGED or (code == 1 and "no such" in str(error))

    def _set_aside(self) -> None:
        """Move the file away, with its -wal, so that SQLite's own tools can still read it."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        aside = f"{self.path}.damaged-{stamp}-{random.randrange(16**4):04x}"  # noqa: S311 - a name
        # queue.db first: a crash after it leaves a -wal without a file, removed by the creator. It
        # is flushed apart: without its -wal the file could look sound and lack what was answered.
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
            fsync_folder(self.path.parent)


def _stat(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - on the hot path
    except OSError:
        return _NO_FILE
    return (found.st_dev, found.st_ino, found.st_size)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()
