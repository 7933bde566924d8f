"""verify: read all that is stored of a sweep, and compare it with what was asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from gapless.cli.options import HomeOption, JsonOption, LedgerOption, StateOption
from gapless.cli.output import print_document, print_line, print_note
from gapless.cli.verify_report import document_of, print_verified
from gapless.cli.wording import counted

if TYPE_CHECKING:
    from gapless.local.verifying import Verified
    from gapless.results.findings import Verification

__all__ = ["verify"]

_TELL_EVERY_S = 10.0


def verify(
    sweep: Annotated[
        str | None,
        typer.Argument(
            metavar="SWEEP",
            help="A sweep's id, name or the beginning of its id.  [default: all]",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    state: StateOption = None,
    ledger: LedgerOption = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is wrong: set nothing aside.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Set aside also shards that are as they were written and of no use here.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Read every shard, check it, and set bad ones aside, so that their runs are done again.

    Exit status: 0 complete, 3 not complete and still in flight, 4 gaps found, 1 error, 2 usage.
    """
    from gapless.local.choice import choose_sweep  # noqa: PLC0415
    from gapless.local.verifying import verify_sweep, worst_of  # noqa: PLC0415
    from gapless.results.findings import Mode  # noqa: PLC0415
    from gapless.wiring import open_home, read_home  # noqa: PLC0415

    if dry_run and force:
        raise typer.BadParameter("give either --dry-run or --force", param_hint="--force")
    mode = Mode.LOOK if dry_run else Mode.FORCE if force else Mode.MEND
    if dry_run:
        opened = read_home(home, state=state, ledger=ledger, tell=print_note)
    else:
        opened = open_home(
            home,
            state=state,
            ledger=ledger,
            create=False,
            tell=print_note,
            if_unwritable="use --dry-run, which only looks",
        )
    opened = opened.for_people(print_note)
    sweeps = opened.store.ids() if sweep is None else [choose_sweep(opened.store, sweep)]
    found: list[Verified] = []
    for sweep_id in sweeps:
        found.append(verify_sweep(opened, sweep_id, mode=mode, on_shard=_Progress().told))
        if not json:
            print_verified(found[-1])
    status = worst_of([each.status for each in found])
    if json:
        documents = [document_of(each) for each in found]
        print_document({"sweeps": documents, "exit_status": int(status)})
    elif not sweeps:
        print_line(f"{opened.location} holds no sweep yet")
    raise typer.Exit(int(status))


class _Progress:
    """Says now and then how far a long verification is."""

    def __init__(self) -> None:
        self._next_s = time.monotonic() + _TELL_EVERY_S

    def told(self, done: Verification) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _TELL_EVERY_S
            print_note(
                f"{done.sweep_id}: {done.shards:,} of {counted(done.listed, 'shard')} read, "
                f"{done.rows:,} rows"
            )
