"""Values as short text for a table that people read; CSV and JSON give them whole."""

from __future__ import annotations

from typing import Any

__all__ = ["cell"]

_DIGITS = 6
_MOST = 60


def cell(value: Any) -> str:
    """Word a value in at most 60 characters: long text is cut, a large array named by its shape."""
    match value:
        case None:
            return ""
        case float():
            return f"{value:.{_DIGITS}g}"
        case list():
            return _list(value)
        case str():
            return _cut(value)
        case _:
            return _cut(str(value))


def _list(value: list[Any]) -> str:
    shape = _shape(value)
    if len(value) <= _MOST and len(shape) == 1:
        text = str(value)
        if len(text) <= _MOST:
            return text
    return f"array({', '.join(str(length) for length in shape)})"


def _shape(value: list[Any]) -> list[int]:
    """Give the lengths along the dimensions, as far as the first items tell."""
    shape = []
    inner: Any = value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    return shape


def _cut(text: str) -> str:
    # A table has one line a row.
    line = text[: 4 * _MOST].replace("\r", " ").replace("\n", " ")
    return line if len(line) <= _MOST and len(text) <= _MOST else f"{line[: _MOST - 1]}…"
