"""The space of parameters as a person declares it: lazy, combined with `*`, `+` and `where`.

`a * b` is every point of a with every point of b (b changes fastest); a union is multiplied block
by block: (a + b) * c is a * c, then b * c. `a + b` is the points of a, then those of b that a has
not. A value that an axis or a table repeats stands once, where it stood first.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from gapless.declaration.axes import (
    Formula,
    axis_values,
    check_names,
    geomspace,
    linspace,
    logspace,
    range_,
)
from gapless.declaration.columns import Column
from gapless.declaration.errors import DeclarationError
from gapless.declaration.expression import Expression
from gapless.declaration.factors import numbers_in_blocks
from gapless.declaration.freezing import (
    Candidates,
    Recipe,
    check_size,
    check_walk,
    estimate_points,
    freeze_blocks,
)
from gapless.declaration.frozen import FrozenSpace
from gapless.declaration.sampling import Sample, choice, integers, loguniform, uniform

__all__ = [
    "Column",
    "FrozenSpace",
    "Space",
    "choice",
    "geomspace",
    "integers",
    "linspace",
    "logspace",
    "loguniform",
    "range_",
    "uniform",
]

_MAX_BLOCKS = 256
"""The most blocks of a union: each is compared with all before it."""


class Space:
    """Points to run, by number; immutable. Made by grid, zip_, points, table, sample, single."""

    def __init__(self, names: tuple[str, ...], blocks: tuple[Candidates, ...]) -> None:
        """Take blocks as they are: use the class methods instead."""
        self.names = names
        self._blocks = blocks

    @classmethod
    def grid(cls, axes: Mapping[str, Any] | None = None, /, **more: Any) -> Space:
        """Combine every value of every parameter; the last one changes fastest."""
        given = _by_name("grid", axes, more)
        if not given:
            raise DeclarationError("grid: is empty: expected at least one parameter")
        check_names(tuple(given), where="grid")
        recipes = [Recipe.of(name, axis_values(name, axis)) for name, axis in given.items()]
        return cls(tuple(given), (Candidates(tuple(recipes)),))

    @classmethod
    def single(cls) -> Space:
        """Give the one point that has no parameters (a sweep that only repeats)."""
        return cls((), (Candidates(()),))

    @classmethod
    def zip_(cls, columns: Mapping[str, Any] | None = None, /, **more: Any) -> Space:
        """Take values together: the first of every parameter, then the second of every one, …."""
        given = _by_name("zip", columns, more)
        return cls._rows("zip", tuple(given), list(given.values()))

    @classmethod
    def table(cls, names: Sequence[str], columns: Sequence[Any]) -> Space:
        """Take the rows of a table; `columns[i]` are the values of `names[i]`."""
        if len(names) != len(columns):
            raise DeclarationError(
                f"table: expected one column for each of {len(names)} names, found {len(columns)}"
            )
        return cls._rows("table", tuple(names), columns)

    @classmethod
    def points(cls, points: Sequence[Mapping[str, Any]]) -> Space:
        """Take single points, each with the same parameters."""
        if isinstance(points, Mapping) or not isinstance(points, Iterable):
            raise DeclarationError(
                f"points: expected a list with a table of parameters for each point, found a "
                f"{type(points).__name__}; columns go into zip"
            )
        rows = list(points)
        if not rows:
            raise DeclarationError("points: is empty: expected at least one point")
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, Mapping):
                raise DeclarationError(
                    f"points: row {number}: expected a table of parameters, found "
                    f"{str(row)[:40]!r}; columns go into zip"
                )
            lacking = [name for name in rows[0] if name not in row]
            more = [name for name in row if name not in rows[0]]
            if lacking:
                raise DeclarationError(f"points: row {number} lacks {', '.join(lacking)}")
            if more:
                raise DeclarationError(
                    f"points: row {number} has {', '.join(map(str, more))}, which row 1 lacks"
                )
        names = tuple(rows[0])
        return cls._rows("points", names, [[row[name] for row in rows] for name in names])

    @classmethod
    def sample(
        cls,
        parameters: Mapping[str, Any] | None = None,
        /,
        *,
        n: int,
        method: str = "random",
        seed: int = 0,
        **more: Any,
    ) -> Space:
        """Draw `n` points by `method` (random, sobol, lhs, halton), the same ones for a `seed`.

        Each parameter is uniform, loguniform, integers or choice, or spelled as in a sweep file:
        `{"uniform": [0, 1]}`. `parameters` takes names that are arguments here, such as n.
        """
        drawn = Sample({**(parameters or {}), **more}, method=method, count=n, seed=seed)
        return cls(drawn.names, (Candidates((Recipe(drawn.names, drawn.columns),)),))

    @classmethod
    def _rows(cls, what: str, names: tuple[str, ...], columns: Sequence[Any]) -> Space:
        if not names:
            raise DeclarationError(f"{what}: is empty: expected at least one parameter")
        check_names(names, where=what)
        taken: list[Column] = []
        for name, given in zip(names, columns, strict=True):
            values = axis_values(name, given)
            taken.append(values.column() if isinstance(values, Formula) else values)
        lengths = [len(column) for column in taken]
        if len(set(lengths)) > 1:
            row = min(lengths) + 1
            lacking = [name for name, length in zip(names, lengths, strict=True) if length < row]
            shown = ", ".join(
                f"{name} {length}" for name, length in zip(names, lengths, strict=True)
            )
            raise DeclarationError(
                f"{what}: row {row} lacks {', '.join(lacking)}: expected columns of one length, "
                f"found {shown}"
            )
        return cls(names, (Candidates((Recipe(names, lambda: taken),)),))

    def __mul__(self, other: Space) -> Space:
        if not isinstance(other, Space):
            return NotImplemented
        both = [name for name in self.names if name in other.names]
        if both:
            raise DeclarationError(
                f"a product has the parameter {both[0]!r} on both sides: name it once"
            )
        return Space(
            self.names + other.names,
            _counted(
                tuple(
                    Candidates(left.recipes + right.recipes, left.wheres + right.wheres)
                    for left in self._blocks
                    for right in other._blocks
                )
            ),
        )

    def __add__(self, other: Space) -> Space:
        if not isinstance(other, Space):
            return NotImplemented
        for one, another in ((self.names, other.names), (other.names, self.names)):
            lacking = [name for name in one if name not in another]
            if lacking:
                raise DeclarationError(
                    f"a union has a block without {', '.join(lacking)}: expected the same "
                    f"parameters in each, found ({', '.join(self.names)}) and "
                    f"({', '.join(other.names)})"
                )
        return Space(self.names, _counted(self._blocks + other._blocks))

    def where(self, expression: str) -> Space:
        """Keep the points at which an expression on parameters is true."""
        condition = Expression(expression, self.names)
        return Space(
            self.names,
            tuple(replace(block, wheres=(*block.wheres, condition)) for block in self._blocks),
        )

    def freeze(self) -> FrozenSpace:
        """Evaluate everything; DeclarationError when it cannot be, or nothing is left."""
        return self._frozen

    def estimate(self, samples: int = 1_000_000) -> tuple[int, bool]:
        """Say how many points there are, and whether that is exact (else from a sample)."""
        count = sum(block.count for block in self._blocks)
        if self._plain:
            return count, True
        if count <= samples or "_frozen" in self.__dict__:
            return len(self._frozen), True
        return estimate_points(self._blocks, samples), False

    def repeated(self) -> dict[str, int]:
        """Count the values that stood before on their axis, and are dropped, by its names."""
        return {
            ", ".join(recipe.names): recipe.repeated
            for block in self._blocks
            for recipe in block.recipes
            if recipe.repeated
        }

    def check_walk(self) -> None:
        """Check that `freeze` would look at no more than it can; DeclarationError, at once."""
        check_walk(self._blocks)

    def __len__(self) -> int:
        if not self._plain:
            return len(self._frozen)
        check_size(self._blocks)
        return self._blocks[0].count

    def __getitem__(self, point: int) -> dict[str, Any]:
        point = operator.index(point)
        if not self._plain:
            return self._frozen[point]
        count = self._blocks[0].count
        if not -count <= point < count:
            raise IndexError(f"point {point} of a space of {count:,} points")
        point %= count
        found: dict[str, Any] = {}
        for recipe in reversed(self._blocks[0].recipes):
            point, row = divmod(point, recipe.count)
            columns = recipe.columns_at(np.array([row], dtype=np.int64))
            for name, column in zip(recipe.names, columns, strict=True):
                (found[name],) = column.tolist()
        return {name: found[name] for name in self.names}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for numbers in numbers_in_blocks(len(self)):
            columns = self._frozen.columns(numbers)
            values = {name: column.tolist() for name, column in columns.items()}
            for place in range(len(numbers)):
                yield {name: values[name][place] for name in self.names}

    def __repr__(self) -> str:
        # No count: it may take a long walk, or fail.
        return f"Space({', '.join(self.names)})"

    @property
    def _plain(self) -> bool:
        return len(self._blocks) == 1 and not self._blocks[0].wheres

    @cached_property
    def _frozen(self) -> FrozenSpace:
        return freeze_blocks(self.names, self._blocks)


def _by_name(what: str, given: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    # A data frame is no Mapping, and gives its columns as one does.
    if given is not None and not (isinstance(given, Mapping) or hasattr(given, "keys")):
        raise DeclarationError(
            f"{what}: expected parameters by name, such as n=[1, 2], found "
            f"{str(given)[:40]!r} without one"
        )
    return {**({} if given is None else given), **more}


def _counted(blocks: tuple[Candidates, ...]) -> tuple[Candidates, ...]:
    if len(blocks) > _MAX_BLOCKS:
        raise DeclarationError(
            f"a union has {len(blocks):,} blocks, more than {_MAX_BLOCKS:,}: give its points as "
            "one table"
        )
    return blocks
