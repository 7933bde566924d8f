"""Which states stand for which: fewer to search, the same verdict.

Stored forgotten. Stored stays stored in this model. Therefore, of a stored run r:

- a visible job all of whose runs are stored, and a visible delivery of r, are as if an idle node or
  aggregator had just dealt with them: that stores nothing new, and the message is gone;
- a node that has r to do is as if it had just skipped or delivered it, and one that has nothing
  else as if it had just deleted its job; an aggregator that holds r in no shard, as if it had;
- a receipt, a look, a gap, an orphan of r and whether a queue that held r was lost decide nothing.

The state that is left can do everything the original could, but for steps that change nothing, and
more: a node is free earlier, and reconcile finds queues empty sooner. So each violation from the
original state is one from the state that is left. Nothing is taken from an aggregator whose
manifest is put: those deletes are what I3 is about. They are done at once (`Action.at_once`): what
they delete is stored, so no other step looks at it, and each of them is judged nevertheless.

Alike (symmetry). Nothing in an action or an invariant names a node or an aggregator, so a
permutation of two of them maps steps to steps and violations to violations: one of each orbit is
enough. The same holds of the two runs of a job, as the runs of a job are done, cut off and deleted
in any order; the third run is in a job that is sent after theirs, and like no other.

Most faults left (`tests.model.search`). No step but a fault looks at what is left of a budget, and
a fault needs never happen: what can be reached from a state can be reached from the same state
with more left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.model.places import Flushing, Keeping, Places, has
from tests.model.protections import Configuration, Reduction
from tests.model.states import Batch, Field, Part, Words

__all__ = ["Canon", "forget_stored"]


class Canon:
    """Replaces states by those that stand for them."""

    def __init__(self, configuration: Configuration, places: Places) -> None:
        self._forgets = configuration.reduces(Reduction.STORED_FORGOTTEN)
        self._stored = places.stored
        self._tables = _tables(places) if self._forgets else []
        self._pairs = [
            _Pair(*alike)
            for reduction, alike in (
                (Reduction.NODES_ALIKE, [each.whole for each in places.nodes]),
                (Reduction.AGGREGATORS_ALIKE, [each.whole for each in places.aggregators]),
            )
            if len(alike) == 2 and configuration.reduces(reduction)
        ]
        swaps = configuration.runs > 1 and configuration.reduces(Reduction.RUNS_ALIKE)
        self._swaps = _swaps(places) if swaps else []

    def apply(self, states: Batch) -> None:
        """Replace each state, in place."""
        if self._forgets:
            forgotten = states.words
            for part, table in self._tables:
                forgotten = (forgotten & ~np.uint64(part.mask)) | table[part.index(states)]
            states.words = forgotten
        words = self._sorted(states.words)
        if self._swaps:
            words = np.minimum(words, self._sorted(self._swapped(words)))
        states.words = words
        states.forget()

    def _sorted(self, words: Words) -> Words:
        for pair in self._pairs:
            words = pair.sorted(words)
        return words

    def _swapped(self, words: Words) -> Words:
        """Let runs 0 and 1 change places."""
        for mask, distance in self._swaps:
            differing = ((words >> distance) ^ words) & mask
            words = words ^ differing ^ (differing << distance)
        return words


class _Pair:
    """Two fields of the same width that mean the same."""

    def __init__(self, one: Field, other: Field) -> None:
        self._one = np.uint64(one.shift)
        self._other = np.uint64(other.shift)
        self._most = np.uint64(one.most)
        self._rest = np.uint64(~(one.mask | other.mask) & 0xFFFF_FFFF_FFFF_FFFF)

    def sorted(self, words: Words) -> Words:
        first = (words >> self._one) & self._most
        second = (words >> self._other) & self._most
        least, most = np.minimum(first, second), np.maximum(first, second)
        return (words & self._rest) | (least << self._one) | (most << self._other)


def _tables(places: Places) -> list[tuple[Part, NDArray[np.uint64]]]:
    """Tabulate `forget_stored`, which looks at one part and what is stored at a time."""

    def forgotten(states: Batch) -> Words:
        forget_stored(states, places)
        return states.words

    parts: list[Sequence[Field]] = [[*places.jobs.values(), *places.deliveries]]
    parts += [[node.whole] for node in places.nodes]
    parts += [[each.whole] for each in places.aggregators]
    parts += [[places.orphans, places.lost, places.current, places.looks]]
    parts += [[places.pending, places.chosen, places.keeping, places.sent, places.outdated]]
    made = [Part(fields, places.stored) for fields in parts]
    return [(part, part.table(forgotten) & np.uint64(part.mask)) for part in made]


def _swaps(places: Places) -> list[tuple[np.uint64, np.uint64]]:
    """Give which bits change places with those so far above them."""
    pairs = [(places.jobs[0b01], places.jobs[0b10]), (places.deliveries[0], places.deliveries[1])]
    by_distance: dict[int, int] = {}
    for one, other in pairs:
        distance = other.shift - one.shift
        by_distance[distance] = by_distance.get(distance, 0) | one.mask
    of_sets = sum(1 << field.shift for field in places.run_sets if field.width)
    by_distance[1] = by_distance.get(1, 0) | of_sets
    return [(np.uint64(mask), np.uint64(distance)) for distance, mask in by_distance.items()]


def forget_stored(states: Batch, places: Places) -> None:
    """Take away, in place, what is about stored runs only."""
    stored = states[places.stored]
    for runs, count in places.jobs.items():
        states.changed(count, (stored & runs) == runs, 0)
    for run, count in enumerate(places.deliveries):
        states.changed(count, has(stored, run), 0)
    for node in places.nodes:
        message = node.message(states)
        done = message & stored
        states[node.low] = states[node.low] & ~done
        states[node.high] = states[node.high] | done
        states.changed(node.whole, (message & ~stored) == 0, 0)
    for each in places.aggregators:
        buffering = states[each.flushing] == Flushing.BUFFERING
        left = states[each.held] & ~stored
        states.changed(each.held, buffering, left)
        states.changed(each.whole, buffering & (left == 0), 0)
    for field in (
        places.orphans,
        places.pending,
        places.current,
        places.looks,
        places.chosen,
        places.lost,
    ):
        states[field] = states[field] & ~stored
    keeping = states[places.keeping]
    idle = (keeping == Keeping.SENDING) & (states[places.pending] == 0)
    idle |= (keeping > Keeping.SENDING) & (states[places.chosen] == 0)
    for field in (places.keeping, places.sent, places.outdated):
        states.changed(field, idle, 0)
