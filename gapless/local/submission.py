"""Submit a sweep from this machine: everything a person may have got wrong is found first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gapless.declaration.sweep import FrozenSweep
from gapless.local.accounting import rebuild_ledger
from gapless.local.choice import choose_sweep
from gapless.local.source import Source, pack_code
from gapless.storage.bundle import Bundle
from gapless.wiring import Home, clock, new_id
from receipts.errors import LedgerDamaged, LedgerLacksSweep, LedgerLost
from receipts.submit import SubmitReport, submit

__all__ = ["Prepared", "Wish", "prepare", "submit_prepared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How to submit: which code goes on when it changed, beside or into which earlier sweep."""

    code: Literal["old", "new"] | None = None
    new: bool = False
    extend: str | None = None
    job_size: int | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sweep that can be submitted: frozen, its code packed and looked at."""

    frozen: FrozenSweep
    bundle: Bundle
    wish: Wish

    def sweep_id(self, home: Home) -> str:
        """Name the sweep it becomes, or the one it extends."""
        if self.wish.extend is not None:
            return choose_sweep(home.store, self.wish.extend)
        return self.frozen.id


def prepare(source: Source, wish: Wish) -> Prepared:
    """Freeze the space, pack the code, look for the function; UserMistake. Writes nothing."""
    frozen = source.sweep.freeze()
    return Prepared(frozen, pack_code(source, frozen), wish)


def submit_prepared(home: Home, prepared: Prepared) -> SubmitReport:
    """Submit; a ledger that was lost or damaged is made anew from the home. Safe to repeat."""
    try:
        return _submit(home, prepared)
    except (LedgerLacksSweep, LedgerLost, LedgerDamaged):
        rebuild_ledger(home)
        return _submit(home, prepared)


def _submit(home: Home, prepared: Prepared) -> SubmitReport:
    wish = prepared.wish
    ledger = home.ledger()
    try:
        queues = home.queues()
        try:
            return submit(
                prepared.frozen,
                prepared.bundle,
                ledger=ledger,
                queues=queues,
                store=home.store,
                clock=clock,
                new_id=new_id,
                job_size=wish.job_size,
                code=wish.code,
                new=wish.new,
                extend=None if wish.extend is None else prepared.sweep_id(home),
            )
        finally:
            queues.close()
    finally:
        ledger.close()
