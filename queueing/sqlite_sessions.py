"""Transactions on queue.db: a connection a thread, fair turns, and the file watched around each.

Every transaction looks at the file before it starts and again after COMMIT, before its answer is
given; when the file was replaced or damaged it is done again on the new one.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from gapless.full_disk import is_full, no_room
from queueing.errors import QueueDiskFull, QueueError, QueueUnavailable
from queueing.sqlite_file import FileState, OpenFile, QueueFile, result_code
from queueing.sqlite_library import load
from queueing.sqlite_schema import DAMAGED

__all__ = ["PATIENCE_S", "Sessions"]

_T = TypeVar("_T")

PATIENCE_S = 30.0
"""How long others may hold the file before the queue counts as unavailable."""

# SQLite's result codes (https://sqlite.org/rescode.html): BUSY, LOCKED, PROTOCOL, SCHEMA.
_BUSY = frozenset({5, 6, 15, 17})
# PERM, NOMEM, READONLY, CANTOPEN, NOLFS: the machine's trouble, not the file's. So is a full disk.
_UNFIT = {
    3: "no permission",
    7: "out of memory",
    8: "it is read-only",
    14: "it cannot be opened",
    22: "the file is too large for its disk",
}
_MOST_MENDS = 40

# Bounds of the wait for a turn: long enough to let others run, short against one transaction with
# an fsync (about 0.2 ms), and random, so that nobody's tries keep step with another's turns.
_TURN_LEAST_S = 0.0001
_TURN_MOST_S = 0.004

# Connections a fork left in a child: never used or closed there, so they must stay referenced.
_ABANDONED: list[object] = []


class _FileLost(Exception):
    """The file was replaced or damaged while a transaction ran on it."""


class Sessions:
    """Runs transactions on one queue.db; safe to use from several threads and after a fork."""

    def __init__(self, path: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._file = QueueFile(path, patience_s=patience_s)
        self._patience_s = patience_s
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._by_thread: dict[int, tuple[threading.Thread, OpenFile]] = {}
        self._local = threading.local()
        self._serials = itertools.count(1)

    def write(self, work: Callable[[Any], _T]) -> _T:
        """Run `work(connection)` in one BEGIN IMMEDIATE transaction; durable when this returns.

        `work` may run several times, each time on a transaction that starts anew.
        """
        return self._transact("BEGIN IMMEDIATE", work)

    def read(self, work: Callable[[Any], _T]) -> _T:
        """Run `work(connection)` in one read transaction: a consistent view."""
        return self._transact("BEGIN", work)

    def changes(self) -> tuple[int, int]:
        """Give a value that differs from an earlier one when another connection has committed.

        It differs also when the file was replaced.
        """
        try:
            opened = self._opened()
            if opened.state() is not FileState.INTACT:
                return (self._local.serial, -1)
            with opened.use:
                return (self._local.serial, opened.changes())
        except load().DatabaseError:
            # Whatever it is, the next transaction meets it and says so.
            return (getattr(self._local, "serial", 0), -1)

    def close(self) -> None:
        """Close every connection of this process."""
        if os.getpid() != self._pid:
            self._leave_to_parent()
        with self._mutex:
            opened = [each for _, each in self._by_thread.values()]
            self._by_thread.clear()
        self._local = threading.local()
        if opened:
            with self._file.locked():
                for each in opened:
                    each.close()

    def _transact(self, begin: str, work: Callable[[Any], _T]) -> _T:
        give_up_at = time.monotonic() + self._patience_s
        mends, tries = 0, 0
        while True:
            failure: BaseException | None = None
            opened: OpenFile | None = None
            try:
                opened = self._opened()
                _check(opened)
                with opened.use:
                    return _run(opened, begin, work)
            except _FileLost:
                pass
            except load().DatabaseError as error:
                failure = error
            if failure is not None and _is_busy(failure):
                if time.monotonic() >= give_up_at:
                    raise self._unavailable(
                        f"others held it for {self._patience_s:.0f} s; it is tried again"
                    ) from failure
                tries += 1
                _await_turn(tries)
                continue
            mends += 1
            self._settle(opened, failure, mends)

    def _settle(self, opened: OpenFile | None, failure: BaseException | None, mends: int) -> None:
        """Deal with a file that was replaced or damaged; raise when that is not what is wrong."""
        replaced = opened is not None and opened.state() is not FileState.INTACT
        if failure is not None and not replaced:
            if self._file.lacks_room(failure):
                raise self._full() from failure
            code = result_code(failure) & 0xFF
            if code in _UNFIT:
                raise self._unavailable(f"{_UNFIT[code]} ({failure})") from failure
            if code not in DAMAGED and "no such" not in str(failure):
                raise QueueError(f"the queue at {self._file.path} failed: {failure}") from failure
        if mends > _MOST_MENDS and is_full(self._file.path.parent):
            raise self._full() from failure
        if mends > _MOST_MENDS:
            raise self._unavailable(
                f"it was lost or damaged {mends} times within one request"
            ) from failure
        if opened is not None:
            self._forget(opened)
            _await_turn(mends)
            self._file.mend(opened, failure)

    def _full(self) -> QueueDiskFull:
        return QueueDiskFull(no_room(self._file.path.parent))

    def _unavailable(self, why: str) -> QueueUnavailable:
        return QueueUnavailable(f"the queue at {self._file.path} cannot be used now: {why}")

    def _opened(self) -> OpenFile:
        if os.getpid() != self._pid:
            self._leave_to_parent()
        opened: OpenFile | None = getattr(self._local, "opened", None)
        if opened is None:
            self._close_of_ended_threads()
            opened = self._file.open()
            with self._mutex:
                self._by_thread[threading.get_ident()] = (threading.current_thread(), opened)
            self._local.opened = opened
            self._local.serial = next(self._serials)
        return opened

    def _forget(self, opened: OpenFile) -> None:
        self._local.opened = None
        with self._mutex:
            found = self._by_thread.get(threading.get_ident())
            if found is not None and found[1] is opened:
                del self._by_thread[threading.get_ident()]

    def _close_of_ended_threads(self) -> None:
        # The last connection of all removes -wal when it closes, so it closes under the lock,
        # where nobody is making a new file; the garbage collector would not.
        with self._mutex:
            ended = [
                (ident, opened)
                for ident, (thread, opened) in self._by_thread.items()
                if not thread.is_alive() or ident == threading.get_ident()
            ]
            for ident, _ in ended:
                del self._by_thread[ident]
        if ended:
            with self._file.locked():
                for _, opened in ended:
                    opened.close()

    def _leave_to_parent(self) -> None:
        _ABANDONED.append((self._by_thread, self._local))
        self._start()


def _is_busy(failure: BaseException) -> bool:
    return result_code(failure) & 0xFF in _BUSY


def _run(opened: OpenFile, begin: str, work: Callable[[Any], _T]) -> _T:
    handle = opened.handle
    handle.execute(begin)
    try:
        result = work(handle)
        # A -wal cut off meanwhile would grow back in the COMMIT and look whole, with a hole in it.
        _check(opened)
        handle.execute("COMMIT")
    except BaseException:
        if handle.in_transaction:
            handle.execute("ROLLBACK")
        raise
    # Whoever deleted the file before this COMMIT had us write into nowhere: nothing is answered
    # before the paths were compared again.
    _check(opened)
    return result


def _check(opened: OpenFile) -> None:
    if opened.state() is not FileState.INTACT:
        raise _FileLost


def _await_turn(tries: int) -> None:
    most = min(_TURN_MOST_S, _TURN_LEAST_S * 2 ** min(tries, 10))
    time.sleep(random.uniform(_TURN_LEAST_S / 2, most))  # noqa: S311 - jitter
