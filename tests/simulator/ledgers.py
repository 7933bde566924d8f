"""Ledgers in memory that go from world to world: to make one takes longer than many commands.

A ledger is empty when a world gets it, its locks are new, and nobody else has it.
"""

from __future__ import annotations

import sqlalchemy as sa

from receipts.database import Database
from receipts.ledger import Ledger
from receipts.locks import MemoryLocks
from receipts.sqlite_file import open_memory
from receipts.tables import metadata

__all__ = ["empty_ledger", "give_back"]

_spare: list[Database] = []


def empty_ledger() -> Ledger:
    """Give a ledger without a row."""
    return Ledger(_spare.pop() if _spare else open_memory(), MemoryLocks())


def give_back(ledger: Ledger) -> None:
    """Take a ledger that is still open; its rows are gone, and numbers of new ones begin at 1."""

    def empty(connection: sa.Connection) -> None:
        for table in metadata.sorted_tables:
            connection.execute(sa.delete(table))

    ledger.database.write(empty)
    _spare.append(ledger.database)
