"""What a model must offer to be searched (`tests.model.search`)."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tests.model.states import Batch, Mask

__all__ = ["Action", "Fault", "Finding", "Ranks", "System"]

Finding = tuple[str, Mask]
"""The name of an invariant, and where it is broken."""

Ranks = NDArray[np.uint16]


class Fault(enum.Enum):
    """A kind of fault; each has a budget of its own."""

    CRASH = "crashes"
    DELETION = "deletions"
    MISHAP = "mishaps"


def _nothing(_before: Batch, _after: Batch) -> Sequence[Finding]:
    return ()


@dataclass(frozen=True, slots=True)
class Action:
    """One atomic step: where it may happen, what it does (in place), what would be wrong with it.

    `stands_for`: the production module, or what of the world. A `fault` is never needed to go on.
    `at_once`: actions that, where they may, follow before anything else is tried. That is sound for
    a step that can only be put off: one which no other step prevents or is prevented by, and which
    leads to the same whether it comes before or after any of them (an ample set of one step).
    """

    name: str
    stands_for: str
    guard: Callable[[Batch], Mask]
    effect: Callable[[Batch], None]
    judge: Callable[[Batch, Batch], Sequence[Finding]] = _nothing
    fault: Fault | None = None
    at_once: tuple[Action, ...] = ()


class System(Protocol):
    """A model that can be searched."""

    actions: Sequence[Action]
    budget: Mapping[Fault, int]
    """How often each kind of fault may strike. No guard, effect or judge may depend on it."""
    only_most_left: bool
    """Whether a state is left out that was reached before with as much left of every budget."""

    def initial(self) -> Batch:
        """Give the first state."""

    def canonical(self, states: Batch) -> None:
        """Replace each state by the one that stands for all that differ in names only."""

    def wrong(self, states: Batch) -> Sequence[Finding]:
        """Give the invariants that are broken, and where."""

    def over(self, states: Batch) -> Mask:
        """Tell where all is done, so that nothing more need happen."""

    def rank(self, states: Batch) -> Ranks:
        """Give what every step without fault makes smaller (of canonical states)."""

    def told(self, states: Batch, row: int) -> str:
        """Describe one state in a line."""
