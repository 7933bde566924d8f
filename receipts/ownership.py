"""Whose a ledger in a file is: two homes in one ledger would mix receipts of one sweep id.

A home is named by a word of its own, then where it lies: `<id> (<folder or URL>)`. The word tells
homes apart, so that a home that was moved keeps its ledger.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from receipts.database import Database
from receipts.errors import ForeignLedger
from receipts.tables import ledger_home

__all__ = ["hold_to_home", "home_of", "is_same_home", "lies_at", "refuse_other_home"]


def home_of(database: Database) -> str | None:
    """Give the home whose ledger it is; None when no home opened it yet."""

    def look(connection: sa.Connection) -> str | None:
        if not sa.inspect(connection).has_table(ledger_home.name):
            return None
        return connection.execute(sa.select(ledger_home.c.home)).scalars().first()

    return database.read(look)


def hold_to_home(database: Database, home: str) -> None:
    """Remember whose ledger it is; ForeignLedger when it is another home's. Safe to repeat.

    The caller keeps others from doing so at the same time.
    """
    named = home_of(database)
    if named is None:

        def claim(connection: sa.Connection) -> None:
            connection.execute(CreateTable(ledger_home, if_not_exists=True))
            connection.execute(ledger_home.insert().values(home=home))

        # Table and row at once: a crash before leaves a ledger that is nobody's, as it was.
        database.write(claim)
    else:
        _refuse_other(named, home, database)


def refuse_other_home(database: Database, home: str) -> None:
    """ForeignLedger when it is the ledger of another home than this. Reads only."""
    named = home_of(database)
    if named is not None:
        _refuse_other(named, home, database)


def _refuse_other(named: str, home: str, database: Database) -> None:
    if not is_same_home(named, home):
        raise ForeignLedger(
            f"the ledger {database.location} is that of the home {named}, not of {home}; each home "
            "needs a ledger of its own: leave --ledger (GAPLESS_LEDGER) out, or name another file. "
            f"If it is the same home, moved or made anew, move {database.location} away"
        )


def is_same_home(one: str, other: str) -> bool:
    """Tell whether two names are of one home, wherever it lies."""
    return one.split()[:1] == other.split()[:1]


def lies_at(home: str, place: str) -> bool:
    """Tell whether the home of this name lies at a folder or URL."""
    return home == place or home.endswith(f" ({place})")
