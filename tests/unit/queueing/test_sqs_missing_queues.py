"""A missing queue is made by any verb; one with other attributes is used as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from queueing.errors import QueueRefused, QueueUnavailable
from queueing.port import AnswerStatus, Entry, Extension, Lease, Replacement
from queueing.sqs import SqsQueues
from tests.unit.queueing.sqs_loopback import Reply, Sqs, messages, refusal

JOBS = "walk-jobs"
COUNTS = Reply(
    {
        "Attributes": {
            "CreatedTimestamp": "1800000000",
            "ApproximateNumberOfMessages": "3",
            "ApproximateNumberOfMessagesNotVisible": "2",
            "ApproximateNumberOfMessagesDelayed": "1",
        }
    }
)

SPELLINGS = [
    refusal("com.amazonaws.sqs#QueueDoesNotExist"),
    refusal("QueueDoesNotExist"),
    refusal("AWS.SimpleQueueService.NonExistentQueue"),
    refusal(
        "com.amazonaws.sqs#QueueDoesNotExist",
        query_code="AWS.SimpleQueueService.NonExistentQueue",
    ),
    refusal("com.amazonaws.sqs#QueueDoesNotExist", query_code="SomethingElse"),
    refusal("NonExistentQueue"),
]


def attributes(**found: str) -> Reply:
    return Reply({"Attributes": found})


@pytest.mark.parametrize("missing", SPELLINGS, ids=range(len(SPELLINGS)))
def test_a_queue_that_went_missing_is_made_and_the_verb_done_again(
    sqs: Sqs, queues: SqsQueues, missing: Reply
) -> None:
    sqs.next("SendMessageBatch", missing)
    assert queues.send(JOBS, [Entry("a")])[0].ok
    assert sqs.count() == {"GetQueueUrl": 1, "SendMessageBatch": 2, "CreateQueue": 1}


def test_a_queue_that_never_was_is_made_with_the_one_definition(
    sqs: Sqs, queues: SqsQueues
) -> None:
    sqs.next("GetQueueUrl", SPELLINGS[3])
    assert queues.send(JOBS, [Entry("a")])[0].ok
    (made,) = sqs.of("CreateQueue")
    assert made.body == {
        "QueueName": f"home-{JOBS}",
        "Attributes": {
            "MessageRetentionPeriod": "1209600",
            "VisibilityTimeout": "900",
            "ReceiveMessageWaitTimeSeconds": "20",
            "MaximumMessageSize": "1048576",
            "SqsManagedSseEnabled": "true",
        },
    }


def _receive(queues: SqsQueues) -> object:
    return queues.receive([JOBS], most=1, wait_s=0.0, lease_s=60.0)


VERBS: dict[str, Callable[[SqsQueues, Lease], object]] = {
    "ReceiveMessage": lambda queues, _lease: _receive(queues),
    "SendMessageBatch": lambda queues, _lease: queues.send(JOBS, [Entry("a")]),
    "DeleteMessageBatch": lambda queues, lease: queues.delete([lease]),
    "ChangeMessageVisibilityBatch": lambda queues, lease: queues.extend([Extension(lease, 60.0)]),
    "GetQueueAttributes": lambda queues, _lease: queues.facts(JOBS),
}


@pytest.mark.parametrize("operation", sorted(VERBS))
def test_any_verb_makes_the_missing_queue(sqs: Sqs, queues: SqsQueues, operation: str) -> None:
    sqs.next("ReceiveMessage", messages("a"))
    sqs.always("GetQueueAttributes", COUNTS)
    (message,) = queues.receive([JOBS], most=1, wait_s=0.0, lease_s=60.0)
    sqs.next(operation, SPELLINGS[0])
    VERBS[operation](queues, message.lease)
    assert sqs.count()["CreateQueue"] == 1
    assert sqs.of(operation)[-1].body["QueueUrl"].endswith(f"home-{JOBS}")


def test_leases_of_a_queue_made_anew_are_lost_without_an_error(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.next("ReceiveMessage", messages("a", "b", "c"))
    leases = [m.lease for m in queues.receive([JOBS], most=3, wait_s=0.0, lease_s=60.0)]

    def unknown_tokens(request: object) -> Reply:
        entry = {"Id": "0", "Code": "ReceiptHandleIsInvalid", "Message": "", "SenderFault": True}
        return Reply({"Failed": [entry]})

    for operation in ("ChangeMessageVisibilityBatch", "DeleteMessageBatch"):
        sqs.always(operation, unknown_tokens)
        sqs.next(operation, SPELLINGS[0])
    assert queues.extend([Extension(leases[0], 60.0)])[0].status is AnswerStatus.LEASE_LOST
    assert queues.release([leases[1]])[0].ok
    assert queues.delete([leases[2]])[0].ok


def test_a_new_queue_that_is_not_known_everywhere_yet_is_waited_for(
    sqs: Sqs, queues: SqsQueues, patience: None
) -> None:
    sqs.next("SendMessageBatch", SPELLINGS[0], SPELLINGS[0], SPELLINGS[0])
    assert queues.send(JOBS, [Entry("a")])[0].ok


def test_a_queue_that_stays_unknown_is_unavailable(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.always("ReceiveMessage", SPELLINGS[0])
    with pytest.raises(QueueUnavailable, match="does not know it everywhere yet"):
        _receive(queues)


@pytest.mark.parametrize(
    "barred",
    [
        refusal("com.amazonaws.sqs#QueueDeletedRecently"),
        refusal("AWS.SimpleQueueService.QueueDeletedRecently"),
        refusal(
            "com.amazonaws.sqs#QueueDeletedRecently",
            query_code="AWS.SimpleQueueService.QueueDeletedRecently",
        ),
    ],
    ids=["shape", "query", "both"],
)
def test_a_queue_deleted_a_moment_ago_is_unavailable_and_comes_back(
    sqs: Sqs, queues: SqsQueues, barred: Reply
) -> None:
    sqs.next("GetQueueUrl", SPELLINGS[0])
    sqs.next("CreateQueue", barred)
    with pytest.raises(QueueUnavailable, match="deleted less than 60 s ago") as raised:
        queues.send(JOBS, [Entry("a")])
    assert not isinstance(raised.value, QueueRefused)
    assert queues.send(JOBS, [Entry("a")])[0].ok


@pytest.mark.parametrize(
    "exists",
    [
        refusal("com.amazonaws.sqs#QueueNameExists"),
        refusal("QueueAlreadyExists"),
        refusal("com.amazonaws.sqs#QueueNameExists", query_code="QueueAlreadyExists"),
    ],
    ids=["shape", "query", "both"],
)
def test_a_queue_with_other_attributes_is_used_as_it_is_and_told_once(
    sqs: Sqs, queues: SqsQueues, caplog: pytest.LogCaptureFixture, exists: Reply
) -> None:
    sqs.always("CreateQueue", exists)
    sqs.always(
        "GetQueueAttributes",
        attributes(
            MessageRetentionPeriod="345600",
            VisibilityTimeout="900",
            ReceiveMessageWaitTimeSeconds="20",
            MaximumMessageSize="1048576",
            SqsManagedSseEnabled="true",
        ),
    )
    with caplog.at_level(logging.WARNING, "gapless.queues"):
        queues.create(JOBS)
        queues.create(JOBS)
    (record,) = caplog.records
    assert "MessageRetentionPeriod is 345600, this home's is 1209600;" in record.getMessage()
    assert "VisibilityTimeout" not in record.getMessage()
    assert queues.send(JOBS, [Entry("a")])[0].ok
    assert "SetQueueAttributes" not in sqs.count()


def test_a_queue_whose_other_attributes_cannot_be_read_is_used_all_the_same(
    sqs: Sqs, queues: SqsQueues, caplog: pytest.LogCaptureFixture
) -> None:
    sqs.always("CreateQueue", refusal("com.amazonaws.sqs#QueueNameExists"))
    sqs.always("GetQueueAttributes", refusal("AccessDenied", "no policy allows it", status=403))
    with caplog.at_level(logging.WARNING, "gapless.queues"):
        queues.create(JOBS)
    assert "no policy allows it" in caplog.text
    assert queues.send(JOBS, [Entry("a")])[0].ok


def test_an_address_names_a_queue_and_not_where_requests_go(sqs: Sqs, queues: SqsQueues) -> None:
    elsewhere = f"http://127.0.0.1:9/000000000000/home-{JOBS}"
    sqs.next("GetQueueUrl", Reply({"QueueUrl": elsewhere}))
    assert queues.send(JOBS, [Entry("a")])[0].ok
    assert sqs.of("SendMessageBatch")[0].body["QueueUrl"] == elsewhere


def test_addresses_are_asked_for_once(sqs: Sqs, queues: SqsQueues) -> None:
    for _ in range(3):
        queues.send(JOBS, [Entry("a")])
    assert sqs.count() == {"GetQueueUrl": 1, "SendMessageBatch": 3}


def test_a_dropped_queue_is_deleted_and_its_address_forgotten(sqs: Sqs, queues: SqsQueues) -> None:
    queues.create(JOBS)
    queues.drop(JOBS)
    queues.send(JOBS, [Entry("a")])
    assert [request.operation for request in sqs.requests] == [
        "CreateQueue",
        "GetQueueUrl",
        "DeleteQueue",
        "GetQueueUrl",
        "SendMessageBatch",
    ]


@pytest.mark.parametrize("operation", ["GetQueueUrl", "DeleteQueue"])
def test_dropping_a_missing_queue_is_no_error(sqs: Sqs, queues: SqsQueues, operation: str) -> None:
    sqs.next(operation, SPELLINGS[3])
    queues.drop(JOBS)
    assert "CreateQueue" not in sqs.count()


def test_facts_are_counted_by_the_service(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.next("GetQueueAttributes", COUNTS)
    facts = queues.facts(JOBS)
    assert (facts.visible, facts.leased, facts.delayed) == (3, 2, 1)
    assert facts.created_at_s == 1_800_000_000.0


def test_facts_that_are_not_told_are_not_made_up(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.next("GetQueueAttributes", attributes(ApproximateNumberOfMessages="3"))
    with pytest.raises(QueueUnavailable, match="CreatedTimestamp"):
        queues.facts(JOBS)


def test_a_replace_finds_the_queue_made_anew(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.next("ReceiveMessage", messages("a"))
    (message,) = queues.receive([JOBS], most=1, wait_s=0.0, lease_s=60.0)
    sqs.next("SendMessageBatch", SPELLINGS[0])
    assert queues.replace(message.lease, [Replacement("rest")]).answer.ok
    assert sqs.count()["CreateQueue"] == 1
