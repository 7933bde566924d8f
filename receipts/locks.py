"""One lock a sweep: whoever writes receipts of a sweep, or compares them, holds it."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from gapless.full_disk import has_no_room, no_room
from queueing.file_identity import is_at
from receipts.errors import LedgerDiskFull, LedgerUnavailable

__all__ = ["FileLocks", "MemoryLocks", "SweepLocks", "held_file"]

_log = logging.getLogger(__name__)


class SweepLocks(Protocol):
    """Locks by sweep, shared by every program that uses the same ledger."""

    def held(self, sweep_id: str) -> AbstractContextManager[None]:
        """Give a context in which this caller alone works on the sweep; waits for it."""


@contextmanager
def held_file(path: Path, *, purpose: str) -> Iterator[None]:
    """Hold flock on a file, made if missing; waits for whoever holds it.

    The kernel frees it when its holder dies, so a crash leaves nothing locked. The file stays:
    deleting it would let two holders lock two different files of the same name.
    """
    descriptor = _locked(path, purpose)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path, purpose: str) -> int:
    while True:
        try:
            # Only the last folder: a home that is away (not mounted) is never made anew.
            path.parent.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if has_no_room(error):
                raise LedgerDiskFull(no_room(path.parent, error)) from error
            raise LedgerUnavailable(
                f"cannot write the lock {path} ({error.strerror}): make its folder writable"
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.info("waiting for another program that works on %s", purpose)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Somebody may have deleted the file while we waited, with all the ledger's: who comes
            # after that locks another one.
            if is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


class FileLocks:
    """Locks between processes of one machine: flock on a file a sweep."""

    def __init__(self, folder: Path) -> None:
        """Keep the lock files in `folder`, made when first needed."""
        self._folder = folder

    @contextmanager
    def held(self, sweep_id: str) -> Iterator[None]:
        """Hold the sweep's lock."""
        with held_file(self._folder / sweep_id, purpose=f"sweep {sweep_id}"):
            yield


class MemoryLocks:
    """Locks between threads of one process, for a ledger in memory."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def held(self, sweep_id: str) -> Iterator[None]:
        """Hold the sweep's lock."""
        with self._guard:
            lock = self._locks[sweep_id]
        with lock:
            yield
