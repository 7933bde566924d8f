"""Samples of a space: how many points, by which method, from which distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gapless.declaration.axes import MAX_VALUES, check_names, nearest
from gapless.declaration.columns import Column, column_of, plain
from gapless.declaration.errors import DeclarationError
from gapless.errors import MissingExtra

__all__ = ["Distribution", "Method", "Sample", "choice", "integers", "loguniform", "uniform"]

Method = Literal["random", "sobol", "lhs", "halton"]

_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class Distribution:
    """How one parameter is drawn. Made by uniform, loguniform, integers, choice."""

    spelling: Literal["uniform", "loguniform", "integers", "choice"]
    low: float = 0.0
    high: float = 1.0
    values: Column | None = None

    def __repr__(self) -> str:
        ends = (self.low, self.high) if self.values is None else self.values.tolist()
        return f"{self.spelling}({', '.join(map(repr, ends))})"

    def drawn(self, shares: NDArray[np.float64]) -> Column:
        """Turn numbers of [0, 1) into values, ascending as they do: an even spread stays even."""
        match self.spelling:
            case "uniform":
                spread = self.low + shares * (self.high - self.low)
                return Column(np.clip(spread, self.low, self.high), "float")
            case "loguniform":
                low, high = math.log(self.low), math.log(self.high)
                spread = np.exp(low + shares * (high - low))
                return Column(np.clip(spread, self.low, self.high), "float")
            case "integers":
                low, high = int(self.low), int(self.high)
                return Column(low + _steps(shares, high - low + 1), "int")
            case "choice":
                assert self.values is not None
                return self.values.take(_steps(shares, len(self.values)))


def uniform(low: float, high: float) -> Distribution:
    """Floats spread evenly from `low` to `high`."""
    low, high = _ends("uniform", low, high)
    return Distribution("uniform", float(low), float(high))


def loguniform(low: float, high: float) -> Distribution:
    """Floats whose logarithm is spread evenly from log(low) to log(high); 0 < low."""
    low, high = _ends("loguniform", low, high)
    if low <= 0:
        raise DeclarationError(f"loguniform: expected ends above zero, found {low!r}")
    return Distribution("loguniform", float(low), float(high))


def integers(low: int, high: int) -> Distribution:
    """Integers from `low` to `high`, both included, each equally likely."""
    low, high = _ends("integers", low, high)
    if type(low) is not int or type(high) is not int or max(abs(low), abs(high)) > _EXACT // 2:
        raise DeclarationError(
            f"integers: expected whole numbers within 2**52, found [{low!r}, {high!r}]"
        )
    return Distribution("integers", low, high)


def choice(*values: Any) -> Distribution:
    """One of these values, each equally likely."""
    if not values:
        raise DeclarationError("choice: expected at least one value, found none")
    return Distribution("choice", values=column_of([plain(each) for each in values]))


_SPELLINGS: dict[str, Callable[..., Distribution]] = {
    "uniform": uniform,
    "loguniform": loguniform,
    "integers": integers,
    "choice": choice,
}


def _read_distribution(given: Any) -> Distribution:
    if isinstance(given, Distribution):
        return given
    if not isinstance(given, Mapping) or len(given) != 1 or next(iter(given)) not in _SPELLINGS:
        shown = ", ".join(map(str, given)) if isinstance(given, Mapping) else str(given)
        raise DeclarationError(
            f"expected one of {', '.join(_SPELLINGS)} (values to choose from: "
            f"{{ choice = […] }}), found {shown[:60]!r}{nearest(shown, tuple(_SPELLINGS))}"
        )
    ((spelling, arguments),) = given.items()
    if isinstance(arguments, np.ndarray):
        arguments = arguments.tolist()
    if not isinstance(arguments, list | tuple) or (spelling != "choice" and len(arguments) != 2):
        raise DeclarationError(f"{spelling}: expected [low, high], found {str(arguments)[:60]}")
    return _SPELLINGS[spelling](*arguments)


def _distribution(name: str, given: Any) -> Distribution:
    try:
        return _read_distribution(given)
    except DeclarationError as error:
        raise DeclarationError(f"sample: parameter {name!r}: {error}") from error


class Sample:
    """Points drawn once, when the space is frozen."""

    def __init__(
        self, distributions: Mapping[str, Any], *, method: str, count: int, seed: int
    ) -> None:
        if method not in get_args(Method):
            raise DeclarationError(
                f"sample: expected a method of {', '.join(get_args(Method))}, found {method!r}"
                f"{nearest(str(method), get_args(Method))}"
            )
        if type(count) is not int or not 1 <= count <= MAX_VALUES:
            raise DeclarationError(
                f"sample: expected n from 1 to {MAX_VALUES:,}, found {str(count)[:40]}"
            )
        if type(seed) is not int or seed < 0:
            raise DeclarationError(f"sample: expected a seed of 0 or more, found {str(seed)[:40]}")
        if not distributions:
            raise DeclarationError("sample: is empty: expected at least one parameter")
        self.names = tuple(distributions)
        check_names(self.names, where="sample")
        self._distributions = [_distribution(*each) for each in distributions.items()]
        self._method = method
        self._count = count
        self._seed = seed

    def columns(self) -> list[Column]:
        """Draw; MissingExtra when the method needs scipy and it is not installed."""
        shares = _shares(self._method, self._count, len(self.names), self._seed)
        return [each.drawn(shares[:, place]) for place, each in enumerate(self._distributions)]


def _shares(method: str, count: int, width: int, seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    if method == "random":
        return generator.random((count, width))
    try:
        from scipy.stats import qmc  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra(purpose=f"sampling by {method}", extra="sampling") from error
    shares: NDArray[np.float64]
    # `seed` is the spelling every scipy >= 1.14 knows.
    match method:
        case "sobol":
            if width > qmc.Sobol.MAXDIM:
                raise DeclarationError(f"sample: sobol has at most {qmc.Sobol.MAXDIM} parameters")
            # A power of two is what the sequence is balanced for; its beginning is taken.
            power = (count - 1).bit_length()
            shares = qmc.Sobol(width, seed=generator).random_base2(power)[:count]
        case "lhs":
            shares = qmc.LatinHypercube(width, seed=generator).random(count)
        case _:
            shares = qmc.Halton(width, seed=generator).random(count)
    return shares


def _steps(shares: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    return np.minimum((shares * count).astype(np.int64), count - 1)


def _ends(spelling: str, low: Any, high: Any) -> tuple[Any, Any]:
    low, high = plain(low), plain(high)
    for end in (low, high):
        if type(end) not in {int, float} or not math.isfinite(end):
            raise DeclarationError(f"{spelling}: expected two numbers, found {str(end)[:40]!r}")
    if low > high or (low == high and spelling != "integers"):
        raise DeclarationError(f"{spelling}: expected low < high, found [{low!r}, {high!r}]")
    if not math.isfinite(float(high) - float(low)):
        raise DeclarationError(f"{spelling}: {low!r} and {high!r} lie too far apart")
    return low, high
