"""reconcile, resubmit: what was asked for, compared with what is stored."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from gapless.cli.options import (
    HomeOption,
    JsonOption,
    LedgerOption,
    OneSweepArgument,
    StateOption,
    SweepArgument,
)
from gapless.cli.output import print_document, print_line, print_note
from gapless.cli.reconcile_report import document_of, print_report
from gapless.cli.wording import counted
from gapless.local.late_counts import rounded

if TYPE_CHECKING:
    from gapless.declaration.runset import RunSet
    from gapless.results.outcome import Outcome
    from receipts.rebuild import RebuildReport
    from receipts.reconcile import ReconcileReport
    from receipts.resubmit import ResubmitReport

__all__ = ["reconcile", "resubmit"]

_WATCH_EVERY_S = 2.0
_WATCH_REMOTE_EVERY_S = 15.0
"""A look at a home on S3 is a dozen requests, which cost."""
_IN_FLIGHT = 3
_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")


def reconcile(  # noqa: PLR0913 - an argument is an option of the command
    sweep: SweepArgument = None,
    home: HomeOption = None,
    state: StateOption = None,
    ledger: LedgerOption = None,
    *,
    resubmit: Annotated[bool, typer.Option("--resubmit", help="Send gaps again.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="With --resubmit: believe one look, wait for no copies."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again while runs are in flight.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="First make a lost ledger anew from the home.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare what was submitted with what is stored.

    Exit status: 0 complete, 3 not complete and still in flight, 4 gaps found, 1 error, 2 usage.
    """
    from gapless.local.accounting import look_until, rebuild_ledger, reconcile_once  # noqa: PLC0415
    from gapless.local.choice import choose_sweep  # noqa: PLC0415
    from gapless.wiring import open_home  # noqa: PLC0415

    opened = open_home(
        home,
        state=state,
        ledger=ledger,
        create=False,
        tell=print_note,
        if_unwritable="`sweep verify --dry-run` says what one that cannot be written holds",
    )
    opened = opened.for_people(print_note)
    if rebuild:
        _tell_rebuild(rebuild_ledger(opened))
    sweep_id = choose_sweep(opened.store, sweep)
    every_s = _WATCH_REMOTE_EVERY_S if opened.is_remote else _WATCH_EVERY_S
    told: set[str] = set()

    def look(forced: bool) -> ReconcileReport:
        report = reconcile_once(opened, sweep_id, resubmit=resubmit, force=forced)
        if report.queues_made_anew:
            _tell_once(_made_anew(report), told)
        return report

    def goes_on(report: ReconcileReport) -> bool:
        if not watch or not _may_change(report, resubmit=resubmit):
            return False
        print_note(
            f"{report.stored_runs:,} of {report.total:,} runs stored, "
            f"{len(report.in_flight):,} in flight{_not_told_yet(report)}"
        )
        time.sleep(_next_look_in_s(report, every_s))
        return True

    report = look_until(look, goes_on=goes_on, force=force)
    if json:
        print_document(document_of(report))
    else:
        print_report(report, forced=force, resubmit=resubmit)
    raise typer.Exit(int(report.exit_status))


def resubmit(
    sweep: OneSweepArgument,
    home: HomeOption = None,
    state: StateOption = None,
    ledger: LedgerOption = None,
    runs: Annotated[
        str | None,
        typer.Option("--runs", metavar="1,5-9", help="Which runs, by number.", show_default=False),
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option(
            "--outcome",
            metavar="failed,lost",
            help="Which runs, by the outcome they have now.",
            show_default=False,
        ),
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Ask anew for runs that have a result already: give exactly one of --runs and --outcome.

    Their next result counts instead; the earlier one is kept.
    """
    from gapless.local.accounting import resubmit_runs  # noqa: PLC0415
    from gapless.local.choice import choose_sweep  # noqa: PLC0415
    from gapless.wiring import open_home  # noqa: PLC0415

    if (runs is None) == (outcome is None):
        raise typer.BadParameter("give either --runs or --outcome", param_hint="--runs, --outcome")
    wanted: RunSet | list[Outcome]
    wanted = _parse_runs(runs) if runs is not None else _parse_outcomes(outcome or "")
    opened = open_home(home, state=state, ledger=ledger, create=False, tell=print_note)
    opened = opened.for_people(print_note)
    sweep_id = choose_sweep(opened.store, sweep)
    report = resubmit_runs(opened, sweep_id, wanted)
    if json:
        print_document(
            {
                "sweep": report.sweep_id,
                "epoch": report.epoch,
                "raised": len(report.raised),
                "unfinished": len(report.unfinished),
                "runs_sent": report.runs_sent,
                "jobs_sent": report.jobs_sent,
                "jobs_pending": report.jobs_pending,
                "refusals": list(report.refusals),
            }
        )
    else:
        _print_resubmit(report)
    if report.jobs_pending:
        print_note(f"{counted(report.jobs_pending, 'job')} not sent yet: the same command does it")
        raise typer.Exit(1)


def _may_change(report: ReconcileReport, *, resubmit: bool) -> bool:
    """Tell whether a later look may show something else without anybody's doing."""
    return int(report.exit_status) == _IN_FLIGHT or (resubmit and bool(report.waiting))


def _next_look_in_s(report: ReconcileReport, every_s: float) -> float:
    again_s = report.look_again_in_s
    return every_s if again_s is None else max(_WATCH_EVERY_S, min(every_s, again_s))


def _made_anew(report: ReconcileReport) -> str:
    return (
        f"both queues of {report.sweep_id} were made anew after its last job was sent, so nothing "
        "of what lay on them is there: if nobody deleted them (`sweep cancel` does), see whether "
        "these credentials are of the account in which it was submitted"
    )


def _tell_once(text: str, told: set[str]) -> None:
    if text not in told:
        told.add(text)
        print_note(text)


def _not_told_yet(report: ReconcileReport) -> str:
    if report.look_again_in_s is None:
        return ""
    if report.maybe_delivered:
        return f", {len(report.maybe_delivered):,} of them in no job any more"
    return f" or lost, which a look in {rounded(report.look_again_in_s)} tells"


def _parse_runs(text: str) -> RunSet:
    """Read run numbers such as 1,5-9 (both ends included)."""
    from gapless.declaration.runset import RunSet  # noqa: PLC0415

    found: list[tuple[int, int]] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise typer.BadParameter(
                f"found {part.strip()!r}, expected run numbers such as 1,5-9", param_hint="--runs"
            )
        start, stop = int(match[1]), int(match[2] or match[1]) + 1
        if stop <= start:
            raise typer.BadParameter(f"{part.strip()} ends before it starts", param_hint="--runs")
        found.append((start, stop))
    return RunSet.from_ranges(found)


def _parse_outcomes(text: str) -> list[Outcome]:
    from gapless.results.outcome import Outcome  # noqa: PLC0415

    labels = [each.label for each in Outcome]
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    for each in wanted:
        if each not in labels:
            raise typer.BadParameter(
                f"found {each!r}, expected one of {', '.join(labels)}", param_hint="--outcome"
            )
    return [Outcome.of_label(each) for each in wanted]


def _tell_rebuild(report: RebuildReport) -> None:
    if report.set_aside is not None:
        print_note(f"the damaged ledger was moved to {report.set_aside}")
    if report.runs:
        print_note(f"the ledger got receipts of {report.runs:,} runs from the home")
    else:
        print_note("the ledger lacked nothing")


def _print_resubmit(report: ResubmitReport) -> None:
    if report.epoch is None:
        print_line(f"{report.sweep_id}: none of these runs has a result to ask anew for")
    else:
        print_line(
            f"{report.sweep_id}: {counted(len(report.raised), 'run')} asked for anew "
            f"(epoch {report.epoch})"
        )
    if report.runs_sent:
        print_line(
            f"  {counted(report.runs_sent, 'run')} sent in {counted(report.jobs_sent, 'job')}"
        )
    if report.unfinished:
        print_note(
            f"{len(report.unfinished):,} of them have no result yet: they are in flight, or gaps "
            f"that `sweep reconcile {report.sweep_id} --resubmit` sends"
        )
