"""What the ledger asks of the database under it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import sqlalchemy as sa

__all__ = ["Database"]

_Done = TypeVar("_Done")


class Database(Protocol):
    """Transactions on the ledger's tables; safe to use from several threads.

    `work` gets a connection within a transaction that is its own, and may be called again from its
    start when nothing of an earlier call was recorded: it changes nothing but the database.
    LedgerUnavailable, LedgerDamaged, LedgerLost, ForeignLedger.
    """

    @property
    def location(self) -> str:
        """Where it lies, for messages: without a password."""

    def write(self, work: Callable[[sa.Connection], _Done]) -> _Done:
        """Do `work`, which may write, as if nobody else wrote; durable when this returns."""

    def read(self, work: Callable[[sa.Connection], _Done]) -> _Done:
        """Do `work`, which only reads, on one consistent state; waits for no writer."""

    def check_whole(self) -> None:
        """Read all there is; LedgerDamaged unless it can be read."""

    def close(self) -> None:
        """Give back every connection."""
