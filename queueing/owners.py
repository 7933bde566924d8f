"""Owners of leases on this machine: a lock that ends with its process, whatever ends it.

Each user of a queue file holds flock on `owners/<uuid>` and writes the uuid into the leases it
takes. A lease whose owner's lock can be taken has lost its owner and is free at once. (A pid or a
boot id would not do: both are equal across containers.) flock belongs to the open file description:
another descriptor conflicts also inside one process, and the kernel drops the lock with the last
one, so descriptors are close-on-exec and a forked child closes its copy.

An owner without a file counts as alive: its leases end by their time. That is the safe side when
two programs see different folders, or when somebody deleted the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from queueing.file_identity import is_at

__all__ = ["Owner", "abandoned", "known_owners"]


class Owner:
    """This process's right to hold leases, taken when `name` is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mutex = threading.Lock()
        self._name = ""
        self._descriptor = -1
        leave = weakref.WeakMethod(self._leave_to_parent)
        os.register_at_fork(after_in_child=lambda: _call(leave))

    @property
    def names(self) -> tuple[str, ...]:
        """The name leases carry now, if one was taken."""
        return (self._name,) if self._name else ()

    def name(self) -> str:
        """Give the name for a new lease; a lost file gets a new name. OSError when it cannot."""
        with self._mutex:
            if self._name and not self._holds_file():
                self._give_up()
            while not self._name:
                self._take()
            return self._name

    def close(self) -> None:
        """Remove the file and drop the lock; call it when no lease carries the name any more."""
        with self._mutex:
            if self._name and self._holds_file():
                with contextlib.suppress(OSError):
                    (self._folder / self._name).unlink()
            self._give_up()

    def leave(self) -> None:
        """Drop the lock and keep the file: whoever takes the lock sees that the leases are free."""
        with self._mutex:
            self._give_up()

    def _take(self) -> None:
        self._folder.mkdir(exist_ok=True)
        name = uuid.uuid4().hex
        path = self._folder / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._name, self._descriptor = name, descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Somebody who tidies up was faster between the two lines: leave the file to them.
            self._give_up()
            return
        except BaseException:
            self._give_up()
            raise
        if not self._holds_file():
            self._give_up()

    def _holds_file(self) -> bool:
        return is_at(self._descriptor, self._folder / self._name)

    def _give_up(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._name, self._descriptor = "", -1

    def _leave_to_parent(self) -> None:
        self._mutex = threading.Lock()
        self._give_up()


@contextlib.contextmanager
def abandoned(folder: Path, name: str) -> Iterator[bool]:
    """Tell whether an owner is gone, and keep it gone meanwhile; then its file is removed.

    The file is removed only when the body ends without an error: a crash before that leaves a file
    whose lock is free, and the next one does the same again.
    """
    try:
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = is_at(descriptor, folder / name)
        except OSError:
            free = False
        yield free
        if free:
            with contextlib.suppress(FileNotFoundError):
                (folder / name).unlink()
    finally:
        os.close(descriptor)


def known_owners(folder: Path) -> list[str]:
    """Give the names of all owners that have a file."""
    try:
        return sorted(each.name for each in folder.iterdir())
    except OSError:
        return []


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    found = method()
    if found is not None:
        found()
