"""What the ledger asks of the outside besides Queues and Blobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from queueing.port import Queues

__all__ = ["Clock", "NewId", "SnapshotQueues"]

Clock = Callable[[], float]
"""Gives now in Unix seconds."""

NewId = Callable[[], str]
"""Gives a random ASCII id never given before."""


class SnapshotQueues(Queues, Protocol):
    """Queues that can say at one instant what they hold: absence is then proof, not a guess."""

    def heads(self, queues: Sequence[str]) -> dict[str, list[str]]:
        """Give, in one read transaction, the first line of the body of every message.

        Visible, leased and delayed ones; a missing queue has none.
        """
