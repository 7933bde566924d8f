"""What a fuzz target is: a decoder, what must hold of whatever it decodes, and where to begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Target", "WrongValue", "holds"]

MEBIBYTE = 2**20


class WrongValue(AssertionError):
    """A decoder gave a value that its bytes cannot mean, or that its format forbids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One decoder.

    `check` decodes bytes: True when they were decoded (and all that must hold did), False when they
    were refused with the decoder's own error. Anything it raises is a finding. `seeds` are valid
    inputs, `hostile` ones that are made to hang it or to take memory.

    What one input may take beyond what is there before: `room_bytes`, and `ratio` bytes for each of
    its own. `apart`: it starts a process or writes files, too slow for millions of tries.
    """

    name: str
    check: Callable[[bytes], bool]
    seeds: Callable[[], list[bytes]]
    hostile: Callable[[], list[bytes]] = list
    room_bytes: int = 64 * MEBIBYTE
    ratio: int = 64
    apart: bool = False

    def most_bytes(self, data: bytes) -> int:
        """Give the memory that this input may take."""
        return self.room_bytes + self.ratio * len(data)


def holds(truth: object, what: str) -> None:
    """WrongValue unless it is true."""
    if not truth:
        raise WrongValue(what)
