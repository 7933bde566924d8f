"""A world of one seed: a virtual clock, a heap of timed events, chance, and a log of what happened.

Nothing here sleeps and nothing runs in a thread. An actor is whoever has a life of its own: a node,
an aggregator, the person at the command line. While an actor is inside a call of a port others may
act (`World.let_others_act`), so steps of different programs interleave at port calls too.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable

__all__ = ["Actor", "Crash", "Lane", "Violation", "World"]

START_S = 1_700_000_000.0
_DEEPEST = 2


class Crash(BaseException):
    """kill -9 of an actor, right here: no handler of the product may stop it."""


class Violation(AssertionError):
    """An invariant of the design does not hold."""


class Actor:
    """A program: its threads are lanes, each doing one thing at a time; `life` counts its lives."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.life = 0
        self.frozen_until = 0.0
        self.main = self.inbox = Lane(self)

    def die(self) -> None:
        """End this life: what it planned and held in memory is gone."""
        self.life += 1
        self.world.log(f"{self.name} dies")
        self.died()

    def died(self) -> None:
        """Say what follows a death (a restart, most of the time)."""

    def start(self) -> None:
        """Begin a life."""

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
        if self.busy or world.now < self.actor.frozen_until:
            self.at(max(self.actor.frozen_until - world.now, 0.01), action)
            return
        self.busy = True
        try:
            action()
        except Crash:
            if self.actor.life == life:
                self.actor.die()
        finally:
            self.busy = False


class World:
    """Time, chance and the log. `faults` is False once the world is to heal."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
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

    def chance(self, probability: float) -> bool:
        """Throw the dice for a fault; never true once the world heals."""
        return self.faults and self.random.random() < probability

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

    def let_others_act(self, most_s: float) -> None:
        """Let time pass inside a call: everybody else goes on."""
        if self._depth >= _DEEPEST or not self.faults:
            return
        until = self.now + self.random.random() * most_s
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
