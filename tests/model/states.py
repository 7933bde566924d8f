"""Many states of the model at once: a state is one 64-bit word, and each field some bits of it.

A `Batch` holds n states as an array of n words. What is computed from a few neighbouring bits only
is looked up in a table made of the very code that defines it (`Part`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch", "Bits", "Field", "Layout", "Mask", "Part", "Words"]

Words = NDArray[np.uint64]
Bits = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_WORD = 64


@dataclass(frozen=True, slots=True)
class Field:
    """`width` bits (at most 8) from bit `shift` on. One without width is always 0."""

    name: str
    shift: int
    width: int

    @property
    def most(self) -> int:
        """Give the largest value the field can hold."""
        return (1 << self.width) - 1

    @property
    def mask(self) -> int:
        """Give the field's bits in the word."""
        return self.most << self.shift


class Layout:
    """Hands out the bits of the word, from the lowest on."""

    def __init__(self) -> None:
        self.used = 0

    def field(self, name: str, width: int) -> Field:
        """Take the next `width` bits."""
        made = Field(name, self.used, width)
        self.used += width
        if self.used > _WORD:
            raise OverflowError(f"a state of this model takes more than {_WORD} bits: {name}")
        return made


class Batch:
    """States, column by column. A field is read as uint8 and remembered until it is changed."""

    __slots__ = ("_read", "words")

    def __init__(self, words: Words) -> None:
        self.words = words
        self._read: dict[Field, Bits] = {}

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, field: Field) -> Bits:
        known = self._read.get(field)
        if known is None:
            if field.width:
                shifted = self.words >> np.uint64(field.shift)
                known = shifted.astype(np.uint8) & np.uint8(field.most)
            else:
                known = np.zeros(len(self), dtype=np.uint8)
            self._read[field] = known
        return known

    def __setitem__(self, field: Field, value: Any) -> None:
        value = np.asarray(value)
        if value.size and int(value.max()) > field.most:
            # Never cut off: a search that wraps a counter around would prove nothing.
            raise OverflowError(f"{field.name} holds at most {field.most}")
        if not field.width:
            return
        self.words = self.words & np.uint64(~field.mask & 0xFFFF_FFFF_FFFF_FFFF)
        self.words |= value.astype(np.uint64) << np.uint64(field.shift)
        for known in [known for known in self._read if known.mask & field.mask]:
            del self._read[known]

    def changed(self, field: Field, where: Mask, value: Any) -> None:
        """Set a field in some of the states only."""
        self[field] = np.where(where, value, self[field])

    def forget(self) -> None:
        """Forget what was read: the words are other ones."""
        self._read.clear()

    def take(self, rows: NDArray[np.intp] | Mask) -> Batch:
        """Copy some of the states."""
        return Batch(self.words[rows])

    def copy(self) -> Batch:
        """Copy all of the states."""
        copied = Batch(self.words)
        copied._read = dict(self._read)
        return copied


class Part:
    """Neighbouring fields, beside one more (`given`), as the index of a table.

    Both together are at most 20 bits. In the table's states every other field is 0.
    """

    def __init__(self, fields: Sequence[Field], given: Field) -> None:
        self._shift = np.uint64(fields[0].shift)
        width = sum(field.width for field in fields)
        self.mask = ((1 << width) - 1) << fields[0].shift
        self._most = np.uint64((1 << width) - 1)
        self._given = given
        self._given_shift = np.uint64(width)
        if width + given.width > 20 or self.mask != sum(field.mask for field in fields):
            raise ValueError("a part is neighbouring fields of at most 20 bits with what is given")
        self._size = 1 << (width + given.width)

    def table(self, function: Callable[[Batch], NDArray[Any]]) -> NDArray[Any]:
        """Give a function's value for every value of the part: one for each index."""
        index = np.arange(self._size, dtype=np.uint64)
        words = (index & self._most) << self._shift
        words |= (index >> self._given_shift) << np.uint64(self._given.shift)
        return function(Batch(words))

    def index(self, states: Batch) -> NDArray[np.intp]:
        """Tell where in a table each state is looked up."""
        found = (states.words >> self._shift) & self._most
        if self._given.width:
            found |= states[self._given].astype(np.uint64) << self._given_shift
        return found.astype(np.intp)
