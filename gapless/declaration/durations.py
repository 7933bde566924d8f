"""Durations ("10 min") and sizes ("2 GB") as people write them; seconds and bytes inside."""

from __future__ import annotations

import math
import re

from gapless.declaration.errors import DeclarationError
from gapless.declaration.wording import describe

__all__ = [
    "DURATION_EXPECTED",
    "MEMORY_EXPECTED",
    "SIZE_EXPECTED",
    "format_duration",
    "parse_duration",
    "parse_memory",
    "parse_size",
]

_DURATION_UNITS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3_600.0,
    "d": 86_400.0,
}
_SIZE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_LONGEST_S = 10**9
_LARGEST_BYTES = 2**60
_LEAST_MEMORY_BYTES = 16_000_000
"""With less no program can start: CPython 3.11 alone needs 8 to 12 MB of addresses (Linux)."""
_LONGEST_SHOWN = 60

DURATION_EXPECTED = 'a duration above 0, like "5 ms", "10 min", "2 h" or a number of seconds'
"""What a duration looks like, for messages."""
SIZE_EXPECTED = 'a size above 0, like "2 GB", "512 MiB" or a whole number of bytes'
"""What a size looks like, for messages."""
MEMORY_EXPECTED = 'a size of at least 16 MB, like "2 GB", "512 MiB" or a whole number of bytes'
"""What a limit of memory looks like, for messages."""

_QUANTITY = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_duration(value: str | float) -> float:
    """Give seconds of "5 ms", "10min", "2 h" or of a plain number of seconds."""
    seconds = _quantity(value, units=_DURATION_UNITS, plain="s")
    if seconds is None or not 0 < seconds <= _LONGEST_S:
        raise DeclarationError(f"found {_shown(value)}, expected {DURATION_EXPECTED}")
    return seconds


def parse_size(value: str | float) -> int:
    """Give bytes of "2 GB" (10**9 each), "512 MiB" (2**20 each) or of a whole number of bytes."""
    size_bytes = _quantity(value, units=_SIZE_UNITS, plain="B")
    if size_bytes is None or not 1 <= size_bytes <= _LARGEST_BYTES:
        raise DeclarationError(f"found {_shown(value)}, expected {SIZE_EXPECTED}")
    return math.floor(size_bytes)


def parse_memory(value: str | float) -> int:
    """Give bytes of a size that a program can start with: "2" is no limit that anybody means."""
    size_bytes = parse_size(value)
    if size_bytes < _LEAST_MEMORY_BYTES:
        raise DeclarationError(f"found {_shown(value)}, expected {MEMORY_EXPECTED}")
    return size_bytes


def format_duration(seconds: float) -> str:
    """Write seconds for people, with the largest unit that fits: 0.005 -> "5 ms"."""
    # Rounded first: 0.99999 s would else be shown as "1e+03 ms".
    seconds = float(f"{seconds:.3g}")
    unit = "us"
    for name, factor in _DURATION_UNITS.items():
        if seconds >= factor:
            unit = name
    return f"{seconds / _DURATION_UNITS[unit]:.3g} {unit}"


def _shown(value: object) -> str:
    if isinstance(value, int):
        return describe(value)
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "…"


def _quantity(
    value: object, *, units: dict[str, float] | dict[str, int], plain: str
) -> float | None:
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) > _LARGEST_BYTES):
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or len(match[0]) > 40:
        return None
    factor = units.get(match[2] or plain)
    return None if factor is None else float(match[1]) * factor
