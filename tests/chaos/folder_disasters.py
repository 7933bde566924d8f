"""Disasters of a folder home: its databases, its shards, its disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from queueing.sqlite_library import load
from tests.chaos.integrity import database_lock
from tests.chaos.places import Folder, Place
from tests.chaos.scene import Disaster, Scene

__all__ = ["FOLDER", "LEDGER", "disk_full"]

_Find = Callable[[Scene[Any]], Path | None]

_SUFFIXES = ("", "-wal", "-shm")
_LONGEST_S = 3.0


def _queue(scene: Scene[Folder]) -> Path | None:
    path = scene.place.queue_file
    return path if path.exists() else None


def _ledger(scene: Scene[Any]) -> Path | None:
    place: Place = scene.place
    return place.ledger()


def _deleted(scene: Scene[Any], find: _Find) -> bool:
    """Delete a database: only its file, or what lies beside it too."""
    path = find(scene)
    if path is None:
        return False
    suffixes = _SUFFIXES if scene.dice.random() < 0.7 else ("",)
    for suffix in suffixes:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    return True


def _truncated(scene: Scene[Any], find: _Find) -> bool:
    """Cut a database short where it lies, under the programs that have it open."""
    path = find(scene)
    if path is None:
        return False
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        scene.integrity.spoil(path)
        os.truncate(path, scene.dice.choice([0, size // 2, size - 1]))
        return True
    return False


def _garbage(scene: Scene[Any], find: _Find) -> bool:
    """Put something that is no database in the place of one."""
    path = find(scene)
    if path is None:
        return False
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        beside.write_bytes(scene.dice.randbytes(scene.dice.choice([1, 100, 40_000])))
        scene.integrity.spoil(beside)
        beside.rename(path)
    except OSError:
        beside.unlink(missing_ok=True)
        return False
    return True


def _half(scene: Scene[Any], find: _Find) -> bool:
    """Put a database whose second half is missing in the place of the whole one."""
    path = find(scene)
    copy = None if path is None else _copy(scene, path)
    if path is None or copy is None:
        return False
    os.truncate(copy, copy.stat().st_size // 2)
    return _put(scene, copy, path, spoilt=True)


def _old(scene: Scene[Any], find: _Find) -> bool:
    """Put an older copy of a database in its place; the first time only make the copy."""
    path = find(scene)
    if path is None:
        return False
    kept = scene.kept / f"{path.name}.old"
    if not kept.exists():
        copy = _copy(scene, path)
        if copy is not None:
            copy.rename(kept)
        return False
    return _put(scene, kept, path, spoilt=False)


def _copy(scene: Scene[Any], path: Path) -> Path | None:
    """Copy a database as it is at one moment, by SQLite's own means."""
    goal = scene.kept / uuid.uuid4().hex
    library = load()
    try:
        with database_lock(path):
            source = library.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1.0)
            with contextlib.closing(source):
                # Read whole, so that a copy of a bad database is never taken for a good one.
                source.execute("PRAGMA integrity_check").fetchone()
                source.execute("VACUUM INTO ?", (str(goal),))
    except (OSError, library.DatabaseError):
        goal.unlink(missing_ok=True)
        return None
    return goal


def _put(scene: Scene[Any], copy: Path, path: Path, *, spoilt: bool) -> bool:
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        shutil.copyfile(copy, beside)
        if spoilt:
            scene.integrity.spoil(beside)
        for suffix in _SUFFIXES[1:]:
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        beside.rename(path)
    except OSError:
        beside.unlink(missing_ok=True)
        return False
    return True


def _purged(scene: Scene[Folder]) -> bool:
    """Take every message from the queues."""
    path = _queue(scene)
    library = load()
    if path is None:
        return False
    try:
        with database_lock(path):
            handle = library.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=1.0)
            with contextlib.closing(handle), handle:
                handle.execute("DELETE FROM tails")
                handle.execute("DELETE FROM messages")
    except (OSError, library.DatabaseError):
        return False
    return True


def _litter(scene: Scene[Folder]) -> bool:
    """Leave in the folder of shards what writers that died may leave, and worse."""
    folder = scene.place.shards()
    manifests = [] if folder is None else sorted(folder.glob("*.json"))
    if folder is None or not manifests:
        return False
    shard = scene.dice.choice(manifests).with_suffix(".h5")
    # A name that a shard can have: nobody tells it from one that is being written.
    name = f"{shard.stem.rpartition('-')[0]}-{scene.dice.randrange(900_000, 1_000_000)}"
    try:
        data = shard.read_bytes()
        half = data[: scene.dice.randrange(max(1, len(data)))]
        (folder / f".tmp-{uuid.uuid4().hex}").write_bytes(half)
        (folder / f"{name}.h5").write_bytes(
            scene.dice.choice([half, b"", scene.dice.randbytes(1000)])
        )
    except OSError:
        return False
    return True


def disk_full(scene: Scene[Place]) -> bool:
    """Use up the last byte of the small disk for a while."""
    disk = scene.place.disk
    if disk is None or scene.disk_is_unfit:
        return False
    disk.fill()
    scene.disk_is_unfit += 1
    scene.later(scene.dice.uniform(0.5, _LONGEST_S), partial(_freed, scene))
    return True


def _freed(scene: Scene[Place]) -> None:
    assert scene.place.disk is not None
    scene.place.disk.free()
    scene.disk_is_unfit -= 1


def _read_only(scene: Scene[Folder]) -> bool:
    """Let nobody write into a folder of the home for a while."""
    folder = scene.dice.choice([scene.place.shards(), scene.place.home / "nodes"])
    if folder is None or not folder.exists() or scene.disk_is_unfit:
        return False
    if scene.place.disk is not None:
        scene.place.disk.shut(folder)
        scene.later(scene.dice.uniform(0.5, _LONGEST_S), partial(scene.place.disk.reopen, folder))
        return True
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    scene.later(scene.dice.uniform(0.5, _LONGEST_S), partial(folder.chmod, mode))
    return True


def _immutable(scene: Scene[Folder]) -> bool:
    """Set the immutable flag of the home or one of its databases for a while (as root)."""
    path = scene.dice.choice([scene.place.home, scene.place.queue_file, _ledger(scene)])
    if path is None or scene.disk_is_unfit or not _set_flag(path, "+i"):
        return False
    # A read-only look at a database needs its neighbours written.
    scene.disk_is_unfit += 1
    scene.later(scene.dice.uniform(0.5, _LONGEST_S), partial(_mutable, scene, path))
    return True


def _mutable(scene: Scene[Folder], path: Path) -> None:
    if path.exists():
        _set_flag(path, "-i")
    scene.disk_is_unfit -= 1


def _set_flag(path: Path, flag: str) -> bool:
    try:
        done = subprocess.run(
            ["chattr", flag, str(path)],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=10,
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0


LEDGER: tuple[Disaster, ...] = (
    Disaster("ledger deleted", 2, partial(_deleted, find=_ledger)),
    Disaster("ledger cut short", 1, partial(_truncated, find=_ledger)),
    Disaster("garbage in the ledger's place", 1, partial(_garbage, find=_ledger)),
    Disaster("half a ledger in its place", 1, partial(_half, find=_ledger)),
    Disaster("an old ledger in its place", 1, partial(_old, find=_ledger)),
)

FOLDER: tuple[Disaster, ...] = (
    Disaster("queue.db deleted", 2, partial(_deleted, find=_queue)),
    Disaster("queues purged", 2, _purged),
    Disaster("queue.db cut short", 1, partial(_truncated, find=_queue)),
    Disaster("garbage in the place of queue.db", 1, partial(_garbage, find=_queue)),
    Disaster("half a queue.db in its place", 1, partial(_half, find=_queue)),
    Disaster("an old queue.db in its place", 1, partial(_old, find=_queue)),
    Disaster("half-written shards and temporary files", 3, _litter),
    Disaster("disk full", 3, disk_full),
    Disaster("folder read-only", 3, _read_only),
    Disaster("file or home immutable", 2, _immutable),
)
