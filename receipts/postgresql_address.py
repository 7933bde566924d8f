"""The address of a ledger in PostgreSQL: what a person writes, what may be shown of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import sqlalchemy as sa

from receipts.errors import UnsupportedLedger

__all__ = ["DEFAULT_SCHEMA", "PostgresqlAddress", "names_postgresql", "read_address"]

DEFAULT_SCHEMA = "gapless"

_DRIVER = "postgresql+psycopg"
# As libpq and Heroku's kin spell it, as SQLAlchemy does, and with the driver that is used here.
_SPELLINGS = frozenset({"postgres", "postgresql", _DRIVER})
_SCHEMA_PARAMETER = "schema"
# Lower case, so that it needs no quotes in psql. PostgreSQL keeps pg_ for itself; 63 bytes is its
# limit for a name (NAMEDATALEN), of which a damaged schema's suffix takes up to 25.
_SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,37}")


@dataclass(frozen=True, slots=True)
class PostgresqlAddress:
    """Where the ledger's tables are: a database, and the schema in it."""

    url: sa.URL = field(repr=False)
    """May hold a password: never shown."""
    schema: str

    @property
    def shown(self) -> str:
        """The address for people: without a password and most parameters."""
        query = {} if self.schema == DEFAULT_SCHEMA else {_SCHEMA_PARAMETER: self.schema}
        socket = self.url.query.get("host")
        if self.url.host is None and isinstance(socket, str):
            query["host"] = socket
        shown = sa.URL.create(
            "postgresql",
            username=self.url.username,
            host=self.url.host,
            port=self.url.port,
            database=self.url.database,
            query=query,
        )
        return shown.render_as_string()


def names_postgresql(location: str) -> bool:
    """Tell whether a ledger's address is one of PostgreSQL, by whichever driver."""
    return re.match(r"postgres(ql)?(\+\w+)?://", location) is not None


def read_address(location: str) -> PostgresqlAddress:
    """Read `postgresql+psycopg://[user@]host[:port]/database[?schema=NAME]`; UnsupportedLedger.

    Other parameters go to libpq (sslmode, connect_timeout, ...).
    """
    scheme = location.partition(":")[0]
    if scheme not in _SPELLINGS:
        raise UnsupportedLedger(
            f"the ledger's address begins with {scheme}://, a driver that gapless does not use: "
            f"write {_DRIVER}:// instead"
        )
    try:
        location.encode()
        url = sa.make_url(location)
    except (sa.exc.ArgumentError, ValueError):
        # Without the cause: it may repeat a part of a password.
        raise UnsupportedLedger(
            f"the ledger's address cannot be read: expected {_DRIVER}://USER@HOST:PORT/DATABASE "
            "(signs such as @, : and / of a password are written as %40, %3A and %2F)"
        ) from None
    schema = url.query.get(_SCHEMA_PARAMETER, DEFAULT_SCHEMA)
    if not isinstance(schema, str) or not _SCHEMA.fullmatch(schema):
        raise UnsupportedLedger(
            f"the ledger's address names the schema {schema!r}: expected one of up to 38 "
            "lower-case letters, digits and _, not beginning with a digit or pg_"
        )
    url = url.set(drivername=_DRIVER).difference_update_query([_SCHEMA_PARAMETER])
    return PostgresqlAddress(url=url, schema=schema)
