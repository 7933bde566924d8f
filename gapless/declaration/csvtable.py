"""A table of points in CSV: a header of parameter names, then a row a point."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from gapless.declaration.errors import DeclarationError

__all__ = ["parse_table"]

_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)", re.ASCII)
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(inf(inity)?|nan)", re.IGNORECASE)
_TRUTHS = {"true": True, "True": True, "false": False, "False": False}
_MOST_REPORTED = 10
_MOST_DIGITS = 4_000
"""Python reads no integer of many more digits; those beyond 64 bits are told by who takes them."""
_SHOWN = 80


def parse_table(data: bytes, *, filename: str) -> tuple[list[str], list[list[Any]]]:
    """Read a table's names and columns; DeclarationError with a line for each mistake.

    A column of whole numbers gives ints, of numbers floats, of true and false booleans, any other
    text. Numbers written with leading zeros (007) are text. An empty cell is a mistake.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DeclarationError(
            f"{filename}, line {line}: found bytes that are no UTF-8, expected CSV in UTF-8"
        ) from error
    names, rows = _rows(text, filename)
    _check_rows(names, rows, filename)
    columns = [
        _column(name, [(line, cells[index]) for line, cells in rows], filename)
        for index, name in enumerate(names)
    ]
    return names, columns


def _rows(text: str, filename: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    names: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells) and len(cells) <= 1:
                continue
            if not names:
                names = [cell.strip() for cell in cells]
            else:
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise DeclarationError(
            f"{filename}, line {reader.line_num}: found {error}, expected CSV"
        ) from error
    if not names or not rows:
        found = "a header without rows" if names else "an empty file"
        raise DeclarationError(
            f"{filename}: found {found}, expected a header of parameter names, then a row a point"
        )
    return names, rows


def _check_rows(names: Sequence[str], rows: list[tuple[int, list[str]]], filename: str) -> None:
    mistakes = [
        f"{filename}, line {line}: found {len(cells)} values, expected {len(names)} "
        f"({', '.join(names)[:80]})"
        for line, cells in rows
        if len(cells) != len(names)
    ]
    mistakes += [
        f"{filename}, line {line}, column {name[:_SHOWN]}: found nothing, expected a value"
        for line, cells in rows
        for name, cell in zip(names, cells, strict=False)
        if not cell
    ]
    if len(mistakes) > _MOST_REPORTED:
        more = len(mistakes) - _MOST_REPORTED
        mistakes = [*mistakes[:_MOST_REPORTED], f"{filename}: and {more:,} more rows like these"]
    if mistakes:
        raise DeclarationError("\n".join(mistakes))


def _column(name: str, cells: list[tuple[int, str]], filename: str) -> list[Any]:
    if all(_WHOLE.fullmatch(cell) for _, cell in cells):
        return [_whole(name, cell, line, filename) for line, cell in cells]
    if all(_NUMBER.fullmatch(cell) or _NOT_FINITE.fullmatch(cell) for _, cell in cells):
        return [_finite(name, cell, line, filename) for line, cell in cells]
    if all(cell in _TRUTHS for _, cell in cells):
        return _each(cells, _TRUTHS.__getitem__)
    return _each(cells, str)


def _whole(name: str, cell: str, line: int, filename: str) -> int:
    if len(cell) > _MOST_DIGITS:
        raise DeclarationError(
            f"{filename}, line {line}, column {name[:_SHOWN]}: found an integer of {len(cell):,} "
            "digits, expected one within 64 bits"
        )
    return int(cell)


def _finite(name: str, cell: str, line: int, filename: str) -> float:
    value = float(cell)
    if not math.isfinite(value):
        raise DeclarationError(
            f"{filename}, line {line}, column {name[:_SHOWN]}: found {cell[:_SHOWN]}, expected a "
            "finite number"
        )
    return value


def _each(cells: list[tuple[int, str]], convert: Callable[[str], Any]) -> list[Any]:
    return [convert(cell) for _, cell in cells]
