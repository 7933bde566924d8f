"""A CSV file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import os
from pathlib import Path

from gapless.results.row_table import FIXED, RowTable, write_csv

__all__ = ["is_results_table", "save_csv"]


def save_csv(table: RowTable, path: Path) -> None:
    """Write a table beside `path`, then put it there: whoever reads it never sees a part.

    Half characters, which UTF-8 cannot hold, are written as Python escapes them. What is no plain
    file (a pipe, a device) is written directly. OSError.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        _write(table, path, "w")
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write(table, part, "x")
        part.replace(path)
    except BaseException:
        # A crash here leaves a file of this name, which nothing reads.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def is_results_table(head: bytes) -> bool:
    """Tell by the beginning of a CSV file whether it is a table of results with every column."""
    first, newline, _ = head.decode("utf-8", "replace").partition("\n")
    try:
        columns = next(csv.reader([first]), [])
    except csv.Error:
        return False
    if not newline or columns[:1] != ["run"] or FIXED[0] not in columns:
        return False
    start = columns.index(FIXED[0])
    return tuple(columns[start : start + len(FIXED)]) == FIXED


def _write(table: RowTable, path: Path, mode: str) -> None:
    with path.open(mode, encoding="utf-8", errors="backslashreplace", newline="") as file:
        write_csv(table, file)
