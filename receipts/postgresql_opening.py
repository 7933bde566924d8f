"""Open a ledger in PostgreSQL: connect, make or migrate its tables, tell whose they are.

The tables lie in a schema of their own, so that a database may hold other programs' too, with an
`alembic_version` of theirs. Two programs that open an empty database at once are parted by an
advisory lock; a crash in the middle leaves the schema as it was, for the server's DDL is part of
the transaction.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.schema import CreateSchema, SetTableComment

from gapless.errors import MissingExtra
from receipts import tables
from receipts.errors import ForeignLedger, LedgerDamaged, LedgerUnavailable
from receipts.postgresql_address import PostgresqlAddress

try:
    from receipts.postgresql import PostgresqlDatabase, lock_key
except ImportError as error:
    raise MissingExtra(purpose="a ledger in PostgreSQL", extra="postgres") from error

__all__ = ["home_of_schema", "open_postgresql", "schema_identity", "set_schema_aside"]

_log = logging.getLogger(__name__)

# Of libpq (documentation, "Parameter Key Words") and, below, of the server ("Connections and
# Authentication"): either side hears within about a minute that the other has vanished.
_CONNECTION: dict[str, str] = {
    "connect_timeout": "10",
    "fallback_application_name": "gapless",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_SESSION: dict[str, str] = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",
    # A program that is killed while it waits for a lock does not stay in the queue for it.
    "client_connection_check_interval": "10000",
    # Others' defaults would end a wait for a lock, or the session that holds one.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}
_SET_UP = """
SELECT set_config(wanted.name, wanted.value, false)
FROM unnest(%s::text[], %s::text[]) AS wanted(name, value)
JOIN pg_settings ON pg_settings.name = wanted.name
WHERE wanted.name <> 'synchronous_commit' OR pg_settings.setting = 'off'
"""
_STATE = """
SELECT current_setting('synchronous_commit'), current_setting('fsync'),
       current_setting('full_page_writes'), pg_is_in_recovery()
"""
_TABLES_OF_SCHEMA = sa.text(
    "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE nspname = :schema AND relkind IN ('r', 'p', 'v', 'm', 'f')"
)
_SCHEMA_OID = sa.text("SELECT oid::bigint FROM pg_namespace WHERE nspname = :schema")
_OWNER_MARK = "ledger of the home "
_MARK = sa.text(
    "SELECT obj_description(oid, 'pg_class'), pg_has_role(relowner, 'USAGE') "
    "FROM pg_class WHERE oid = to_regclass(:table)"
)


def open_postgresql(
    address: PostgresqlAddress,
    *,
    home: str | None = None,
    head: str = tables.HEAD,
    migrations: Path | None = None,
) -> PostgresqlDatabase:
    """Open the ledger, its schema and tables made when missing, migrated when older.

    `home`: whose ledger it is, remembered at the first time and held to from then on: two homes in
    one ledger would mix sweeps of one id. Its first word tells homes apart. LedgerRefused,
    LedgerUnavailable, LedgerDamaged, ForeignLedger. `head` and `migrations` are for tests.
    """
    database = _connected(address)
    try:
        found = _look(database, address)
        if found.version != head:
            purpose = f"the tables of the ledger {address.shown}"
            with database.held_key(lock_key(address.schema, ""), purpose=purpose):
                # Another program may have made them while this one waited.
                found = _look(database, address)
                if found.version != head:
                    _make_tables(database, address, found, migrations=migrations)
                    found = _look(database, address)
        _need_all_tables(database, found)
        if home is not None:
            _hold_to_home(database, home)
        database.hold_to_identity()
    except BaseException:
        database.close()
        raise
    return database


def home_of_schema(address: PostgresqlAddress) -> str | None:
    """Give the home whose ledger is at an address, where there is one; None for nobody's."""

    def look(connection: sa.Connection) -> str | None:
        named, _ = connection.execute(_MARK, {"table": tables.schema_version.name}).one()
        return None if named is None else str(named).removeprefix(_OWNER_MARK)

    with contextlib.closing(_connected(address)) as database:
        return database.read(look)


def schema_identity(address: PostgresqlAddress) -> int:
    """Give the number of the schema at an address; 0 when there is none."""
    with contextlib.closing(_connected(address)) as database:
        return database.read(lambda connection: _schema_oid(connection, address.schema))


def set_schema_aside(address: PostgresqlAddress, *, seen: int, now_s: float) -> str | None:
    """Rename the schema whose number is `seen`; give its new name.

    None when it is not there any more: another program may have renamed it and made a new one.
    Nothing is deleted. LedgerRefused unless the role owns the schema.
    """
    with contextlib.closing(_connected(address)) as database:
        purpose = f"the tables of the ledger {address.shown}"
        with database.held_key(lock_key(address.schema, ""), purpose=purpose):

            def rename(connection: sa.Connection) -> str | None:
                if _schema_oid(connection, address.schema) != seen:
                    return None
                aside = f"{address.schema}_damaged_{int(now_s)}"
                number = 0
                while _schema_oid(connection, aside):
                    number += 1
                    aside = f"{address.schema}_damaged_{int(now_s)}_{number}"
                quoted = connection.dialect.identifier_preparer.quote
                connection.exec_driver_sql(
                    f"ALTER SCHEMA {quoted(address.schema)} RENAME TO {quoted(aside)}"
                )
                return aside

            return database.write(rename)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a schema holds. `version`: None when nothing, "" when tables without a version."""

    is_schema: bool
    names: frozenset[str]
    version: str | None


def _look(database: PostgresqlDatabase, address: PostgresqlAddress) -> _Found:
    def look(connection: sa.Connection) -> _Found:
        schema = {"schema": address.schema}
        names = frozenset(connection.execute(_TABLES_OF_SCHEMA, schema).scalars())
        version = ""
        if tables.schema_version.name in names:
            versions = sa.select(tables.schema_version.c.version_num)
            version = connection.execute(versions).scalars().first() or ""
        return _Found(
            is_schema=_schema_oid(connection, address.schema) != 0,
            names=names,
            version=version if names else None,
        )

    return database.read(look)


def _make_tables(
    database: PostgresqlDatabase,
    address: PostgresqlAddress,
    found: _Found,
    *,
    migrations: Path | None,
) -> None:
    strangers = found.names - {*tables.metadata.tables, tables.schema_version.name}
    if found.version == "" and strangers:
        raise ForeignLedger(
            f"the schema {address.schema} of {database.location} is no ledger (it holds the tables "
            f"{', '.join(sorted(strangers)[:5])}): name another, as in --ledger '…?schema=NAME'"
        )
    if found.version == "" and found.names != {tables.schema_version.name}:
        raise LedgerDamaged(database.location, reason="it does not say of which version it is")

    def make(connection: sa.Connection) -> None:
        if not found.is_schema:
            # Asked for only when missing: who may not make schemas can use one that is there.
            connection.execute(CreateSchema(address.schema))
        if found.version is None:
            tables.metadata.create_all(connection)
            tables.schema_version.create(connection)
            connection.execute(tables.schema_version.insert().values(version_num=tables.HEAD))
            return
        # Imported here: it takes as long as all the rest and is needed once a release.
        from receipts import migrate  # noqa: PLC0415

        migrate.upgrade(
            connection,
            location=database.location,
            found=found.version,
            folder=migrations or migrate.FOLDER,
        )

    database.write(make)


def _need_all_tables(database: PostgresqlDatabase, found: _Found) -> None:
    lacking = sorted({*tables.metadata.tables} - found.names)
    if lacking:
        raise LedgerDamaged(database.location, reason=f"its table {lacking[0]} is missing")


def _hold_to_home(database: PostgresqlDatabase, home: str) -> None:
    mark = f"{_OWNER_MARK}{home}"

    def look(connection: sa.Connection) -> tuple[str | None, bool]:
        named, is_ours = connection.execute(_MARK, {"table": tables.schema_version.name}).one()
        return named, bool(is_ours)

    def claim(connection: sa.Connection) -> None:
        marked = sa.Table(tables.schema_version.name, sa.MetaData(), comment=mark)
        connection.execute(SetTableComment(marked))

    named, is_ours = database.read(look)
    if _is_same(named, mark) or (named is None and not is_ours):
        return
    if named is None:
        with database.held_key(lock_key(database.schema, ""), purpose=database.location):
            named, _ = database.read(look)
            if named is None:
                database.write(claim)
                return
    if not _is_same(named, mark):
        raise ForeignLedger(
            f"{database.location} is the {named}, not of {home}: give this home a schema of its "
            "own, as in --ledger '…?schema=NAME'; or, if the home was moved, say so by COMMENT ON "
            f"TABLE {database.schema}.{tables.schema_version.name} IS NULL"
        )


def _is_same(named: str | None, mark: str) -> bool:
    words = len(_OWNER_MARK.split()) + 1
    return named is not None and named.split()[:words] == mark.split()[:words]


def _schema_oid(connection: sa.Connection, schema: str) -> int:
    found: int | None = connection.execute(_SCHEMA_OID, {"schema": schema}).scalar_one_or_none()
    return found or 0


def _connected(address: PostgresqlAddress) -> PostgresqlDatabase:
    given = {name: value for name, value in _CONNECTION.items() if name not in address.url.query}
    engine = sa.create_engine(
        address.url,
        connect_args=given,
        # An error is shown with its text, never with what was to be written.
        hide_parameters=True,
        use_native_hstore=False,
        pool_size=2,
        max_overflow=8,
    )
    told: set[str] = set()

    def set_up(connection: Any, _record: object) -> None:
        try:
            _set_up(connection, address, told)
        except BaseException:
            connection.close()
            raise

    # First: what SQLAlchemy asks of a new connection shall see the ledger's schema.
    event.listen(engine, "connect", set_up, insert=True)
    return PostgresqlDatabase(engine, location=address.shown, schema=address.schema)


def _set_up(connection: Any, address: PostgresqlAddress, told: set[str]) -> None:
    settings = {
        **_SESSION,
        "search_path": f'"{address.schema}"',
        # Only where it is off (see _SET_UP): every other value is durable on the server's disk.
        "synchronous_commit": "on",
    }
    connection.execute(_SET_UP, (list(settings), list(settings.values())))
    commit, fsync, full_pages, is_standby = connection.execute(_STATE).fetchone()
    connection.commit()
    if is_standby:
        raise LedgerUnavailable(
            f"the ledger {address.shown} is a read-only standby: name the primary server, or all "
            "of them as in host=a,b&target_session_attrs=read-write"
        )
    if commit == "off":
        raise LedgerUnavailable(
            f"the server of the ledger {address.shown} insists on synchronous_commit = off, so "
            "what it says is recorded may be gone after a crash: turn it on for this role"
        )
    for name, value in (("fsync", fsync), ("full_page_writes", full_pages)):
        if value == "off" and name not in told:
            told.add(name)
            _log.warning(
                "the server of the ledger %s runs with %s = off: a power failure there may damage "
                "the ledger (results are not affected)",
                address.shown,
                name,
            )
