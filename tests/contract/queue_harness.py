"""What the contract suite needs of a backend: how to make it, and how its time passes."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from queueing.memory import MemoryQueues
from queueing.port import Queues
from queueing.sqlite import SqliteQueues

_T = TypeVar("_T")


class VirtualClock:
    """Unix seconds that pass only when somebody waits or a test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Promise(enum.Enum):
    """What a service may leave out; a test that needs one is skipped for a backend without it."""

    ORDER = "first by priority, then first in first out"
    HAND_OVER = "a replacement leased to the caller"
    TELLS_LOST_LEASES = "a replace or extend of an outdated lease is told"
    EXACT_COUNTS = "exact counts, at once"
    LEAST_DELAYS = "any delay, not only whole seconds"


class Backend(Protocol):
    promises: frozenset[Promise]

    def make(self) -> LocalQueues: ...

    def now(self) -> float: ...

    def advance(self, seconds: float) -> None: ...


class LocalQueues(Queues, Protocol):
    def heads(self, queues: Sequence[str]) -> dict[str, list[str]]: ...

    def read_heads(
        self, queues: Sequence[str], read: Callable[[str, Iterator[str]], _T]
    ) -> dict[str, _T]: ...


class SqliteBackend:
    promises = frozenset(Promise)

    def __init__(self, folder: Path) -> None:
        self._clock = VirtualClock()
        self._path = folder / "queue.db"
        self.now = self._clock
        self.advance = self._clock.advance

    def make(self) -> SqliteQueues:
        return SqliteQueues(
            self._path, clock=self._clock, monotonic=self._clock, sleep=self._clock.advance
        )


class MemoryBackend:
    promises = frozenset(Promise)

    def __init__(self, folder: Path) -> None:
        del folder
        self._clock = VirtualClock()
        self.now = self._clock
        self.advance = self._clock.advance

    def make(self) -> MemoryQueues:
        return MemoryQueues(self._clock, self._clock.advance)


BACKENDS: dict[str, Callable[[Path], Backend]] = {"memory": MemoryBackend, "sqlite": SqliteBackend}


def need(backend: Backend, promise: Promise) -> None:
    if promise not in backend.promises:
        pytest.skip(f"this service does not promise: {promise.value}")
