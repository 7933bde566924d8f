"""What a frozen space is made of: factors (columns of equal length), blocks (their products)."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap64

from gapless.declaration.canonical import canonical_json
from gapless.declaration.columns import Column, column_of, first_rows
from gapless.declaration.errors import DamagedMessage, DeclarationError
from gapless.declaration.permutation import MAX_COUNT

__all__ = [
    "Block",
    "Factor",
    "Fetch",
    "Kept",
    "Rows",
    "add_kept",
    "add_numbers",
    "fetch_checked",
    "numbers_in_blocks",
    "read_names",
    "strides",
]

Rows = NDArray[np.int64]
Fetch = Callable[[str], bytes]

INLINE_BYTES = 64 * 1024
"""A factor whose JSON is larger is an object of its own, named by its SHA-256."""

_HELD = 1 << 24
_BLOCK = 1 << 18
_WINDOW = 1 << 22


class Factor:
    """Columns of equal length, each row one step of the product; no two rows are equal.

    The columns load when first asked for: counting points needs none of them.
    """

    def __init__(
        self, names: tuple[str, ...], count: int, load: Callable[[], tuple[Column, ...]]
    ) -> None:
        self.names = names
        self.count = count
        self._load = load

    @classmethod
    def of(cls, names: Sequence[str], columns: Sequence[Column]) -> Factor:
        """Build from columns; a row that stood before is dropped."""
        rows = first_rows(columns)
        kept = tuple(columns) if rows is None else tuple(column.take(rows) for column in columns)
        return cls(tuple(names), len(kept[0]), lambda: kept)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The values of each name, all rows."""
        return self._load()

    @cached_property
    def _written(self) -> bytes:
        return canonical_json([column.tolist() for column in self.columns])

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form: the values, or the name of the object that holds them."""
        written: dict[str, Any] = {"names": list(self.names), "count": self.count}
        if len(self._written) > INLINE_BYTES:
            return written | {"object": hashlib.sha256(self._written).hexdigest()}
        return written | {"columns": [column.tolist() for column in self.columns]}

    def objects(self) -> Iterator[bytes]:
        """Give the object the JSON form names, if it does."""
        if len(self._written) > INLINE_BYTES:
            yield self._written

    @classmethod
    def from_json(cls, written: dict[str, Any], fetch: Fetch) -> Factor:
        """Read what `to_json` gave; an object is fetched when its values are first needed."""
        names, count = read_names(written["names"]), _read_count(written["count"])
        listed, name = written.get("columns"), str(written.get("object"))

        def load() -> tuple[Column, ...]:
            try:
                columns: Any = listed
                if columns is None:
                    columns = msgspec.json.decode(fetch_checked(fetch, name))
                return _read_columns(columns, width=len(names), count=count)
            except (msgspec.DecodeError, TypeError, ValueError, DeclarationError) as error:
                raise DamagedMessage(
                    f"a factor of the space ({', '.join(names)}) is damaged: {error}"[:300]
                ) from error

        return cls(names, count, load)


class Kept:
    """The candidates of a block that are points of the space: a 64-bit roaring bitmap."""

    def __init__(self, count: int, load: Callable[[], BitMap64]) -> None:
        self.count = count
        self._load = load

    @classmethod
    def of(cls, bits: BitMap64) -> Kept:
        """Take over `bits`."""
        bits.run_optimize()
        return cls(len(bits), lambda: bits)

    @cached_property
    def bits(self) -> BitMap64:
        """The bitmap."""
        return self._load()

    @cached_property
    def _held(self) -> NDArray[Any] | None:
        if self.count > _HELD:
            return None
        last = int(self.bits.max())
        held = np.empty(self.count, dtype=np.uint32 if last < 2**32 else np.uint64)
        filled = 0
        # By windows: a whole array of 64-bit numbers beside this one would cost thrice its memory.
        start: int | None = int(self.bits.min())
        while start is not None:
            window = BitMap64()
            window.add_range(start, start + _WINDOW)
            numbers = np.asarray((self.bits & window).to_array(), dtype=np.uint64)
            held[filled : filled + len(numbers)] = numbers
            filled += len(numbers)
            # Not window by window: what is kept may lie far apart.
            start = None if filled == self.count else int(self.bits.next_set_bit(start + _WINDOW))
        return held

    @cached_property
    def _written(self) -> bytes:
        return bytes(self.bits.serialize())

    def select(self, positions: Rows) -> Rows:
        """Give the candidates at these places among those kept (0 <= place < count)."""
        held = self._held
        if held is not None:
            return held[positions].astype(np.int64)
        bits = self.bits
        return np.fromiter(
            (bits[position] for position in positions.tolist()),
            dtype=np.int64,
            count=len(positions),
        )

    def holds(self, candidates: Rows) -> NDArray[np.bool_]:
        """Tell for each candidate whether it is kept."""
        held = self._held
        if held is None:
            bits = self.bits
            return np.fromiter(
                (candidate in bits for candidate in candidates.tolist()),
                dtype=np.bool_,
                count=len(candidates),
            )
        found = candidates <= int(held[-1])
        # In the array's own type: another one would copy all of it at each call.
        sought = candidates[found].astype(held.dtype)
        found[found] = held[np.searchsorted(held, sought)] == sought
        return found

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form; the bitmap is always an object."""
        return {"count": self.count, "object": hashlib.sha256(self._written).hexdigest()}

    def objects(self) -> Iterator[bytes]:
        """Give the object the JSON form names: the portable 64-bit roaring serialisation."""
        yield self._written

    @classmethod
    def from_json(cls, written: dict[str, Any], fetch: Fetch, *, candidates: int) -> Kept:
        """Read what `to_json` gave, of a block of so many candidates."""
        count, name = _read_count(written["count"]), str(written["object"])

        def load() -> BitMap64:
            data = fetch_checked(fetch, name)
            try:
                bits = BitMap64.deserialize(data)
            except Exception as error:
                raise DamagedMessage(f"object {name} is no bitmap of points") from error
            if len(bits) != count:
                raise DamagedMessage(f"object {name} keeps {len(bits)} points, expected {count}")
            if int(bits.max()) >= candidates:
                raise DamagedMessage(f"object {name} keeps a point beyond {candidates} candidates")
            return bits

        return cls(count, load)


@dataclass(frozen=True, slots=True)
class Block:
    """A product of factors, the last one fastest; candidates not kept are no points."""

    factors: tuple[Factor, ...]
    kept: Kept | None = None

    @property
    def candidates(self) -> int:
        """How many combinations the product has."""
        return math.prod(factor.count for factor in self.factors)

    @property
    def count(self) -> int:
        """How many points the block has."""
        return self.candidates if self.kept is None else self.kept.count

    def rows(self, points: Rows) -> list[Rows]:
        """Give, for each factor, the rows of the points at these places."""
        return self.rows_of(points if self.kept is None else self.kept.select(points))

    def rows_of(self, candidates: Rows) -> list[Rows]:
        """Give, for each factor, the rows of these candidates."""
        rows: list[Rows] = []
        rest = candidates
        for factor in reversed(self.factors[1:]):
            quotient = rest // factor.count
            rows.append(rest - quotient * factor.count)
            rest = quotient
        if self.factors:
            rows.append(rest)
        return rows[::-1]

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form."""
        written: dict[str, Any] = {"factors": [factor.to_json() for factor in self.factors]}
        return written if self.kept is None else written | {"kept": self.kept.to_json()}

    def objects(self) -> Iterator[bytes]:
        """Give the objects the JSON form names."""
        for factor in self.factors:
            yield from factor.objects()
        if self.kept is not None:
            yield from self.kept.objects()

    @classmethod
    def from_json(cls, written: dict[str, Any], fetch: Fetch) -> Block:
        """Read what `to_json` gave."""
        kept = written.get("kept")
        factors = tuple(Factor.from_json(each, fetch) for each in written["factors"])
        candidates = math.prod(factor.count for factor in factors)
        if candidates > MAX_COUNT:
            raise DamagedMessage(f"a block of {len(factors)} factors has too many candidates")
        if kept is None:
            return cls(factors)
        return cls(factors, Kept.from_json(kept, fetch, candidates=candidates))


def read_names(written: Any) -> tuple[str, ...]:
    """Give the names of parameters as read from JSON; ValueError."""
    if not isinstance(written, list) or not all(isinstance(name, str) for name in written):
        raise ValueError("its names are no list of texts")
    if len(set(written)) != len(written):
        raise ValueError("a name stands twice in it")
    return tuple(written)


def _read_columns(written: Any, *, width: int, count: int) -> tuple[Column, ...]:
    fits = type(written) is list and len(written) == width
    if not fits or any(type(each) is not list or len(each) != count for each in written):
        raise ValueError("its columns are others than it says")
    return tuple(map(column_of, written))


def _read_count(written: Any) -> int:
    if type(written) is not int or not 1 <= written <= MAX_COUNT:
        raise ValueError("a count that cannot be")
    return written


def strides(factors: Sequence[Factor]) -> list[int]:
    """Give how far apart, in candidates, two rows of each factor lie."""
    found: list[int] = []
    stride = 1
    for factor in reversed(factors):
        found.append(stride)
        stride *= factor.count
    return found[::-1]


def numbers_in_blocks(count: int) -> Iterator[Rows]:
    """Give 0 <= number < count in blocks that bound memory."""
    for start in range(0, count, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, count), dtype=np.int64)


def add_kept(bits: BitMap64, candidates: Rows, kept: NDArray[np.bool_]) -> None:
    """Add those of the consecutive `candidates` that are kept to `bits`."""
    if kept.all():
        bits.add_range(int(candidates[0]), int(candidates[-1]) + 1)
        return
    add_numbers(bits, candidates[kept])


def add_numbers(bits: BitMap64, numbers: Rows) -> None:
    """Add numbers to `bits`."""
    # An array.array is read as one piece of memory, a numpy array number by number.
    bits |= BitMap64(array("Q", numbers.astype(np.uint64).tobytes()))


def fetch_checked(fetch: Fetch, name: str) -> bytes:
    """Fetch an object; DamagedMessage when it does not have the SHA-256 it is named by."""
    data = fetch(name)
    found = hashlib.sha256(data).hexdigest()
    if found != name:
        raise DamagedMessage(
            f"object {name} is damaged: its bytes have the SHA-256 {found}; "
            "submit the sweep's file again to store it anew"
        )
    return data
