"""The fault proxy does to a call what a test asks for, to the calls it names, and counts all."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    FlexibleChecksumError,
    HTTPClientError,
)

from tests.acceptance.programs import wait_until
from tests.services.proxy import FaultProxy, Rule
from tests.services.proxy_calls import Call
from tests.services.proxy_faults import (
    EXPIRED,
    REFUSED,
    SLOW_DOWN,
    AnswerCut,
    Delayed,
    Entries,
    Flipped,
    FlippedUnseen,
    PartlyFailed,
    ReplyDropped,
    RequestDropped,
    Said,
)
from tests.services.servers import REGION, Service

ONCE = Config(retries={"total_max_attempts": 1}, read_timeout=20)


@pytest.fixture
def proxy(on_ministack: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(on_ministack.url, seed=5) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
        yield found


@pytest.fixture
def sqs(proxy: FaultProxy) -> Any:
    return client(proxy, "sqs")


@pytest.fixture
def s3(proxy: FaultProxy) -> Any:
    return client(proxy, "s3")


@pytest.fixture
def queue(sqs: Any) -> str:
    return str(sqs.create_queue(QueueName=f"proxied-{uuid.uuid4().hex[:8]}")["QueueUrl"])


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"proxied-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def client(proxy: FaultProxy, service: str, access_key_id: str = "test-key") -> Any:
    return boto3.client(
        service,
        endpoint_url=proxy.url,
        config=ONCE,
        aws_access_key_id=access_key_id,
        aws_secret_access_key="test-secret",
    )


def bodies(sqs: Any, queue: str) -> list[str]:
    found: list[str] = []
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        found += [message["Body"] for message in messages]
    return sorted(found)


def batch(size: int) -> list[dict[str, str]]:
    return [{"Id": f"e{number}", "MessageBody": f"m{number}"} for number in range(size)]


def test_calls_pass_unchanged_and_are_counted_by_who_made_them(
    proxy: FaultProxy, sqs: Any, queue: str, bucket: str
) -> None:
    other = client(proxy, "s3", "somebody-else")
    body = bytes(range(256)) * 5000
    other.put_object(Bucket=bucket, Key="a key/with+odd %7E~ü", Body=body, IfNoneMatch="*")
    assert other.get_object(Bucket=bucket, Key="a key/with+odd %7E~ü")["Body"].read() == body
    assert other.head_object(Bucket=bucket, Key="a key/with+odd %7E~ü")["ContentLength"] == len(
        body
    )
    sqs.send_message_batch(QueueUrl=queue, Entries=batch(3))
    assert bodies(sqs, queue) == ["m0", "m1", "m2"]
    name = queue.rpartition("/")[2]
    key = f"{bucket}/a key/with+odd %7E~ü"
    assert proxy.calls() == {
        Call("test-key", "s3", "CreateBucket", bucket): 1,
        Call("somebody-else", "s3", "PutObject", key): 1,
        Call("somebody-else", "s3", "GetObject", key): 1,
        Call("somebody-else", "s3", "HeadObject", key): 1,
        Call("test-key", "sqs", "CreateQueue", name): 1,
        Call("test-key", "sqs", "SendMessageBatch", name): 1,
        Call("test-key", "sqs", "ReceiveMessage", name): 2,
    }
    assert proxy.count(service="s3", operation="PutObject", by="somebody-else") == 1
    assert proxy.count(service="s3", operation="PutObject", by="test-key") == 0
    assert proxy.count(service="sqs", operation="ReceiveMessage") == 2


def test_the_calls_of_a_large_upload_have_their_own_names(
    proxy: FaultProxy, s3: Any, bucket: str
) -> None:
    first = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=first, PartNumber=1, Body=b"x")
    s3.list_multipart_uploads(Bucket=bucket)
    s3.complete_multipart_upload(
        Bucket=bucket,
        Key="k",
        UploadId=first,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    second = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=second)
    s3.copy_object(Bucket=bucket, Key="l", CopySource={"Bucket": bucket, "Key": "k"})
    s3.list_objects_v2(Bucket=bucket)
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "l"}]})
    s3.delete_object(Bucket=bucket, Key="k")
    s3.head_bucket(Bucket=bucket)
    assert {call.operation for call in proxy.calls()} == {
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
        "CopyObject",
        "CreateBucket",
        "CreateMultipartUpload",
        "DeleteObject",
        "DeleteObjects",
        "HeadBucket",
        "ListMultipartUploads",
        "ListObjectsV2",
        "UploadPart",
    }


def test_a_dropped_reply_leaves_the_call_done(proxy: FaultProxy, sqs: Any, queue: str) -> None:
    with proxy.faulty(Rule(ReplyDropped(), operations={"SendMessage"})) as rule:
        with pytest.raises(ConnectionClosedError):
            sqs.send_message(QueueUrl=queue, MessageBody="heard of")
        assert rule.hits == 1
    assert bodies(sqs, queue) == ["heard of"]


def test_a_dropped_request_leaves_nothing_done(proxy: FaultProxy, sqs: Any, queue: str) -> None:
    with (
        proxy.faulty(Rule(RequestDropped(), operations={"SendMessage"})),
        pytest.raises(ConnectionClosedError),
    ):
        sqs.send_message(QueueUrl=queue, MessageBody="lost")
    assert bodies(sqs, queue) == []


@pytest.mark.parametrize("said", [SLOW_DOWN, REFUSED, EXPIRED, Said(409, "SomethingElse")])
def test_an_error_is_said_the_way_each_service_does(
    proxy: FaultProxy, sqs: Any, s3: Any, queue: str, bucket: str, said: Said
) -> None:
    proxy.add(Rule(said))
    for ask in (
        lambda: sqs.send_message(QueueUrl=queue, MessageBody="no"),
        lambda: s3.put_object(Bucket=bucket, Key="no", Body=b""),
    ):
        with pytest.raises(ClientError) as caught:
            ask()
        assert caught.value.response["Error"]["Code"] == said.code
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == said.status


def test_only_the_named_calls_are_hit(
    proxy: FaultProxy, sqs: Any, s3: Any, queue: str, bucket: str
) -> None:
    rule = proxy.add(
        Rule(REFUSED, service="s3", operations={"PutObject"}, resource="/shards/", by={"node"})
    )
    node = client(proxy, "s3", "node")
    sqs.send_message(QueueUrl=queue, MessageBody="fine")
    node.put_object(Bucket=bucket, Key="a/other/b", Body=b"")
    s3.put_object(Bucket=bucket, Key="a/shards/b", Body=b"")
    node.get_object(Bucket=bucket, Key="a/shards/b")
    assert rule.hits == 0
    with pytest.raises(ClientError):
        node.put_object(Bucket=bucket, Key="a/shards/b", Body=b"")
    proxy.drop(rule)
    node.put_object(Bucket=bucket, Key="a/shards/b", Body=b"")


def test_a_number_of_times_and_then_no_more(proxy: FaultProxy, s3: Any, bucket: str) -> None:
    proxy.add(Rule(SLOW_DOWN, operations={"PutObject"}, times=2))
    for _ in range(2):
        with pytest.raises(ClientError):
            s3.put_object(Bucket=bucket, Key="k", Body=b"")
    s3.put_object(Bucket=bucket, Key="k", Body=b"")


def test_chance_hits_about_its_share_and_the_same_calls_for_the_same_seed() -> None:
    def hits(seed: int) -> list[bool]:
        dice = random.Random(seed)
        rule = Rule(SLOW_DOWN, chance=0.3)
        return [rule.takes(Call("", "s3", "PutObject", ""), dice) for _ in range(1000)]

    assert hits(1) == hits(1)
    assert hits(1) != hits(2)
    assert 250 < sum(hits(1)) < 350


@pytest.mark.parametrize(
    ("entries", "arrived"),
    [(Entries.NOT_DONE, False), (Entries.DONE, True), (Entries.UNTOLD, True)],
)
def test_some_entries_of_a_batch_fail_done_or_not(
    proxy: FaultProxy, sqs: Any, queue: str, entries: Entries, arrived: bool
) -> None:
    with proxy.faulty(Rule(PartlyFailed(entries), operations={"SendMessageBatch"})):
        answer = sqs.send_message_batch(QueueUrl=queue, Entries=batch(10))
    failed = {entry["Id"] for entry in answer.get("Failed", ())}
    successful = {entry["Id"] for entry in answer.get("Successful", ())}
    hit = {f"e{number}" for number in range(10)} - successful
    assert 0 < len(hit) < 10
    assert failed == (set() if entries is Entries.UNTOLD else hit)
    expected = {f"e{number}" for number in range(10)} if arrived else successful
    assert bodies(sqs, queue) == sorted(id_.replace("e", "m") for id_ in expected)


def test_a_batch_may_fail_in_all_its_entries(proxy: FaultProxy, sqs: Any, queue: str) -> None:
    with proxy.faulty(
        Rule(PartlyFailed(Entries.NOT_DONE, share=1), operations={"SendMessageBatch"})
    ):
        answer = sqs.send_message_batch(QueueUrl=queue, Entries=batch(2))
    assert [entry["Id"] for entry in answer["Failed"]] == ["e0", "e1"]
    assert bodies(sqs, queue) == []


def test_one_byte_of_an_object_is_another(proxy: FaultProxy, s3: Any, bucket: str) -> None:
    body = bytes(1000)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    with (
        proxy.faulty(Rule(Flipped(), operations={"GetObject"})),
        pytest.raises(FlexibleChecksumError),
    ):
        s3.get_object(Bucket=bucket, Key="k")["Body"].read()
    with proxy.faulty(Rule(FlippedUnseen(), operations={"GetObject"})):
        found = s3.get_object(Bucket=bucket, Key="k")["Body"].read()
    assert sum(found) == 1
    assert len(found) == 1000


def test_one_letter_of_a_message_is_another_and_the_answer_still_reads(
    proxy: FaultProxy, sqs: Any, queue: str
) -> None:
    sent = '{"some": "json \\" within", "n": 12}'
    sqs.send_message(QueueUrl=queue, MessageBody=sent)
    with proxy.faulty(Rule(Flipped(), operations={"ReceiveMessage"})):
        (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    differing = [(a, b) for a, b in zip(sent, message["Body"], strict=True) if a != b]
    assert len(differing) == 1
    assert sqs.receive_message(QueueUrl=queue).get("Messages", []) == []


def test_an_answer_cut_short_is_an_error_of_the_connection(
    proxy: FaultProxy, s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=bytes(100_000))
    with (
        proxy.faulty(Rule(AnswerCut(), operations={"GetObject"})),
        pytest.raises((HTTPClientError, OSError)),
    ):
        s3.get_object(Bucket=bucket, Key="k")["Body"].read()


def test_a_delayed_answer_comes_late_and_holds_up_no_other_call(
    proxy: FaultProxy, sqs: Any, s3: Any, queue: str, bucket: str
) -> None:
    answered = threading.Event()

    def send() -> None:
        sqs.send_message(QueueUrl=queue, MessageBody="late")
        answered.set()

    rule = proxy.add(Rule(Delayed(2), operations={"SendMessage"}))
    sender = threading.Thread(target=send)
    started = time.monotonic()
    sender.start()
    wait_until(lambda: rule.hits == 1, within_s=10, what="the message is on its way")
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert not answered.is_set()
    sender.join(timeout=20)
    assert time.monotonic() - started >= 2


def ends(call: Callable[[], object]) -> None:
    with pytest.raises(HTTPClientError):
        call()


def test_leaving_the_proxy_ends_a_long_poll_and_every_thread(on_ministack: Service) -> None:
    before = threading.active_count()
    with FaultProxy(on_ministack.url) as proxy:
        sqs = client(proxy, "sqs")
        queue = sqs.create_queue(QueueName=f"polled-{uuid.uuid4().hex[:8]}")["QueueUrl"]
        poller = threading.Thread(
            target=ends, args=(lambda: sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=3),)
        )
        poller.start()
        wait_until(
            lambda: proxy.count(service="sqs", operation="ReceiveMessage") == 1,
            within_s=10,
            what="the long poll is on its way",
        )
    poller.join(timeout=20)
    wait_until(
        lambda: threading.active_count() <= before, within_s=20, what="every thread has ended"
    )


def test_a_service_that_is_away_looks_like_a_lost_connection(on_ministack: Service) -> None:
    del on_ministack
    with FaultProxy("http://127.0.0.1:1") as proxy:
        ends(lambda: client(proxy, "sqs").list_queues())
