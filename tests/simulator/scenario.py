"""One seed, from the first submit to complete results: who lives there and what befalls them."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import stamina

from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.results.outcome import Outcome
from gapless.storage import layout
from gapless.storage.sweeps import SweepStore
from tests.simulator.collectors import SimAggregator
from tests.simulator.disasters import Disasters
from tests.simulator.faults import Fault
from tests.simulator.nodes import SimNode
from tests.simulator.people import SETTLE_S, Person
from tests.simulator.plan import Plan
from tests.simulator.ports import (
    CountedQueues,
    FaultyBlobs,
    FaultyQueues,
    Services,
    Spells,
)
from tests.simulator.rarities import Rarities
from tests.simulator.readers import Reader
from tests.simulator.services import ServiceClock, WatchedBlobs, WatchedQueues
from tests.simulator.strangers import Strangers
from tests.simulator.truth import Truth
from tests.simulator.world import START_S, Violation, World

__all__ = ["Cast", "Failed", "Scenario", "run_seed"]

_GONE_FOR_S = 40.0
_MEMORY = "/dev/shm"
_SOON = 0.2


class Failed(AssertionError):
    """A scenario broke an invariant; the message holds its log and how to replay it.

    `reason` is one line: what broke; `thrown` how often each kind of fault came up until then.
    """

    def __init__(
        self,
        *,
        seed: int,
        left_out: frozenset[str],
        reason: str,
        lines: list[str],
        thrown: Mapping[str, int],
    ) -> None:
        without = f" --without {','.join(sorted(left_out))}" if left_out else ""
        super().__init__(
            "\n".join(
                (
                    f"seed {seed}: {reason}",
                    *lines,
                    f"replay it: python -m tests.simulator {seed}{without}",
                )
            )
        )
        self.seed = seed
        self.left_out = left_out
        self.reason = reason
        self.lines = lines
        self.thrown = thrown


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays; a test plants a bug by giving a part to another actor."""

    node: type[SimNode] = SimNode
    aggregator: type[SimAggregator] = SimAggregator
    person: type[Person] = Person
    reader: Reader = field(default_factory=Reader)


class Scenario:
    """The world of one seed with everybody in it."""

    def __init__(
        self, seed: int, cast: Cast | None = None, left_out: frozenset[str] = frozenset()
    ) -> None:
        cast = cast or Cast()
        self.plan = Plan.of(seed)
        self.sweep_ids = [frozen.id for frozen in self.plan.sweeps]
        self._kept = [each for each in self.sweep_ids if each not in self.plan.given_up]
        self.world = World(seed, left_out)
        self.plan.spares_nodes = any(each.startswith(Fault.KILLS_NODE) for each in left_out)
        self.truth = Truth()
        self.spells = Spells()
        clock = ServiceClock(self.world)
        self.queues = WatchedQueues(self.world, self.truth, self.plan, clock)
        self.blobs = WatchedBlobs(self.truth, clock)
        self.reader = cast.reader
        self.person = cast.person(self.world, self.plan)
        self.nodes = [
            cast.node(self.world, f"node{n}", lease_s=self.plan.lease_s, plan=self.plan)
            for n in range(self.plan.nodes)
        ]
        self.aggregators = [
            cast.aggregator(self.world, f"agg{n}", lease_s=self.plan.lease_s, plan=self.plan)
            for n in range(self.plan.aggregators)
        ]
        self._gone_since: dict[str, float] = {}
        self.truth.receipts = self.person.receipts
        self.world.check = self.truth.check_nothing_lost
        for actor in (*self.nodes, *self.aggregators, self.person):
            rates = self.plan.rates
            if actor is self.person:
                rates = dataclasses.replace(rates, crash=rates.crash * 3)
            actor.queues = FaultyQueues(
                actor, self.queues, rates, self.spells, person=actor is self.person
            )
            actor.blobs = FaultyBlobs(
                actor, self.blobs, rates, self.spells, slow_s=self.plan.lease_s
            )
        if self.plan.remote:
            # As on Amazon SQS: what reconcile cannot see it judges by counts, at two looks.
            self.person.queues = CountedQueues(self.person.queues, late_s=SETTLE_S / 2)
        services = Services(self.queues, self.blobs, clock, self.spells)
        self.disasters = Disasters(self.world, self.plan, services)
        self.disasters.programs = (*self.nodes, *self.aggregators)
        self.disasters.person = self.person
        self.strangers = Strangers(self.world, services, self.sweep_ids)
        self.rarities = Rarities(self.world, self.plan, services, self.person)
        self.rarities.nodes, self.rarities.aggregators = self.nodes, self.aggregators
        self.strangers.nodes, self.strangers.aggregators = self.nodes, self.aggregators

        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if self.plan.on_disk:
            self._folder = tempfile.TemporaryDirectory(prefix="gapless-simulator-", dir=_memory())
            for node in self.nodes:
                node.work = Path(self._folder.name) / node.name

    def close(self) -> None:
        """Give back what the scenario holds of this machine."""
        self.person.close()
        if self._folder is not None:
            self._folder.cleanup()

    def play(self) -> None:
        """Play it to the end; Violation when an invariant breaks."""
        for actor in (*self.nodes, *self.aggregators):
            actor.start_later(0.0)
        for frozen in self.plan.sweeps:
            self.person.give(
                self.world.random.random() * 5.0, f"submit {frozen.id}", self._submit(frozen)
            )
        if self.plan.calm:
            self.world.faults = False
        else:
            self._plan_faults()
        heal_at = START_S + self.plan.faults_for_s
        self.world.run_until(lambda: False, deadline=heal_at)
        self._heal(heal_at)
        if not self.world.run_until(self._complete, deadline=heal_at + self.plan.pace.patience):
            self._say_what_lacks()
        self._check_end()
        self._see_all_let_go()

    def _submit(self, frozen: object) -> Callable[[], None]:
        return lambda: self.person.submit(frozen)  # type: ignore[arg-type]

    # What befalls it ------------------------------------------------------------------------------

    def _plan_faults(self) -> None:
        dice, until = self.world.random, self.plan.faults_for_s

        def sometime() -> float:
            return dice.uniform(0.1, 0.95) * until

        self.disasters.begin()
        self.disasters.plan_all(sometime)
        self.strangers.plan_all(sometime)
        self.rarities.plan_all()
        if dice.random() < 0.5:
            self.world.at(sometime(), self._read_in_between)
        for frozen in self.plan.sweeps:
            self._plan_commands(frozen.id, sometime)
        for sweep_id in self.plan.given_up:
            self.person.give(sometime(), f"give up {sweep_id}", self._give_up(sweep_id))

    def _controls(self, sweep_id: str, states: list[ControlState]) -> Callable[[], None]:
        def act() -> None:
            for state in states:
                self.person.control(sweep_id, state)

        return act

    def _give_up(self, sweep_id: str) -> Callable[[], None]:
        return lambda: self.person.control(sweep_id, ControlState.CANCELLED)

    def _plan_commands(self, sweep_id: str, sometime: Callable[[], float]) -> None:
        dice, person = self.world.random, self.person
        for _ in range(dice.randrange(3)):
            again, at = dice.random() < 0.7, sometime()
            self._give(
                Fault.RECONCILES,
                at,
                f"reconcile {sweep_id}",
                lambda again=again: person.reconcile(sweep_id, again=again),  # type: ignore[misc]
            )
        if sweep_id in self.plan.extensions:
            larger = self.plan.extensions[sweep_id]
            self._give(
                Fault.EXTENDS,
                sometime(),
                f"extend {sweep_id}",
                lambda: person.extend(sweep_id, larger),
            )
        if dice.random() < 0.3:
            first = dice.randrange(2)
            runs: RunSet | frozenset[Outcome] = RunSet.span(first, first + dice.randrange(1, 3))
            whim = self.world.dice(Fault.RESUBMITS).random()
            if whim < 0.25:
                runs = frozenset({Outcome.FAILED, Outcome.LOST})
            elif whim < 0.3:
                runs = RunSet.span(5_000, 5_001)
            self._give(
                Fault.RESUBMITS,
                sometime(),
                f"resubmit {sweep_id}",
                lambda: person.resubmit(sweep_id, runs),
            )
        if dice.random() < 0.25 and sweep_id not in self.plan.given_up:
            word = ControlState.CANCELLED if dice.random() < 0.3 else ControlState.PAUSED
            kind = Fault.CANCELS if word is ControlState.CANCELLED else Fault.PAUSES
            at = sometime()
            self._give(kind, at, f"{word.value} {sweep_id}", lambda: person.control(sweep_id, word))
            after = [ControlState.RUNNING]
            if kind is Fault.CANCELS and self.world.dice("paused after all").random() < 0.3:
                after.append(ControlState.PAUSED)
            person.give(at + 20.0, f"resume {sweep_id}", self._controls(sweep_id, after))
        if self.plan.remote and self.world.dice("forces").random() < 0.2:
            self._give(
                Fault.FORCES, sometime(), f"force {sweep_id}", lambda: person.force(sweep_id)
            )

    def _give(self, kind: Fault, at: float, name: str, command: Callable[[], None]) -> None:
        if self.world.fault(kind):
            self.person.give(at, name, command)

    # The end --------------------------------------------------------------------------------------

    def _heal(self, heal_at: float) -> None:
        self.world.now = max(self.world.now, heal_at)
        self.world.heal()
        self.strangers.be_served()
        self.rarities.put_back()
        for actor in (*self.nodes, *self.aggregators):
            actor.frozen_until = 0.0
        for frozen in self.plan.sweeps:
            if frozen.id in self.plan.given_up:
                # Once more: a message that was on its way may have made a queue anew.
                self.person.give(30.0, f"give up {frozen.id}", self._give_up(frozen.id))
            else:
                self._resume(frozen.id)
            if self.world.thrown[Fault.SHARD_FLIPPED]:
                self.person.give(0.1, f"verify {frozen.id}", self._verify(frozen.id))
            self._reconcile_often(frozen.id)

    def _verify(self, sweep_id: str) -> Callable[[], None]:
        return lambda: self.person.verify(sweep_id)

    def _resume(self, sweep_id: str) -> None:
        # After every command given before, a cancel that was given again and again among them.
        person = self.person
        person.give(
            30.0,
            f"resume {sweep_id}",
            lambda: person.control(sweep_id, ControlState.RUNNING),
        )

    def _reconcile_often(self, sweep_id: str) -> None:
        person = self.person
        if self.plan.max_failures is not None and sweep_id not in self.plan.given_up:
            person.give(0.1, f"resume {sweep_id}", lambda: person.resume_if_paused(sweep_id))
        person.give(0.1, f"reconcile {sweep_id}", lambda: person.reconcile(sweep_id, again=True))
        self.world.at(self.plan.pace.reconcile, lambda: self._reconcile_often(sweep_id))

    def _complete(self) -> bool:
        # Asked after every step: what is cheap to know comes first, for all sweeps.
        if not self.person.complete.issuperset(self._kept):
            return False
        return all(self._queues_are_gone(each) for each in self.plan.given_up) and all(
            self.truth.sweeps[each].declared_by(self.blobs, each)
            and not self.truth.sweeps[each].missing()
            for each in self._kept
        )

    def _queues_are_gone(self, sweep_id: str) -> bool:
        """Tell whether nothing is left of a cancelled sweep, and nobody makes it anew."""
        truth = self.truth.sweeps[sweep_id]
        cancelled = truth.state is ControlState.CANCELLED
        if not cancelled or any(map(self.queues.has, _queues_of(sweep_id))):
            self._gone_since.pop(sweep_id, None)
            return False
        since = self._gone_since.setdefault(sweep_id, self.world.now)
        return self.world.now - since >= _GONE_FOR_S

    def _say_what_lacks(self) -> None:
        for sweep_id in self.plan.given_up:
            there = [queue for queue in _queues_of(sweep_id) if self.queues.has(queue)]
            if there:
                raise Violation(f"{sweep_id} was cancelled long ago, and {there[0]} is there")
        lacking = ", ".join(
            f"{each}: {self.truth.sweeps[each].missing()}" for each in self.sweep_ids
        )
        raise Violation(f"I1b: not complete long after the last fault: {lacking}")

    def _check_end(self) -> None:
        for sweep_id in self.sweep_ids:
            shown, total = self._read(sweep_id)
            if sweep_id in self.plan.given_up:
                continue
            if shown != total:
                raise Violation(f"{sweep_id} is complete, and {shown} of {total} runs show")
            self.truth.check_marks(sweep_id)

    def _see_all_let_go(self) -> None:
        """Check that soon after all is complete no node holds anything of it."""
        holding = list(self.nodes)

        def done() -> bool:
            # Asked after every step: one node at a time, and each until it has let go once.
            while holding and not holding[-1].still_holds():
                holding.pop()
            return not holding

        deadline = self.world.now + _SOON * self.plan.pace.patience
        if not self.world.run_until(done, deadline=deadline):
            what = holding[-1].still_holds()
            raise Violation(f"{holding[-1].name} holds {what} long after everything is complete")

    def _read_in_between(self) -> None:
        if self.world.thrown[Fault.SHARD_FLIPPED] or not self.world.fault(Fault.READS):
            # A reader stops at a shard that is not as it was stored, and says so.
            return
        for sweep_id in self.sweep_ids:
            if SweepStore(self.blobs).exists(sweep_id):
                shown, total = self._read(sweep_id)
                self.world.log(f"a reader of {sweep_id} sees {shown} of {total} runs")

    def _read(self, sweep_id: str) -> tuple[int, int]:
        runs = SweepStore(self.blobs).load(sweep_id).runs
        return self.reader.check(self.blobs, sweep_id, plan=self.plan, runs=runs), runs.total


def _memory() -> str | None:
    """Give a folder in memory where there is one: nothing of a world outlives it."""
    return _MEMORY if os.access(_MEMORY, os.W_OK) else None


def _queues_of(sweep_id: str) -> tuple[str, str]:
    return layout.jobs_queue(sweep_id), layout.results_queue(sweep_id)


def run_seed(seed: int, cast: Cast | None = None, left_out: frozenset[str] = frozenset()) -> World:
    """Play one seed; Failed with the log and the command that replays it.

    `left_out` names faults that do not happen (see `World.fault`).
    """
    scenario = Scenario(seed, cast, left_out)
    # In one world of four a blip is sat out; in the others the state machines hear of each.
    attempts = 4 if seed % 4 == 0 else 1
    try:
        with stamina.set_testing(True, attempts=attempts):
            scenario.play()
    except Exception as error:
        raise Failed(
            seed=seed,
            left_out=left_out,
            reason=f"{type(error).__name__}: {error}".split("\n")[0],
            lines=scenario.world.lines,
            thrown=scenario.world.thrown,
        ) from error
    finally:
        scenario.close()
    return scenario.world
