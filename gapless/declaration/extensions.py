"""Extensions: a new segment for what no earlier segment has. Old runs keep number and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap64

from gapless.declaration.canonical import canonical_json
from gapless.declaration.errors import DeclarationError
from gapless.declaration.factors import (
    Block,
    Fetch,
    Kept,
    Rows,
    add_kept,
    add_numbers,
    numbers_in_blocks,
)
from gapless.declaration.freezing import MAX_CANDIDATES
from gapless.declaration.frozen import FrozenSpace
from gapless.declaration.matching import Finder
from gapless.declaration.segments import Declared, Part, Segment, check_runs, order_key

__all__ = ["Extension", "extension"]

Ranges = tuple[tuple[int, int], ...]
"""Half-open ranges of replicates, ascending."""


@dataclass(frozen=True)
class Extension:
    """A new segment, and the objects its spaces name (SHA-256 -> bytes): store these first."""

    segment: Segment
    objects: dict[str, bytes]


def extension(
    declaration: Declared,
    earlier: Sequence[Segment],
    space: FrozenSpace,
    replicates: int,
    *,
    fetch: Fetch,
) -> Extension | None:
    """Give numbers to the points and replicates of a wider space that no segment has yet.

    Points are compared by the canonical value of their parameters. `fetch` gives the objects of the
    earlier segments. None when there is nothing new.
    """
    total = sum(segment.count for segment in earlier)
    had = [
        (part, FrozenSpace.from_json(part.space, fetch)) for each in earlier for part in each.parts
    ]
    for _, other in had:
        _check_same_names(space, other)
    parts: list[Part] = []
    objects: dict[str, bytes] = {}
    for wanted, piece in _missing(space, had, replicates):
        for start, stop in wanted:
            parts.append(Part(space=piece.to_json(), replicate_start=start, replicate_stop=stop))
        objects |= piece.objects
    if not parts:
        return None
    check_runs(total + sum(part.count for part in parts))
    number = len(earlier)
    segment = Segment(
        number=number,
        base=total,
        parts=tuple(parts),
        order=declaration.order,
        key=order_key(declaration.seed, number),
    )
    return Extension(segment, objects)


def _missing(
    space: FrozenSpace, had: Sequence[tuple[Part, FrozenSpace]], replicates: int
) -> list[tuple[Ranges, FrozenSpace]]:
    """Give the replicates that are missing, and the points that miss just these."""
    written = canonical_json(space.to_json())
    every: Ranges = ((0, replicates),) if replicates > 0 else ()
    unlike: list[tuple[Part, FrozenSpace]] = []
    for part, other in had:
        # The same space, only repeated more often, is not walked, however large.
        if canonical_json(part.space) == written:
            every = _without(every, part)
        else:
            unlike.append((part, other))
    groups: dict[Ranges, list[Block]] = {}
    for block in space.blocks:
        for wanted, piece in _sorted_out(block, unlike, every):
            groups.setdefault(wanted, []).append(piece)
    return [
        (wanted, FrozenSpace(space.names, tuple(blocks)))
        for wanted, blocks in groups.items()
        if wanted
    ]


def _sorted_out(
    block: Block, had: Sequence[tuple[Part, FrozenSpace]], every: Ranges
) -> list[tuple[Ranges, Block]]:
    finders = [
        (part, other, finder)
        for part, space in had
        for other in space.blocks
        if not (finder := Finder(source=block.factors, target=other.factors)).disjoint
    ]
    if not finders or not every:
        return [(every, block)]
    if block.count > MAX_CANDIDATES:
        raise DeclarationError(
            f"the extension would compare {block.count:,} points with those there are, more than "
            f"{MAX_CANDIDATES:,}: declare only the new points, in blocks of their own"
        )
    kept: dict[Ranges, BitMap64] = {}
    for points in numbers_in_blocks(block.count):
        candidates = points if block.kept is None else block.kept.select(points)
        states = _states(block.rows_of(candidates), len(points), finders, every)
        for wanted, chosen in states:
            bits = kept.setdefault(wanted, BitMap64())
            if block.kept is None:
                add_kept(bits, candidates, chosen)
            else:
                add_numbers(bits, candidates[chosen])
    return [
        (wanted, block if len(bits) == block.count else Block(block.factors, Kept.of(bits)))
        for wanted, bits in kept.items()
    ]


def _states(
    rows: list[Rows],
    count: int,
    finders: Sequence[tuple[Part, Block, Finder]],
    every: Ranges,
) -> list[tuple[Ranges, NDArray[np.bool_]]]:
    """Group points by the replicates they miss: (replicates, which of the points)."""
    states: list[tuple[Ranges, NDArray[np.bool_]]] = [(every, np.ones(count, dtype=np.bool_))]
    for part, other, finder in finders:
        found = finder.find(rows, count)
        held = found >= 0
        if other.kept is not None:
            held[held] = other.kept.holds(found[held])
        if not held.any():
            continue
        split: dict[Ranges, NDArray[np.bool_]] = {}
        for wanted, chosen in states:
            for ranges, members in (
                (wanted, chosen & ~held),
                (_without(wanted, part), chosen & held),
            ):
                if members.any():
                    split[ranges] = split[ranges] | members if ranges in split else members
        states = list(split.items())
    return states


def _without(ranges: Ranges, part: Part) -> Ranges:
    left: list[tuple[int, int]] = []
    for start, stop in ranges:
        left.append((start, min(stop, part.replicate_start)))
        left.append((max(start, part.replicate_stop), stop))
    return tuple((start, stop) for start, stop in left if start < stop)


def _check_same_names(space: FrozenSpace, other: FrozenSpace) -> None:
    if sorted(space.names) != sorted(other.names):
        raise DeclarationError(
            f"an extension has the parameters ({', '.join(space.names)}), the sweep has "
            f"({', '.join(other.names)}): expected the same ones; else submit it as a new sweep"
        )
