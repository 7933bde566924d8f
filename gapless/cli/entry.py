"""The program `sweep` and its hyphenated programs: the same functions, put together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand

from gapless.cli import accounting, desired, programs, reading, removing, submitting, verifying
from gapless.cli.advice import advising
from gapless.cli.output import end_stopped, end_with, print_line, run_program

__all__ = [
    "aggregator_main",
    "app",
    "main",
    "node_main",
    "reconcile_main",
    "resubmit_main",
    "submit_main",
]

_COMMANDS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("run", submitting.run),
    ("submit", submitting.submit),
    ("node", programs.node),
    ("aggregate", programs.aggregate),
    ("status", reading.status),
    ("results", reading.results),
    ("reconcile", accounting.reconcile),
    ("resubmit", accounting.resubmit),
    ("verify", verifying.verify),
    ("pause", desired.pause),
    ("resume", desired.resume),
    ("cancel", desired.cancel),
    ("remove", removing.remove),
)


class _Command(TyperCommand):
    """A command whose help names arguments as people do: SWEEP, not SWEEP <list[str]>."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        for parameter in (each for each in self.params if isinstance(each, TyperArgument)):
            setattr(parameter, "display_type_rich", lambda ctx: None)  # noqa: ARG005, B010


def _program(**settings: Any) -> typer.Typer:
    # Plain help and plain tracebacks: rich would cost start-up time in every program.
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        **settings,
    )


def _show_version(*, asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # noqa: PLC0415

        print_line(f"gapless {version('gapless')}")
        raise typer.Exit


def _advising(command: Callable[..., Any], program: str) -> Callable[..., Any]:
    return advising(
        command,
        on_error=functools.partial(end_with, program),
        on_stop=functools.partial(end_stopped, program),
    )


app = _program(name="sweep", no_args_is_help=True)


@app.callback()
def _sweep(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda value: _show_version(asked=value),
            help="Print the version and leave.",
        ),
    ] = False,
) -> None:
    """Run parameter sweeps without gaps: every run recorded exactly once."""


for _name, _command in _COMMANDS:
    app.command(_name, cls=_Command)(_advising(_command, "sweep"))


def _run_alone(command: Callable[..., Any], name: str) -> None:
    alone = _program(name=name)
    alone.command(name, cls=_Command)(_advising(command, name))
    run_program(alone, name)


def main() -> None:
    """Run `sweep`."""
    run_program(app, "sweep")


def submit_main() -> None:
    """Run `sweep-submit`."""
    _run_alone(submitting.submit, "sweep-submit")


def node_main() -> None:
    """Run `sweep-node`."""
    _run_alone(programs.node, "sweep-node")


def aggregator_main() -> None:
    """Run `sweep-aggregator`."""
    _run_alone(programs.aggregate, "sweep-aggregator")


def reconcile_main() -> None:
    """Run `sweep-reconcile`."""
    _run_alone(accounting.reconcile, "sweep-reconcile")


def resubmit_main() -> None:
    """Run `sweep-resubmit`."""
    _run_alone(accounting.resubmit, "sweep-resubmit")
