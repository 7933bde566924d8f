"""run, submit: what takes a sweep file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gapless.cli.advice import advised, pasteable
from gapless.cli.options import (
    CodeChoice,
    CodeOption,
    ExtendOption,
    FileArgument,
    GraceOption,
    HomeOption,
    JobSizeOption,
    JsonOption,
    LedgerOption,
    NewOption,
    StateOption,
    WorkersOption,
)
from gapless.cli.output import print_document, print_line, print_note
from gapless.cli.wording import counted, failures_document, print_failures
from gapless.errors import UserMistake

if TYPE_CHECKING:
    from gapless.local.plan import Plan
    from gapless.local.running import RunSummary
    from gapless.local.submission import Prepared
    from gapless.local.trial import Trial
    from receipts.submit import SubmitReport

__all__ = ["run", "submit"]

_NOT_OK = 5
_STOPPED = 130


def run(  # noqa: PLR0913 - an argument is an option of the command
    file: FileArgument,
    home: HomeOption = None,
    state: StateOption = None,
    ledger: LedgerOption = None,
    workers: WorkersOption = None,
    code: CodeOption = None,
    extend: ExtendOption = None,
    *,
    new: NewOption = False,
    grace: GraceOption = 30.0,
    json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run a sweep on this machine until it is complete.

    The same command continues a sweep that was stopped or killed.

    Exit status: 0 all stored ok, 5 all stored but some not ok, 1 error, 2 usage, 130 stopped.
    """
    from gapless.local.progress import Silence, watcher_for_stderr  # noqa: PLC0415
    from gapless.local.running import RunSettings, run_here  # noqa: PLC0415
    from gapless.local.source import read_sweep  # noqa: PLC0415
    from gapless.local.submission import (  # noqa: PLC0415
        Wish,
        open_home_for,
        prepare,
        tell_of_home,
    )
    from gapless.wiring import core_count  # noqa: PLC0415

    prepared = prepare(read_sweep(file), Wish(code=_which(code), extend=extend, new=new))
    opened = open_home_for(prepared, home, state=state, ledger=ledger, tell=print_note)
    for note in tell_of_home(opened, file, by_default=home is None):
        print_note(note)
    again = ("run", file, *(() if extend is None else ("--extend", extend)))
    summary = run_here(
        opened,
        prepared,
        settings=RunSettings(
            workers=workers or core_count(),
            grace_s=grace,
            again_with_new_code=f"`{advised(*again, '--code', 'new')}`",
        ),
        watcher=Silence() if quiet else watcher_for_stderr(pasteable),
    )
    if json:
        print_document(_summary_document(summary, opened.location))
    else:
        _print_summary(summary, opened.location)
    if not summary.complete:
        print_note(f"the same command continues: {advised(*again)}")
        raise typer.Exit(_STOPPED)
    if summary.not_ok:
        if not json:
            print_note(_advice(summary, again))
        raise typer.Exit(_NOT_OK)


def submit(  # noqa: PLR0913 - an argument is an option of the command
    file: FileArgument,
    home: HomeOption = None,
    state: StateOption = None,
    ledger: LedgerOption = None,
    code: CodeOption = None,
    extend: ExtendOption = None,
    job_size: JobSizeOption = None,
    *,
    new: NewOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count points, runs and jobs; write nothing.")
    ] = False,
    test: Annotated[
        int | None,
        typer.Option(
            "--test",
            min=1,
            metavar="N",
            help="Do N runs here first, spread over the sweep; stop (status 5) if any fails.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Submit a sweep: store it in the home, send its jobs. Safe to repeat."""
    from gapless.local.source import read_sweep  # noqa: PLC0415

    source = read_sweep(file)
    if dry_run:
        from gapless.local.plan import plan_submit  # noqa: PLC0415
        from gapless.wiring import S3Address, home_address  # noqa: PLC0415

        plan = plan_submit(source, job_size=job_size)
        billed = isinstance(home_address(home), S3Address)
        if json:
            print_document(_plan_document(plan, billed=billed))
        else:
            _print_plan(plan, billed=billed)
        if plan.objection:
            raise UserMistake(plan.objection)
        return
    from gapless.local.submission import (  # noqa: PLC0415
        Wish,
        open_home_for,
        prepare,
        settle,
        submit_prepared,
        tell_of_home,
    )

    prepared = prepare(source, Wish(code=_which(code), extend=extend, new=new, job_size=job_size))
    trial: Trial | None = None
    if test is not None:
        prepared, trial = _tried(prepared, test, json=json)
    opened = open_home_for(prepared, home, state=state, ledger=ledger, tell=print_note).for_people(
        print_note
    )
    prepared, notes = settle(opened, prepared)
    for note in (*tell_of_home(opened, file, by_default=home is None), *notes):
        print_note(note)
    report = submit_prepared(opened, prepared)
    if json:
        print_document(_report_document(report, opened.location, trial))
    else:
        _print_report(report)
    for refusal in report.refusals:
        print_note(f"refused by the queue: {refusal}")
    if report.jobs_pending:
        print_note(f"{counted(report.jobs_pending, 'job')} not sent yet: the same command does it")
        raise typer.Exit(1)


def _tried(prepared: Prepared, count: int, *, json: bool) -> tuple[Prepared, Trial]:
    """Do some runs first and leave when one fails; else give jobs the size they ask for."""
    from gapless.local.trial import sized_by_trial, try_runs  # noqa: PLC0415

    trial = try_runs(prepared, count)
    _tell_trial(trial)
    if not trial.passed:
        if json:
            print_document({"submitted": False, "trial": _trial_document(trial)})
        print_note("nothing was submitted")
        raise typer.Exit(_NOT_OK)
    sized, note = sized_by_trial(prepared, trial)
    if note:
        print_note(note)
    return sized, trial


def _which(code: CodeChoice | None) -> Literal["old", "new"] | None:
    return None if code is None else code.value


def _print_summary(summary: RunSummary, home: str) -> None:
    from gapless.local.progress import duration_text  # noqa: PLC0415

    outcomes = ", ".join(f"{count:,} {label}" for label, count in summary.outcomes.items() if count)
    stored = f"{summary.stored:,} of {summary.total:,} runs stored"
    print_line(f"{summary.sweep_id}: {stored}{f' ({outcomes})' if outcomes else ''}")
    took = f"  {duration_text(summary.elapsed_s)}, {summary.stored_here:,} runs stored"
    if summary.stored_here:
        rate = summary.stored_here / summary.elapsed_s
        took += f", {rate:,.0f} runs/s" if rate >= 10 else f", {rate:.2g} runs/s"
    elif summary.complete:
        took += "; nothing was left to do"
    print_line(took)
    if summary.duplicates:
        print_line(f"  {summary.duplicates:,} results came twice; every reader counts them once")
    if summary.resent or summary.restarts:
        print_line(
            f"  {counted(summary.resent, 'run')} sent again, "
            f"{counted(summary.restarts, 'program')} started again"
        )
    print_line(f"  home: {home}")
    if summary.stored:
        print_line(f"  read them: {advised('results', summary.sweep_id)}")
    print_failures(summary.failures)


def _advice(summary: RunSummary, again: tuple[object, ...]) -> str:
    bad = [label for label, count in summary.outcomes.items() if count and label != "ok"]
    anew = advised("resubmit", summary.sweep_id, "--outcome", ",".join(bad))
    return (
        f"{counted(summary.not_ok, 'run')} {'is' if summary.not_ok == 1 else 'are'} not ok; "
        f"after mending the code:\n  {anew}\n  {advised(*again, '--code', 'new')}"
    )


def _summary_document(summary: RunSummary, home: str) -> dict[str, Any]:
    return {
        "sweep": summary.sweep_id,
        "home": home,
        "complete": summary.complete,
        "total": summary.total,
        "stored": summary.stored,
        "outcomes": summary.outcomes,
        "stored_here": summary.stored_here,
        "duplicates": summary.duplicates,
        "resent": summary.resent,
        "restarts": summary.restarts,
        "elapsed_s": round(summary.elapsed_s, 3),
        "errors": failures_document(summary.failures),
    }


def _print_plan(plan: Plan, *, billed: bool) -> None:
    about = "" if plan.exact else "about "
    print_line(f"{plan.name}{f' ({plan.sweep_id})' if plan.sweep_id else ''}")
    print_line(f"  points      {about}{plan.points:,}")
    print_line(f"  replicates  {plan.replicates:,}")
    print_line(f"  runs        {about}{plan.runs:,}")
    print_line(f"  jobs        {about}{plan.jobs:,} of up to {counted(plan.job_size, 'run')}")
    print_line(f"  requests    {about}{plan.requests:,} {_price(plan, billed=billed)}")
    if plan.hours is not None:
        print_line(f"  hours       {about}{plan.hours:,.3g} of one core")
    for number, point in enumerate(plan.first_points):
        shown = ", ".join(f"{name} = {value!r}" for name, value in point.items())
        print_line(f"  point {number}     {shown}")
    for note in plan.notes:
        print_note(note)
    print_note("nothing was written")


def _price(plan: Plan, *, billed: bool) -> str:
    if not billed:
        return "if the queue were a remote service (not here)"
    dollars = plan.requests_dollars
    cost = "less than $0.01" if dollars < 0.01 else f"about ${dollars:,.2f}"
    return f"to the queues (SQS): {cost} at $0.40 a million; waiting nodes and S3 come on top"


def _plan_document(plan: Plan, *, billed: bool) -> dict[str, Any]:
    return {
        "name": plan.name,
        "sweep": plan.sweep_id,
        "points": plan.points,
        "exact": plan.exact,
        "replicates": plan.replicates,
        "runs": plan.runs,
        "jobs": plan.jobs,
        "job_size": plan.job_size,
        "requests": plan.requests,
        "requests_dollars": plan.requests_dollars if billed else 0.0,
        "hours": plan.hours,
        "first_points": list(plan.first_points),
        "objection": plan.objection or None,
        "notes": list(plan.notes),
    }


def _tell_trial(trial: Trial) -> None:
    for failure in trial.failures:
        print_note(f"run {failure.run} ({failure.parameters}): {failure.outcome}")
        print_note(failure.evidence)
    if trial.unfit:
        print_note(f"trial: {trial.unfit}")
        return
    good = len(trial.runs) - len(trial.failures)
    print_note(f"trial: {good} of {counted(len(trial.runs), 'run')} ok, {trial.mean_s:.3g} s a run")


def _trial_document(trial: Trial) -> dict[str, Any]:
    return {
        "runs": list(trial.runs),
        "mean_s": trial.mean_s,
        "unfit": trial.unfit or None,
        "failures": [
            {"run": each.run, "outcome": each.outcome, "evidence": each.evidence}
            for each in trial.failures
        ],
    }


def _print_report(report: SubmitReport) -> None:
    print_line(report.sweep_id)
    done = f"  {counted(report.runs_sent, 'run')} sent in {counted(report.jobs_sent, 'job')}"
    if report.earlier_runs:
        done += f"; {report.earlier_runs:,} of {report.total:,} were submitted before"
    print_line(done)
    if report.extended_by:
        print_line(f"  extended by {counted(report.extended_by, 'run')}")
    if report.changed:
        print_line(f"  changed: {', '.join(report.changed)}")
    if report.runs_sent:
        print_note(
            f"{advised('node')} and {advised('aggregate')} do them, on any machine; "
            f"{advised('status', report.sweep_id)} shows how far they are"
        )


def _report_document(report: SubmitReport, home: str, trial: Trial | None) -> dict[str, Any]:
    return {
        "submitted": True,
        "sweep": report.sweep_id,
        "home": home,
        "total": report.total,
        "created": report.created,
        "extended_by": report.extended_by,
        "earlier_runs": report.earlier_runs,
        "runs_sent": report.runs_sent,
        "jobs_sent": report.jobs_sent,
        "jobs_pending": report.jobs_pending,
        "refusals": list(report.refusals),
        "changed": list(report.changed),
        "trial": None if trial is None else _trial_document(trial),
    }
