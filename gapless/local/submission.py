"""Submit a sweep from this machine: everything a person may have got wrong is found first.

SQLAlchemy loads when the ledger is first needed, not before: `sweep run` starts its programs first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from gapless.declaration.sweep import FrozenSweep
from gapless.local.choice import choose_sweep
from gapless.local.source import Source, pack_code
from gapless.storage.bundle import Bundle, BundleFiles
from gapless.wiring import Home, clock, new_id

if TYPE_CHECKING:
    from receipts.submit import SubmitReport

__all__ = ["Prepared", "Wish", "keep_code_if_only_more", "prepare", "submit_prepared"]


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


def keep_code_if_only_more(home: Home, prepared: Prepared) -> tuple[Prepared, str]:
    """Go on with the stored code when the folder holds all of it and more; with a note on that.

    Logs, pictures and tables appear in a code folder while its sweep runs: new files beside
    unchanged ones are no other code. `--code new` takes them along.
    """
    sweep_id = prepared.sweep_id(home)
    if prepared.wish.code is not None or not home.store.exists(sweep_id):
        return prepared, ""
    stored_sha = home.store.control(sweep_id).code
    if stored_sha is None or stored_sha == prepared.bundle.sha256:
        return prepared, ""
    stored, found = BundleFiles(home.store.get_object(stored_sha)), prepared.bundle.files
    if any(name not in found or stored[name] != found[name] for name in stored):
        return prepared, ""
    added = sorted(found.keys() - stored.keys())
    shown = ", ".join(added[:3]) + (", …" if len(added) > 3 else "")
    note = (
        f"{len(added)} files were added to the code folder ({shown}); the stored code goes on "
        "(--code new takes them along, .gaplessignore leaves them out)"
    )
    return replace(prepared, wish=replace(prepared.wish, code="old")), note


def submit_prepared(home: Home, prepared: Prepared) -> SubmitReport:
    """Submit; a ledger that was lost or damaged is made anew from the home. Safe to repeat."""
    from gapless.local.accounting import rebuild_ledger  # noqa: PLC0415
    from receipts.errors import LedgerDamaged, LedgerLacksSweep, LedgerLost  # noqa: PLC0415

    try:
        return _submit(home, prepared)
    except (LedgerLacksSweep, LedgerLost, LedgerDamaged):
        rebuild_ledger(home)
        return _submit(home, prepared)


def _submit(home: Home, prepared: Prepared) -> SubmitReport:
    from receipts.submit import submit  # noqa: PLC0415

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
