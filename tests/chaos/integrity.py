"""Ask SQLite whether a database in use is whole, without disturbing who uses it.

The file itself is opened, not a copy: read-only, under the lock file that all programs hold while
they open or close it, by a connection that is gone before the lock is. A file that was spoilt on
purpose is known by its inode number, and is expected to be bad until it is replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from urllib.parse import quote

from queueing.sqlite_library import load

__all__ = ["Integrity", "Verdict", "database_lock"]

_LOCK_WAIT_S = 2.0
_BUSY_S = 5.0


class Verdict(Enum):
    """What a look at a database found."""

    WHOLE = "whole"
    BAD = "bad"
    SPOILT = "spoilt on purpose"
    MISSING = "missing"
    UNSEEN = "locked by a stopped or busy program, or its disk is full"


class Integrity:
    """The looks at all databases of a home, counted."""

    def __init__(self) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.bad: list[str] = []
        self._spoilt: set[tuple[int, int]] = set()

    def spoil(self, path: Path) -> None:
        """Remember that the file at a path is bad by our own doing."""
        self._spoilt.add(_identity(path))

    def look(self, path: Path) -> Verdict:
        """Look at one database now."""
        verdict, words = self._look(path)
        self.verdicts[verdict] += 1
        if verdict is Verdict.BAD:
            self.bad.append(f"{path.name}: {words}")
        return verdict

    def _look(self, path: Path) -> tuple[Verdict, str]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(database_lock(path))
                before = _identity(path)
            except FileNotFoundError:
                return Verdict.MISSING, ""
            except OSError as error:
                return Verdict.UNSEEN, str(error)
            if before in self._spoilt:
                return Verdict.SPOILT, ""
            verdict, words = _ask(path)
            try:
                same = _identity(path) == before
            except FileNotFoundError:
                same = False
            if verdict is Verdict.BAD and not same:
                return Verdict.MISSING, words
            return verdict, words


@contextlib.contextmanager
def database_lock(path: Path) -> Iterator[None]:
    """Hold the lock file of a database; TimeoutError when somebody else keeps it."""
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{path.name} is locked") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _ask(path: Path) -> tuple[Verdict, str]:
    library = load()
    try:
        handle = library.connect(
            f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=_BUSY_S
        )
    except library.OperationalError as error:
        return Verdict.UNSEEN, str(error)
    try:
        found = [row[0] for row in handle.execute("PRAGMA integrity_check(5)")]
    except library.OperationalError as error:
        # Busy, no room for the index of its log, cannot open: nothing about the database itself.
        return Verdict.UNSEEN, str(error)
    except library.DatabaseError as error:
        return Verdict.BAD, str(error)
    finally:
        handle.close()
    return (Verdict.WHOLE, "") if found == ["ok"] else (Verdict.BAD, "; ".join(found))


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
