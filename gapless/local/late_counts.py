"""Say why a look at queues that only count tells nothing yet, and when one will."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gapless.local.progress import duration_text

if TYPE_CHECKING:
    from receipts.reconcile import ReconcileReport

__all__ = ["first_look_text", "rounded"]


def rounded(seconds: float) -> str:
    """Word so many seconds, rounded up."""
    return duration_text(float(math.ceil(seconds)))


def first_look_text(report: ReconcileReport, *, again_in_s: float, looker: str) -> str:
    """Say what a look in so many seconds will tell; `looker` is the command that looks then."""
    runs = len(report.maybe_delivered)
    if runs:
        return (
            f"{runs:,} {'run' if runs == 1 else 'runs'} may be among the results that are not "
            f"stored yet (an aggregator must run); in {rounded(again_in_s)} {looker} looks again"
        )
    return (
        f"these queues only count, and late; in {rounded(again_in_s)} {looker} can tell what is in "
        "flight and what is lost"
    )
