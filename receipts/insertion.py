"""Insert rows that may be there already, in the words of whichever database it is.

SQLite and PostgreSQL share ON CONFLICT. What they do here is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["insert_or_ignore", "insert_or_update"]


def insert_or_ignore(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]
) -> int:
    """Insert rows, leaving out those that clash with one that is there; give how many were added.

    A clash is one of the primary key or of any unique constraint.
    """
    if not rows:
        return 0
    statement = _insert(connection, table).on_conflict_do_nothing()
    # Asked for, else SQLAlchemy forgets the driver's count of an insert.
    done = connection.execute(
        statement, [dict(row) for row in rows], execution_options={"preserve_rowcount": True}
    )
    return done.rowcount


def insert_or_update(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    key: Sequence[str],
) -> None:
    """Insert rows; where one with the same `key` (a unique constraint's columns) is, replace it.

    The other columns that a row names take its values. All rows name the same columns, no two the
    same key.
    """
    if not rows:
        return
    statement = _insert(connection, table)
    given = [name for name in rows[0] if name not in key]
    statement = statement.on_conflict_do_update(
        index_elements=list(key), set_={name: statement.excluded[name] for name in given}
    )
    connection.execute(statement, [dict(row) for row in rows])


def _insert(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
