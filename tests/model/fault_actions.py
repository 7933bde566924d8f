"""What may go wrong at any moment: the table of `tests.model.protocol`, rows F1 to F5.

Whoever has begun anything may die at any moment of it, and the programs that are started anew
remember nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tests.model.places import Flushing, Keeping, Places, has, names, put_one
from tests.model.protections import Configuration, Home
from tests.model.states import Batch, Bits, Field, Mask
from tests.model.system import Action, Fault

__all__ = ["FaultActions"]


class FaultActions:
    """Every fault takes one off what is left of its kind: the search counts them, no state does."""

    def __init__(self, configuration: Configuration, places: Places) -> None:
        self._configuration = configuration
        self._places = places

    def actions(self) -> Iterator[Action]:
        """Give the faults."""
        yield self._ledger_crash()
        for number in range(self._configuration.nodes):
            yield self._node_crash(number)
            yield self._node_lapse(number)
            for run in self._places.runs:
                yield self._lost_answer(number, run)
        for number in range(self._configuration.aggregators):
            yield self._aggregator_crash(number)
            yield self._aggregator_lapse(number)
        for part, job in enumerate(self._configuration.jobs):
            yield self._lost_answer_of_send(part, job)
        for runs in self._places.sets:
            yield self._twin(f"job {names(runs)}", self._places.jobs[runs])
        for run in self._places.runs:
            yield self._twin(f"the delivery of run {run}", self._places.deliveries[run])
        if self._configuration.home is Home.FOLDER:
            yield self._queue_loss("queue.db is deleted", self._lose_jobs, self._lose_results)
        else:
            name = "the work queue is deleted"
            yield self._queue_loss(name, self._lose_jobs, self._make_jobs_anew)
            yield self._queue_loss("the work queue is purged", self._lose_jobs)
            name = "the result queue is deleted"
            yield self._queue_loss(name, self._lose_results, self._void_looks)
            yield self._queue_loss("the result queue is purged", self._lose_results)

    # ------------------------------------------------------------------ crashes

    def _ledger_crash(self) -> Action:
        places = self._places

        def effect(states: Batch) -> None:
            for field in (places.keeping, places.chosen, places.sent, places.outdated):
                states[field] = 0

        return self._fault(
            "submit or reconcile dies",
            Fault.CRASH,
            lambda states: states[places.keeping] != Keeping.IDLE,
            effect,
        )

    def _node_crash(self, number: int) -> Action:
        node = self._places.nodes[number]

        def effect(states: Batch) -> None:
            runs, leased = node.message(states), states[node.leased] == 1
            states[node.whole] = 0
            self._places.add_job(states, runs, leased)

        return self._fault(
            f"node {number + 1} dies",
            Fault.CRASH,
            lambda states: node.message(states) > 0,
            effect,
        )

    def _aggregator_crash(self, number: int) -> Action:
        places, dying = self._places, self._places.aggregators[number]

        def effect(states: Batch) -> None:
            held, leased = states[dying.held], states[dying.outdated] == 0
            shard = states[dying.flushing] == Flushing.SHARD_PUT
            orphaned = states[places.orphans] | held
            states.changed(places.orphans, shard, orphaned)
            states[dying.whole] = 0
            places.add_deliveries(states, held, leased)

        return self._fault(
            f"aggregator {number + 1} dies",
            Fault.CRASH,
            lambda states: states[dying.held] > 0,
            effect,
        )

    # ------------------------------------------------------------------ mishaps

    def _node_lapse(self, number: int) -> Action:
        node = self._places.nodes[number]

        def effect(states: Batch) -> None:
            states[node.leased] = 0
            runs = node.message(states)
            self._places.add_job(states, runs, _everywhere(states))

        return self._fault(
            f"node {number + 1} loses its lease and goes on",
            Fault.MISHAP,
            lambda states: states[node.leased] == 1,
            effect,
        )

    def _aggregator_lapse(self, number: int) -> Action:
        late = self._places.aggregators[number]

        def effect(states: Batch) -> None:
            states[late.outdated] = 1
            everywhere = _everywhere(states)
            self._places.add_deliveries(states, states[late.held], everywhere)

        return self._fault(
            f"aggregator {number + 1} loses its leases and goes on",
            Fault.MISHAP,
            lambda states: (states[late.held] > 0) & (states[late.outdated] == 0),
            effect,
        )

    def _lost_answer(self, number: int, run: int) -> Action:
        node, count = self._places.nodes[number], self._places.deliveries[run]

        def effect(states: Batch) -> None:
            put_one(states, count)

        return self._fault(
            f"node {number + 1} does run {run}, delivers it, the answer is lost",
            Fault.MISHAP,
            lambda states: has(node.todo(states), run) & (states[node.replacing] == 0),
            effect,
        )

    def _lost_answer_of_send(self, part: int, job: int) -> Action:
        places = self._places

        def runs(states: Batch) -> Bits:
            return states[places.pending] & job

        def may(states: Batch) -> Mask:
            unsent = states[places.sent] >> part == 0
            return (states[places.keeping] == Keeping.SENDING) & unsent & (runs(states) > 0)

        return self._fault(
            f"what is pending of job {names(job)} is sent, the answer is lost",
            Fault.MISHAP,
            may,
            lambda states: places.add_job(states, runs(states), _everywhere(states)),
        )

    def _twin(self, name: str, count: Field) -> Action:
        def effect(states: Batch) -> None:
            put_one(states, count)

        return self._fault(
            f"{name} comes to be on its queue twice",
            Fault.MISHAP,
            lambda states: states[count] > 0,
            effect,
        )

    # ------------------------------------------------------------------ lost queues

    def _queue_loss(self, name: str, *effects: Callable[[Batch], None]) -> Action:
        def effect(states: Batch) -> None:
            for each in effects:
                each(states)

        return self._fault(
            name,
            Fault.DELETION,
            lambda states: (self._places.queued(states) | self._places.delivered(states)) > 0,
            effect,
        )

    def _lose_jobs(self, states: Batch) -> None:
        places = self._places
        states[places.lost] = states[places.lost] | places.queued(states)
        for count in places.jobs.values():
            states[count] = 0
        for node in places.nodes:
            states[node.leased] = 0

    def _lose_results(self, states: Batch) -> None:
        places = self._places
        states[places.lost] = states[places.lost] | places.delivered(states)
        for count in places.deliveries:
            states[count] = 0
        for each in places.aggregators:
            states.changed(each.outdated, states[each.held] > 0, 1)

    def _make_jobs_anew(self, states: Batch) -> None:
        """Let the next queue of the name be another one: what receipts and looks name is gone."""
        states[self._places.current] = 0
        sending = states[self._places.keeping] == Keeping.SENDING
        states.changed(self._places.outdated, sending, 1)
        self._void_looks(states)

    def _void_looks(self, states: Batch) -> None:
        states[self._places.looks] = 0

    # ------------------------------------------------------------------ single steps

    def _fault(
        self,
        name: str,
        kind: Fault,
        guard: Callable[[Batch], Mask],
        effect: Callable[[Batch], None],
    ) -> Action:
        return Action(name, "the world", guard, effect, fault=kind)


def _everywhere(states: Batch) -> Mask:
    return np.ones(len(states), dtype=np.bool_)
