"""What a seed decides beforehand: sweeps, how each run ends, which faults come when."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, field

from compute_node.rules import Remainders
from gapless.declaration.limits import Limits
from gapless.declaration.space import Space
from gapless.declaration.sweep import FrozenSweep, Sweep
from gapless.results.outcome import Outcome
from queueing.port import MAX_LEASE_S
from tests.simulator.ports import FaultRates

__all__ = ["Ending", "Plan", "value_of"]

_TIME_LIMIT_S = 12.0
_ATTEMPTS = 3


class Ending(enum.Enum):
    """How one attempt at a run ends."""

    OK = "ok"
    FAILS = "fails"
    KILLS = "kills"
    HANGS = "hangs"


def value_of(seed: int) -> float:
    """Give what a run with this seed computes."""
    return float(seed % 1_000_003) / 7.0


@dataclass(slots=True)
class Plan:
    """The scenario of one seed."""

    seed: int
    sweeps: list[FrozenSweep] = field(default_factory=list)
    extensions: dict[str, FrozenSweep] = field(default_factory=dict)
    nodes: int = 1
    aggregators: int = 1
    job_size: int = 4
    lease_s: float = 60.0
    faults_for_s: float = 60.0
    runs_a_block: int = 3
    rates: FaultRates = field(default_factory=FaultRates)
    retry_on: tuple[str, ...] = ("lost", "timeout")
    froze: bool = False
    aged_s: float = 0.0
    long_run_s: float = 0.0
    remainders: Remainders = Remainders.LEASED
    rest_s: float = 0.0
    rest_after_s: float = 15.0
    commands: bool = False
    unfit: float = 0.0

    @classmethod
    def of(cls, seed: int) -> Plan:
        """Throw the dice."""
        dice = random.Random(f"plan {seed}")
        heat = dice.choice((0.0, 0.3, 1.0, 1.0, 2.0))
        plan = cls(
            seed=seed,
            nodes=dice.randrange(1, 4),
            aggregators=dice.choice((1, 1, 2)),
            job_size=dice.randrange(1, 9),
            lease_s=dice.choice((30.0, 60.0)),
            faults_for_s=dice.uniform(40.0, 150.0),
            runs_a_block=dice.randrange(1, 6),
            rates=FaultRates(
                away=0.01 * heat,
                answer_lost=0.015 * heat,
                entry_fails=0.03 * heat,
                twice=0.04 * heat,
                late=0.15 * heat,
                damaged=0.1 * heat * dice.choice((0.0, 0.0, 1.0)),
                crash=0.002 * heat,
                interleave=0.1 * heat,
            ),
            retry_on=dice.choice((("lost", "timeout"), ("lost", "timeout", "failed"))),
        )
        # In one world of three a lease lasts little longer than two lengths, however often it is
        # renewed, and in every other of these the first run takes longer than that.
        if seed % 3 == 0:
            plan.aged_s = MAX_LEASE_S - 2.2 * plan.lease_s
            plan.long_run_s = 3.0 * plan.lease_s * (seed % 2)
        if seed % 5 in {1, 3}:
            plan.remainders = Remainders.ANYBODYS
        # As in a bucket: sweeps of which nothing comes are looked at seldom.
        plan.rest_s = 20.0 if seed % 7 in {2, 5} else 0.0
        # The target is a command: what kills it leaves the worker alive to tell.
        plan.commands = seed % 11 in {4, 7}
        plan.unfit = 0.1 * heat if seed % 6 == 2 else 0.0
        for number in range(dice.choice((1, 1, 2))):
            points = dice.randrange(2, 13)
            replicates = dice.randrange(1, 5)
            frozen = plan._sweep(f"s{number}", points, replicates).freeze()
            plan.sweeps.append(frozen)
            if dice.random() < 0.25:
                more = plan._sweep(f"s{number}", points + dice.randrange(1, 4), replicates)
                plan.extensions[frozen.id] = more.freeze()
        return plan

    def _sweep(self, name: str, points: int, replicates: int) -> Sweep:
        return Sweep(
            name=name,
            space=Space.grid(x=list(range(points))),
            replicates=replicates,
            seed=self.seed,
            function="module:function",
            limits=Limits(
                time_s=_TIME_LIMIT_S + self.long_run_s, attempts=_ATTEMPTS, retry_on=self.retry_on
            ),
        )

    def _dice(self, sweep_id: str, run: int) -> random.Random:
        return random.Random(f"{self.seed} {sweep_id} {run}")

    def _nature(self, sweep_id: str, run: int) -> tuple[Ending, int]:
        """Give how the first attempts at a run end, and how many of them."""
        dice = self._dice(sweep_id, run)
        ending = dice.choices(
            (Ending.OK, Ending.FAILS, Ending.KILLS, Ending.HANGS), weights=(84, 8, 5, 3)
        )[0]
        if self.long_run_s and ending is Ending.HANGS:
            # With their limit these would take all day.
            ending = Ending.OK
        return ending, dice.choice((1, 2, 1000))

    def ending(self, sweep_id: str, run: int, attempt: int) -> Ending:
        """Say how an attempt ends."""
        ending, times = self._nature(sweep_id, run)
        return ending if attempt <= times else Ending.OK

    def duration_s(self, sweep_id: str, run: int) -> float:
        """Say how long an attempt takes."""
        if self.long_run_s and run == 0:
            return self.long_run_s
        return self._dice(sweep_id, run).choice((0.05, 0.3, 1.0, 3.0))

    def allowed(self, sweep_id: str, run: int) -> set[Outcome]:
        """Give the outcomes a run may be recorded with; any may be lost, if its nodes die.

        While a machine is frozen the time of its runs goes on: then any may time out, and a later
        attempt at one that would have failed may be the first that is not cut off.
        """
        ending, times = self._nature(sweep_id, run)
        again = {Ending.FAILS: "failed", Ending.KILLS: "lost", Ending.HANGS: "timeout"}
        word = again.get(ending)
        always = {Outcome.LOST, Outcome.TIMEOUT} if self.froze else {Outcome.LOST}
        if word is None or (word in self.retry_on and times < _ATTEMPTS):
            return {Outcome.OK, *always}
        if self.froze and times < _ATTEMPTS:
            always.add(Outcome.OK)
        return {Outcome[word.upper()], *always}
