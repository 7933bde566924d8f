"""Segments: which run has which number. Written once, never changed."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from gapless.declaration.canonical import canonical_json, check_value
from gapless.declaration.errors import DamagedMessage, DeclarationError, NewerFormat
from gapless.declaration.frozen import points_in
from gapless.declaration.mixing import key_words
from gapless.declaration.permutation import MAX_COUNT

__all__ = [
    "Declared",
    "Order",
    "Part",
    "Segment",
    "check_runs",
    "first_segment",
    "order_key",
]

Order = Literal["shuffled", "declared"]

_MAJOR = 1


class Declared(Protocol):
    """What segments need to know of a declaration."""

    @property
    def space(self) -> Any:
        """The frozen space's JSON form."""

    @property
    def replicates(self) -> int:
        """How often each point is run."""

    @property
    def seed(self) -> int:
        """The root seed."""

    @property
    def order(self) -> Order:
        """The order of numbers in a segment."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Points of a space, each with replicates start <= replicate < stop; point by point."""

    space: Any
    replicate_start: int
    replicate_stop: int

    @property
    def count(self) -> int:
        """How many runs the part has."""
        return points_in(self.space) * (self.replicate_stop - self.replicate_start)


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Run numbers base <= number < base + count: its parts, one after the other, or shuffled.

    `key` is the key of the permutation that shuffles; nothing when the order is "declared".
    """

    number: int
    base: int
    parts: tuple[Part, ...]
    order: Order
    key: int

    @property
    def count(self) -> int:
        """How many runs the segment has."""
        return sum(part.count for part in self.parts)

    def encode(self) -> bytes:
        """Write it as canonical JSON."""
        wire = _Wire(
            format=f"gapless.segment/{_MAJOR}",
            number=self.number,
            base=self.base,
            parts=self.parts,
            order=self.order,
            key=self.key,
        )
        return canonical_json(msgspec.to_builtins(wire))

    @classmethod
    def decode(cls, data: bytes) -> Segment:
        """Read what `encode` wrote; DamagedMessage or NewerFormat."""
        wire = _read(data)
        ranges = [(part.replicate_start, part.replicate_stop) for part in wire.parts]
        if not ranges or wire.base < 0 or any(not 0 <= start < stop for start, stop in ranges):
            raise DamagedMessage(f"segment {wire.number} has no runs or a negative number")
        segment = cls(
            number=wire.number, base=wire.base, parts=wire.parts, order=wire.order, key=wire.key
        )
        if wire.number < 0 or not 0 <= wire.key < 2**63 or wire.base + segment.count > MAX_COUNT:
            raise DamagedMessage(f"segment {wire.number} has a number that cannot be")
        return segment


class _Wire(msgspec.Struct, kw_only=True):
    format: str
    number: int
    base: int
    parts: tuple[Part, ...]
    order: Order
    key: int


class _FormatWire(msgspec.Struct):
    format: str


def first_segment(declaration: Declared) -> Segment:
    """Give numbers to the runs of a declaration: every point with every replicate."""
    part = Part(space=declaration.space, replicate_start=0, replicate_stop=declaration.replicates)
    check_runs(part.count)
    return Segment(
        number=0,
        base=0,
        parts=(part,),
        order=declaration.order,
        key=order_key(declaration.seed, 0),
    )


def order_key(seed: int, number: int) -> int:
    """Give the key that shuffles segment `number`: the same file is shuffled the same way."""
    words = key_words(str(seed).encode("ascii"), f"gapless.order {number}".encode("ascii"), 1)
    return int(words[0] >> 1)


def check_runs(total: int) -> None:
    """DeclarationError when runs could not be numbered."""
    if total < 1:
        raise DeclarationError("the sweep has no runs: expected at least one replicate")
    if total > MAX_COUNT:
        raise DeclarationError(
            f"the sweep has {total:,} runs, more than 2**62 can be numbered: take fewer values, "
            "parameters or replicates, or draw a sample"
        )


def _read(data: bytes) -> _Wire:
    try:
        found = msgspec.json.decode(data, type=_FormatWire).format
        name, _, major = found.partition("/")
        if name == "gapless.segment" and major.isascii() and major.isdigit():
            if int(major[:9]) != _MAJOR:
                raise NewerFormat(kind="segment", found=int(major[:9]), known=_MAJOR)
            wire = msgspec.json.decode(data, type=_Wire)
            # As for records: what cannot be written again was never written by us.
            check_value(msgspec.to_builtins(wire))
            return wire
    except (msgspec.DecodeError, UnicodeError, RecursionError, DeclarationError) as error:
        raise DamagedMessage(f"not a segment: {error}"[:300]) from error
    raise DamagedMessage(f"not a segment: format {found[:80]!r}")
