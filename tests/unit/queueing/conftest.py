"""SqsQueues on a server that answers what a test tells it to."""

from collections.abc import Callable, Iterator

import pytest
import stamina

from queueing.sqs import QueueAttributes, SqsQueues
from tests.contract.queue_harness import VirtualClock
from tests.services.servers import aws_environment
from tests.unit.queueing.sqs_loopback import Sqs, serving

ATTRIBUTES = QueueAttributes(retention_s=1_209_600.0, lease_s=900.0)


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sqs]:
    with serving() as service:
        for name, value in aws_environment(service.url).items():
            monkeypatch.setenv(name, value)
        yield service


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def open_queues(sqs: Sqs, clock: VirtualClock) -> Iterator[Callable[[], SqsQueues]]:
    opened: list[SqsQueues] = []

    def open_one() -> SqsQueues:
        opened.append(SqsQueues(ATTRIBUTES, prefix="home", monotonic=clock))
        return opened[-1]

    yield open_one
    for queues in opened:
        queues.close()


@pytest.fixture
def queues(open_queues: Callable[[], SqsQueues]) -> SqsQueues:
    return open_queues()


@pytest.fixture
def patience() -> Iterator[None]:
    """Four tries, without waits in between."""
    with stamina.set_testing(True, attempts=4):
        yield
