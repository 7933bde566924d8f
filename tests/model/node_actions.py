"""What a node does with a job: the table of `tests.model.protocol`, rows N1 to N8."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tests.model.places import NodeFields, Places, has, minus, names, put_one
from tests.model.protections import Configuration, Home, Protection, Reduction
from tests.model.states import Batch, Bits, Field, Mask
from tests.model.system import Action, Finding

__all__ = ["NodeActions"]


class NodeActions:
    """The actions of one node."""

    def __init__(self, configuration: Configuration, places: Places, number: int) -> None:
        self._configuration = configuration
        self._places = places
        self._node = places.nodes[number]
        self._others = [each for each in places.nodes if each is not self._node]
        self._name = f"node {number + 1}"

    def actions(self) -> Iterator[Action]:
        """Give what the node does of itself."""
        has_protection = self._configuration.has
        for runs in self._places.sets:
            yield self._receive(runs)
        for run in self._places.runs:
            yield self._deliver(run)
        forgotten = self._configuration.reduces(Reduction.STORED_FORGOTTEN)
        if not forgotten and has_protection(Protection.STORED_RUNS_SKIPPED):
            # Otherwise `reduction` skips them at once.
            yield self._skip()
        yield self._delete()
        yield self._drop()
        if not has_protection(Protection.REMAINDER_BEFORE_DELETE):
            yield from self._replace_the_wrong_way_round()
        elif self._configuration.home is Home.FOLDER:
            yield self._decrement()
            yield self._give_back()
            yield from self._split(self._hand_out)
        else:
            yield self._send_remainder()
            yield self._delete_replaced()
            yield from self._split(self._cut_off)
        if not has_protection(Protection.ACKNOWLEDGEMENT_BEFORE_DELETE):
            yield self._delete_early()
        if not has_protection(Protection.LOST_LEASE_DELETES_NOTHING):
            yield from self._delete_of_others()

    def _receive(self, runs: int) -> Action:
        node, count = self._node, self._places.jobs[runs]

        def effect(states: Batch) -> None:
            states[count] = states[count] - 1
            states[node.low] = runs
            states[node.leased] = 1

        return Action(
            f"{self._name} receives job {names(runs)}",
            "compute_node.job_reactions",
            lambda states: (states[count] > 0) & self._free(states),
            effect,
        )

    def _deliver(self, run: int) -> Action:
        node, count = self._node, self._places.deliveries[run]

        def effect(states: Batch) -> None:
            put_one(states, count)
            self._acknowledged(states, np.full(len(states), 1 << run, dtype=np.uint8))

        return Action(
            f"{self._name} does run {run}, delivers it, is acknowledged",
            "compute_node.deliveries",
            lambda states: has(node.todo(states), run) & (states[node.replacing] == 0),
            effect,
        )

    def _skip(self) -> Action:
        def stored(states: Batch) -> Bits:
            return self._node.todo(states) & states[self._places.stored]

        return Action(
            f"{self._name} skips what is stored",
            "compute_node.jobs_in_hand",
            lambda states: (stored(states) > 0) & (states[self._node.replacing] == 0),
            lambda states: self._acknowledged(states, stored(states)),
        )

    def _delete(self) -> Action:
        node = self._node
        return Action(
            f"{self._name} deletes its job",
            "compute_node.job_changes",
            lambda states: (
                (node.message(states) > 0)
                & (node.todo(states) == 0)
                & (states[node.replacing] == 0)
            ),
            self._forget,
            self._judge,
        )

    def _drop(self) -> Action:
        node = self._node
        return Action(
            f"{self._name} learns that its lease is lost and drops its job",
            "compute_node.job_reactions",
            lambda states: (node.message(states) > 0) & (states[node.leased] == 0),
            self._forget,
        )

    def _decrement(self) -> Action:
        def effect(states: Batch) -> None:
            states[self._node.high] = 0

        return Action(
            f"{self._name} replaces its job by the remainder and keeps that",
            "compute_node.job_changes",
            lambda states: self._begun(states) & (states[self._node.leased] == 1),
            effect,
            self._judge,
        )

    def _give_back(self) -> Action:
        def effect(states: Batch) -> None:
            runs = self._node.todo(states)
            self._forget(states)
            self._places.add_job(states, runs, _everywhere(states))

        return Action(
            f"{self._name} replaces its job by the remainder, for anybody",
            "compute_node.job_changes",
            lambda states: self._begun(states) & (states[self._node.leased] == 1),
            effect,
            self._judge,
        )

    def _split(self, effect_of: Callable[[int], Callable[[Batch], None]]) -> Iterator[Action]:
        node = self._node
        for runs in self._places.sets:
            for kept in range(1, runs):
                piece = runs & ~kept
                if runs & kept != kept:
                    continue

                def may(states: Batch, runs: int = runs) -> Mask:
                    mine = (node.todo(states) == runs) & (states[node.replacing] == 0)
                    folder = self._configuration.home is Home.FOLDER
                    return mine & (states[node.leased] == 1) if folder else mine

                yield Action(
                    f"{self._name} cuts job {names(piece)} off",
                    "compute_node.job_changes",
                    may,
                    effect_of(piece),
                    self._judge,
                )

    def _hand_out(self, piece: int) -> Callable[[Batch], None]:
        def effect(states: Batch) -> None:
            count = self._places.jobs[piece]
            put_one(states, count)
            states[self._node.low] = minus(self._node.todo(states), piece)
            states[self._node.high] = 0

        return effect

    def _cut_off(self, piece: int) -> Callable[[Batch], None]:
        def effect(states: Batch) -> None:
            count = self._places.jobs[piece]
            put_one(states, count)
            states[self._node.high] = states[self._node.high] | np.uint8(piece)

        return effect

    def _send_remainder(self) -> Action:
        def effect(states: Batch) -> None:
            everywhere = _everywhere(states)
            self._places.add_job(states, self._node.todo(states), everywhere)
            states[self._node.replacing] = everywhere

        return Action(
            f"{self._name} sends the remainder of its job, for anybody",
            "queueing.sqs",
            self._begun,
            effect,
        )

    def _delete_replaced(self) -> Action:
        return Action(
            f"{self._name} deletes the job whose remainder it sent",
            "queueing.sqs",
            lambda states: states[self._node.replacing] == 1,
            self._forget,
            self._judge,
        )

    # ------------------------------------------------------------------ without a protection

    def _replace_the_wrong_way_round(self) -> Iterator[Action]:
        node = self._node

        def delete(states: Batch) -> None:
            states[node.leased] = 0
            states[node.replacing] = 1

        def send(states: Batch) -> None:
            runs = node.todo(states)
            self._forget(states)
            self._places.add_job(states, runs, _everywhere(states))

        yield Action(
            f"{self._name} deletes its job before the remainder is sent",
            "compute_node.job_changes",
            lambda states: self._begun(states) & (states[node.leased] == 1),
            delete,
            self._judge,
        )
        yield Action(
            f"{self._name} sends the remainder of the job it deleted",
            "compute_node.job_changes",
            lambda states: states[node.replacing] == 1,
            send,
        )

    def _delete_early(self) -> Action:
        node = self._node

        def effect(states: Batch) -> None:
            states[node.leased] = 0

        return Action(
            f"{self._name} deletes its job before its results are acknowledged",
            "compute_node.job_changes",
            lambda states: (node.todo(states) > 0) & (states[node.leased] == 1),
            effect,
            self._judge,
        )

    def _delete_of_others(self) -> Iterator[Action]:
        """Let the delete by an outdated lease count, as some services do."""
        node = self._node

        def done(states: Batch) -> Mask:
            mine = (node.message(states) > 0) & (node.todo(states) == 0)
            return mine & (states[node.leased] == 0) & (states[node.replacing] == 0)

        for runs, count in self._places.jobs.items():

            def visible(states: Batch, runs: int = runs, count: Field = count) -> Mask:
                return done(states) & (states[count] > 0) & (node.message(states) == runs)

            def take(states: Batch, count: Field = count) -> None:
                self._forget(states)
                states[count] = states[count] - 1

            yield Action(
                f"{self._name} deletes job {names(runs)} by a lease it lost",
                "compute_node.job_changes",
                visible,
                take,
                self._judge,
            )
        for other in self._others:

            def in_its_hands(states: Batch, other: NodeFields = other) -> Mask:
                same = other.message(states) == node.message(states)
                return done(states) & same & (states[other.leased] == 1)

            def rob(states: Batch, other: NodeFields = other) -> None:
                self._forget(states)
                states[other.leased] = 0

            yield Action(
                f"{self._name} deletes the other node's job by a lease it lost",
                "compute_node.job_changes",
                in_its_hands,
                rob,
                self._judge,
            )

    # ------------------------------------------------------------------ single steps

    def _free(self, states: Batch) -> Mask:
        return self._node.message(states) == 0

    def _begun(self, states: Batch) -> Mask:
        """Tell where a part of the job is done, so that a remainder would be smaller."""
        todo = self._node.todo(states)
        smaller = (todo > 0) & (todo != self._node.message(states))
        return smaller & (states[self._node.replacing] == 0)

    def _acknowledged(self, states: Batch, runs: Bits) -> None:
        states[self._node.low] = states[self._node.low] & ~runs
        states[self._node.high] = states[self._node.high] | runs

    def _forget(self, states: Batch) -> None:
        states[self._node.whole] = 0

    def _judge(self, before: Batch, after: Batch) -> Sequence[Finding]:
        """Hold I2: a run left a job only acknowledged, stored, or for another job."""
        node, places = self._node, self._places
        left = node.message(before) * before[node.leased] & ~places.queued(after)
        kept = node.acknowledged(before) | places.delivered(after) | after[places.stored]
        # What a lost queue held had been acknowledged, or is its loss and not this step's.
        return [("I2", (left & ~kept & ~after[places.lost]) > 0)]


def _everywhere(states: Batch) -> Mask:
    return np.ones(len(states), dtype=np.bool_)
