"""What the ledger asks of the outside besides Queues and Blobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar, cast

from queueing.port import Queues

__all__ = ["Clock", "NewId", "SnapshotQueues", "snapshots_of"]

_T = TypeVar("_T")

Clock = Callable[[], float]
"""Gives now in Unix seconds."""

NewId = Callable[[], str]
"""Gives a random ASCII id never given before."""


class SnapshotQueues(Queues, Protocol):
    """Queues that can say at one instant what they hold: absence is then proof, not a guess."""

    def read_heads(
        self, queues: Sequence[str], read: Callable[[str, Iterator[str]], _T]
    ) -> dict[str, _T]:
        """Give what `read(queue, heads)` makes of each queue, in one read transaction.

        The heads are the first lines of the bodies of all messages, visible, leased and delayed
        ones, in no order; a missing queue has none. `read` may be called again from the first queue
        on.
        """


def snapshots_of(queues: Queues) -> SnapshotQueues | None:
    """Give the queues themselves where they can be looked into, else None."""
    return cast("SnapshotQueues", queues) if hasattr(queues, "read_heads") else None
