"""What commands print: documents, tables and errors. Standard output is for what was asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from gapless.errors import GaplessError, UserMistake

__all__ = ["print_document", "print_line", "print_note", "print_table", "run_program"]


def run_program(app: Callable[..., Any], name: str) -> None:
    """Run a Typer app as a whole program; never returns.

    A person's mistake ends with its message and exit status 2, another error of gapless with its
    message and 1; neither with a traceback.
    """
    try:
        app(prog_name=name)
    except UserMistake as mistake:
        _end(f"{name}: {mistake}", 2)
    except GaplessError as error:
        _end(f"{name}: {error}", 1)


def print_document(document: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
    sys.stdout.flush()


def print_line(text: str = "") -> None:
    """Print a line on standard output."""
    sys.stdout.write(text + "\n")


def print_note(text: str) -> None:
    """Print a line for the person on standard error, after what was printed so far."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[str] = frozenset()
) -> None:
    """Print a table on standard output; `right` names the columns of numbers.

    A terminal gets rich's table; a file or a pipe gets every column whole, apart by two spaces.
    """
    if sys.stdout.isatty():
        from rich import box  # noqa: PLC0415
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(Text(column), justify="right" if column in right else "left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [
        max(len(column), *(len(row[i]) for row in rows)) if rows else len(column)
        for i, column in enumerate(columns)
    ]
    for row in (columns, *rows):
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        print_line("  ".join(cells).rstrip())


def _end(message: str, status: int) -> None:
    print_note(message)
    sys.exit(status)
