"""Shrink a failing world: leave out faults for as long as it fails in the same way.

First kinds of faults, then single ones, by delta debugging (Zeller and Hildebrandt 2002, ddmin):
halves of what is left are tried, then their complements, then finer parts, until none of the
remaining faults can be left out alone. Leaving out a fault changes what happens after it, so others
may come up that were not seen before; it is done again until nothing is won.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.simulator.faults import Fault
from tests.simulator.scenario import Cast, Failed, run_seed

__all__ = ["Shrunk", "happened", "minimised", "shrink", "symptom"]

_INVARIANT = re.compile(r"\bI\d+[a-z]?\b(?=:)")
_DETAIL = re.compile(r"\[[^]]*\]|\{[^}]*\}|\b\w*\d[\w.-]*")


def symptom(reason: str) -> str:
    """Give what two failures of the same bug have in common: the invariant, or else the words.

    Runs, epochs and ids are no part of it.
    """
    found = _INVARIANT.search(reason)
    return found.group() if found else _DETAIL.sub("#", reason)


def minimised(parts: Sequence[str], fails: Callable[[Sequence[str]], bool]) -> list[str]:
    """Give a part of `parts` that fails still and no longer does without any one of it (ddmin)."""
    parts, grain = list(parts), 2
    if parts and fails([]):
        return []
    while len(parts) >= 2:
        size = -(-len(parts) // grain)
        pieces = [parts[at : at + size] for at in range(0, len(parts), size)]
        rests = [[each for each in parts if each not in piece] for piece in pieces]
        if (piece := _first(pieces, fails)) is not None:
            parts, grain = piece, 2
        elif len(pieces) > 2 and (rest := _first(rests, fails)) is not None:
            parts, grain = rest, max(grain - 1, 2)
        elif grain < len(parts):
            grain = min(2 * grain, len(parts))
        else:
            break
    return parts


def _first(
    candidates: Iterable[list[str]], fails: Callable[[Sequence[str]], bool]
) -> list[str] | None:
    return next((each for each in candidates if fails(each)), None)


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest failing world found: its failure and the faults that happen in it still."""

    failure: Failed
    faults: tuple[str, ...]
    worlds: int


class _Search:
    def __init__(self, failure: Failed, cast: Cast | None) -> None:
        self.failure = failure
        self.cast = cast
        self.symptom = symptom(failure.reason)
        self.tried: dict[frozenset[str], bool] = {}

    def fails(self, left_out: frozenset[str]) -> bool:
        """Tell whether it fails in the same way without these; keep the failure if so."""
        if left_out not in self.tried:
            self.tried[left_out] = False
            try:
                run_seed(self.failure.seed, self.cast, left_out)
            except Failed as failure:
                if symptom(failure.reason) == self.symptom:
                    self.failure = failure
                    self.tried[left_out] = True
        return self.tried[left_out]

    def drop_kinds(self) -> None:
        """Leave out kinds of faults."""
        kinds = frozenset(Fault)
        kept = sorted(kinds - self.failure.left_out)
        self._drop(kept, kinds, self.failure.left_out - kinds)

    def drop_single_ones(self) -> None:
        """Leave out single faults of the kinds that are left."""
        self._drop(_in(self.failure), frozenset(), self.failure.left_out)

    def _drop(self, kept: Sequence[str], universe: frozenset[str], always: frozenset[str]) -> None:
        whole = (universe or frozenset(kept)) | always
        minimised(kept, lambda parts: self.fails(whole - frozenset(parts)))


def happened(thrown: Mapping[str, int], left_out: frozenset[str]) -> list[str]:
    """Name each fault that came up and was not left out."""
    return [
        name
        for kind in sorted(thrown)
        if kind not in left_out
        for number in range(1, thrown[kind] + 1)
        if (name := f"{kind}#{number}") not in left_out
    ]


def _in(failure: Failed) -> list[str]:
    return happened(failure.thrown, failure.left_out)


def shrink(failure: Failed, cast: Cast | None = None) -> Shrunk:
    """Find a small world that fails as this one did."""
    search = _Search(failure, cast)
    search.drop_kinds()
    most = len(_in(search.failure)) + 1
    while len(_in(search.failure)) < most:
        most = len(_in(search.failure))
        search.drop_single_ones()
    return Shrunk(search.failure, tuple(_in(search.failure)), len(search.tried))
