"""A set of run numbers: what jobs, receipts, manifests and coverage are made of."""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from pyroaring import BitMap64

from gapless.declaration.errors import DamagedMessage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_RUNS", "RunSet"]

MAX_RUNS = 10**10
"""The most runs one set may hold: a bound on memory (one roaring container per 65,536 runs)."""

_WINDOW = 1 << 20
_RANGES_TRIED = 64


class RunSet:
    """An immutable set of run numbers (0 <= number < 2**63), a 64-bit roaring bitmap inside.

    Set operators give new sets. A set of consecutive numbers costs a few bytes per 65,536 of them.
    """

    __slots__ = ("_bits", "_count")

    def __init__(self, bits: BitMap64 | None = None) -> None:
        """Take over `bits`: the caller must not change it afterwards."""
        self._bits = BitMap64() if bits is None else bits
        self._count = -1

    @classmethod
    def of(cls, *numbers: int) -> RunSet:
        """Build from single numbers."""
        return cls(BitMap64(numbers))

    @classmethod
    def span(cls, start: int, stop: int) -> RunSet:
        """Build from the numbers start <= number < stop."""
        bits = BitMap64()
        if stop > start:
            bits.add_range(start, stop)
        return cls(bits)

    @classmethod
    def from_ranges(cls, ranges: Iterable[tuple[int, int]]) -> RunSet:
        """Build from half-open ranges (start, stop)."""
        bits = BitMap64()
        for start, stop in ranges:
            bits.add_range(start, stop)
        return cls(bits)

    @classmethod
    def from_numbers(cls, numbers: Iterable[int] | NDArray[np.uint64]) -> RunSet:
        """Build from numbers in any order; an integer array of shape (n,) is fastest."""
        if isinstance(numbers, np.ndarray):
            ordered = np.sort(numbers.astype(np.uint64, copy=False))
            if ordered.size and int(ordered[-1]) - int(ordered[0]) + 1 == ordered.size:
                return cls.span(int(ordered[0]), int(ordered[-1]) + 1)
            # An array.array is read several times faster than a numpy array (pyroaring 1.2).
            return cls(BitMap64(array("Q", ordered.tobytes())))
        return cls(BitMap64(numbers))

    @classmethod
    def union(cls, sets: Iterable[RunSet]) -> RunSet:
        """Join many sets."""
        bits = BitMap64()
        for each in sets:
            bits |= each._bits
        return cls(bits)

    def __or__(self, other: RunSet) -> RunSet:
        return RunSet(self._bits | other._bits)

    def __and__(self, other: RunSet) -> RunSet:
        return RunSet(self._bits & other._bits)

    def __sub__(self, other: RunSet) -> RunSet:
        return RunSet(self._bits - other._bits)

    def __len__(self) -> int:
        if self._count < 0:
            self._count = len(self._bits)
        return self._count

    def __bool__(self) -> bool:
        return bool(self._bits)

    def __contains__(self, number: int) -> bool:
        return number in self._bits

    def __iter__(self) -> Iterator[int]:
        return iter(self._bits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunSet) and self._bits == other._bits

    def __hash__(self) -> int:
        return hash(self.serialize())

    def __repr__(self) -> str:
        shown: list[str] = []
        for start, stop in self.ranges():
            if len(shown) == 4:
                shown.append("…")
                break
            shown.append(str(start) if stop == start + 1 else f"{start}-{stop - 1}")
        return f"RunSet({', '.join(shown)}; {len(self)} runs)"

    def isdisjoint(self, other: RunSet) -> bool:
        """Tell whether no number is in both."""
        return self._bits.isdisjoint(other._bits)

    def issubset(self, other: RunSet) -> bool:
        """Tell whether every number is in `other` too."""
        return self._bits.issubset(other._bits)

    def overlap(self, other: RunSet) -> int:
        """Count the numbers that are in both."""
        return int(self._bits.intersection_cardinality(other._bits))

    @property
    def least(self) -> int:
        """The smallest number; the set must not be empty."""
        return int(self._bits.min())

    @property
    def greatest(self) -> int:
        """The largest number; the set must not be empty."""
        return int(self._bits.max())

    def first(self, count: int) -> RunSet:
        """Take the `count` smallest numbers (all of them when there are fewer)."""
        if count <= 0:
            return RunSet()
        if count >= len(self):
            return self
        last = self._bits[count - 1]
        return RunSet(self._bits & RunSet.span(self.least, last + 1)._bits)

    def pieces(self, size: int) -> Iterator[RunSet]:
        """Cut into sets of at most `size` numbers, smallest numbers first."""
        rest = self
        while rest:
            piece = rest.first(size)
            yield piece
            rest = rest - piece

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Give the half-open ranges (start, stop), ascending; bounded memory."""
        if not self._bits:
            return
        if self.greatest - self.least + 1 == len(self):
            yield (self.least, self.greatest + 1)
            return
        pending: tuple[int, int] | None = None
        for start, stop in self._pieces_of_ranges():
            if pending is not None and pending[1] == start:
                pending = (pending[0], stop)
            else:
                if pending is not None:
                    yield pending
                pending = (start, stop)
        if pending is not None:
            yield pending

    def _pieces_of_ranges(self) -> Iterator[tuple[int, int]]:
        """Give ranges that may touch each other, ascending."""
        # Not by contains_range: in pyroaring 1.2.0 it answers True for ranges whose containers are
        # missing ({65535, 1114112} "contains" 65535 to 1114110).
        if len(self) <= _WINDOW:
            yield from _array_ranges(self.to_array())
            return
        position: int | None = self.least
        last = self.greatest
        while position is not None:
            end = position + _WINDOW
            window = BitMap64()
            window.add_range(position, end)
            window &= self._bits
            if len(window) == _WINDOW:
                yield (position, end)
            else:
                yield from _array_ranges(np.asarray(window.to_array(), dtype=np.uint64))
            following = self._bits.next_set_bit(end) if end <= last else None
            position = None if following is None else int(following)

    def to_array(self) -> NDArray[np.uint64]:
        """Give the numbers ascending, shape (n,)."""
        if not self._bits:
            return np.empty(0, dtype=np.uint64)
        least, greatest = self.least, self.greatest
        if greatest - least + 1 == len(self):
            return np.arange(least, greatest + 1, dtype=np.uint64)
        return np.asarray(self._bits.to_array(), dtype=np.uint64)

    def serialize(self) -> bytes:
        """Give the portable 64-bit roaring serialisation."""
        copy = self._bits.copy()
        copy.run_optimize()
        return bytes(copy.serialize())

    @classmethod
    def deserialize(cls, data: bytes) -> RunSet:
        """Read the portable 64-bit roaring serialisation; DamagedMessage when it is none."""
        try:
            runs = cls(BitMap64.deserialize(data))
        except Exception as error:
            raise DamagedMessage(f"not a serialised set of runs ({len(data)} bytes)") from error
        if runs and (runs.greatest >= 2**63 or len(runs) > MAX_RUNS):
            raise DamagedMessage(
                f"a set of {len(runs)} runs up to {runs.greatest}: the most are {MAX_RUNS}, below "
                "2**63"
            )
        return runs

    def to_text(self) -> str:
        """Give the serialisation as base64 (ASCII)."""
        return base64.b64encode(self.serialize()).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> RunSet:
        """Read what `to_text` gave."""
        try:
            return cls.deserialize(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as error:
            raise DamagedMessage("a set of runs is not base64") from error

    def to_wire(self) -> Any:
        """Give the JSON form of messages: [[start, stop], …], or base64 text when shorter."""
        if self._bits and self.greatest - self.least + 1 == len(self):
            return [[self.least, self.greatest + 1]]
        ranges: list[list[int]] = []
        for start, stop in self.ranges():
            ranges.append([start, stop])
            if len(ranges) > _RANGES_TRIED:
                return self.to_text()
        text = self.to_text()
        length = sum(len(str(start)) + len(str(stop)) + 4 for start, stop in ranges)
        return ranges if length <= len(text) + 2 else text

    @classmethod
    def from_wire(cls, wire: Any) -> RunSet:
        """Read what `to_wire` gave; DamagedMessage on anything else."""
        if isinstance(wire, str):
            return cls.from_text(wire)
        if not isinstance(wire, list):
            raise DamagedMessage("a set of runs is neither ranges nor text")
        previous = -1
        total = 0
        for each in wire:
            if not (
                isinstance(each, list)
                and len(each) == 2
                and all(type(bound) is int for bound in each)
                and previous < each[0] < each[1] < 2**63
            ):
                raise DamagedMessage(f"a set of runs has the range {each!r}"[:200])
            previous = each[1] - 1
            total += each[1] - each[0]
            if total > MAX_RUNS:
                raise DamagedMessage(f"a set of runs holds more than {MAX_RUNS} runs")
        return cls.from_ranges((start, stop) for start, stop in wire)


def _array_ranges(numbers: NDArray[np.uint64]) -> list[tuple[int, int]]:
    breaks = np.flatnonzero(np.diff(numbers) != 1)
    starts = numbers[np.concatenate(([0], breaks + 1))].tolist()
    stops = (numbers[np.concatenate((breaks, [numbers.size - 1]))] + np.uint64(1)).tolist()
    return list(zip(starts, stops, strict=True))
