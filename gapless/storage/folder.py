"""Blobs in a folder, each step of a write durable before the next.

A write goes: temporary file beside its goal -> fsync -> rename (or link) -> fsync of the folder.
Whatever instant a crash chooses, a reader sees the whole old value, the whole new one or none; what
is left over is a temporary file at most, which no listing shows and `sweep_leftovers` removes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from gapless.full_disk import has_no_room, no_room
from gapless.storage import layout
from gapless.storage.blobs import Blob
from gapless.storage.disk import Disk, folders_above
from gapless.storage.errors import BlobMissing, StorageDiskFull, StorageError, StorageUnavailable
from gapless.storage.keys import TEMPORARY, checked_key, checked_prefix

__all__ = ["LEFTOVER_AGE_S", "FolderBlobs"]

LEFTOVER_AGE_S = 86_400.0
"""Temporary files older than this belong to nobody who still writes (a day)."""

_NEVER_WORKS = {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_NOTHING_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class FolderBlobs:
    """Blobs as files under one folder, which is made at the first put.

    A home that was there and is away (a disk not mounted) is `StorageUnavailable`, never made anew
    in its place: what is stored there would be hidden when it comes back. Several processes may use
    the same folder. Safe to use from several threads.
    """

    def __init__(self, path: Path | str, *, disk: Disk | None = None) -> None:
        self._root = Path(path).absolute()
        self._disk = Disk() if disk is None else disk
        self._durable: dict[Path, tuple[int, int]] = {}
        self._flushed_above: set[Path] = set()
        self._lock = threading.Lock()
        self._is_home = self._home_file.is_file()

    def __repr__(self) -> str:
        return f"FolderBlobs({str(self._root)!r})"

    @property
    def folder(self) -> Path:
        """Where the blobs lie."""
        return self._root

    @property
    def _home_file(self) -> Path:
        return self._root / layout.HOME

    def path(self, key: str) -> Path:
        """Name the file of a key."""
        return self._root / checked_key(key)

    def put(self, key: str, data: bytes) -> None:
        """Store, replacing what was there; durable and whole for every reader when it returns."""
        goal = self.path(key)
        with self._translated("store", goal):
            temporary = self._write_temporary(goal, data)
            try:
                # A crash before this leaves the old value and a temporary file.
                self._disk.rename(temporary, goal)
            except BaseException:
                _remove(temporary)
                raise
            # A crash here: after a loss of power the old value may be back, and nobody was told
            # otherwise yet.
            self._make_folder_durable(goal.parent)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Store unless the key exists; tell whether this call stored it. Durable on return."""
        goal = self.path(key)
        with self._translated("store", goal):
            stored = not os.path.lexists(goal) and self._link_new(goal, data)
            # A crash here may take the name back. That holds for another writer's name too: it may
            # not have come this far yet, so the folder is made durable before "it exists" is said.
            self._make_folder_durable(goal.parent)
        return stored

    def get(self, key: str) -> bytes:
        """Read all of it; BlobMissing."""
        goal = self.path(key)
        try:
            with self._translated("read", goal):
                return goal.read_bytes()
        except _NOTHING_THERE as error:
            self._need_home()
            raise BlobMissing(key) from error

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Read bytes start <= position < stop (fewer at the end); BlobMissing."""
        goal = self.path(key)
        try:
            with self._translated("read", goal), goal.open("rb") as file:
                file.seek(start)
                return file.read(max(0, stop - start))
        except _NOTHING_THERE as error:
            self._need_home()
            raise BlobMissing(key) from error

    def list(self, prefix: str) -> Iterator[Blob]:
        """Give every object whose key starts with `prefix`, by key ascending.

        What is written or deleted meanwhile may be seen or not.
        """
        checked_prefix(prefix)
        folder, _, start = prefix.rpartition("/")
        self._need_home()
        with self._translated("list", self._root / folder):
            yield from _walk(self._root / folder, folder + "/" if folder else "", start)
        # A home that goes away in the middle looks like one with nothing stored in it.
        self._need_home()

    def folders(self, prefix: str) -> Iterator[str]:
        """Name each part that follows `prefix` (it ends with a slash) and leads on, ascending."""
        folder = self._root / checked_prefix(prefix)
        self._need_home()
        with self._translated("list", folder):
            names = [entry.name for entry in _entries(folder) if entry.is_dir()]
        self._need_home()
        yield from sorted(names)

    def delete(self, key: str) -> None:
        """Remove; nothing there is no error.

        After a loss of power it may be back; see `keep_deleted`.
        """
        goal = self.path(key)
        with contextlib.suppress(*_NOTHING_THERE), self._translated("delete", goal):
            goal.unlink()

    def keep_deleted(self, key: str) -> None:
        """Make sure that what was deleted beside `key` is not back after a loss of power."""
        folder = self.path(key).parent
        with contextlib.suppress(*_NOTHING_THERE), self._translated("delete", folder):
            self._disk.flush_folder(folder)

    def sweep_leftovers(self, now: float) -> int:
        """Remove temporary files older than LEFTOVER_AGE_S at `now` (Unix seconds); count them."""
        removed = 0
        with self._translated("list", self._root):
            for path in _temporary_files(self._root):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < now - LEFTOVER_AGE_S:
                        path.unlink()
                        removed += 1
        return removed

    def _need_home(self) -> None:
        if self._home_file.is_file():
            self._is_home = True
        elif self._is_home:
            raise StorageUnavailable(
                f"the home {self._root} is away ({layout.HOME} is not there): waiting for it"
            )

    def _write_temporary(self, goal: Path, data: bytes) -> Path:
        temporary = goal.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        try:
            try:
                self._disk.write_new(temporary, data)
            except FileNotFoundError:
                self._make_folders(goal.parent)
                self._disk.write_new(temporary, data)
        except BaseException:
            # After a failed fsync the file's bytes are unknown: it is given up, and the next try
            # writes another one. A crash before this line leaves a temporary file.
            _remove(temporary)
            raise
        return temporary

    def _link_new(self, goal: Path, data: bytes) -> bool:
        temporary = self._write_temporary(goal, data)
        try:
            # A crash before this leaves a temporary file; after it, a temporary second name of the
            # complete file.
            self._disk.link(temporary, goal)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise StorageError(
                    f"the file system of {goal.parent} knows no hard links ({error.strerror}), "
                    "which a home needs: put the home on another file system"
                ) from error
            raise
        finally:
            _remove(temporary)
        return True

    def _make_folders(self, folder: Path) -> None:
        self._need_home()
        # A crash between any two steps leaves empty folders, which mean nothing.
        missing: list[Path] = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            with contextlib.suppress(FileExistsError):
                self._disk.make_folder(each)
            # The name of the new folder must last before anything in it can.
            self._flush_above(each.parent)

    def _make_folder_durable(self, folder: Path) -> None:
        identity = self._disk.flush_folder(folder)
        with self._lock:
            known = self._durable.get(folder) == identity
        if known:
            return
        # First use of this very folder here: another process may have made it (or one of those
        # above) and not have come to its fsync yet.
        for above in folders_above(folder):
            if above in self._flushed_above:
                continue
            self._flush_above(above)
            if above in self._root.parent.parents:
                # They were there before the home was: once is enough.
                self._flushed_above.add(above)
        with self._lock:
            self._durable[folder] = identity

    def _flush_above(self, folder: Path) -> None:
        try:
            self._disk.flush_folder(folder)
        except PermissionError:
            # A folder above the home may let us through without letting us open it; its names are
            # then its owner's business.
            if folder == self._root or self._root in folder.parents:
                raise

    @contextlib.contextmanager
    def _translated(self, verb: str, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if verb in {"read", "delete"} and isinstance(error, _NOTHING_THERE):
                raise
            if has_no_room(error):
                raise StorageDiskFull(no_room(self._root, error)) from error
            reason = error.strerror or str(error)
            if error.errno in _NEVER_WORKS:
                raise StorageError(f"cannot {verb} {path}: {reason}") from error
            raise StorageUnavailable(f"cannot {verb} {path} for now: {reason}") from error


def _remove(path: Path) -> None:
    # What cannot be removed now is a leftover that is swept later.
    with contextlib.suppress(OSError):
        path.unlink()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(TEMPORARY)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _walk(folder: Path, prefix: str, start: str) -> Iterator[Blob]:
    # A folder sorts as its name with a slash, so that whole keys come in ascending order.
    named = sorted(
        (entry.name + "/" if entry.is_dir() else entry.name, entry)
        for entry in _entries(folder)
        if (entry.name + "/").startswith(start)
    )
    for name, entry in named:
        if name.endswith("/"):
            yield from _walk(Path(entry.path), prefix + name, "")
            continue
        try:
            status = entry.stat()
        except FileNotFoundError:
            continue
        yield Blob(key=prefix + name, size_bytes=status.st_size, written_at_s=status.st_mtime)


def _temporary_files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith(TEMPORARY):
                yield Path(parent) / name
