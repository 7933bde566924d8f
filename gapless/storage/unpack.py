"""Unpack a bundle beside others, whole or not at all, read-only, and check it again cheaply."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import stat
import struct
import uuid
import zipfile
import zlib
from pathlib import Path

import msgspec

from gapless.storage.bundle_names import MARKER, travels
from gapless.storage.errors import StorageError, StorageUnavailable

__all__ = ["MAX_UNPACKED_BYTES", "unpack"]

MAX_UNPACKED_BYTES = 2 * 2**30
"""What an unpacked bundle may hold at most (2 GiB): more is a zip bomb, not code."""
_MAX_FILES = 200_000
_PIECE = 1 << 20
_LONGEST_PART_BYTES = 255
_LONGEST_NAME_BYTES = 3_000
"""What every usual file system takes below a folder of ours (NAME_MAX; PATH_MAX is 4,096)."""
_METHODS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
# The library checks little of what it reads: a wrong offset or size ends in any of these.
_NO_ZIP = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError),
    *(ValueError, OverflowError, struct.error, zlib.error),
)

_Listing = dict[str, tuple[int, int]]


def unpack(data: bytes, sha256: str, into: Path) -> Path:
    """Unpack a bundle to `into`/<sha256> and give that folder; safe to repeat and at the same time.

    A copy that is there and whole is used again; a damaged one is put aside and unpacked anew.
    StorageError when the bundle is damaged or unsafe, StorageUnavailable when the disk is full.
    """
    goal = into / sha256
    if _whole(goal):
        return goal
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StorageError(f"the bundle {sha256} was damaged on the way ({len(data):,} bytes)")
    temporary = into / f".tmp-{uuid.uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        # A crash before the rename leaves a hidden folder that nothing uses.
        listing = _extract(data, sha256, temporary)
        (temporary / MARKER).write_bytes(msgspec.json.encode(listing))
        _make_read_only(temporary)
        _put_in_place(temporary, goal)
    except OSError as error:
        raise StorageUnavailable(
            f"the bundle {sha256} cannot be unpacked in {into} for now: {error.strerror}"
        ) from error
    finally:
        _remove(temporary)
    return goal


def _whole(folder: Path) -> bool:
    try:
        listing = msgspec.json.decode((folder / MARKER).read_bytes(), type=_Listing)
        return all(_facts(folder / name) == tuple(facts) for name, facts in listing.items())
    except (OSError, msgspec.DecodeError):
        return False


def _facts(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_size, status.st_mtime_ns


def _extract(data: bytes, sha256: str, folder: Path) -> _Listing:
    listing: _Listing = {}
    room = MAX_UNPACKED_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_entries(entries, sha256)
            for entry in entries:
                path = folder / entry.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, path.open("xb") as goal:
                    while piece := source.read(_PIECE):
                        room -= len(piece)
                        if room < 0:
                            raise _unsafe(sha256, "it holds more than 2 GiB")
                        goal.write(piece)
                    # The marker speaks of sizes and times, which may last without the bytes.
                    goal.flush()
                    os.fsync(goal.fileno())
                executable = entry.external_attr >> 16 & stat.S_IXUSR
                path.chmod(0o555 if executable else 0o444)
                listing[entry.filename] = _facts(path)
    except _NO_ZIP as error:
        raise StorageError(f"the bundle {sha256} is no zip that can be read: {error}") from error
    return listing


def _check_entries(entries: list[zipfile.ZipInfo], sha256: str) -> None:
    if len(entries) > _MAX_FILES:
        raise _unsafe(sha256, f"it holds more than {_MAX_FILES:,} files")
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
        raise _unsafe(sha256, "it holds more than 2 GiB")
    names = {entry.filename for entry in entries}
    if len(names) != len(entries):
        raise _unsafe(sha256, "a name stands twice in it")
    for entry in entries:
        name = entry.filename
        parts = name.split("/")
        mode = entry.external_attr >> 16
        if name == MARKER or not all(travels(part) for part in parts):
            raise _unsafe(sha256, f"the name {name[:200]!r} leads elsewhere")
        longest = max(len(part.encode()) for part in parts)
        if longest > _LONGEST_PART_BYTES or len(name.encode()) > _LONGEST_NAME_BYTES:
            raise _unsafe(sha256, f"the name {name[:200]!r}… is too long")
        if entry.compress_type not in _METHODS:
            raise _unsafe(sha256, f"{name[:200]!r} is packed by method {entry.compress_type}")
        if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
            raise _unsafe(sha256, f"{name[:200]!r} is a link or no file")
        if any("/".join(parts[:depth]) in names for depth in range(1, len(parts))):
            raise _unsafe(sha256, f"{name[:200]!r} lies in a file")


def _unsafe(sha256: str, reason: str) -> StorageError:
    return StorageError(f"the bundle {sha256} is refused, it was not made by gapless: {reason}")


def _make_read_only(folder: Path) -> None:
    (folder / MARKER).chmod(0o444)
    for parent, _, _ in os.walk(folder, topdown=False):
        Path(parent).chmod(0o555)


def _put_in_place(temporary: Path, goal: Path) -> None:
    try:
        temporary.rename(goal)
    except OSError:
        # Somebody else was faster, or what is there is damaged: then it is put aside first.
        if _whole(goal):
            return
        aside = goal.with_name(f".old-{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):
            goal.rename(aside)
        try:
            temporary.rename(goal)
        except OSError:
            if not _whole(goal):
                raise
        finally:
            _remove(aside)


def _remove(folder: Path) -> None:
    if not folder.is_dir() or folder.is_symlink():
        with contextlib.suppress(OSError):
            folder.unlink()
        return
    for parent, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            Path(parent).chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
