"""Wait for services that are away, and hear a person who does not want to wait any longer.

No library waits on our signals, so this loop is our own; whoever has no signals to hear takes
`PersistentQueues` and `PersistentBlobs`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from gapless.local.stopping import StopSignals
from gapless.storage.errors import StorageRefused, StorageUnavailable
from queueing.errors import QueueRefused, QueueUnavailable
from receipts.errors import LedgerBusy, LedgerInterrupted

__all__ = ["Awaiting", "StoppedWaiting"]

_T = TypeVar("_T")
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0


class StoppedWaiting(Exception):
    """A person stopped the program while a service was away."""


class Awaiting:
    """Does steps that are safe to repeat until their services answer."""

    def __init__(self, stop: StopSignals, *, tell: Callable[[str], None]) -> None:
        self._stop = stop
        self._tell = tell

    def done(self, step: Callable[[], _T]) -> _T:
        """Do `step`, again after a pause while storage, queue or ledger is away; StoppedWaiting.

        What a service refuses, somebody has to mend: that error passes at once.
        """
        told, wait_s = "", _FIRST_WAIT_S
        while True:
            try:
                return step()
            except (StorageRefused, QueueRefused):
                raise
            except (LedgerBusy, LedgerInterrupted) as error:
                reason = error.brief
            except (StorageUnavailable, QueueUnavailable) as error:
                reason = str(error)
            if reason != told:
                told = reason
                self._tell(f"{told}; trying again (Ctrl-C ends)")
            self._stop.wait(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            if self._stop.count:
                raise StoppedWaiting
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
