"""Fix a declared space: evaluate formulas and samples, keep what `where` and unions keep.

Candidates are walked in blocks, so memory is bounded by a block and by the bitmap of what is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap64

from gapless.declaration.axes import MAX_VALUES, Formula
from gapless.declaration.columns import Column
from gapless.declaration.errors import DeclarationError
from gapless.declaration.expression import Expression
from gapless.declaration.expression_blocks import holds
from gapless.declaration.factors import Block, Factor, Kept, Rows, add_kept, numbers_in_blocks
from gapless.declaration.frozen import FrozenSpace
from gapless.declaration.matching import Finder

__all__ = [
    "MAX_CANDIDATES",
    "MAX_POINTS",
    "Candidates",
    "Recipe",
    "check_size",
    "check_walk",
    "estimate_points",
    "freeze_blocks",
]

MAX_CANDIDATES = 10**9
"""The most candidates that `where` and unions look at, one by one."""
MAX_POINTS = 2**62
"""The most points of a space: their numbers are 64-bit integers."""

_FEWEST_DRAWN = 10_000


class Recipe:
    """A factor still to be made: columns of a list at once, of a formula or a sample when asked."""

    def __init__(
        self,
        names: tuple[str, ...],
        make: Callable[[], Sequence[Column]],
        *,
        formula: Formula | None = None,
    ) -> None:
        self.names = names
        self._make = make
        self._formula = formula
        self._given = 0

    @classmethod
    def of(cls, name: str, axis: Column | Formula) -> Recipe:
        """Make the recipe of one axis."""
        if isinstance(axis, Formula):
            return cls((name,), lambda: [axis.column()], formula=axis)
        return cls((name,), lambda: [axis])

    @cached_property
    def factor(self) -> Factor:
        """The factor; DeclarationError when an axis is too long to hold."""
        columns = self._make()
        self._given = len(columns[0])
        if self._formula is None:
            return Factor.of(self.names, columns)
        # A formula's values ascend or descend: what repeats stands side by side.
        (column,) = columns
        changes = np.append(True, np.diff(column.values) != 0)
        kept = column if changes.all() else Column(column.values[changes], column.kind)
        return Factor(self.names, len(kept), lambda: (kept,))

    @property
    def repeated(self) -> int:
        """Count the rows that stood before, and are dropped; DeclarationError."""
        kept = self.factor.count
        return self._given - kept

    @property
    def held(self) -> bool:
        """Tell whether its values fit in memory."""
        return self._formula is None or self._formula.count <= MAX_VALUES

    @property
    def count(self) -> int:
        """How many rows the factor has."""
        if self._formula is not None and not self.held:
            return self._formula.count
        return self.factor.count

    def columns_at(self, rows: Rows) -> list[Column]:
        """Give the values at these rows."""
        if self._formula is not None and not self.held:
            values = self._formula.at(rows)
            return [Column(values, "int" if values.dtype.kind == "i" else "float")]
        return [column.take(rows) for column in self.factor.columns]


@dataclass(frozen=True)
class Candidates:
    """One block of a declared space: a product, and the conditions its points must hold."""

    recipes: tuple[Recipe, ...]
    wheres: tuple[Expression, ...] = ()

    @property
    def count(self) -> int:
        """How many candidates the product has, of any size."""
        return math.prod(recipe.count for recipe in self.recipes)

    def columns_at(self, rows: Sequence[Rows], names: Sequence[str]) -> dict[str, Column]:
        """Give the values of these parameters at the rows of each factor."""
        return {
            name: column
            for recipe, own in zip(self.recipes, rows, strict=True)
            if not set(names).isdisjoint(recipe.names)
            for name, column in zip(recipe.names, recipe.columns_at(own), strict=True)
        }


def check_size(blocks: Sequence[Candidates]) -> None:
    """DeclarationError when points could not be numbered."""
    count = sum(block.count for block in blocks)
    if count > MAX_POINTS:
        raise DeclarationError(
            f"the space has {count:,} points, more than 2**62 can be numbered: take fewer values "
            "or parameters, or draw a sample"
        )


def freeze_blocks(names: tuple[str, ...], blocks: Sequence[Candidates]) -> FrozenSpace:
    """Fix the space; DeclarationError when it is too large or nothing is kept."""
    check_size(blocks)
    for block in blocks:
        for recipe in block.recipes:
            assert recipe.factor.count > 0
    sieves = list(_sieves(blocks))
    _check_walk(sieves)
    frozen = tuple(filter(None, map(_frozen, sieves)))
    if not frozen:
        raise DeclarationError(_nothing_kept(blocks))
    return FrozenSpace(names, frozen)


def check_walk(blocks: Sequence[Candidates]) -> None:
    """DeclarationError when freezing would look at too many candidates; looks at none."""
    _check_walk(list(_sieves(blocks)))


def _check_walk(sieves: Sequence[_Sieve]) -> None:
    walked = sum(sieve.block.count for sieve in sieves if not sieve.open)
    if walked > MAX_CANDIDATES:
        raise DeclarationError(
            f"where and unions would look at {walked:,} candidates one by one, more than "
            f"{MAX_CANDIDATES:,}: take fewer values, move a condition into the axes (zip, or "
            "blocks that do not overlap), or draw a sample; --dry-run estimates what is kept"
        )


def estimate_points(blocks: Sequence[Candidates], samples: int) -> int:
    """Estimate how many points are kept, from about `samples` candidates drawn evenly.

    The same answer each time. Overlaps with axes too long to hold are not looked for.
    """
    total = sum(block.count for block in blocks)
    generator = np.random.default_rng(0)
    points = 0
    for sieve in _sieves(blocks):
        count = sieve.block.count
        if sieve.open:
            points += count
            continue
        drawn = max(_FEWEST_DRAWN, samples * count // total)
        rows = [generator.integers(recipe.count, size=drawn) for recipe in sieve.block.recipes]
        points += count * int(np.count_nonzero(sieve.mask(rows, drawn))) // drawn
    return points


class _Sieve:
    """Tells which candidates of a block are points: conditions hold, no earlier block has them."""

    def __init__(self, block: Candidates, earlier: Sequence[Candidates]) -> None:
        self.block = block
        self._earlier: list[tuple[Finder, tuple[Expression, ...]]] = []
        for other in earlier:
            if not all(recipe.held for each in (block, other) for recipe in each.recipes):
                continue
            finder = Finder(
                source=[recipe.factor for recipe in block.recipes],
                target=[recipe.factor for recipe in other.recipes],
            )
            if not finder.disjoint:
                self._earlier.append((finder, other.wheres))

    @property
    def open(self) -> bool:
        """Tell whether every candidate is a point."""
        return not self.block.wheres and not self._earlier

    def mask(self, rows: Sequence[Rows], count: int) -> NDArray[np.bool_]:
        """Tell for each of `count` candidates, given by their row in each factor."""
        kept = np.zeros(count, dtype=np.bool_)
        places = self._passing(self.block.wheres, rows, np.arange(count))
        for finder, wheres in self._earlier:
            found = finder.find([own[places] for own in rows], len(places)) >= 0
            # What the earlier block's own conditions drop is no duplicate.
            repeated = self._passing(wheres, rows, places[found])
            places = np.setdiff1d(places, repeated, assume_unique=True)
        kept[places] = True
        return kept

    def _passing(self, wheres: Sequence[Expression], rows: Sequence[Rows], places: Rows) -> Rows:
        for where in wheres:
            if not places.size:
                break
            columns = self.block.columns_at([own[places] for own in rows], where.names)
            places = places[holds(where, columns, len(places))]
        return places


def _sieves(blocks: Sequence[Candidates]) -> Iterator[_Sieve]:
    for number, block in enumerate(blocks):
        yield _Sieve(block, blocks[:number])


def _frozen(sieve: _Sieve) -> Block | None:
    block = Block(tuple(recipe.factor for recipe in sieve.block.recipes))
    if sieve.open:
        return block
    bits = BitMap64()
    for candidates in numbers_in_blocks(block.candidates):
        add_kept(bits, candidates, sieve.mask(block.rows_of(candidates), len(candidates)))
    if len(bits) == block.candidates:
        return block
    return Block(block.factors, Kept.of(bits)) if bits else None


def _nothing_kept(blocks: Sequence[Candidates]) -> str:
    texts = dict.fromkeys(repr(where.text) for block in blocks for where in block.wheres)
    count = sum(block.count for block in blocks)
    return (
        f"where {' and '.join(texts)} keeps none of the {count:,} points: "
        "check its values against the axes"
    )
