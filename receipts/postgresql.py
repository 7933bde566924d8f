"""The ledger's tables in PostgreSQL: transactions, and a lock a sweep.

Whoever works under a sweep's lock does so on the very connection that holds it: PostgreSQL frees a
session's advisory locks when the session ends, and a session that ended commits nothing. So there
is no moment at which two programs both hold the lock and one of them still records something.
What breaks that connection ends the work under the lock; other transactions are tried again.

Writing transactions are SERIALIZABLE: what a program read before it wrote still holds when it
commits, or the server rolls it back and it is tried again. Reading ones are REPEATABLE READ and
read only: one consistent state, never rolled back by writers.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
import stamina
from psycopg.pq import TransactionStatus

from receipts import tables
from receipts.errors import (
    ForeignLedger,
    LedgerBusy,
    LedgerError,
    LedgerInterrupted,
    LedgerLost,
    LedgerRefused,
)
from receipts.postgresql_trouble import translated, translated_commit

__all__ = ["PostgresqlDatabase", "lock_key"]

_Done = TypeVar("_Done")
_log = logging.getLogger(__name__)

# Sits out a restart of the server or a moment without connections to spare. What lasts longer is
# told and waited for by who does the whole of the work again.
_PATIENCE = stamina.RetryingCaller(
    attempts=None, timeout=10.0, wait_initial=0.1, wait_max=2.0, wait_jitter=0.5
)
_TOLD_AFTER_MS = 2000
# What earlier work set on a connection that holds a lock is not left to later work.
_FRESH: Mapping[str, Any] = {"yield_per": None, "stream_results": False}
_WRITING: Mapping[str, Any] = {
    **_FRESH,
    "isolation_level": "SERIALIZABLE",
    "postgresql_readonly": False,
}
_READING: Mapping[str, Any] = {
    **_FRESH,
    "isolation_level": "REPEATABLE READ",
    "postgresql_readonly": True,
}
# The transactions under a lock begin after it was granted: no snapshot is older than the lock.
_LOCKING: Mapping[str, Any] = {
    **_FRESH,
    "isolation_level": "READ COMMITTED",
    "postgresql_readonly": False,
}
_IDENTITY = sa.text("SELECT pg_backend_pid(), coalesce(to_regclass(:table)::oid::bigint, 0)")
_VERSION_TABLE = {"table": tables.schema_version.name}
_VERSION = sa.select(tables.schema_version.c.version_num)


@dataclass(slots=True)
class _Session:
    """The connection of a thread that holds locks, and the server's process behind it."""

    connection: sa.Connection
    backend: int = 0
    held: list[str] = field(default_factory=list)
    """What the locks are on, outermost first."""

    @property
    def purpose(self) -> str | None:
        """What is locked, if anything is."""
        return self.held[-1] if self.held else None


@dataclass(frozen=True, slots=True)
class _Known:
    """The ledger that was opened: the number of its table of the version, and the version."""

    table: int
    version: str


class _Mine(threading.local):
    """What a thread is in the middle of."""

    session: _Session | None = None
    inside: bool = False


class PostgresqlDatabase:
    """Transactions and locks of a ledger in PostgreSQL; a thread that holds a lock is bound to it.

    Implements receipts.database.Database and receipts.locks.SweepLocks.
    """

    def __init__(self, engine: sa.Engine, *, location: str, schema: str) -> None:
        """Take over `engine`, whose connections see the tables of `schema` only."""
        self._engine = engine
        self._location = location
        self._schema = schema
        self._mine = _Mine()
        self._known: _Known | None = None

    @property
    def location(self) -> str:
        """Where it lies, for messages."""
        return self._location

    @property
    def schema(self) -> str:
        """The schema that holds the tables."""
        return self._schema

    def write(self, work: Callable[[sa.Connection], _Done]) -> _Done:
        """Do `work` in a transaction that may write; durable when this returns.

        It is done again when the server rolled it back or was away and no lock is held; when the
        connection breaks at COMMIT nobody knows what became of it: LedgerInterrupted.
        """
        return self._patiently(lambda: self._transact(work, _WRITING))

    def read(self, work: Callable[[sa.Connection], _Done]) -> _Done:
        """Do `work` on one consistent state."""
        return self._patiently(lambda: self._transact(work, _READING))

    def check_whole(self) -> None:
        """Read every value of every row once; LedgerDamaged unless the server can.

        Where the cluster has data checksums the server compares them with every page it reads.
        """

        def read_all(connection: sa.Connection) -> None:
            for table in tables.metadata.sorted_tables:
                whole = sa.func.length(
                    sa.cast(sa.literal_column(f'"{table.name}".*::text'), sa.Text)
                )
                connection.execute(sa.select(sa.func.sum(whole)).select_from(table)).scalar_one()

        self.read(read_all)

    def hold_to_identity(self) -> None:
        """From now on other tables, or another version of them, are not written to."""

        def look(connection: sa.Connection) -> _Known:
            _, table = connection.execute(_IDENTITY, _VERSION_TABLE).one()
            return _Known(table=table, version=connection.execute(_VERSION).scalar_one())

        self._known = self.read(look)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def held(self, sweep_id: str) -> Iterator[None]:
        """Hold the lock on a sweep; waits for whoever holds it, and says so after 2 s.

        The server frees it when this program ends, however it ends; when its machine vanishes,
        after about a minute (keepalives).
        """
        with self.held_key(lock_key(self._schema, sweep_id), purpose=f"sweep {sweep_id}"):
            yield

    @contextmanager
    def held_key(self, key: int, *, purpose: str) -> Iterator[None]:
        """Hold an advisory lock of this database; locks within locks are of one connection."""
        if self._mine.inside:
            raise RuntimeError("a lock of the ledger within a transaction")
        session = self._mine.session
        if session is None:
            session = self._patiently(lambda: self._session_with(key, purpose))
        else:
            self._lock(session, key, purpose)
        self._mine.session = session
        session.held.append(purpose)
        try:
            yield
        finally:
            session.held.pop()
            try:
                self._unlock(session, key)
            finally:
                if not session.held:
                    self._mine.session = None
                    session.connection.close()

    def _session_with(self, key: int, purpose: str) -> _Session:
        session = _Session(self._connect())
        try:
            self._lock(session, key, purpose)
        except BaseException:
            # Closed, not given back: the lock may have been granted in the last moment.
            session.connection.invalidate()
            session.connection.close()
            raise
        return session

    def _lock(self, session: _Session, key: int, purpose: str) -> None:
        connection = session.connection.execution_options(**_LOCKING)
        with translated(self._location, locked=session.purpose):
            self._refuse_broken(session)
            with connection.begin():
                backend = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
                if session.backend not in {0, backend}:
                    raise _pooled(self._location)
                session.backend = backend
                if _lock_within(connection, key, wait_ms=_TOLD_AFTER_MS):
                    return
            _log.warning("waiting for another program that works on %s", purpose)
            with connection.begin():
                _lock_within(connection, key, wait_ms=0)

    def _unlock(self, session: _Session, key: int) -> None:
        connection = session.connection
        if connection.invalidated:
            return
        freed = False
        try:
            # All that was done under the lock is committed: an error here is no error of it.
            with suppress(sa.exc.DBAPIError, psycopg.Error):
                connection.execution_options(**_LOCKING)
                with connection.begin():
                    unlock = sa.select(sa.func.pg_advisory_unlock(key))
                    freed = connection.execute(unlock).scalar_one()
        finally:
            if not freed:
                # Closing the connection frees the lock too; giving it back would keep it.
                connection.invalidate()

    def _transact(
        self, work: Callable[[sa.Connection], _Done], options: Mapping[str, Any]
    ) -> _Done:
        mine = self._mine
        if mine.inside:
            raise RuntimeError("a transaction of the ledger within another")
        mine.inside = True
        try:
            if mine.session is not None:
                return self._transact_on(mine.session, work, options)
            with _closing(_Session(self._connect())) as session:
                return self._transact_on(session, work, options)
        finally:
            mine.inside = False

    def _transact_on(
        self,
        session: _Session,
        work: Callable[[sa.Connection], _Done],
        options: Mapping[str, Any],
    ) -> _Done:
        self._refuse_broken(session)
        connection = session.connection.execution_options(**options)
        transaction = connection.begin()
        try:
            with translated(self._location, locked=session.purpose):
                result = work(connection)
                self._check_identity(session)
        except BaseException:
            with suppress(sa.exc.DBAPIError, psycopg.Error):
                transaction.rollback()
            raise
        commit = translated_commit if options is _WRITING else translated
        with commit(self._location, locked=session.purpose):
            transaction.commit()
        return result

    def _check_identity(self, session: _Session) -> None:
        """Look, last thing before COMMIT, whether this is the connection and these the tables."""
        connection = session.connection
        driver = connection.connection.driver_connection
        assert driver is not None
        if driver.info.transaction_status == TransactionStatus.INERROR:
            # COMMIT would roll back and report no error.
            raise LedgerError("a transaction of the ledger went on after an error")
        backend, table = connection.execute(_IDENTITY, _VERSION_TABLE).one()
        if session.held and backend != session.backend:
            raise _pooled(self._location)
        if self._known is None:
            return
        if table != self._known.table:
            raise LedgerLost(self._location)
        version = connection.execute(_VERSION).scalar_one_or_none()
        if version != self._known.version:
            raise ForeignLedger(
                f"the ledger {self._location} was brought from version {self._known.version} to "
                f"{version} while this program had it open: update gapless here, then run the same "
                "command again"
            )

    def _refuse_broken(self, session: _Session) -> None:
        # SQLAlchemy would silently connect anew, without the lock.
        if session.held and session.connection.invalidated:
            raise LedgerInterrupted(
                self._location,
                reason="an earlier step found it so",
                meaning=f", and with it the lock on {session.purpose}",
            )

    def _connect(self) -> sa.Connection:
        with translated(self._location):
            return self._engine.connect()

    def _patiently(self, verb: Callable[[], _Done]) -> _Done:
        return _PATIENCE(LedgerBusy, verb)


def lock_key(schema: str, name: str) -> int:
    """Give the 64-bit number of an advisory lock; the same in every version, for ever."""
    digest = hashlib.sha256(f"gapless ledger\0{schema}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _lock_within(connection: sa.Connection, key: int, *, wait_ms: int) -> bool:
    """Wait so long for a lock (0: for ever); False, and a transaction to be rolled back, if not."""
    wait = sa.func.set_config("lock_timeout", f"{wait_ms}ms", True)
    connection.execute(sa.select(wait))
    savepoint = connection.begin_nested()
    try:
        connection.execute(sa.select(sa.func.pg_advisory_lock(key)))
    except sa.exc.DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise
        savepoint.rollback()
        return False
    savepoint.commit()
    return True


@contextmanager
def _closing(session: _Session) -> Iterator[_Session]:
    try:
        yield session
    finally:
        session.connection.close()


def _pooled(location: str) -> LedgerRefused:
    return LedgerRefused(
        f"the ledger {location} is reached through a connection pooler that gives each transaction "
        "another session, which cannot hold a lock: name the server itself in --ledger, or have "
        "the pooler pool by session"
    )
