"""What keeps a command from looking: told once for each service, and once when it is over.

Each step of the command meets the services by itself, and each in other words ("cannot list
…/shards/", "cannot list …/control/"); for the person it is one trouble.
"""

from __future__ import annotations

from collections.abc import Callable

from gapless.errors import DiskFull, GaplessError
from queueing.errors import QueueUnavailable
from receipts.errors import LedgerBusy, LedgerInterrupted, LedgerUnavailable, LedgerUnusable

__all__ = ["Notices"]


class Notices:
    """Takes what steps meet; `tell` gets a line when a trouble begins, and one when it is over.

    It is over when every step that met it went well. Another kind of trouble with the same service
    (it refuses, having been away) is told as well.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._steps: dict[tuple[str, str], set[str]] = {}

    def trouble(self, step: str, error: GaplessError) -> None:
        """Take note that a step failed; the command does it again by itself."""
        met = _met(error)
        # What this step met before may have given way to this.
        self._leave(step, but=met)
        if met not in self._steps:
            self._tell(_text(error))
        self._steps.setdefault(met, set()).add(step)

    def well(self, step: str) -> None:
        """Take note that a step was done."""
        for service in self._leave(step, but=None):
            if not any(service == other for other, _ in self._steps):
                self._tell(f"{service} again")

    def _leave(self, step: str, *, but: tuple[str, str] | None) -> list[str]:
        """Forget the step's troubles, all but one; give the services no step has them with."""
        over: list[str] = []
        for met, steps in list(self._steps.items()):
            if met == but or step not in steps:
                continue
            steps.discard(step)
            if not steps:
                del self._steps[met]
                over.append(met[0])
        return over


def _met(error: GaplessError) -> tuple[str, str]:
    # Queue, ledger and home may lie on one disk, which is told as one.
    kind = str(error) if isinstance(error, DiskFull) else type(error).__name__
    return _service(error), kind


def _service(error: GaplessError) -> str:
    """Name the service with what it does when all is well."""
    if isinstance(error, DiskFull):
        return "the disk has room"
    if isinstance(error, LedgerUnavailable):
        return "the ledger answers"
    if isinstance(error, QueueUnavailable):
        return "the queues answer"
    return "storage answers"


def _text(error: GaplessError) -> str:
    if isinstance(error, LedgerBusy | LedgerInterrupted | LedgerUnusable):
        return f"{error.brief}; going on by itself"
    return f"{error}; going on by itself"
