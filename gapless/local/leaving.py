"""End the node, then the aggregator, of a `sweep run` that a person stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from gapless.local.progress import duration_text
from gapless.local.stopping import StopSignals

__all__ = ["LEAVE_S", "Leaver", "Leavers", "leave_in_order"]

LEAVE_S = 20.0
"""So long a program may take to hand over what it has, seconds."""
_LEAVE_AFTER_KILL_S = 5.0
"""An aggregator whose node got rid of nothing in time: most likely it meets the same trouble."""
_QUIET_S = 3.0
_TURN_S = 0.1


class Leaver(Protocol):
    """A program that can be asked to end."""

    @property
    def running(self) -> bool:
        """Tell whether it runs."""

    def ask_to_leave(self) -> None:
        """Let it end in good order."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; tell whether it has ended."""

    def kill(self) -> None:
        """End it at once."""


class Leavers(Protocol):
    """A node and an aggregator."""

    @property
    def node(self) -> Leaver:
        """Give the one that delivers."""

    @property
    def aggregator(self) -> Leaver:
        """Give the one that stores what was delivered."""


def leave_in_order(
    pair: Leavers,
    *,
    grace_s: float,
    stop: StopSignals,
    tell: Callable[[str], None],
    look: Callable[[], None],
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """End node, then aggregator, so that what the node still delivers is stored; or at once.

    A second signal ends both at once. In all at most `grace_s` + 25 s where nothing can be
    delivered, `grace_s` + 40 s where it can. `tell` takes what is waited for, `look` is
    called all along.
    """
    heard = stop.count

    def left(program: Leaver, *, quiet_s: float, most_s: float, what: str) -> bool:
        program.ask_to_leave()
        asked_at, told = monotonic(), False
        while program.running and stop.count == heard:
            waited_s = monotonic() - asked_at
            if waited_s >= most_s:
                break
            if waited_s >= quiet_s and not told:
                told = True
                tell(
                    f"waiting up to {duration_text(most_s - waited_s)} for {what}; "
                    "Ctrl-C again ends now, nothing is lost"
                )
            program.wait(_TURN_S)
            look()
        by_itself = not program.running
        # Killing loses nothing: jobs and deliveries come back when their holder is gone.
        program.kill()
        return by_itself

    tell(
        f"stopping: runs under way may take up to {duration_text(grace_s)}; "
        "once more (Ctrl-C) stops at once"
    )
    delivered = left(
        pair.node,
        quiet_s=grace_s + 1.0,
        most_s=grace_s + LEAVE_S,
        what="the queue to take what was done (what it does not take is done again)",
    )
    left(
        pair.aggregator,
        quiet_s=_QUIET_S,
        most_s=LEAVE_S if delivered else _LEAVE_AFTER_KILL_S,
        what="storage to take what was delivered",
    )
