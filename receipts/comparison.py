"""Compare the receipts of a sweep with what is stored: what reconcile does not ask.

Reconcile asks which runs lack a result. Here: does every run that was asked for have its receipt,
and was every result that is stored asked for?
"""

from __future__ import annotations

from dataclasses import dataclass

from gapless.declaration.runset import RunSet
from gapless.results.coverage import Coverage, missing
from gapless.storage.sweeps import SweepStore
from receipts.declared import read_declared
from receipts.ledger import Ledger

__all__ = ["ReceiptComparison", "compare_receipts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptComparison:
    """Both sets are empty where the ledger and the home agree."""

    without_receipt: RunSet
    """Runs that were declared or asked for anew, and have no receipt at that epoch."""
    unasked: RunSet
    """Runs with a result at an epoch at which no receipt of theirs is."""


def compare_receipts(
    sweep_id: str, *, ledger: Ledger, store: SweepStore, coverage: Coverage
) -> ReceiptComparison:
    """Compare; `coverage` was read before. Reads only; UserMistake, LedgerLacksSweep."""
    declared = read_declared(sweep_id, ledger=ledger, store=store)
    submitted = ledger.submitted(sweep_id)
    # With nothing stored every run is missing, so this parts the runs by highest asked epoch.
    asked = missing(declared.runs, declared.asked, Coverage())
    return ReceiptComparison(
        without_receipt=RunSet.union(runs - submitted.runs(epoch) for epoch, runs in asked.items()),
        unasked=RunSet.union(
            coverage.final(at_epoch=epoch) - submitted.runs(epoch) for epoch in coverage.epochs
        ),
    )
