"""The options and arguments that several commands share, worded once."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from gapless.declaration.durations import parse_duration
from gapless.declaration.errors import DeclarationError

__all__ = [
    "CodeChoice",
    "CodeOption",
    "ExtendOption",
    "FileArgument",
    "GraceOption",
    "HomeOption",
    "JobSizeOption",
    "JsonOption",
    "LedgerOption",
    "NewOption",
    "OneSweepArgument",
    "ParentPipeOption",
    "StateOption",
    "StatusSweepArgument",
    "SweepArgument",
    "SweepsArgument",
    "UntilCompleteOption",
    "WorkersOption",
    "duration_s",
]


def duration_s(text: str) -> float:
    """Read a duration of the command line: "30", "10min"; seconds. A wrong one is bad usage."""
    try:
        return parse_duration(text)
    except DeclarationError as error:
        raise typer.BadParameter(str(error)) from error


class CodeChoice(enum.Enum):
    """Which code goes on when it changed since the sweep was submitted."""

    OLD = "old"
    NEW = "new"


HomeOption = Annotated[
    str | None,
    typer.Option(
        "--home",
        envvar="GAPLESS_HOME",
        metavar="HOME",
        help="Where sweeps live: a folder, or s3://BUCKET/PREFIX.  [default: ./sweeps]",
        show_default=False,
    ),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        envvar="GAPLESS_STATE",
        metavar="FOLDER",
        help="A folder on a local disk for queue and ledger, when the home is on a network file "
        "system or on S3.  [default: the home; for one on S3 a folder of the user's]",
        show_default=False,
    ),
]
LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        envvar="GAPLESS_LEDGER",
        metavar="URL",
        help="A database for the ledger, such as postgresql+psycopg://user@host/name.  "
        "[default: SQLite in the state folder]",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")
]
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The sweep file (TOML).", show_default=False)
]
SweepArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SWEEP",
        help="A sweep's id, name or the beginning of its id; needed when the home holds several.",
        show_default=False,
    ),
]
OneSweepArgument = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP", help="A sweep's id, name or the beginning of its id.", show_default=False
    ),
]
StatusSweepArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SWEEP",
        help="A sweep's id, name or the beginning of its id.  [default: all]",
        show_default=False,
    ),
]
SweepsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SWEEP",
        help="Sweeps to serve, each by id, name or the beginning of its id.  [default: all]",
        show_default=False,
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Worker processes.  [default: all cores]",
        show_default=False,
    ),
]
UntilCompleteOption = Annotated[
    bool,
    typer.Option("--until-complete", help="End when every run of these sweeps has its result."),
]
ParentPipeOption = Annotated[int | None, typer.Option("--parent-pipe", hidden=True)]
CodeOption = Annotated[
    CodeChoice | None,
    typer.Option(
        "--code",
        metavar="old|new",
        help="When the code changed since the sweep was submitted: which one goes on?",
        show_default=False,
    ),
]
NewOption = Annotated[
    bool,
    typer.Option("--new", help="A sweep of its own, though another one has its name."),
]
ExtendOption = Annotated[
    str | None,
    typer.Option(
        "--extend",
        metavar="SWEEP",
        help="Add to this sweep the points and replicates that it lacks.",
        show_default=False,
    ),
]
JobSizeOption = Annotated[
    int | None,
    typer.Option(
        "--job-size",
        min=1,
        metavar="N",
        help="Runs a job.  [default: from run_time, else from the number of runs]",
        show_default=False,
    ),
]
GraceOption = Annotated[
    float,
    typer.Option(
        "--grace",
        parser=duration_s,
        metavar="TIME",
        help="When stopped: how long runs under way may still take, such as 1min.  [default: 30s]",
        show_default=False,
    ),
]
