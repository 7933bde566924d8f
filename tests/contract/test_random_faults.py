"""The adapters of Amazon's services with random faults on the way: what they answered is true.

A seeded mix of lost requests, lost answers, errors, batches done in part and damaged bytes between
an adapter and a stand-in. The caller here does what programs do: keeps what was not done, and does
it again.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import boto3
import pytest

from gapless.storage.errors import BlobMissing, StorageUnavailable
from gapless.storage.s3 import S3Blobs
from queueing.errors import QueueUnavailable
from queueing.port import Entry, Lease, Message, Replacement
from queueing.sqs import QueueAttributes, SqsQueues
from tests.services.proxy import FaultProxy, Rule
from tests.services.proxy_faults import (
    EXPIRED,
    REFUSED,
    SLOW_DOWN,
    AnswerCut,
    Delayed,
    Entries,
    Fault,
    Flipped,
    FlippedUnseen,
    PartlyFailed,
    ReplyDropped,
    RequestDropped,
    Said,
)
from tests.services.servers import REGION, Service

_T = TypeVar("_T")

ANYWHERE: tuple[tuple[Fault, float], ...] = (
    (ReplyDropped(), 0.04),
    (RequestDropped(), 0.04),
    (SLOW_DOWN, 0.03),
    (REFUSED, 0.02),
    (EXPIRED, 0.02),
    (Delayed(0.05), 0.02),
)
MESSAGES = 50
LONGEST_S = 60
QUEUE = "sweep-jobs"
VALUES_OF_AN_OBJECT = 150


@pytest.fixture
def proxy(
    on_ministack: Service, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[FaultProxy]:
    with FaultProxy(on_ministack.url, seed=request.node.callspec.params["seed"]) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
        yield found


def break_all(proxy: FaultProxy, *more: Rule) -> list[Rule]:
    rules = [*more, *(Rule(fault, chance=chance) for fault, chance in ANYWHERE)]
    return [proxy.add(rule) for rule in rules]


class Caller:
    """Someone who sends, takes and gives back messages, and tries again what was not done."""

    def __init__(self, queues: SqsQueues) -> None:
        self._queues = queues
        self.failures = 0

    def send(self, bodies: list[str]) -> None:
        left = [Entry(body) for body in bodies]
        while left:
            answers = self._try(partial(self._queues.send, QUEUE, left))
            if answers is not None:
                left = [entry for entry, each in zip(left, answers, strict=True) if not each.ok]

    def receive(self, *, wait_s: float) -> list[Message]:
        return (
            self._try(
                lambda: self._queues.receive([QUEUE], most=10, wait_s=wait_s, lease_s=2),
            )
            or []
        )

    def delete(self, leases: list[Lease]) -> None:
        answers = self._try(lambda: self._queues.delete(leases))
        if answers is None or not all(answer.ok for answer in answers):
            self.failures += 1

    def replace(self, lease: Lease, body: str) -> bool:
        answer = self._try(lambda: self._queues.replace(lease, [Replacement(body)]))
        return answer is not None and answer.answer.ok

    def _try(self, verb: Callable[[], _T]) -> _T | None:
        try:
            return verb()
        except QueueUnavailable:
            self.failures += 1
            return None


@pytest.mark.parametrize("seed", [1, 2])
def test_no_message_is_lost_between_a_send_and_a_replace_and_a_delete(
    proxy: FaultProxy, seed: int
) -> None:
    name = f"faults-{uuid.uuid4().hex[:8]}"
    queues = SqsQueues(QueueAttributes(retention_s=3600, lease_s=2, long_poll_s=1), prefix=name)
    caller = Caller(queues)
    batches = {"SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"}
    rules = break_all(
        proxy,
        *(Rule(PartlyFailed(each), operations=batches, chance=0.06) for each in Entries),
        Rule(Flipped(), operations={"ReceiveMessage"}, chance=0.05),
        Rule(AnswerCut(), operations={"ReceiveMessage"}, chance=0.05),
    )
    first = {f"first-{number}" for number in range(MESSAGES)}
    second = {each.replace("first", "second") for each in first}
    caller.send(sorted(first))

    seen: set[str] = set()
    deadline = time.monotonic() + LONGEST_S
    while not seen >= first | second:
        assert time.monotonic() < deadline, f"lost: {sorted((first | second) - seen)}"
        for message in caller.receive(wait_s=1):
            seen.add(message.body)
            if message.body in first:
                # Not done: it stays on the queue, and is received and replaced again.
                caller.replace(message.lease, message.body.replace("first", "second"))
            else:
                caller.delete([message.lease])

    assert sum(rule.hits for rule in rules) > 20
    assert caller.failures
    for rule in rules:
        proxy.drop(rule)
    # What is left are copies; none of them is damaged, and once deleted none comes again.
    while queues.facts(QUEUE).visible + queues.facts(QUEUE).leased:
        for message in caller.receive(wait_s=1):
            assert message.body in first | second
            caller.delete([message.lease])
    assert seen == first | second
    queues.drop(QUEUE)
    queues.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_object_is_what_the_answers_said(proxy: FaultProxy, seed: int) -> None:
    bucket = f"faults-{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    blobs = S3Blobs(bucket, "home")
    chance = random.Random(seed)
    rules = break_all(
        proxy,
        Rule(ReplyDropped(), operations={"PutObject"}, chance=0.15),
        Rule(Said(409, "ConditionalRequestConflict"), operations={"PutObject"}, chance=0.05),
        Rule(Flipped(), operations={"GetObject"}, chance=0.05),
        Rule(FlippedUnseen(), operations={"GetObject"}, chance=0.05),
        Rule(AnswerCut(), operations={"GetObject"}, chance=0.05),
    )
    # What each key may hold; more than one value after a verb whose answer was none.
    may_hold: dict[str, set[bytes | None]] = {f"a/{number}": {None} for number in range(4)}
    for number in range(VALUES_OF_AN_OBJECT):
        key = chance.choice(sorted(may_hold))
        value = f"{number}:".encode() + chance.randbytes(chance.choice([0, 10, 100_000]))
        held = may_hold[key]
        verb = chance.choice(["put", "put if absent", "get", "delete"])
        try:
            if verb == "put":
                blobs.put(key, value)
                may_hold[key] = {value}
            elif verb == "put if absent":
                if blobs.put_if_absent(key, value):
                    assert None in held
                    may_hold[key] = {value}
                else:
                    may_hold[key] = held - {None}
                    assert may_hold[key]
            elif verb == "get":
                found = got(blobs, key)
                assert found in held
                may_hold[key] = {found}
            else:
                blobs.delete(key)
                may_hold[key] = {None}
        except StorageUnavailable:
            left: dict[str, set[bytes | None]] = {
                "put": {value},
                "put if absent": {value} if None in held else set(),
                "get": set(),
                "delete": {None},
            }
            may_hold[key] = held | left[verb]
    assert sum(rule.hits for rule in rules) > 20
    for rule in rules:
        proxy.drop(rule)
    for key, held in may_hold.items():
        assert got(blobs, key) in held
    blobs.close()


def got(blobs: S3Blobs, key: str) -> bytes | None:
    try:
        return blobs.get(key)
    except BlobMissing:
        return None
