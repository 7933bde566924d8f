"""What commands print: documents, tables and errors. Standard output is for what was asked."""

from __future__ import annotations

import io
import json
import logging
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

from gapless.cli.advice import pasteable
from gapless.errors import DiskFull, GaplessError, UserMistake

__all__ = [
    "end_stopped",
    "end_with",
    "print_document",
    "print_line",
    "print_note",
    "print_table",
    "run_program",
]

_STOPPED = 130
"""As a shell tells of a program that SIGINT ended."""


def run_program(app: Callable[..., Any], name: str) -> None:
    """Run a Typer app as a whole program; never returns.

    A person's mistake ends with its message and exit status 2, another error of gapless with its
    message and 1; neither with a traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Text of user code may hold what this terminal's encoding does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    # A blip that was sat out is no news (`gapless.patience`); what lasts is told by who waits.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    try:
        app(prog_name=name)
    except GaplessError as error:
        end_with(name, str(error), error)
    except KeyboardInterrupt:
        end_stopped(name)


def end_with(name: str, message: str, error: GaplessError) -> NoReturn:
    """End the program `name` with a message and the exit status of this kind of error."""
    if isinstance(error, DiskFull):
        message = f"{message}, then run the same command again"
    print_note(f"{name}: {message}")
    sys.exit(2 if isinstance(error, UserMistake) else 1)


def end_stopped(name: str) -> NoReturn:
    """End the program `name` that a person stopped: every command of ours goes on when repeated."""
    print_note(f"\n{name}: stopped; the same command goes on from here")
    sys.exit(_STOPPED)


def print_document(document: Any) -> None:
    """Print one JSON document; numbers that JSON does not have (NaN, infinity) as null."""
    text = json.dumps(_strict(document), indent=2, default=str, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _strict(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case complex():
            return {"real": _strict(value.real), "imag": _strict(value.imag)}
        case dict():
            return {key: _strict(each) for key, each in value.items()}
        case list() | tuple():
            return [_strict(each) for each in value]
        case _:
            return value


def print_line(text: str = "") -> None:
    """Print a line on standard output; commands in it can be pasted."""
    sys.stdout.write(pasteable(text) + "\n")


def print_note(text: str) -> None:
    """Print a line for the person on standard error, after what was printed so far.

    Commands in it (in backticks) can be pasted.
    """
    sys.stdout.flush()
    sys.stderr.write(pasteable(text) + "\n")
    sys.stderr.flush()


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[str] = frozenset()
) -> None:
    """Print a table on standard output; `right` names the columns of numbers.

    A terminal that is wide enough gets rich's table; anything else gets every column whole, apart
    by two spaces: nothing is ever cut.
    """
    widths = [
        max(len(column), *(len(row[i]) for row in rows)) if rows else len(column)
        for i, column in enumerate(columns)
    ]
    if sys.stdout.isatty() and _print_rich(columns, rows, widths, right):
        return
    for row in (columns, *rows):
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _print_rich(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    right: frozenset[str],
) -> bool:
    """Print a table of rich, if it fits the terminal; tell whether it did."""
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    if sum(widths) + 2 * (len(widths) - 1) > console.width:
        return False
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(Text(column), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    return True
