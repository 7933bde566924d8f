"""What the contract suite needs of a backend: how to make it, and how its time passes."""

from __future__ import annotations

import enum
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import stamina

from queueing.memory import MemoryQueues
from queueing.port import MAX_LEASE_S, Queues
from queueing.sqlite import SqliteQueues
from tests.services.proxy import FaultProxy, Rule
from tests.services.proxy_faults import (
    AnswerCut,
    Entries,
    PartlyFailed,
    ReplyDropped,
    RequestDropped,
    Said,
)
from tests.services.servers import REGION

_T = TypeVar("_T")


class VirtualClock:
    """Unix seconds that pass only when somebody waits or a test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


class Promise(enum.Enum):
    """What a service may leave out; a test that needs one is skipped for a backend without it."""

    ORDER = "first in first out"
    PRIORITY = "higher priorities first"
    HAND_OVER = "a replacement leased to the caller"
    TELLS_LOST_LEASES = "a replace or extend of an outdated lease is told"
    KEEPS_WHAT_OTHERS_HOLD = "a delete with an outdated lease deletes nothing"
    EXACT_COUNTS = "exact counts, at once"
    LEAST_DELAYS = "any delay, not only whole seconds"
    WAITS_FOR_ALL = "a receive from several queues wakes for the first message of any of them"
    OWN_CLOCK = "time is told by this machine's clock"
    LONG_TIMES = "hours pass in a test"
    HEADS = "a look at every message without receiving it"


@dataclass(frozen=True, slots=True)
class Times:
    """How long tests wait for a backend, seconds.

    `lease_s` is a lease or delay that a test waits for; `before_s` is how long before its end the
    test looks; `grain_s` is how much later the backend may be, and `late_s` how much longer a
    receive may take than it was asked to.
    """

    lease_s: float
    before_s: float
    grain_s: float
    late_s: float
    past_any_lease_s: float


_VIRTUAL = Times(
    lease_s=60.0, before_s=1.0, grain_s=0.0, late_s=1e-6, past_any_lease_s=MAX_LEASE_S + 1.0
)
_MOTO = Times(
    lease_s=60.0, before_s=1.0, grain_s=0.001, late_s=1.0, past_any_lease_s=MAX_LEASE_S + 1.0
)
# Seconds of the real clock: long enough that a request in between is not late on a busy machine.
_REAL = Times(lease_s=2.0, before_s=0.8, grain_s=0.2, late_s=3.0, past_any_lease_s=2.2)


class Backend(Protocol):
    promises: frozenset[Promise]
    times: Times
    many: int

    def make(self) -> Queues: ...

    def now(self) -> float: ...

    def advance(self, seconds: float) -> None: ...


class LocalQueues(Queues, Protocol):
    def heads(self, queues: Sequence[str]) -> dict[str, list[str]]: ...

    def read_heads(
        self, queues: Sequence[str], read: Callable[[str, Iterator[str]], _T]
    ) -> dict[str, _T]: ...


class LocalBackend(Backend, Protocol):
    def make(self) -> LocalQueues: ...


class SqliteBackend:
    promises = frozenset(Promise)
    times = _VIRTUAL
    many = 2_500

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
    times = _VIRTUAL
    many = 2_500

    def __init__(self, folder: Path) -> None:
        del folder
        self._clock = VirtualClock()
        self.now = self._clock
        self.advance = self._clock.advance

    def make(self) -> MemoryQueues:
        return MemoryQueues(self._clock, self._clock.advance)


_NOT_ON_SQS = {
    Promise.ORDER,
    Promise.PRIORITY,
    Promise.HAND_OVER,
    Promise.LEAST_DELAYS,
    Promise.WAITS_FOR_ALL,
    Promise.OWN_CLOCK,
    Promise.HEADS,
}


class MotoBackend:
    """SQS on moto, in this process, whose clock is this one's: hours pass at once.

    It takes outdated tokens for deletes, and grows slow with the number of messages.
    """

    promises = frozenset(Promise) - _NOT_ON_SQS - {Promise.KEEPS_WHAT_OTHERS_HOLD}
    times = _MOTO
    many = 100

    def __init__(self, request: pytest.FixtureRequest) -> None:
        from moto import mock_aws
        from moto.sqs import models

        monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        monkeypatch.setenv("AWS_REGION", REGION)
        clock = VirtualClock()
        self.now = clock
        self.advance = clock.advance

        def wait_for_messages(_queue: Any, _timeout: int) -> None:
            clock.advance(0.25)

        reads = itertools.count()

        def unix_time() -> float:
            # What ends now has ended for moto only a moment later: its clock goes on by itself.
            return clock() + next(reads) * 1e-7

        monkeypatch.setattr(models, "unix_time", unix_time)
        monkeypatch.setattr(models, "unix_time_millis", lambda: unix_time() * 1000.0)
        monkeypatch.setattr(models.Queue, "wait_for_messages", wait_for_messages)
        mock = mock_aws()
        mock.start()
        request.addfinalizer(mock.stop)

    def make(self) -> Queues:
        return _sqs_queues("contract", self.now)


class MinistackBackend:
    """SQS on ministack, a server of its own; time passes for real."""

    promises = frozenset(Promise) - _NOT_ON_SQS - {Promise.LONG_TIMES}
    times = _REAL
    many = 600

    def __init__(self, request: pytest.FixtureRequest) -> None:
        request.getfixturevalue("on_ministack")
        self._prefix = f"t-{secrets.token_hex(6)}"

    def make(self) -> Queues:
        return _sqs_queues(self._prefix, time.monotonic)

    def now(self) -> float:
        return time.time()

    def advance(self, seconds: float) -> None:
        time.sleep(seconds)


class FaultyBackend(MinistackBackend):
    """SQS on ministack behind a proxy that breaks requests in every way that changes no promise.

    What times the tests (receives, and renewals as a whole) goes through untouched.
    """

    def __init__(self, request: pytest.FixtureRequest) -> None:
        super().__init__(request)
        service = request.getfixturevalue("on_ministack")
        proxy = FaultProxy(service.url, seed=3)
        proxy.__enter__()
        request.addfinalizer(lambda: proxy.__exit__(None, None, None))
        request.getfixturevalue("monkeypatch").setenv("AWS_ENDPOINT_URL", proxy.url)
        # Tries without waits in between; the fixture that allowed one only ends this too.
        stamina.set_testing(True, attempts=20)
        again = {"DeleteMessageBatch", "GetQueueUrl", "GetQueueAttributes", "CreateQueue"}
        batches = {"SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"}
        for fault, operations, chance in (
            (RequestDropped(), again | {"SendMessageBatch"}, 0.04),
            (Said(503, "ServiceUnavailable"), again | {"SendMessageBatch"}, 0.04),
            (ReplyDropped(), again, 0.04),
            (AnswerCut(), {"DeleteMessageBatch"}, 0.1),
            (PartlyFailed(Entries.NOT_DONE), batches, 0.2),
            (PartlyFailed(Entries.DONE), batches - {"SendMessageBatch"}, 0.1),
            (PartlyFailed(Entries.UNTOLD), batches - {"SendMessageBatch"}, 0.1),
        ):
            proxy.add(Rule(fault, operations=operations, chance=chance))


def _sqs_queues(prefix: str, monotonic: Callable[[], float]) -> Queues:
    from queueing.sqs import QueueAttributes, SqsQueues

    attributes = QueueAttributes(retention_s=1_209_600.0, lease_s=900.0)
    return SqsQueues(attributes, prefix=prefix, monotonic=monotonic)


BACKENDS: dict[str, Callable[[Path], LocalBackend]] = {
    "memory": MemoryBackend,
    "sqlite": SqliteBackend,
}
"""What lives on this machine."""

SERVICES: dict[str, Callable[[pytest.FixtureRequest], Backend]] = {
    "sqs-on-moto": MotoBackend,
    "sqs-on-ministack": MinistackBackend,
    "sqs-through-faults": FaultyBackend,
}
"""What is reached as a service; a missing one is skipped at home and fails in CI."""


def need(backend: Backend, promise: Promise) -> None:
    if promise not in backend.promises:
        pytest.skip(f"this service does not promise: {promise.value}")
