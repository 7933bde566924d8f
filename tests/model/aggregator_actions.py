"""What an aggregator does with deliveries: the table of `tests.model.protocol`, rows A1 to A5."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tests.model.places import Flushing, Places, has, minus
from tests.model.protections import Configuration, Protection, Reduction
from tests.model.states import Batch, Mask
from tests.model.system import Action, Finding

__all__ = ["AggregatorActions", "adopt", "double_rows"]


class AggregatorActions:
    """The actions of one aggregator."""

    def __init__(self, configuration: Configuration, places: Places, number: int) -> None:
        self._configuration = configuration
        self._places = places
        self._me = places.aggregators[number]
        self._name = f"aggregator {number + 1}"

    def actions(self) -> Iterator[Action]:
        """Give what the aggregator does of itself."""
        for run in self._places.runs:
            yield self._receive(run)
        yield self._put_shard()
        deletes = tuple(self._delete(run) for run in self._places.runs)
        if self._configuration.reduces(Reduction.DELETES_AT_ONCE):
            yield self._put_manifest(deletes)
        else:
            yield self._put_manifest()
            yield from deletes
        if not self._configuration.has(Protection.FLUSH_BEFORE_DELETE):
            yield self._delete_early()
        if not self._configuration.has(Protection.ORPHANS_KEPT):
            yield self._sweep()
            yield self._put_manifest_of_nothing()

    def _receive(self, run: int) -> Action:
        me, places, count = self._me, self._places, self._places.deliveries[run]

        def may(states: Batch) -> Mask:
            return (
                (states[count] > 0)
                & self._is(states, Flushing.BUFFERING)
                & (states[me.outdated] == 0)
                & ~has(states[me.held], run)
            )

        def effect(states: Batch) -> None:
            states[count] = states[count] - 1
            states[me.held] = states[me.held] | (1 << run)
            if not self._configuration.has(Protection.STORED_BY_MANIFESTS):
                states[places.told] = states[places.told] | (1 << run)

        return Action(
            f"{self._name} receives a delivery of run {run}", "aggregator.reactions", may, effect
        )

    def _put_shard(self) -> Action:
        return Action(
            f"{self._name} puts a shard",
            "aggregator.store",
            lambda states: (states[self._me.held] > 0) & self._is(states, Flushing.BUFFERING),
            self._becomes(Flushing.SHARD_PUT),
        )

    def _put_manifest(self, deletes: tuple[Action, ...] = ()) -> Action:
        def effect(states: Batch) -> None:
            stored = self._places.stored
            states[stored] = states[stored] | states[self._me.held]
            states[self._me.flushing] = Flushing.MANIFEST_PUT

        def judge(before: Batch, _after: Batch) -> Sequence[Finding]:
            twice = (before[self._me.held] & before[self._places.stored]) > 0
            return double_rows(self._configuration, twice)

        return Action(
            f"{self._name} puts the shard's manifest",
            "aggregator.store",
            lambda states: self._is(states, Flushing.SHARD_PUT),
            effect,
            judge,
            at_once=deletes,
        )

    def _delete(self, run: int) -> Action:
        me = self._me

        def may(states: Batch) -> Mask:
            return has(states[me.held], run) & self._is(states, Flushing.MANIFEST_PUT)

        def effect(states: Batch) -> None:
            states[me.held] = minus(states[me.held], 1 << run)
            last = states[me.held] == 0
            states.changed(me.flushing, last, Flushing.BUFFERING)
            states.changed(me.outdated, last, 0)

        def judge(before: Batch, after: Batch) -> Sequence[Finding]:
            gone = before[me.outdated] == 0
            return [("I3", gone & ~has(after[self._places.stored], run))]

        return Action(
            f"{self._name} deletes the delivery of run {run}",
            "aggregator.reactions",
            may,
            effect,
            judge,
        )

    # ------------------------------------------------------------------ without a protection

    def _delete_early(self) -> Action:
        me = self._me

        def effect(states: Batch) -> None:
            states[me.outdated] = 1

        def judge(before: Batch, after: Batch) -> Sequence[Finding]:
            return [("I3", (before[me.held] & ~after[self._places.stored]) > 0)]

        return Action(
            f"{self._name} deletes its deliveries before the flush",
            "aggregator.state",
            lambda states: (
                (states[me.held] > 0)
                & (states[me.outdated] == 0)
                & self._is(states, Flushing.BUFFERING)
            ),
            effect,
            judge,
        )

    def _sweep(self) -> Action:
        return Action(
            f"somebody sweeps away the shard of {self._name}, which has no manifest yet",
            "gapless.results.coverage",
            lambda states: self._is(states, Flushing.SHARD_PUT),
            self._becomes(Flushing.SHARD_SWEPT),
        )

    def _put_manifest_of_nothing(self) -> Action:
        return Action(
            f"{self._name} puts the manifest of the shard that is gone",
            "aggregator.store",
            lambda states: self._is(states, Flushing.SHARD_SWEPT),
            self._becomes(Flushing.MANIFEST_PUT),
        )

    # ------------------------------------------------------------------ single steps

    def _is(self, states: Batch, flushing: Flushing) -> Mask:
        return states[self._me.flushing] == flushing

    def _becomes(self, flushing: Flushing) -> Callable[[Batch], None]:
        def effect(states: Batch) -> None:
            states[self._me.flushing] = flushing

        return effect


def adopt(configuration: Configuration, places: Places) -> Action:
    """Write the manifests of shards whose aggregator died before it could."""

    def effect(states: Batch) -> None:
        states[places.stored] = states[places.stored] | states[places.orphans]
        states[places.orphans] = 0

    def judge(before: Batch, _after: Batch) -> Sequence[Finding]:
        return double_rows(configuration, (before[places.orphans] & before[places.stored]) > 0)

    return Action(
        "a shard without manifest is adopted",
        "gapless.results.coverage",
        lambda states: states[places.orphans] > 0,
        effect,
        judge,
    )


def double_rows(configuration: Configuration, twice: Mask) -> Sequence[Finding]:
    """Hold I4 where shards have come to hold a run twice: the reader chooses one row a run."""
    if configuration.has(Protection.ONE_ROW_A_RUN):
        return ()
    return [("I4", twice)]
