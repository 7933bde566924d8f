"""What a disaster may see and touch, and how it says what it did."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from tests.chaos.crew import Crew
from tests.chaos.integrity import Integrity
from tests.chaos.places import Place
from tests.services.proxy import Rule

__all__ = ["Disaster", "Scene"]

APlace = TypeVar("APlace", bound=Place)


@dataclass(slots=True)
class Scene(Generic[APlace]):
    """The place, the programs in it, and what has been done to them so far."""

    place: APlace
    crew: Crew
    dice: random.Random
    integrity: Integrity
    kept: Path
    """A folder for copies, beside all that is disturbed."""
    struck: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    rules: dict[str, list[Rule]] = field(default_factory=dict)
    disk_is_unfit: int = 0
    """How many of the disasters of now keep databases from being written."""
    _undoings: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def later(self, after_s: float, undo: Callable[[], None]) -> None:
        """Have something undone after a while, or when the faults end."""
        heapq.heappush(self._undoings, (time.monotonic() + after_s, next(self._order), undo))

    def undo_what_is_due(self) -> None:
        """Undo what has lasted long enough."""
        while self._undoings and self._undoings[0][0] <= time.monotonic():
            heapq.heappop(self._undoings)[2]()

    def undo_all(self) -> None:
        """Undo everything now."""
        while self._undoings:
            heapq.heappop(self._undoings)[2]()

    def look_at_databases(self) -> None:
        """Ask the databases of this machine whether they are whole, unless their disk is unfit."""
        if self.disk_is_unfit:
            return
        paths = [self.place.ledger(), getattr(self.place, "queue_file", None)]
        for path in paths:
            if path is not None:
                self.integrity.look(path)


@dataclass(frozen=True, slots=True)
class Disaster:
    """One kind of disaster; `strike` tells whether there was something to strike."""

    kind: str
    weight: int
    strike: Callable[[Scene[Any]], bool]
