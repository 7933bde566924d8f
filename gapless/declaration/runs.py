"""Runs: from numbers to parameters, replicates and seeds, a whole block at a time.

A number belongs to the segment whose range holds it. Within the segment it is a place, shuffled or
not; places go through the segment's parts in turn, in each point by point, replicates innermost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gapless.declaration.columns import Column, Kind, gather, joined_kind
from gapless.declaration.errors import DamagedMessage
from gapless.declaration.extensions import Extension, extension
from gapless.declaration.factors import Fetch, Rows
from gapless.declaration.frozen import FrozenSpace
from gapless.declaration.permutation import permute
from gapless.declaration.runset import RunSet
from gapless.declaration.seeds import Seeder, SeedMode
from gapless.declaration.segments import Part, Segment, first_segment

__all__ = [
    "Extension",
    "Part",
    "RunBlock",
    "RunDescription",
    "Runs",
    "Seeded",
    "Segment",
    "extension",
    "first_segment",
]

Numbers = NDArray[np.uint64]


class Seeded(Protocol):
    """What runs need to know of a declaration beside its segments."""

    @property
    def seed(self) -> int:
        """The root seed."""

    @property
    def seed_mode(self) -> SeedMode:
        """Whether the point enters a seed, or not ("common")."""


@dataclass(frozen=True, slots=True)
class RunDescription:
    """All that a run's number says."""

    number: int
    parameters: dict[str, Any]
    replicate: int
    seed: int


@dataclass(frozen=True, slots=True)
class RunBlock:
    """Many runs: parameters by name, replicates and seeds (int64), all of shape (n,)."""

    parameters: dict[str, Column]
    replicates: NDArray[np.int64]
    seeds: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Placed:
    """Some of the numbers asked: their places in what was asked, points of one part, replicates."""

    places: Rows | slice
    space: FrozenSpace
    points: Rows
    replicates: Rows


class Runs:
    """Every run of a sweep, by number: 0 <= number < total. Reads objects when first needed."""

    def __init__(self, declaration: Seeded, segments: Sequence[Segment], fetch: Fetch) -> None:
        self._segments = [_Layout(segment, fetch) for segment in segments]
        self.total = 0
        for layout in self._segments:
            if layout.segment.base != self.total:
                raise DamagedMessage(
                    f"segment {layout.segment.number} begins at run {layout.segment.base}, "
                    f"expected {self.total}"
                )
            self.total += layout.count
        if not self._segments:
            raise DamagedMessage("a sweep has no segments")
        self.names = self._segments[0].spaces[0].names
        self._ends = np.cumsum([layout.count for layout in self._segments], dtype=np.int64)
        self._seeder = Seeder(declaration.seed, declaration.seed_mode)
        self._kinds: dict[str, Kind] | None = None

    @property
    def all(self) -> RunSet:
        """Every run number."""
        return RunSet.span(0, self.total)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each parameter's column, the same whichever runs are asked for."""
        if self._kinds is None:
            spaces = [space for layout in self._segments for space in layout.spaces]
            self._kinds = {
                name: joined_kind([column for space in spaces for column in space.listed[name]])
                for name in self.names
            }
        return self._kinds

    def block(self, numbers: Numbers) -> RunBlock:
        """Give parameters, replicates and seeds of these runs, in their order (any order)."""
        placed = list(self._placed(numbers))
        count = len(numbers)
        return RunBlock(
            parameters=self._parameters(placed, count),
            replicates=_replicates(placed, count),
            seeds=self._seeds(placed, count),
        )

    def parameters(self, numbers: Numbers) -> dict[str, Column]:
        """Give the values of each parameter for these runs, in their order (any order)."""
        return self._parameters(list(self._placed(numbers)), len(numbers))

    def replicates(self, numbers: Numbers) -> NDArray[np.int64]:
        """Give the replicate of each run, counted from 0."""
        return _replicates(list(self._placed(numbers)), len(numbers))

    def seeds(self, numbers: Numbers) -> NDArray[np.int64]:
        """Give the seed of each run, 0 <= seed < 2**63."""
        return self._seeds(list(self._placed(numbers)), len(numbers))

    def describe(self, number: int) -> RunDescription:
        """Say all about one run."""
        if not 0 <= number < self.total:
            raise IndexError(f"run {number} of a sweep of {self.total:,} runs")
        block = self.block(np.array([number], dtype=np.uint64))
        return RunDescription(
            number=number,
            parameters={name: column.tolist()[0] for name, column in block.parameters.items()},
            replicate=int(block.replicates[0]),
            seed=int(block.seeds[0]),
        )

    def _placed(self, numbers: Numbers) -> Iterator[_Placed]:
        asked = numbers.astype(np.int64)
        if asked.size and not 0 <= int(asked.min()) <= int(asked.max()) < self.total:
            raise IndexError(f"run {int(numbers.max())} of a sweep of {self.total:,} runs")
        for places, number in _split(asked, self._ends):
            layout = self._segments[number]
            local = asked[places] - layout.segment.base
            if layout.segment.order == "shuffled":
                local = permute(local, count=layout.count, key=layout.segment.key)
            for inner, part in _split(local, layout.ends):
                within = local[inner] - (int(layout.ends[part]) - layout.counts[part])
                points, replicates = layout.unfold(part, within)
                yield _Placed(_composed(places, inner), layout.spaces[part], points, replicates)

    def _parameters(self, placed: list[_Placed], count: int) -> dict[str, Column]:
        columns = [(each.places, each.space.columns(each.points)) for each in placed]
        return {
            name: gather(count, kind, [(places, found[name]) for places, found in columns])
            for name, kind in self.kinds.items()
        }

    def _seeds(self, placed: list[_Placed], count: int) -> NDArray[np.int64]:
        seeds = np.empty(count, dtype=np.int64)
        for each in placed:
            for places, block, rows in each.space.located(each.points):
                own = self._seeder.seeds(block.factors, rows, each.replicates[places])
                seeds[_composed(each.places, places)] = own
        return seeds


class _Layout:
    """A segment with its spaces read: where each part's runs lie."""

    def __init__(self, segment: Segment, fetch: Fetch) -> None:
        self.segment = segment
        self.spaces = [FrozenSpace.from_json(part.space, fetch) for part in segment.parts]
        self.counts = [
            len(space) * (part.replicate_stop - part.replicate_start)
            for space, part in zip(self.spaces, segment.parts, strict=True)
        ]
        self.count = sum(self.counts)
        self.ends = np.cumsum(self.counts, dtype=np.int64)

    def unfold(self, part: int, places: Rows) -> tuple[Rows, Rows]:
        """Give point and replicate of places within a part."""
        start = self.segment.parts[part].replicate_start
        width = self.segment.parts[part].replicate_stop - start
        points = places // width
        replicates = places - points * width
        replicates += start
        return points, replicates


def _replicates(placed: list[_Placed], count: int) -> NDArray[np.int64]:
    replicates = np.empty(count, dtype=np.int64)
    for each in placed:
        replicates[each.places] = each.replicates
    return replicates


def _split(numbers: Rows, ends: Rows) -> Iterator[tuple[Rows | slice, int]]:
    """Give, by range, the places of the numbers that lie in it."""
    if len(ends) == 1:
        yield slice(None), 0
        return
    owners = np.searchsorted(ends, numbers, side="right")
    for owner in np.unique(owners).tolist():
        yield np.flatnonzero(owners == owner), owner


def _composed(outer: Rows | slice, inner: Rows | slice) -> Rows | slice:
    """Give the places in the whole of places within a part of it."""
    if isinstance(outer, slice):
        return inner
    return outer if isinstance(inner, slice) else outer[inner]
