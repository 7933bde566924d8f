"""Where a run can be in the model: the fields of a state, and which runs each place holds.

Sets of runs are bit masks of at most 3 bits, uint8 arrays of shape (n,).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from tests.model.protections import Configuration, Home, Protection
from tests.model.states import Batch, Bits, Field, Layout, Mask

__all__ = [
    "AggregatorFields",
    "Flushing",
    "Keeping",
    "NodeFields",
    "Places",
    "has",
    "minus",
    "names",
    "put_one",
    "runs_in",
]


class Flushing(enum.IntEnum):
    """How far an aggregator is with what it holds."""

    BUFFERING = 0
    SHARD_PUT = 1
    SHARD_SWEPT = 2
    MANIFEST_PUT = 3


class Keeping(enum.IntEnum):
    """What the one program that holds the sweep's lock (submit, reconcile) is doing."""

    IDLE = 0
    SENDING = 1
    SAW_JOBS = 2
    SAW_RESULTS = 3
    FOUND_GAPS = 4


@dataclass(frozen=True, slots=True)
class NodeFields:
    """A node's job. Its message names every run of it, each of which is in one of three states.

    In bits of (`low`, `high`): 1, 0 to do; 0, 1 acknowledged; 1, 1 cut off and sent as a piece.
    `leased`: the message is still this node's. `replacing`: half of a replace is done.
    """

    low: Field
    high: Field
    leased: Field
    replacing: Field
    whole: Field

    def message(self, states: Batch) -> Bits:
        """Give the runs that the job's message names; none: no job in hand."""
        return states[self.low] | states[self.high]

    def todo(self, states: Batch) -> Bits:
        """Give the runs whose results no result queue has acknowledged."""
        return states[self.low] & ~states[self.high]

    def acknowledged(self, states: Batch) -> Bits:
        """Give the runs whose results are in an acknowledged delivery, or were found stored."""
        return states[self.high] & ~states[self.low]


@dataclass(frozen=True, slots=True)
class AggregatorFields:
    """The deliveries an aggregator holds, by run. `outdated`: their leases are lost."""

    held: Field
    flushing: Field
    outdated: Field
    whole: Field


class Places:
    """All fields of a configuration."""

    def __init__(self, configuration: Configuration, layout: Layout) -> None:
        runs = configuration.runs
        # What cannot be other than 0 takes no bits.
        cloud = configuration.home is Home.CLOUD
        halves = cloud or not configuration.has(Protection.REMAINDER_BEFORE_DELETE)
        told = 0 if configuration.has(Protection.STORED_BY_MANIFESTS) else runs
        copies = {1: 1, 3: 2}[configuration.alike]
        self.runs = range(runs)
        self.all = (1 << runs) - 1
        self.sets = sorted({part for job in configuration.jobs for part in runs_in(job)})
        work = [layout.field(f"jobs {names(each)}", copies) for each in self.sets]
        self.jobs = dict(zip(self.sets, work, strict=True))
        self.deliveries = [layout.field(f"deliveries {run}", copies) for run in self.runs]
        self.nodes = [
            _node(layout, number, runs, halves=int(halves)) for number in range(configuration.nodes)
        ]
        self.aggregators = [
            _aggregator(layout, number, runs) for number in range(configuration.aggregators)
        ]
        self.orphans = layout.field("orphans", runs)
        self.lost = layout.field("lost", runs)
        self.current = layout.field("current", runs if cloud else 0)
        self.looks = layout.field("looks", runs if cloud else 0)
        self.pending = layout.field("pending", runs)
        self.chosen = layout.field("chosen", runs)
        self.keeping = layout.field("keeping", 3)
        self.sent = layout.field("sent", len(configuration.jobs))
        self.outdated = layout.field("outdated", int(cloud))
        self.written = layout.field("written", 1)
        self.stored = layout.field("stored", runs)
        self.told = layout.field("told", told)

    @property
    def run_sets(self) -> list[Field]:
        """Give the fields that are a set of runs each."""
        of_parts = [field for node in self.nodes for field in (node.low, node.high)]
        of_parts += [each.held for each in self.aggregators]
        ledger = [self.pending, self.chosen, self.current, self.looks, self.lost, self.told]
        return [*of_parts, *ledger, self.orphans, self.stored]

    def queued(self, states: Batch) -> Bits:
        """Give the runs of all jobs on the work queue, leased ones too."""
        found = np.zeros(len(states), dtype=np.uint8)
        for runs, count in self.jobs.items():
            found |= (states[count] > 0) * np.uint8(runs)
        for node in self.nodes:
            found |= node.message(states) * states[node.leased]
        return found

    def delivered(self, states: Batch) -> Bits:
        """Give the runs of all deliveries on the result queue, leased ones too."""
        found = np.zeros(len(states), dtype=np.uint8)
        for run, count in enumerate(self.deliveries):
            found |= (states[count] > 0) * np.uint8(1 << run)
        for each in self.aggregators:
            found |= states[each.held] * (1 - states[each.outdated])
        return found

    def add_job(self, states: Batch, runs: Bits, where: Mask) -> None:
        """Put a message that names `runs` on the work queue, in some of the states."""
        for each, count in self.jobs.items():
            put_one(states, count, where & (runs == each))

    def add_deliveries(self, states: Batch, runs: Bits, where: Mask) -> None:
        """Put a delivery of each of `runs` on the result queue, in some of the states."""
        for run, count in enumerate(self.deliveries):
            put_one(states, count, where & has(runs, run))


def put_one(states: Batch, count: Field, where: Mask | None = None) -> None:
    """Put a message on a queue, unless as many alike are there as are told apart."""
    more = np.minimum(states[count] + 1, count.most)
    states[count] = more if where is None else np.where(where, more, states[count])


def has(runs: Bits, run: int) -> Mask:
    """Tell where a set holds a run."""
    return ((runs >> run) & 1).astype(np.bool_)


def minus(runs: Bits, taken: int) -> Bits:
    """Give a set without some runs."""
    return runs & np.uint8(0xFF ^ taken)


def runs_in(job: int) -> list[int]:
    """Give every set of runs of a job but the empty one."""
    return [part for part in range(1, job + 1) if part & job == part]


def names(runs: int) -> str:
    """Write a set of runs."""
    return "{" + ",".join(str(run) for run in range(8) if runs >> run & 1) + "}"


def _node(layout: Layout, number: int, runs: int, *, halves: int) -> NodeFields:
    low = layout.field(f"node {number} low", runs)
    high = layout.field(f"node {number} high", runs)
    leased = layout.field(f"node {number} leased", 1)
    replacing = layout.field(f"node {number} replacing", halves)
    whole = Field(f"node {number}", low.shift, 2 * runs + 1 + halves)
    return NodeFields(low, high, leased, replacing, whole)


def _aggregator(layout: Layout, number: int, runs: int) -> AggregatorFields:
    held = layout.field(f"aggregator {number} held", runs)
    flushing = layout.field(f"aggregator {number} flushing", 2)
    outdated = layout.field(f"aggregator {number} outdated", 1)
    whole = Field(f"aggregator {number}", held.shift, runs + 3)
    return AggregatorFields(held, flushing, outdated, whole)
