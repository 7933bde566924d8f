"""What a seed decides beforehand: sweeps, how each run ends, which kinds of fault there are."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import random
from dataclasses import dataclass, field

from compute_node.rules import Remainders
from gapless.declaration.limits import Limits
from gapless.declaration.space import Space
from gapless.declaration.sweep import FrozenSweep, Sweep
from gapless.results.outcome import Outcome
from queueing.port import MAX_LEASE_S

__all__ = ["Ending", "FaultRates", "Pace", "Plan", "value_of"]

_ATTEMPTS = 3
_RETRIED = ("lost", "timeout")
_DEATHS = (1, 2, 1000)
_DOOMED_AT = 6
"""With so many nodes gone a run is lost (design: «What a job carries against endless circling»)."""


class Ending(enum.Enum):
    """How one attempt at a run ends."""

    OK = "ok"
    FAILS = "fails"
    KILLS = "kills"
    HANGS = "hangs"
    KILLS_NODE = "kills its node"


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How likely each fault is at one call (or one entry of a batch)."""

    away: float = 0.0
    answer_lost: float = 0.0
    entry_fails: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    damaged: float = 0.0
    crash: float = 0.0
    interleave: float = 0.0
    slow: float = 0.0
    heard_late: float = 0.0
    slow_to_worker: float = 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How long runs take, and how often everybody looks; seconds."""

    durations: tuple[float, ...] = (0.05, 0.3, 1.0, 3.0)
    time_limit: float = 12.0
    tick: float = 1.0
    poll: float = 1.0
    control: float = 5.0
    look: float = 10.0
    report: float = 10.0
    reconcile: float = 25.0
    patience: float = 1_500.0


_SECONDS = Pace()
_MICROSECONDS = Pace(durations=(2e-6, 1e-5, 1e-4))
_UNEVEN = Pace(durations=(*[1e-3] * 12, 3.0))
"""A few runs take thousands of times as long as the others: a chunk of many may hold one."""
_HOURS = Pace(
    durations=(1e-3, 600.0, 7_200.0, 32_400.0, 72_000.0),
    time_limit=90_000.0,
    tick=120.0,
    poll=180.0,
    control=600.0,
    look=1_800.0,
    report=300.0,
    reconcile=3_600.0,
    patience=1_728_000.0,
)


def value_of(seed: int) -> float:
    """Give what a run with this seed computes."""
    return float(seed % 1_000_003) / 7.0


@dataclass(slots=True)
class Plan:
    """The scenario of one seed."""

    seed: int
    sweeps: list[FrozenSweep] = field(default_factory=list)
    extensions: dict[str, FrozenSweep] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    """Sweeps that are cancelled for good."""
    pace: Pace = _SECONDS
    nodes: int = 1
    aggregators: int = 1
    job_size: int = 4
    lease_s: float = 60.0
    faults_for_s: float = 60.0
    runs_a_block: int = 3
    rates: FaultRates = field(default_factory=FaultRates)
    retry_on: tuple[str, ...] = _RETRIED
    max_failures: str | int | None = None
    calm: bool = False
    """No fault at all, and no run that takes a process down: nothing may be done twice."""
    froze: bool = False
    aged_s: float = 0.0
    long_run_s: float = 0.0
    remainders: Remainders = Remainders.LEASED
    retention_s: float = math.inf
    ceiling: int = 0
    skew_s: float = 0.0
    cuts: bool = False
    flips: bool = False
    on_disk: bool = False
    kills_nodes: bool = False
    spares_nodes: bool = False
    """Some of these are left out: what would never end well may."""
    rest_s: float = 0.0
    rest_after_s: float = 15.0
    commands: bool = False
    unfit: float = 0.0
    fickle: bool = False
    """The user's code is not deterministic: each attempt at a run gives another value."""
    leave: bool = False
    """Programs leave by themselves when there is nothing to do, and are started again."""

    @classmethod
    def of(cls, seed: int) -> Plan:
        """Throw the dice."""
        dice = random.Random(f"plan {seed}")
        heat = dice.choice((0.0, 0.3, 1.0, 1.0, 2.0))
        plan = cls(
            seed=seed,
            nodes=dice.choice((1, 1, 2, 2, 3)),
            aggregators=dice.choice((1, 1, 1, 2)),
            job_size=dice.randrange(1, 9),
            lease_s=dice.choice((20.0, 40.0)),
            faults_for_s=dice.uniform(25.0, 90.0),
            runs_a_block=dice.randrange(1, 6),
            rates=FaultRates(
                away=0.015 * heat,
                answer_lost=0.02 * heat,
                entry_fails=0.03 * heat,
                twice=0.04 * heat,
                late=0.15 * heat,
                damaged=0.1 * heat * dice.choice((0.0, 0.0, 1.0)),
                crash=0.003 * heat,
                interleave=0.1 * heat,
                slow=0.01 * heat * dice.choice((0.0, 0.0, 0.0, 1.0)),
                heard_late=0.02 * heat,
                slow_to_worker=0.15 * heat,
            ),
            retry_on=dice.choice((_RETRIED, (*_RETRIED, "failed"))),
        )
        plan._choose_time(dice)
        if heat and plan.pace is _SECONDS:
            plan._maybe_uneven(random.Random(f"uneven {seed}"))
        plan._choose_place(dice)
        # As in a bucket: sweeps of which nothing comes are looked at seldom.
        plan.rest_s = dice.choice((0.0, 0.0, 20.0))
        # The target is a command: what kills it leaves the worker alive to tell.
        plan.commands = dice.random() < 0.2
        plan.unfit = 0.1 * heat * dice.choice((0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
        plan.calm = not heat and not plan.aged_s and dice.random() < 0.7
        plan.kills_nodes = not plan.calm and dice.random() < 0.06
        plan.on_disk = dice.random() < 0.08
        if heat:
            plan.flips = dice.random() < 0.2
            plan.cuts = dice.random() < 0.25
            plan.max_failures = dice.choice((None, None, None, None, 0, 1, "20%"))
        plan.leave = bool(heat) and random.Random(f"leave {seed}").random() < 0.1
        plan.fickle = bool(heat) and random.Random(f"fickle {seed}").random() < 0.2
        plan._choose_sweeps(dice)
        if heat and dice.random() < 0.07:
            plan.given_up.add(plan.sweeps[-1].id)
        return plan

    @property
    def remote(self) -> bool:
        """Tell whether queues and storage are services far away, each machine with its clock."""
        return self.remainders is Remainders.ANYBODYS

    @property
    def kept_s(self) -> float:
        """For how long a node keeps a job at least; where it can be leased anew, for ever."""
        return MAX_LEASE_S - 2.0 * self.lease_s if self.remote else math.inf

    def _choose_time(self, dice: random.Random) -> None:
        """Choose how long runs take, and how long a lease can be renewed."""
        kind = dice.random()
        if kind < 0.02:
            self.pace, self.lease_s = _HOURS, 900.0
            self.faults_for_s *= 1_000.0
        elif kind < 0.12:
            self.pace, self.job_size = _MICROSECONDS, self.job_size * 8
        elif kind < 0.4:
            # A lease lasts little longer than two lengths, however often it is renewed, and in
            # every other of these worlds the first run takes longer than that.
            self.aged_s = MAX_LEASE_S - 2.2 * self.lease_s
            self.long_run_s = 3.0 * self.lease_s * dice.choice((0.0, 1.0))

    def _maybe_uneven(self, dice: random.Random) -> None:
        """Let a few runs take far longer than the others, and what workers are told come late."""
        if dice.random() < 0.06:
            self.pace = _UNEVEN
            self.job_size = dice.choice((1, 8 * self.job_size))
            self.retry_on = (*_RETRIED, "failed")
            self.rates = dataclasses.replace(self.rates, slow_to_worker=0.5)

    def _choose_place(self, dice: random.Random) -> None:
        """Choose between a folder of one machine and services far away, with their bounds."""
        if dice.random() < 0.6:
            return
        self.remainders = Remainders.ANYBODYS
        if self.pace is not _HOURS:
            self.retention_s = dice.choice((math.inf, math.inf, 40.0, 80.0))
        self.ceiling = dice.choice((0, 0, 2, 5))
        self.skew_s = dice.choice((0.0, 5.0, 240.0))

    def _choose_sweeps(self, dice: random.Random) -> None:
        many = self.pace in (_MICROSECONDS, _UNEVEN)
        few = self.pace is _HOURS
        for number in range(1 if few else dice.choice((1, 1, 1, 2))):
            points = dice.randrange(20, 60) if many else dice.randrange(2, 5 if few else 11)
            replicates = dice.randrange(1, 3 if many or few else 4)
            frozen = self._sweep(f"s{number}", points, replicates).freeze()
            self.sweeps.append(frozen)
            share = self.max_failures == "20%"
            if dice.random() < (0.8 if share else 0.25):
                more_points = points if share else dice.randrange(1, 4)
                more = self._sweep(f"s{number}", points + more_points, replicates)
                self.extensions[frozen.id] = more.freeze()

    def _sweep(self, name: str, points: int, replicates: int) -> Sweep:
        return Sweep(
            name=name,
            space=Space.grid(x=list(range(points))),
            replicates=replicates,
            seed=self.seed,
            function="module:function",
            limits=Limits(
                time_s=self.pace.time_limit + self.long_run_s,
                attempts=_ATTEMPTS,
                retry_on=self.retry_on,
                max_failures=self.max_failures,
            ),
        )

    def ending(self, sweep_id: str, run: int, attempt: int) -> Ending:
        """Say how an attempt ends."""
        ending, times, _ = self._nature(sweep_id, run)
        return ending if attempt <= times or ending is Ending.KILLS_NODE else Ending.OK

    def node_deaths(self, sweep_id: str, run: int) -> int:
        """Say how many nodes a run takes down before it lets one live."""
        ending, times, _ = self._nature(sweep_id, run)
        return times if ending is Ending.KILLS_NODE else 0

    def duration_s(self, sweep_id: str, run: int) -> float:
        """Say how long an attempt takes."""
        if self.long_run_s and run == 0:
            return self.long_run_s
        return self._nature(sweep_id, run)[2]

    def value(self, seed: int, began_s: float) -> float:
        """Say what an attempt computes at a run of this seed that began then (Unix seconds)."""
        return value_of(seed) + (began_s % 1.0 if self.fickle else 0.0)

    def allowed(self, sweep_id: str, run: int) -> set[Outcome]:
        """Give the outcomes a run may be recorded with; any may be lost, if its nodes die.

        While a machine is frozen the time of its runs goes on: then any may time out, and a later
        attempt at one that would have failed may be the first that is not cut off.
        """
        ending, times, _ = self._nature(sweep_id, run)
        again = {Ending.FAILS: "failed", Ending.KILLS: "lost", Ending.HANGS: "timeout"}
        word = again.get(ending)
        always = {Outcome.LOST, Outcome.TIMEOUT} if self.froze else {Outcome.LOST}
        if ending is Ending.KILLS_NODE and times > _DOOMED_AT and not self.spares_nodes:
            return {Outcome.LOST}
        if word is None or (word in self.retry_on and times < _ATTEMPTS):
            return {Outcome.OK, *always}
        if self.froze and times < _ATTEMPTS:
            always.add(Outcome.OK)
        return {Outcome[word.upper()], *always}

    def _nature(self, sweep_id: str, run: int) -> tuple[Ending, int, float]:
        """Give how the first attempts at a run end, how many of them, and how long each takes."""
        return _nature(
            f"{self.seed} {sweep_id} {run}",
            self.pace.durations,
            calm=self.calm,
            no_hanging=bool(self.long_run_s) or self.pace is _HOURS,
            kills_nodes=self.kills_nodes,
        )


@functools.lru_cache(maxsize=4_096)
def _nature(
    name: str, durations: tuple[float, ...], *, calm: bool, no_hanging: bool, kills_nodes: bool
) -> tuple[Ending, int, float]:
    dice = random.Random(name)
    ending = dice.choices(
        (Ending.OK, Ending.FAILS, Ending.KILLS, Ending.HANGS), weights=(84, 8, 5, 3)
    )[0]
    # Where the limit of time is long, one that hangs would take all day.
    if (no_hanging and ending is Ending.HANGS) or (calm and ending is not Ending.FAILS):
        ending = Ending.OK
    times, duration_s = dice.choice(_DEATHS), dice.choice(durations)
    if kills_nodes and dice.random() < 0.15:
        ending = Ending.KILLS_NODE
    return ending, times, duration_s
