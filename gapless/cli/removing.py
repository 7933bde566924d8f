"""remove: delete a sweep and its results for good."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gapless.cli.options import HomeOption, LedgerOption, OneSweepArgument, StateOption
from gapless.cli.output import print_line, print_note
from gapless.cli.wording import counted
from gapless.errors import UserMistake

if TYPE_CHECKING:
    from gapless.local.removal import Removable

__all__ = ["remove"]


def remove(
    sweep: OneSweepArgument,
    home: HomeOption = None,
    state: StateOption = None,
    ledger: LedgerOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a complete or cancelled sweep with all its results, for good.

    Interrupted? The same command with the sweep's whole id goes on.
    """
    from gapless.local.removal import choose_removable, remove_sweep  # noqa: PLC0415
    from gapless.wiring import open_home  # noqa: PLC0415

    opened = open_home(home, state=state, ledger=ledger, create=False, tell=print_note)
    opened = opened.for_people(print_note)
    removable = choose_removable(opened, sweep)
    if not yes:
        _ask(removable, opened.location)
    done = remove_sweep(opened, removable)
    deleted = f"{counted(done.objects, 'object')} ({_size(done.size_bytes)})"
    if not done.objects:
        deleted = "nothing was stored of it"
    print_line(
        f"{done.sweep_id} is removed: {deleted}; its queues"
        f"{' and its receipts' if done.ledger_known else ''} are gone"
    )
    if not done.ledger_known:
        print_note(
            f"no ledger is at {opened.ledger_shown}: one that knows the sweep keeps its receipts, "
            "which do no harm"
        )


def _ask(removable: Removable, home: str) -> None:
    sweep_id = removable.sweep_id
    if removable.total is None:
        what = f"what is left of {sweep_id}"
    else:
        what = f"{sweep_id} with {counted(removable.stored, 'stored result')}"
    if not sys.stdin.isatty():
        raise UserMistake(
            f"this would delete {what} from {home} for good, and nobody is here to ask: "
            f"`sweep remove {sweep_id} --yes` does it"
        )
    if not typer.confirm(f"Delete {what} from {home} for good?", err=True):
        print_note("nothing was deleted")
        raise typer.Exit(1)


def _size(size_bytes: int) -> str:
    if size_bytes < 10_000:
        return f"{size_bytes:,} bytes"
    for unit, factor in (("kB", 1e3), ("MB", 1e6)):
        if size_bytes < 1000 * factor:
            return f"{size_bytes / factor:,.1f} {unit}"
    return f"{size_bytes / 1e9:,.1f} GB"
