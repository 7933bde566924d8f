"""Explicit-state search, breadth first, over batches of states at a time (numpy).

`Search.explore` visits every reachable state once and stops at the first violation:

- whatever an action's `judge` finds wrong with a step, and `System.wrong` with a state;
- a state in which no step is left but a fault, and which is not `System.over`: stuck (I1b);
- a step without fault that does not lower `System.rank` is no violation, but kept as
  `Outcome.endless`. Without one, the steps without faults form no circle. Together with "never
  stuck" that says more than "completeness can be reached from everywhere": once faults stop,
  *every* order of steps, fair or not, ends, and ends complete.

What is left of the budgets of faults is in no state. States are searched layer by layer, one for
each way to have used the budgets, the least used first: a step without fault stays in its layer, a
fault leads to a later one. A state that an earlier layer with at least as much left has visited is
not visited again: whatever can be reached from it was reached, with more to spare. Inside a layer
the order is by the number of steps from the very first state, so a violation is one with the fewest
faults and, among the ways that use these, a shortest.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.model.states import Batch, Mask, Words
from tests.model.system import Action, Fault, Finding, System
from tests.model.visited import Visited, distinct

__all__ = ["Layer", "Outcome", "Search", "Violation"]

_CHUNK = 1 << 16
"""States expanded at a time: what is made of them stays near the processor."""
_PROGRESS_S = 30.0

Left = tuple[int, ...]
"""What is left of the budget of each kind of fault, in the order of `Fault`."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken invariant and a way to it: the actions' names, and the states after them.

    Parts are interchangeable, so "node 1" of two lines need not be the same one.
    """

    invariant: str
    steps: tuple[str, ...]
    states: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.invariant} is broken after {len(self.steps)} steps:"]
        for number, (step, state) in enumerate(zip(self.steps, self.states, strict=True), 1):
            lines += [f"{number:4} {step}", f"        {state}"]
        return "\n".join(lines)


@dataclass(slots=True)
class Outcome:
    """What a search found. `depth`: steps to the state that is furthest away."""

    states: int = 0
    transitions: int = 0
    depth: int = 0
    seconds: float = 0.0
    violation: Violation | None = None
    endless: str | None = None
    """A step without fault that may be part of a circle of such steps."""
    taken: set[str] = field(default_factory=set)
    """The actions that happened at all."""


@dataclass(slots=True)
class Layer:
    """The states in which the same is left of every budget. `levels`: by the number of steps."""

    left: Left
    levels: list[Words] = field(default_factory=list)
    arrivals: dict[int, list[Words]] = field(default_factory=dict)
    """What faults of earlier layers lead to, by the number of steps; not looked up yet."""
    visited: Visited = field(default_factory=Visited)

    def level(self, depth: int) -> Words:
        """Give the states of a number of steps."""
        return self.levels[depth] if 0 <= depth < len(self.levels) else np.empty(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class _Wrong:
    """A broken invariant in a state or, if a step is what is wrong, on the step from it."""

    invariant: str
    layer: Layer
    depth: int
    key: int
    step: tuple[str, str] | None = None


class Search:
    """Searches one system. `progress` is told now and then how far it is."""

    def __init__(self, system: System, progress: Callable[[str], None] | None = None) -> None:
        self._system = system
        self._progress = progress
        self._steps = [action for action in system.actions if action.fault is None]
        self._faults = [action for action in system.actions if action.fault is not None]
        self._spoken_at = time.monotonic()
        self.layers: dict[Left, Layer] = {}
        self.outcome = Outcome()

    def explore(self) -> Outcome:
        """Visit every reachable state, or as many as it takes to find a violation."""
        begun = time.monotonic()
        wrong = self._explore()
        layers = self.layers.values()
        self.outcome.states = sum(len(layer.visited) for layer in layers)
        self.outcome.depth = max(len(layer.levels) for layer in layers) - 1
        if wrong is not None:
            self.outcome.violation = self._explained(wrong)
        self.outcome.seconds = time.monotonic() - begun
        return self.outcome

    # ------------------------------------------------------------------ breadth first

    def _explore(self) -> _Wrong | None:
        budget = tuple(self._system.budget.get(kind, 0) for kind in Fault)
        every = itertools.product(*(range(most, -1, -1) for most in budget))
        for left in sorted(every, key=lambda left: -sum(left)):
            self.layers[left] = Layer(left)
        first = self._system.initial()
        self._system.canonical(first)
        self.layers[budget].arrivals[0] = [first.words]
        layers = self.layers.values()
        for _, together in itertools.groupby(layers, key=lambda layer: sum(layer.left)):
            wrong = self._explore_together([self._explore_layer(layer) for layer in together])
            if wrong is not None:
                return wrong
        return None

    def _explore_together(self, layers: Sequence[Iterator[_Wrong | None]]) -> _Wrong | None:
        """Take one level of each layer in turn: none of them leads to another."""
        for levels in itertools.zip_longest(*layers):
            for wrong in levels:
                if wrong is not None:
                    return wrong
        return None

    def _explore_layer(self, layer: Layer) -> Iterator[_Wrong | None]:
        """Visit the states of a layer; each time another level is done, say what is wrong."""
        known = [layer.visited]
        if self._system.only_most_left:
            known += [each.visited for each in self.layers.values() if _more(each.left, layer.left)]
        reached: list[Words] = []
        while reached or layer.arrivals:
            depth = len(layer.levels)
            level = distinct(reached + layer.arrivals.pop(depth, []))
            for visited in known:
                level = visited.lacks(level)
            layer.levels.append(level)
            layer.visited.add(level)
            yield self._wrong_state(layer, depth)
            reached = []
            for chunk in _chunks(level):
                following = self._expand(layer, depth, chunk)
                if isinstance(following, _Wrong):
                    yield following
                elif len(following):
                    reached.append(following)
                self._say(layer, depth)
        layer.visited.settle()

    def _wrong_state(self, layer: Layer, depth: int) -> _Wrong | None:
        for chunk in _chunks(layer.levels[depth]):
            for invariant, where in self._system.wrong(Batch(chunk)):
                if where.any():
                    return _Wrong(invariant, layer, depth, int(chunk[np.argmax(where)]))
        return None

    def _expand(self, layer: Layer, depth: int, chunk: Words) -> Words | _Wrong:
        """Take every step from some states; give the states of this layer that are new."""
        states = Batch(chunk)
        waiting = ~self._system.over(states)
        goes_on = ~waiting
        made: list[Words] = [chunk[:0]]
        sources: list[NDArray[np.intp]] = []
        for action, rows, after, findings in self._taken(self._steps, states, waiting):
            wrong = self._judged(layer, depth, chunk[rows], action, after, findings)
            if wrong is not None:
                return wrong
            goes_on[rows] = True
            made.append(after.words)
            sources.append(rows)
        if not goes_on.all():
            return _Wrong("I1b", layer, depth, int(chunk[np.argmin(goes_on)]))
        following = Batch(np.concatenate(made))
        self._system.canonical(following)
        if sources and self.outcome.endless is None:
            self._rank(states, np.concatenate(sources), following)
        wrong = self._strike(layer, depth, states, waiting)
        return layer.visited.lacks(distinct([following.words])) if wrong is None else wrong

    def _strike(self, layer: Layer, depth: int, states: Batch, waiting: Mask) -> _Wrong | None:
        """Let faults happen; what they lead to arrives in other layers."""
        for number, kind in enumerate(Fault):
            if not layer.left[number]:
                continue
            other = self.layers[_one_less(layer.left, number)]
            made: list[Words] = [states.words[:0]]
            of_kind = [action for action in self._faults if action.fault is kind]
            for action, rows, after, findings in self._taken(of_kind, states, waiting):
                wrong = self._judged(layer, depth, states.words[rows], action, after, findings)
                if wrong is not None:
                    return wrong
                made.append(after.words)
            following = Batch(np.concatenate(made))
            self._system.canonical(following)
            arriving = distinct([following.words])
            if self._system.only_most_left:
                arriving = layer.visited.lacks(arriving)
            if len(arriving):
                other.arrivals.setdefault(depth + 1, []).append(arriving)
        return None

    def _taken(
        self, actions: Sequence[Action], states: Batch, waiting: Mask
    ) -> Iterator[tuple[Action, NDArray[np.intp], Batch, list[Finding]]]:
        """Take each of the actions where it may happen."""
        for action in actions:
            rows = np.flatnonzero(action.guard(states) & waiting)
            if not len(rows):
                continue
            after = states.take(rows)
            findings = _take(action, after)
            for later in action.at_once:
                findings += self._take_where_it_may(later, after)
            self.outcome.transitions += len(rows)
            self.outcome.taken.add(action.name)
            yield action, rows, after, findings

    def _take_where_it_may(self, action: Action, states: Batch) -> list[Finding]:
        may = action.guard(states)
        if not may.any():
            return []
        self.outcome.taken.add(action.name)
        after = states.take(may)
        found = _take(action, after)
        states.words[may] = after.words
        states.forget()
        everywhere = np.zeros((len(found), len(states)), dtype=np.bool_)
        for row, (_, where) in zip(everywhere, found, strict=True):
            row[may] = where
        return [(name, row) for (name, _), row in zip(found, everywhere, strict=True)]

    def _judged(
        self,
        layer: Layer,
        depth: int,
        before: Words,
        action: Action,
        after: Batch,
        findings: Sequence[Finding],
    ) -> _Wrong | None:
        for invariant, where in findings:
            if where.any():
                bad = int(np.argmax(where))
                step = (action.name, self._system.told(after, bad))
                return _Wrong(invariant, layer, depth, int(before[bad]), step)
        return None

    def _rank(self, states: Batch, rows: NDArray[np.intp], following: Batch) -> None:
        higher = self._system.rank(following) >= self._system.rank(states)[rows]
        if higher.any():
            bad = int(np.argmax(higher))
            told = self._system.told
            self.outcome.endless = f"from {told(states, int(rows[bad]))} to {told(following, bad)}"

    # ------------------------------------------------------------------ the way to a state

    def _explained(self, wrong: _Wrong) -> Violation:
        steps: list[str] = []
        told: list[str] = []
        # The last step itself may be what is wrong; then it leads onwards from the state.
        if wrong.step is not None:
            steps.append(wrong.step[0])
            told.append(wrong.step[1])
        layer, key = wrong.layer, wrong.key
        for depth in range(wrong.depth, 0, -1):
            told.append(self._system.told(Batch(np.array([key], dtype=np.uint64)), 0))
            name, layer, key = self._step_to(layer, depth, key)
            steps.append(name)
        return Violation(wrong.invariant, tuple(reversed(steps)), tuple(reversed(told)))

    def _step_to(self, layer: Layer, depth: int, key: int) -> tuple[str, Layer, int]:
        """Give a step that leads to a state, and where from."""
        origins = [(layer, self._steps)]
        for number, kind in enumerate(Fault):
            earlier = self.layers.get(_one_more(layer.left, number))
            if earlier is not None:
                origins.append((earlier, [each for each in self._faults if each.fault is kind]))
        for origin, actions in origins:
            for chunk in _chunks(origin.level(depth - 1)):
                states = Batch(chunk)
                waiting = ~self._system.over(states)
                for action, rows, after, _ in self._taken(actions, states, waiting):
                    self._system.canonical(after)
                    hits = np.flatnonzero(after.words == np.uint64(key))
                    if len(hits):
                        return action.name, origin, int(chunk[rows[hits[0]]])
        raise AssertionError("a state of a level follows from a level before")

    def _say(self, layer: Layer, depth: int) -> None:
        if self._progress is None or time.monotonic() - self._spoken_at < _PROGRESS_S:
            return
        self._spoken_at = time.monotonic()
        states = sum(len(each.visited) for each in self.layers.values())
        left = ", ".join(
            f"{number} {kind.value}" for kind, number in zip(Fault, layer.left, strict=True)
        )
        self._progress(
            f"{states:,} states, {self.outcome.transitions:,} transitions; "
            f"left: {left}; {depth} steps deep"
        )


def _take(action: Action, states: Batch) -> list[Finding]:
    """Do it, in place, and judge it."""
    before = states.copy()
    action.effect(states)
    return list(action.judge(before, states))


def _more(left: Left, than: Left) -> bool:
    """Tell whether as much or more of every budget is left, and not just the same."""
    return left != than and all(ours >= theirs for ours, theirs in zip(left, than, strict=True))


def _one_less(left: Left, number: int) -> Left:
    return (*left[:number], left[number] - 1, *left[number + 1 :])


def _one_more(left: Left, number: int) -> Left:
    return (*left[:number], left[number] + 1, *left[number + 1 :])


def _chunks(keys: Words) -> Iterable[Words]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))
