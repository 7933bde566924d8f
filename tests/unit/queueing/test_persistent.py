"""PersistentQueues: waits for a service that is away, not for somebody who has to act."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import stamina

from queueing.errors import QueueError, QueueRefused, QueueUnavailable
from queueing.memory import MemoryQueues
from queueing.persistent import PersistentQueues
from queueing.port import Answer, AnswerStatus, Entry, Extension, Lease, Queues, Replacement
from queueing.sqs import SqsQueues
from tests.unit.queueing.sqs_loopback import Sqs, refusal

JOBS = "walk-jobs"


class Troubled:
    """Raises what it was told to before each of the next verbs, then leaves it to MemoryQueues."""

    def __init__(self) -> None:
        self.inner = MemoryQueues()
        self.troubles: list[Exception] = []

    def __getattr__(self, verb: str) -> Callable[..., object]:
        if self.troubles and verb != "close":
            raise self.troubles.pop(0)
        return getattr(self.inner, verb)  # type: ignore[no-any-return]


@pytest.fixture
def troubled() -> Troubled:
    return Troubled()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def persistent(troubled: Troubled, told: list[str]) -> Iterator[PersistentQueues]:
    with stamina.set_testing(True, attempts=50):
        yield PersistentQueues(troubled, tell=told.append)  # type: ignore[arg-type]


def _lease(queues: Queues) -> Lease:
    (message,) = queues.receive([JOBS], most=1, wait_s=0.0, lease_s=60.0)
    return message.lease


VERBS: dict[str, Callable[[PersistentQueues, Lease], object]] = {
    "create": lambda queues, lease: queues.create(JOBS),
    "send": lambda queues, lease: queues.send(JOBS, [Entry("b")]),
    "receive": lambda queues, lease: queues.receive([JOBS], most=1, wait_s=0.0, lease_s=60.0),
    "extend": lambda queues, lease: queues.extend([Extension(lease, 60.0)]),
    "release": lambda queues, lease: queues.release([lease], delay_s=1.0),
    "delete": lambda queues, lease: queues.delete([lease]),
    "replace": lambda queues, lease: queues.replace(lease, [Replacement("rest")]),
    "facts": lambda queues, lease: queues.facts(JOBS).leased,
    "drop": lambda queues, lease: queues.drop(JOBS),
}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_tried_until_it_works(
    troubled: Troubled, persistent: PersistentQueues, told: list[str], verb: str
) -> None:
    expected = MemoryQueues()
    answers: list[object] = []
    for queues in (expected, persistent):
        queues.send(JOBS, [Entry("a")])
        lease = _lease(queues)
        if queues is persistent:
            troubled.troubles = [QueueUnavailable("no route")] * 20
        answers.append(VERBS[verb](queues, lease))  # type: ignore[arg-type]
    assert repr(answers[0]) == repr(answers[1])
    assert troubled.troubles == []
    assert len(told) == 2
    assert "no route" in told[0]
    assert "ctrl-C" in told[0]
    assert "again" in told[1]


def test_each_reason_is_told_once(
    troubled: Troubled, persistent: PersistentQueues, told: list[str]
) -> None:
    reasons = ["no route", "no route", "deleted less than 60 s ago", "no route"]
    troubled.troubles = [QueueUnavailable(reason) for reason in reasons]
    persistent.create(JOBS)
    assert [line.partition(";")[0] for line in told[:-1]] == [reasons[0], reasons[2]]


def test_nothing_is_told_when_nothing_is_waited_for(
    persistent: PersistentQueues, told: list[str]
) -> None:
    persistent.send(JOBS, [Entry("a")])
    assert told == []


@pytest.mark.parametrize("error", [QueueRefused("no permission"), QueueError("closed")])
def test_what_somebody_has_to_mend_is_an_error_at_once(
    troubled: Troubled, persistent: PersistentQueues, told: list[str], error: QueueError
) -> None:
    troubled.troubles = [QueueUnavailable("no route"), error]
    with pytest.raises(type(error), match=str(error)):
        persistent.send(JOBS, [Entry("a")])


class Partial(MemoryQueues):
    """Takes every entry but those it is told of, so many times."""

    def __init__(self, refusing: dict[str, int]) -> None:
        super().__init__()
        self.refusing = refusing
        self.tried: list[str] = []

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        answers = []
        for entry in entries:
            self.tried.append(entry.body)
            if self.refusing.get(entry.body, 0) > 0:
                self.refusing[entry.body] -= 1
                answers.append(Answer(AnswerStatus.FAILED, "busy"))
            else:
                answers += super().send(queue, [entry])
        return answers


def test_entries_that_failed_are_sent_again_as_long_as_others_are_taken() -> None:
    partial = Partial({"b": 1, "c": 2})
    persistent = PersistentQueues(partial, tell=lambda line: None)
    answers = persistent.send(JOBS, [Entry("a"), Entry("b"), Entry("c"), Entry("")])
    assert [answer.ok for answer in answers] == [True, True, True, False]
    assert partial.tried == ["a", "b", "c", "", "b", "c", "c"]


def test_an_entry_the_service_never_takes_is_told_and_not_sent_for_ever() -> None:
    partial = Partial({"b": 1_000})
    persistent = PersistentQueues(partial, tell=lambda line: None)
    answers = persistent.send(JOBS, [Entry("a"), Entry("b")])
    assert [answer.reason for answer in answers] == ["", "busy"]
    assert partial.tried == ["a", "b", "b"]


def test_closing_is_passed_on(troubled: Troubled, persistent: PersistentQueues) -> None:
    persistent.close()
    with pytest.raises(QueueError, match="closed"):
        troubled.inner.create(JOBS)


def test_a_queue_on_sqs_that_is_barred_for_a_moment_is_waited_for(
    sqs: Sqs, queues: SqsQueues
) -> None:
    sqs.next("GetQueueUrl", *[refusal("QueueDoesNotExist")] * 3)
    sqs.next("CreateQueue", *[refusal("QueueDeletedRecently")] * 3)
    told: list[str] = []
    with stamina.set_testing(True, attempts=30):
        persistent = PersistentQueues(queues, tell=told.append)
        assert persistent.send(JOBS, [Entry("a")])[0].ok
    assert len(told) == 2
    assert "deleted less than 60 s ago" in told[0]


def test_a_missing_permission_on_sqs_is_told_at_once(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.always("GetQueueUrl", refusal("AccessDenied", "no policy allows it", status=403))
    with stamina.set_testing(True, attempts=30):
        persistent = PersistentQueues(queues, tell=lambda line: None)
        with pytest.raises(QueueRefused, match="no policy allows it"):
            persistent.send(JOBS, [Entry("a")])
    assert sqs.count() == {"GetQueueUrl": 1}
