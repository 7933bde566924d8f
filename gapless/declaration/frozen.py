"""A space whose values are all fixed: what sweep.json and segments hold, what nodes read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from gapless.declaration.columns import Column, Kind, gather, joined_kind
from gapless.declaration.errors import DamagedMessage
from gapless.declaration.factors import Block, Factor, Fetch, Rows, read_names
from gapless.declaration.permutation import MAX_COUNT

__all__ = ["FrozenSpace", "points_in"]


class FrozenSpace:
    """Points by number, 0 <= number < len(space): blocks one after the other, all distinct."""

    def __init__(self, names: tuple[str, ...], blocks: tuple[Block, ...]) -> None:
        self.names = names
        self.blocks = blocks
        self._ends = np.cumsum([block.count for block in blocks], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, point: int) -> dict[str, Any]:
        count = len(self)
        if not -count <= point < count:
            raise IndexError(f"point {point} of a space of {count:,} points")
        columns = self.columns(np.array([point % count], dtype=np.int64))
        return {name: column.tolist()[0] for name, column in columns.items()}

    def __repr__(self) -> str:
        return f"FrozenSpace({', '.join(self.names)}: {len(self):,} points)"

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The kind each parameter has in every column this space gives."""
        return {name: joined_kind(listed) for name, listed in self.listed.items()}

    @cached_property
    def listed(self) -> dict[str, list[Column]]:
        """The values each parameter may have, as its factors list them."""
        found: dict[str, list[Column]] = {name: [] for name in self.names}
        for factor in self.factors():
            for name, column in zip(factor.names, factor.columns, strict=True):
                found[name].append(column)
        return found

    def columns(self, points: Rows) -> dict[str, Column]:
        """Give the values of each parameter at these points (int64, any order), in their order."""
        parts: dict[str, list[tuple[Rows | slice, Column]]] = {name: [] for name in self.names}
        for places, block, rows in self.located(points):
            for factor, own in zip(block.factors, rows, strict=True):
                for name, column in zip(factor.names, factor.columns, strict=True):
                    parts[name].append((places, column.take(own)))
        return {name: gather(len(points), self.kinds[name], parts[name]) for name in self.names}

    def located(self, points: Rows) -> Iterator[tuple[Rows | slice, Block, list[Rows]]]:
        """Give, by block, the places of its points in `points` and their rows in each factor."""
        if len(self.blocks) == 1:
            yield slice(None), self.blocks[0], self.blocks[0].rows(points)
            return
        owners = np.searchsorted(self._ends, points, side="right")
        for number in np.unique(owners).tolist():
            places = np.flatnonzero(owners == number)
            block = self.blocks[number]
            before = int(self._ends[number]) - block.count
            yield places, block, block.rows(points[places] - before)

    def factors(self) -> Iterator[Factor]:
        """Give every factor of every block."""
        for block in self.blocks:
            yield from block.factors

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form; what is large is named by its SHA-256 and lies in `objects`."""
        return {
            "names": list(self.names),
            "blocks": [block.to_json() for block in self.blocks],
        }

    @cached_property
    def objects(self) -> dict[str, bytes]:
        """What the JSON form names: SHA-256 (hexadecimal) -> bytes."""
        return {
            hashlib.sha256(data).hexdigest(): data
            for block in self.blocks
            for data in block.objects()
        }

    @classmethod
    def from_json(cls, written: Any, fetch: Fetch) -> FrozenSpace:
        """Read what `to_json` gave; `fetch` gives an object by its name, when first needed.

        DamagedMessage when it is no such thing, or later when an object is damaged.
        """
        try:
            names = read_names(written["names"])
            blocks = tuple(Block.from_json(block, fetch) for block in written["blocks"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedMessage(f"not a space: {error!r}"[:200]) from error
        for block in blocks:
            held = sorted(name for factor in block.factors for name in factor.names)
            if held != sorted(names) or block.count < 1:
                raise DamagedMessage(f"not a space: a block has the names {held}"[:200])
        if not 1 <= sum(block.count for block in blocks) <= MAX_COUNT:
            raise DamagedMessage(
                "not a space: it has no blocks, or more points than can be counted"
            )
        return cls(names, blocks)


def points_in(written: Any) -> int:
    """Count the points of a space's JSON form; no object is needed."""

    def nothing(name: str) -> bytes:
        raise AssertionError(f"counting points fetched {name}")

    return len(FrozenSpace.from_json(written, nothing))
