"""A ledger's file of SQLite: made, checked to be the one it was, written by one connection.

A file is built beside and renamed, so `ledger.db` is never half made; an existing path that holds
no ledger is therefore damaged or somebody else's. One connection stays open as long as the database
object lives: it keeps the file's inode number from being given to another file, so that (device,
inode) of the path tells whether the path still names the file this program writes to: SQLite
itself goes on committing into a deleted file without an error. The file must never be opened other
than by SQLite: closing any descriptor of it drops every POSIX lock this process has on it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import StaticPool

from gapless.full_disk import is_full, no_room
from queueing import sqlite_library
from receipts import tables
from receipts.errors import (
    ForeignLedger,
    LedgerDamaged,
    LedgerDiskFull,
    LedgerError,
    LedgerLost,
    LedgerUnavailable,
    LedgerUnusable,
)
from receipts.locks import held_file
from receipts.ownership import hold_to_home, home_of, refuse_other_home

__all__ = [
    "SqliteDatabase",
    "file_identity",
    "home_of_file",
    "open_file",
    "open_file_to_read",
    "open_memory",
    "set_file_aside",
]

_Done = TypeVar("_Done")

_BUSY_WAIT_S = 60.0
_SNAPSHOT = "gapless_snapshot"
_SUFFIXES = ("", "-wal", "-shm")

_SQLITE_IOERR = 10
_SQLITE_CORRUPT = 11
_SQLITE_FULL = 13
_SQLITE_CANTOPEN = 14
_SQLITE_NOTADB = 26
_SQLITE_MASK = 0xFF


class SqliteDatabase:
    """One connection to the ledger's tables; safe to use from several threads, one at a time."""

    def __init__(self, engine: sa.Engine, *, location: str, path: Path | None) -> None:
        """Connect at once; `path` is None for a database in memory."""
        self.location = location
        self.path = path
        self._engine = engine
        # Made once: a new one for each read costs as much as the statement that is read.
        self._reading = engine.execution_options(**{_SNAPSHOT: True})
        self._turn = threading.RLock()
        self._inside = False
        self._files: list[_File] = []
        try:
            # The first read makes SQLite open the file; from now on its inode number stays taken.
            with self.snapshot() as connection:
                connection.execute(sa.text("SELECT count(*) FROM sqlite_master"))
            if path is not None:
                # The caller holds the ledger's lock: no program replaces the file before this look.
                self._files = [_look(path, suffix) for suffix in _SUFFIXES]
                if self._files[0] == _NO_FILE:
                    raise LedgerLost(self.location)  # noqa: TRY301 - closes the connection too
        except BaseException:
            engine.dispose()
            raise

    def write(self, work: Callable[[sa.Connection], _Done]) -> _Done:
        """Do `work` in a transaction that may write; see `transaction`."""
        with self.transaction() as connection:
            return work(connection)

    def read(self, work: Callable[[sa.Connection], _Done]) -> _Done:
        """Do `work` on one consistent state; it does not wait for writers."""
        with self.snapshot() as connection:
            return work(connection)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Give a connection that may write, alone (BEGIN IMMEDIATE); durable when it returns.

        LedgerLost after COMMIT when the path names another file by then: what was committed went
        into a file nobody will find.
        """
        with self._running(self._engine) as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """Give a connection that reads one consistent state and does not wait for writers."""
        with self._running(self._reading) as connection:
            yield connection

    @contextmanager
    def _running(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with self._turn:
            if self._inside:
                raise RuntimeError("a transaction of the ledger within another")
            self._inside = True
            try:
                self._check_files()
                with _translated(self.location), engine.begin() as connection:
                    yield connection
                self._check_files()
            except LedgerError:
                # A file pulled away under the connection may show first as damage or an I/O error.
                self._check_files()
                raise
            finally:
                self._inside = False

    def _check_files(self) -> None:
        if self.path is None or not self._files:
            return
        for index, suffix in enumerate(_SUFFIXES):
            known, found = self._files[index], _look(self.path, suffix)
            if found.identity != known.identity:
                if index == 0:
                    raise LedgerLost(self.location)
                raise LedgerDamaged(self.location, reason=f"its {suffix} file was taken away")
            if found.size_bytes < known.size_bytes and index == 0:
                raise LedgerDamaged(self.location, reason="it was cut short")
            self._files[index] = found

    def check_whole(self) -> None:
        """Read every page; LedgerDamaged unless all is well (about 1 s per GB)."""
        with self.snapshot() as connection:
            found = connection.execute(sa.text("PRAGMA integrity_check(1)")).scalar_one()
        if found != "ok":
            raise LedgerDamaged(self.location, reason=str(found)[:200])

    def close(self) -> None:
        """Close the connection."""
        with self._turn:
            self._engine.dispose()


def open_memory() -> SqliteDatabase:
    """Make an empty ledger in this process's memory."""
    database = SqliteDatabase(_memory_engine(), location="in memory", path=None)
    with database.transaction() as connection:
        _create_tables(connection)
    return database


def open_file(
    path: Path,
    *,
    home: str | None = None,
    head: str = tables.HEAD,
    migrations: Path | None = None,
) -> SqliteDatabase:
    """Open the ledger at `path`, made when missing, migrated when of an older version.

    The last folder on the way is made. `home`: whose ledger it is, remembered at the first time and
    held to from then on. LedgerDamaged, ForeignLedger (of a newer version, of another home, or no
    ledger at all), LedgerUnavailable (cannot be written). `head` and `migrations` are for tests.
    """
    path = path.resolve()
    with held_file(path.with_suffix(".lock"), purpose=f"the ledger {path}"):
        if not path.exists():
            _build(path)
        database = SqliteDatabase(_file_engine(path), location=str(path), path=path)
        try:
            found = _version(database)
            if found != head:
                # Imported here: it takes as long as all the rest and is needed once a release.
                from receipts import migrate  # noqa: PLC0415

                with database.transaction() as connection:
                    migrate.upgrade(
                        connection,
                        location=str(path),
                        found=found,
                        folder=migrations or migrate.FOLDER,
                    )
            if home is not None:
                # Within the lock: of two homes that open it for the first time, one comes first.
                hold_to_home(database, home)
        except BaseException:
            database.close()
            raise
    return database


def open_file_to_read(path: Path, *, home: str | None = None) -> SqliteDatabase:
    """Open the ledger at `path`, which is there, where no file can be made: nothing is written.

    LedgerDamaged, ForeignLedger, LedgerUnavailable (of an older version, or left by a program that
    was killed, with transactions that only who may write can read).
    """
    path = path.resolve()
    # While a program has it open, or after it was killed, there is a -wal. Without one nothing but
    # the file counts, and SQLite need not make the -wal and -shm that it otherwise does.
    has_log = _look(path, "-wal").size_bytes > 0
    mode = "ro" if has_log else "ro&immutable=1"
    database = SqliteDatabase(_file_engine(path, mode=mode), location=str(path), path=path)
    try:
        found = _version(database)
        if found != tables.HEAD:
            raise LedgerUnavailable(  # noqa: TRY301 - closes the connection too
                f"the ledger {path} is of another version ({found or 'none'}): it can be used only "
                "where it can be written"
            )
        if home is not None:
            refuse_other_home(database, home)
    except BaseException:
        database.close()
        raise
    return database


def home_of_file(path: Path) -> str | None:
    """Give the home whose ledger is in the file at `path`, which is there; None for nobody's."""
    path = path.resolve()
    with held_file(path.with_suffix(".lock"), purpose=f"the ledger {path}"):
        database = SqliteDatabase(_file_engine(path), location=str(path), path=path)
    with contextlib.closing(database):
        return home_of(database)


def file_identity(path: Path) -> tuple[int, int]:
    """Give device and inode number of the file at a path; (0, 0) when there is none."""
    return _look(path.resolve(), "").identity


def set_file_aside(path: Path, *, seen: tuple[int, int], now_s: float) -> Path | None:
    """Move a ledger's file (with -wal and -shm) out of the way; give its new path.

    None when the file of the identity `seen`, which was found damaged, is not there any more:
    another program may have moved it and made a new one. Safe to repeat; nothing is deleted.
    """
    path = path.resolve()
    with held_file(path.with_suffix(".lock"), purpose=f"the ledger {path}"):
        if not path.exists() or file_identity(path) != seen:
            return None
        aside = path.with_name(f"{path.name}.damaged-{int(now_s)}")
        number = 0
        while aside.exists():
            number += 1
            aside = path.with_name(f"{path.name}.damaged-{int(now_s)}-{number}")
        # The database goes first: a crash after it leaves a log without a database, which whoever
        # makes the next one removes.
        for suffix in _SUFFIXES:
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
            # Each apart: without its -wal the database could look sound and lack receipts.
            _sync_folder(path.parent)
        return aside


def _version(database: SqliteDatabase) -> str:
    with database.snapshot() as connection:
        names = set(sa.inspect(connection).get_table_names())
        if tables.schema_version.name not in names:
            if not names:
                raise LedgerDamaged(database.location, reason="it holds no tables")
            raise ForeignLedger(
                f"{database.location} is a database, but no ledger (it holds the tables "
                f"{', '.join(sorted(names)[:5])}): name another place for the ledger"
            )
        stored = connection.execute(sa.select(tables.schema_version.c.version_num)).scalars().all()
    return stored[0] if stored else ""


def _build(path: Path) -> None:
    # Names may reach the disk in any order: a ledger that somebody deleted must not come back
    # without its -wal after a loss of power, nor that -wal beside the new file.
    _sync_folder(path.parent)
    for suffix in ("-wal", "-shm", "-journal"):
        # Left by a ledger that was deleted: SQLite would read them as part of the new one.
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    _sync_folder(path.parent)
    beside = path.with_name(path.name + ".new")
    for suffix in ("", "-wal", "-shm", "-journal"):
        # Left by a crash in these lines; the caller holds the lock, so nobody writes it now.
        beside.with_name(beside.name + suffix).unlink(missing_ok=True)
    engine = _file_engine(beside, mode="rwc")
    try:
        with _translated(str(path)):
            with engine.begin() as connection:
                _create_tables(connection)
            with engine.connect() as connection:
                connection.connection.cursor().execute("PRAGMA journal_mode=WAL").close()
    finally:
        engine.dispose()
    # A crash before the rename leaves only the file beside; after it, the ledger is whole.
    beside.rename(path)
    _sync_folder(path.parent)


def _create_tables(connection: sa.Connection) -> None:
    tables.metadata.create_all(connection)
    tables.schema_version.create(connection)
    connection.execute(tables.schema_version.insert().values(version_num=tables.HEAD))


def _memory_engine() -> sa.Engine:
    library = sqlite_library.load()
    engine = sa.create_engine(
        "sqlite://",
        module=library,
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "isolation_level": None},
    )
    event.listen(engine, "begin", _begin)
    return engine


def _file_engine(path: Path, *, mode: str = "rw") -> sa.Engine:
    library = sqlite_library.load()
    # mode=rw: connecting never makes an empty file where the ledger was deleted.
    address = f"file:{quote(str(path))}?mode={mode}"

    def connect() -> Any:
        connection = library.connect(
            address,
            uri=True,
            timeout=_BUSY_WAIT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # FULL: a commit is on the disk when it returns; fullfsync: on macOS too.
            for pragma in ("synchronous=FULL", "fullfsync=ON", "checkpoint_fullfsync=ON"):
                connection.execute(f"PRAGMA {pragma}").close()
        except BaseException:
            connection.close()
            raise
        return connection

    engine = sa.create_engine("sqlite://", module=library, poolclass=StaticPool, creator=connect)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: sa.Connection) -> None:
    # The driver would begin deferred: two that read before they write would then collide.
    snapshot = connection.get_execution_options().get(_SNAPSHOT, False)
    connection.exec_driver_sql("BEGIN" if snapshot else "BEGIN IMMEDIATE")


@contextmanager
def _translated(location: str) -> Iterator[None]:
    try:
        yield
    except sa.exc.IntegrityError:
        raise
    except sa.exc.DatabaseError as error:
        raise _translation(error.orig, location=location) from error
    except sqlite_library.load().DatabaseError as error:
        raise _translation(error, location=location) from error


def _translation(error: BaseException | None, *, location: str) -> LedgerError:
    code = getattr(error, "sqlite_errorcode", 0) & _SQLITE_MASK
    if code in {_SQLITE_CORRUPT, _SQLITE_NOTADB} or "no such table" in str(error):
        return LedgerDamaged(location, reason=str(error))
    if _lacks_room(code, Path(location).parent):
        return LedgerDiskFull(no_room(Path(location).parent))
    return LedgerUnusable(location, reason=str(error))


def _lacks_room(code: int, folder: Path) -> bool:
    # "disk I/O error" is what SQLite says where -shm or -wal could not grow.
    return code == _SQLITE_FULL or (code in {_SQLITE_IOERR, _SQLITE_CANTOPEN} and is_full(folder))


@dataclass(frozen=True, slots=True)
class _File:
    identity: tuple[int, int]
    size_bytes: int


_NO_FILE = _File(identity=(0, 0), size_bytes=0)


def _look(path: Path, suffix: str) -> _File:
    try:
        found = path.with_name(path.name + suffix).stat()
    except FileNotFoundError:
        return _NO_FILE
    return _File(identity=(found.st_dev, found.st_ino), size_bytes=found.st_size)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
