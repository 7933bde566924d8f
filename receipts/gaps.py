"""Which runs lack a final result, and where each of them is. Pure set arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gapless.declaration.runset import RunSet
from receipts.ledger import Submitted

__all__ = ["Whereabouts", "find_gaps"]


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the runs are that lack a final result at their highest asked epoch, by that epoch.

    The four are disjoint; epochs with nothing are left out.
    """

    in_flight: Mapping[int, RunSet]
    pending: Mapping[int, RunSet]
    """Recorded in the ledger, not acknowledged by the queue."""
    unsent: Mapping[int, RunSet]
    """Declared or asked for in the home, without a receipt: a submit died."""
    gaps: Mapping[int, RunSet]
    """Sent once, and now nowhere."""


def find_gaps(
    missing: Mapping[int, RunSet], *, submitted: Submitted, in_flight: Mapping[int, RunSet]
) -> Whereabouts:
    """Sort the missing runs. `in_flight` must have been looked at before the manifests."""
    found: dict[str, dict[int, RunSet]] = {
        "in_flight": {},
        "pending": {},
        "unsent": {},
        "gaps": {},
    }
    for epoch, lacking in missing.items():
        # A result of a later epoch counts for an earlier one too, as it does in the coverage.
        about = RunSet.union(runs for each, runs in in_flight.items() if each >= epoch)
        nowhere = lacking - about
        pending = nowhere & submitted.pending_runs(epoch)
        sent = submitted.sent_runs(epoch)
        parts = {
            "in_flight": lacking & about,
            "pending": pending,
            "unsent": nowhere - pending - sent,
            "gaps": (nowhere - pending) & sent,
        }
        for name, runs in parts.items():
            if runs:
                found[name][epoch] = runs
    return Whereabouts(**found)
