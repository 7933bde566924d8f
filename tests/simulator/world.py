"""A world of one seed: a virtual clock, a heap of timed events, chance, and a log of what happened.

Nothing here sleeps and nothing runs in a thread. An actor is whoever has a life of its own: a node,
an aggregator, the person at the command line. While an actor is inside a call of a port others may
act (`World.let_others_act`), so steps of different programs interleave at port calls too.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence

from gapless.storage.blobs import Blob
from queueing.port import Message

__all__ = ["Actor", "Crash", "Lane", "Violation", "World"]

START_S = 1_700_000_000.0
_DEEPEST = 2


class Crash(BaseException):
    """kill -9 of an actor, right here: no handler of the product may stop it."""


class Violation(AssertionError):
    """An invariant of the design does not hold."""


class Actor:
    """A program: its threads are lanes, each doing one thing at a time; `life` counts its lives.

    Its machine's wall clock is `skew_s` ahead; the monotonic one is the world's. Until those
    moments it cannot reach the queues, or storage, that others reach.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.life = 0
        self.alive = False
        self.frozen_until = 0.0
        self.skew_s = 0.0
        self.queues_cut_until = 0.0
        self.storage_cut_until = 0.0
        self.main = self.inbox = Lane(self)

    def clock(self) -> float:
        """Tell the time by the wall clock of its machine (Unix seconds)."""
        return self.world.now + self.skew_s

    def die(self) -> None:
        """End this life: what it planned and held in memory is gone."""
        self.life += 1
        self.world.log(f"{self.name} dies")
        self.died()

    def died(self) -> None:
        """Say what follows a death (a restart, most of the time)."""

    def start(self) -> None:
        """Begin a life."""

    def received(self, messages: Sequence[Message], at: float) -> None:
        """Note what a receive at that moment brought."""

    def listed_controls(self, prefix: str, found: Sequence[Blob], at: float) -> None:
        """Note which control records of a sweep there were at that moment."""

    def start_later(self, least_s: float) -> None:
        """Begin a life some time from now, unless another death comes first."""
        life = self.life

        def start() -> None:
            if self.life == life:
                self.start()

        self.world.at(least_s + self.world.random.random() * 10.0, start)


class Lane:
    """One thread of an actor: never does two things at once; what is queued is done in order."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.busy = False
        self._queued: deque[tuple[float, Callable[[], None]]] = deque()
        self._waiting: list[Callable[[], None]] = []

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later in this life; a crash before that takes it away."""
        life = self.actor.life

        def act() -> None:
            if self.actor.life == life:
                self._act(action, life)

        self.actor.world.at(delay_s, act)

    def after_others(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something once all that was queued before is done, and `delay_s` on top."""
        self._queued.append((delay_s, action))
        if len(self._queued) == 1:
            self.at(delay_s, self._next)

    def _next(self) -> None:
        _, action = self._queued[0]
        life = self.actor.life
        try:
            action()
        finally:
            self._queued.popleft()
            if self._queued and self.actor.life == life:
                self.at(self._queued[0][0], self._next)

    def _act(self, action: Callable[[], None], life: int) -> None:
        world = self.actor.world
        if self.busy:
            self._waiting.append(action)
            return
        if world.now < self.actor.frozen_until:
            self.at(self.actor.frozen_until - world.now, action)
            return
        self.busy = True
        try:
            action()
        except Crash:
            if self.actor.life == life:
                self.actor.die()
        finally:
            self.busy = False
            waiting, self._waiting = self._waiting, []
            if self.actor.life == life:
                for each in waiting:
                    self.at(0.001, each)


class World:
    """Time, chance and the log. `faults` is False once the world is to heal.

    `thrown` counts how often each kind of fault came up; those that `left_out` names ("kind", or
    "kind#n" for the n-th of its kind, from 1) are counted and do not happen.
    """

    def __init__(self, seed: int, left_out: frozenset[str] = frozenset()) -> None:
        self.seed = seed
        self.left_out = left_out
        self.thrown: Counter[str] = Counter()
        self.node_deaths: Counter[tuple[str, int]] = Counter()
        self.random = random.Random(seed)
        self.now = START_S
        self.faults = True
        self.healed_at = float("inf")
        self.steps = 0
        self.lines: list[str] = []
        self.check: Callable[[], None] = lambda: None
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._ids = itertools.count(1)
        self._depth = 0
        self._dice: dict[str, random.Random] = {}

    def clock(self) -> float:
        """Give the virtual time (Unix seconds)."""
        return self.now

    @property
    def healed_for_s(self) -> float:
        """For how long there were no faults; negative while there are."""
        return self.now - self.healed_at

    def heal(self) -> None:
        """Let no fault happen any more."""
        self.faults, self.healed_at = False, self.now
        self.log("the world heals")

    def new_id(self) -> str:
        """Give an id never given before."""
        return f"id{next(self._ids):06d}"

    def log(self, text: str) -> None:
        """Note what happened."""
        self.lines.append(f"{self.now - START_S:9.3f}  {text}")

    def dice(self, kind: str) -> random.Random:
        """Give the dice of one kind of fault: leaving out another kind does not change them."""
        dice = self._dice.get(kind)
        if dice is None:
            dice = self._dice[kind] = random.Random(f"{self.seed} {kind}")
        return dice

    def fault(self, kind: str, probability: float = 1.0) -> bool:
        """Throw the dice for a fault; never true once the world heals, or when it is left out."""
        if not self.faults or not probability or self.dice(kind).random() >= probability:
            return False
        return self.happens(kind)

    def happens(self, kind: str) -> bool:
        """Count what comes up, healed or not; False when it is left out."""
        self.thrown[kind] += 1
        return not (
            self.left_out
            and (kind in self.left_out or f"{kind}#{self.thrown[kind]}" in self.left_out)
        )

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._heap, (self.now + delay_s, next(self._order), action))

    def run_until(self, done: Callable[[], bool], *, deadline: float) -> bool:
        """Act, event by event, until `done`; False when the deadline comes first."""
        while not done():
            if not self._heap or self._heap[0][0] > deadline:
                return False
            self._step()
        return True

    def let_others_act(self, for_s: float) -> None:
        """Let time pass inside a call: everybody else goes on."""
        if self._depth >= _DEEPEST or not self.faults:
            return
        until = self.now + for_s
        self._depth += 1
        try:
            while self._heap and self._heap[0][0] <= until:
                self._step()
        finally:
            self._depth -= 1
        self.now = max(self.now, until)

    def _step(self) -> None:
        when, _, action = heapq.heappop(self._heap)
        self.now = max(self.now, when)
        self.steps += 1
        action()
        self.check()
