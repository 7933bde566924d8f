"""Describe a state of the model in a line, for people who read a way to a violation."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.places import Flushing, Keeping, Places, names
from tests.model.states import Batch, Field

__all__ = ["told"]


def told(state: Batch, places: Places) -> str:
    """Say what is where, and nothing of what is nowhere; `state` holds one state."""
    parts = [*_ledger(state, places), *_jobs(state, places), *_results(state, places)]
    return "; ".join([*parts, f"stored {names(_value(state, places.stored))}"])


def _value(state: Batch, field: Field) -> int:
    return int(state[field][0])


def _ledger(state: Batch, places: Places) -> Iterator[str]:
    keeping = _value(state, places.keeping)
    if keeping:
        yield f"ledger {Keeping(keeping).name.lower().replace('_', ' ')}"
    if not _value(state, places.written):
        yield "no receipts"
    elif pending := _value(state, places.pending):
        yield f"pending {names(pending)}"


def _jobs(state: Batch, places: Places) -> Iterator[str]:
    for runs, count in places.jobs.items():
        yield from [f"job {names(runs)}"] * _value(state, count)
    for number, node in enumerate(places.nodes, 1):
        runs, todo = int(node.message(state)[0]), int(node.todo(state)[0])
        if runs:
            lease = "" if _value(state, node.leased) else ", lease lost"
            yield f"node {number} has job {names(runs)}, to do {names(todo)}{lease}"


def _results(state: Batch, places: Places) -> Iterator[str]:
    for run, count in enumerate(places.deliveries):
        yield from [f"delivery of {run}"] * _value(state, count)
    for number, each in enumerate(places.aggregators, 1):
        if held := _value(state, each.held):
            lease = ", leases lost" if _value(state, each.outdated) else ""
            doing = Flushing(_value(state, each.flushing)).name.lower().replace("_", " ")
            yield f"aggregator {number} holds {names(held)}, {doing}{lease}"
    if orphans := _value(state, places.orphans):
        yield f"orphaned shard of {names(orphans)}"
