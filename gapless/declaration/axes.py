"""The values of one parameter: a list, or a formula that gives one when the space is frozen."""

from __future__ import annotations

import difflib
import keyword
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gapless.declaration.canonical import INT_MAX, INT_MIN
from gapless.declaration.columns import Column, column_of, plain
from gapless.declaration.errors import DeclarationError

__all__ = [
    "MAX_VALUES",
    "RESERVED_NAMES",
    "Formula",
    "axis_values",
    "check_names",
    "geomspace",
    "linspace",
    "logspace",
    "nearest",
    "range_",
]

MAX_VALUES = 10_000_000
"""The most values one axis, table or sample may have: they are stored one by one."""

RESERVED_NAMES = frozenset({"seed", "run", "setup", "replicate", "run_dir"})
"""Names that mean something else in a call of user code or in a command."""

_Spelling = Literal["linspace", "logspace", "geomspace", "range"]


@dataclass(frozen=True, slots=True)
class Formula:
    """Values by formula, as numpy gives them; `count` values. Made by linspace and its like."""

    spelling: _Spelling
    start: float
    stop: float
    step: float
    count: int

    def values(self) -> NDArray[Any]:
        """Give all values; DeclarationError above MAX_VALUES."""
        if self.count > MAX_VALUES:
            raise DeclarationError(
                f"{self} has {self.count:,} values, more than {MAX_VALUES:,} on one axis: "
                "make it coarser, or split it into two parameters"
            )
        # What overflows becomes infinite, and `column` says so.
        with np.errstate(over="ignore", invalid="ignore"):
            match self.spelling:
                case "linspace":
                    return np.linspace(self.start, self.stop, self.count)
                case "logspace":
                    return np.logspace(self.start, self.stop, self.count)
                case "geomspace":
                    return np.geomspace(self.start, self.stop, self.count)
                case "range":
                    return self.start + np.arange(self.count, dtype=np.int64) * self.step

    def at(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Give the values at `rows` of an axis too long to hold (for a look before a submit)."""
        if self.spelling == "range":
            return self.start + rows * self.step
        share = rows / max(1, self.count - 1)
        match self.spelling:
            case "logspace":
                return np.power(10.0, self.start + share * (self.stop - self.start))
            case "geomspace":
                return self.start * np.power(self.stop / self.start, share)
            case _:
                return self.start + share * (self.stop - self.start)

    def column(self) -> Column:
        """Give all values as a column; DeclarationError when one is infinite or no number."""
        values = self.values()
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DeclarationError(f"{self} has infinite values: bring its ends closer to zero")
        return Column(values, "int" if values.dtype.kind == "i" else "float")

    def __repr__(self) -> str:
        last = self.step if self.spelling == "range" else self.count
        return f"{self.spelling}({self.start!r}, {self.stop!r}, {last!r})"

    def __str__(self) -> str:
        last = self.step if self.spelling == "range" else self.count
        return f"{self.spelling} = [{self.start!r}, {self.stop!r}, {last!r}]"


def linspace(start: float, stop: float, count: int) -> Formula:
    """`count` evenly spaced floats from `start` to `stop`, both included."""
    return _spaced("linspace", start, stop, count)


def logspace(start: float, stop: float, count: int) -> Formula:
    """`count` floats from 10**start to 10**stop, both included, evenly spaced in the exponent."""
    return _spaced("logspace", start, stop, count)


def geomspace(start: float, stop: float, count: int) -> Formula:
    """`count` floats from `start` to `stop`, both included, each the same multiple of the last."""
    formula = _spaced("geomspace", start, stop, count)
    if formula.start == 0 or formula.stop == 0 or (formula.start < 0) != (formula.stop < 0):
        raise DeclarationError(f"{formula} needs two ends of one sign, neither of them zero")
    return formula


def range_(start: float, stop: float | None = None, step: float = 1) -> Formula:
    """Start, start + step, …; `stop` is excluded. One argument: from 0. Integers stay integers."""
    if stop is None:
        start, stop = 0, start
    start, stop, step = (_number("range", each) for each in (start, stop, step))
    if step == 0:
        raise DeclarationError("range has step 0: expected a step that leads from start to stop")
    # Counted in exact decimals: 1.0 to 1.3 by 0.1 has three values, though (1.3 - 1.0) / 0.1 > 3.
    exact = [Fraction(repr(each)) for each in (start, stop, step)]
    count = max(0, math.ceil((exact[1] - exact[0]) / exact[2]))
    if not all(type(each) is int for each in (start, stop, step)):
        start, stop, step = float(start), float(stop), float(step)
    elif min(start, stop) < INT_MIN or max(start, stop, start + count * step) > INT_MAX:
        raise DeclarationError(f"range = [{start}, {stop}, {step}] has integers beyond 64 bits")
    return Formula("range", start, stop, step, count)


_SPELLINGS: dict[str, tuple[Callable[..., Formula], range, str]] = {
    "linspace": (linspace, range(3, 4), "[start, stop, count]"),
    "logspace": (logspace, range(3, 4), "[first exponent, last exponent, count]"),
    "geomspace": (geomspace, range(3, 4), "[start, stop, count]"),
    "range": (range_, range(1, 4), "[start, stop] or [start, stop, step], stop excluded"),
}


def axis_values(name: str, given: Any) -> Column | Formula:
    """Read what was given for one parameter: a list, an array, a range, or a formula.

    A formula may be written as in a sweep file: `{"linspace": [0.0, 1.0, 21]}`.
    """
    try:
        return _read_axis(given)
    except DeclarationError as error:
        raise DeclarationError(f"parameter {name!r}: {error}") from error


def check_names(names: Sequence[Any], *, where: str) -> None:
    """DeclarationError unless the names are distinct and each can be an argument's name."""
    for position, name in enumerate(names):
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise DeclarationError(
                f"{where}: {name!r} cannot name a parameter: expected a Python name "
                "(letters, digits, _; no keyword)"
            )
        if unicodedata.normalize("NFKC", name) != name:
            raise DeclarationError(
                f"{where}: Python reads the name {name!r} as "
                f"{unicodedata.normalize('NFKC', name)!r}: use that"
            )
        if name in RESERVED_NAMES:
            raise DeclarationError(
                f"{where}: the name {name!r} is reserved (for what gapless passes to your code): "
                f"rename the parameter, for example {name}_"
            )
        if name in names[:position]:
            raise DeclarationError(f"{where}: parameter {name!r} stands twice")


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Say which known name was perhaps meant: ` (did you mean 'x'?)`, or nothing."""
    found = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _read_axis(given: Any) -> Column | Formula:
    if isinstance(given, Mapping):
        given = _written(given)
    if isinstance(given, Formula):
        if given.count == 0:
            raise DeclarationError(f"{given} is empty: it has no value")
        return given
    if hasattr(given, "__array__") and not np.isscalar(given):
        # A column of a table, as pandas and its like give it.
        given = np.asarray(given)
    if not isinstance(given, np.ndarray | list | tuple | range) or getattr(given, "ndim", 1) == 0:
        raise DeclarationError(
            f"expected a list of values or a formula, found {str(given)[:40]!r} "
            f"({type(given).__name__}); {_list_advice(given)}"
        )
    if len(given) > MAX_VALUES:
        raise DeclarationError(f"has {len(given):,} values, more than {MAX_VALUES:,}")
    if len(given) == 0:
        raise DeclarationError("is empty: expected at least one value")
    return column_of([plain(each) for each in given])


def _list_advice(given: Any) -> str:
    if isinstance(given, AbstractSet):
        return "a set has no order: write sorted(…)"
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | np.ndarray):
        return "write list(…)"
    return "for one value write a list of one"


def _written(given: Mapping[Any, Any]) -> Formula:
    if len(given) != 1 or next(iter(given)) not in _SPELLINGS:
        keys = ", ".join(map(str, given))
        guess = nearest(keys, list(_SPELLINGS))
        raise DeclarationError(
            f"expected a list or one of {', '.join(_SPELLINGS)}, found a table with "
            f"{keys or 'nothing'}{guess}"
        )
    ((spelling, arguments),) = given.items()
    make, lengths, expected = _SPELLINGS[spelling]
    if not isinstance(arguments, list | tuple) or len(arguments) not in lengths:
        raise DeclarationError(f"{spelling}: expected {expected}, found {str(arguments)[:60]}")
    return make(*arguments)


def _spaced(spelling: _Spelling, start: float, stop: float, count: int) -> Formula:
    start, stop = (float(_number(spelling, each)) for each in (start, stop))
    count = plain(count)
    if type(count) is not int or count < 1:
        raise DeclarationError(
            f"{spelling}: expected a count of at least 1, found {str(count)[:40]!r}"
        )
    return Formula(spelling, start, stop, 0.0, count)


def _number(spelling: str, value: Any) -> float:
    value = plain(value)
    if type(value) not in {int, float} or not math.isfinite(value):
        raise DeclarationError(f"{spelling}: expected a number, found {str(value)[:40]!r}")
    return value  # type: ignore[no-any-return]
