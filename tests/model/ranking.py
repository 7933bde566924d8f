"""A number that every step without fault makes smaller: so once faults stop, every order ends.

Runs that are not stored weigh more than all the rest, so a step that stores one may do anything
else. Of the rest, each message, job in hand, held delivery and receipt weighs more than what one
step makes of it: a visible job more than one in hand, that more than a delivery and the remainder,
a delivery more than a held one, and so on down to nothing.

What remains is reconcile, which makes jobs out of nothing. A run that is *at risk* of being sent
anew weighs more than its receipt and its job. It is, unless

- its receipt is pending and will name the queue it is sent to, or
- it is somewhere (on a queue, not acknowledged), its receipt names this work queue, and no look
  that chose it can go on: the look waits for the result queue to be empty, and it is on that.

A gap that was found is at risk even if the run is stored before its receipt is written.

No step without fault puts a run at risk: it is somewhere until it is stored. A new look can choose
it only when the work queue is empty, hence when it is on the result queue. And a look that finds no
gap has noted that it was there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.model.places import AggregatorFields, Flushing, Keeping, NodeFields, Places
from tests.model.protections import Configuration, Home
from tests.model.states import Batch, Bits, Field, Layout, Part
from tests.model.system import Ranks

__all__ = ["Ranking"]

_VISIBLE_JOB = {0: 0, 1: 10, 2: 24}
"""By the number of its runs."""
_JOB_IN_HAND = {(0, 1): 2, (0, 2): 3, (1, 0): 9, (1, 1): 12, (2, 0): 23}
"""By the number of its runs to do and of the others."""
_REPLACED_JOB = 1
_DELIVERY = 6
_HELD = 3
_FLUSH = {Flushing.BUFFERING: 2, Flushing.SHARD_PUT: 1, Flushing.SHARD_SWEPT: 1}
_ORPHAN = 1
_UNSENT_PART = 24
"""Beside its job."""
_SENT_PART = 22
_LOOK = 5
_AT_RISK = 60
_NOT_STORED = 2048
_STAGES = {
    Keeping.IDLE: 3,
    Keeping.SENDING: 2,
    Keeping.SAW_JOBS: 2,
    Keeping.SAW_RESULTS: 1,
    Keeping.FOUND_GAPS: 0,
}
_NOTHING_LEFT = 4
"""Of a look which finds that all it chose is stored meanwhile, and of a home without receipts."""


class Ranking:
    """Ranks the states of one configuration."""

    def __init__(self, configuration: Configuration, places: Places) -> None:
        self._cloud = configuration.home is Home.CLOUD
        self._jobs = configuration.jobs
        self._places = places
        nothing = Layout().field("nothing", 0)
        self._summands: list[tuple[Part, Ranks]] = []

        def add(
            fields: Sequence[Field], given: Field, weight: Callable[[Batch], NDArray[Any]]
        ) -> None:
            part = Part(fields, given)
            self._summands.append((part, part.table(weight)))

        add(list(places.jobs.values()), nothing, self._visible_jobs)
        add(places.deliveries, nothing, self._deliveries)
        for node in places.nodes:
            add([node.whole], nothing, partial(_in_hand, node=node))
        for each in places.aggregators:
            add([each.whole], nothing, partial(_held, aggregator=each))
        ledger = [places.pending, places.chosen, places.keeping, places.sent, places.outdated]
        add([*ledger, places.written], places.stored, self._ledger)

    def rank(self, states: Batch) -> Ranks:
        """Give each state's rank."""
        total = np.zeros(len(states), dtype=np.uint16)
        for part, table in self._summands:
            total += table[part.index(states)]
        places = self._places
        left = places.all & ~states[places.stored]
        gaps = np.where(states[places.keeping] == Keeping.FOUND_GAPS, states[places.chosen], 0)
        total += _AT_RISK * _count((self._at_risk(states) & left) | gaps.astype(np.uint8))
        total += _ORPHAN * _count(states[places.orphans])
        if self._cloud:
            total += _LOOK * _count(left & ~states[places.looks])
        return total

    def _at_risk(self, states: Batch) -> Bits:
        places = self._places
        delivered = places.delivered(states)
        somewhere = self._to_do(states) | delivered
        sent = np.zeros(len(states), dtype=np.uint8)
        for part, job in enumerate(self._jobs):
            sent |= ((states[places.sent] >> part) & 1) * np.uint8(job)
        named = np.full(len(states), places.all, dtype=np.uint8)
        pending = states[places.pending]
        if self._cloud:
            pending = pending * (1 - states[places.outdated])
            named = states[places.current] | (pending & sent)
        settled = (pending & ~sent) | (named & somewhere)
        keeping = states[places.keeping]
        looking = np.where(keeping > Keeping.SAW_JOBS, states[places.chosen], 0)
        looking |= np.where(keeping == Keeping.SAW_JOBS, states[places.chosen] & ~delivered, 0)
        return ~settled | looking.astype(np.uint8)

    def _to_do(self, states: Batch) -> Bits:
        """Give the runs of jobs on the work queue that nobody has acknowledged."""
        found = np.zeros(len(states), dtype=np.uint8)
        for runs, count in self._places.jobs.items():
            found |= (states[count] > 0) * np.uint8(runs)
        for node in self._places.nodes:
            whole = states[node.leased] * (1 - states[node.replacing])
            found |= node.todo(states) * whole
        return found

    def _visible_jobs(self, states: Batch) -> Ranks:
        jobs = self._places.jobs.items()
        total = np.zeros(len(states), dtype=np.uint16)
        for runs, count in jobs:
            total += np.uint16(_VISIBLE_JOB[runs.bit_count()]) * states[count]
        return total

    def _deliveries(self, states: Batch) -> Ranks:
        total = np.zeros(len(states), dtype=np.uint16)
        for count in self._places.deliveries:
            total += np.uint16(_DELIVERY) * states[count]
        return total

    def _ledger(self, states: Batch) -> Ranks:
        places = self._places
        stored, pending = states[places.stored], states[places.pending]
        total: Ranks = np.uint16(_NOT_STORED) * _count(places.all & ~stored)
        keeping = states[places.keeping]
        for stage, weight in _STAGES.items():
            total[keeping == stage] += np.uint16(weight)
        nothing_left = (keeping > Keeping.SENDING) & ((states[places.chosen] & ~stored) == 0)
        total[nothing_left] += np.uint16(_NOTHING_LEFT)
        total[states[places.written] == 0] += np.uint16(_NOTHING_LEFT)
        for part, job in enumerate(self._jobs):
            runs = _count(pending & job)
            weights = np.array(list(_VISIBLE_JOB.values()), dtype=np.uint16) + _UNSENT_PART
            sent = (states[places.sent] >> part & 1) > 0
            unsent = np.where(runs > 0, weights[runs], 0)
            # Sent and not marked so is a state of its own even when all of it is stored.
            total += np.where(sent, _SENT_PART, unsent).astype(np.uint16)
        return total


def _in_hand(states: Batch, node: NodeFields) -> Ranks:
    todo = node.todo(states)
    others = node.message(states) & ~todo
    total = np.zeros(len(states), dtype=np.uint16)
    for (to_do, other), weight in _JOB_IN_HAND.items():
        total[(_count(todo) == to_do) & (_count(others) == other)] = weight
    total[states[node.replacing] > 0] = _REPLACED_JOB
    return total


def _held(states: Batch, aggregator: AggregatorFields) -> Ranks:
    held = states[aggregator.held]
    total: Ranks = np.uint16(_HELD) * _count(held)
    for flushing, weight in _FLUSH.items():
        total[(states[aggregator.flushing] == flushing) & (held > 0)] += np.uint16(weight)
    return total


def _count(runs: NDArray[Any]) -> Ranks:
    """Give how many runs each set holds."""
    return np.bitwise_count(runs).astype(np.uint16)
