"""Batches: their limits, and every entry's answer."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queueing.errors import QueueError, QueueRefused, QueueUnavailable
from queueing.port import MAX_BATCH, MAX_MESSAGE_BYTES, Answer, AnswerStatus, Entry, Lease
from queueing.sqs import SqsQueues
from queueing.sqs_batches import Item, pack
from tests.unit.queueing.sqs_loopback import DROP, Reply, Request, Sqs, failed, refusal, sent

JOBS = "walk-jobs"


def statuses(answers: list[Answer]) -> list[AnswerStatus]:
    return [answer.status for answer in answers]


# Packing


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.one_of(st.integers(0, 10), st.integers(0, MAX_MESSAGE_BYTES)),
        ),
        max_size=60,
    )
)
def test_batches_keep_within_the_limits_and_lose_no_entry(sizes: list[tuple[str, int]]) -> None:
    items = [Item(index, queue, {}, size) for index, (queue, size) in enumerate(sizes)]
    batches = pack(items)
    for batch in batches:
        assert 1 <= len(batch) <= MAX_BATCH
        assert sum(item.size_bytes for item in batch) <= MAX_MESSAGE_BYTES
        assert len({item.queue for item in batch}) == 1
    for queue in ("a", "b"):
        packed = [item for batch in batches for item in batch if item.queue == queue]
        assert packed == [item for item in items if item.queue == queue]


def test_batches_are_filled() -> None:
    assert [len(batch) for batch in pack(Item(n, "a", {}, 10) for n in range(25))] == [10, 10, 5]
    whole = MAX_MESSAGE_BYTES
    halves = pack(Item(n, "a", {}, whole // 2) for n in range(4))
    assert [len(batch) for batch in halves] == [2, 2]


def test_a_batch_on_the_wire_has_at_most_ten_entries_and_one_mebibyte(
    sqs: Sqs, queues: SqsQueues
) -> None:
    entries = [Entry("x" * size) for size in [MAX_MESSAGE_BYTES, 1, 600_000, 500_000, *[9] * 23]]
    assert all(answer.ok for answer in queues.send(JOBS, entries))
    sizes = []
    for request in sqs.of("SendMessageBatch"):
        sent_entries = request.body["Entries"]
        assert len(sent_entries) <= 10
        assert sum(len(entry["MessageBody"].encode()) for entry in sent_entries) <= 1_048_576
        sizes += [len(entry["MessageBody"]) for entry in sent_entries]
    assert Counter(sizes) == Counter(len(entry.body) for entry in entries)


# Answers entry by entry


def test_an_entry_that_failed_is_sent_again_and_only_that_one(
    sqs: Sqs, queues: SqsQueues, patience: None
) -> None:
    sqs.next(
        "SendMessageBatch",
        lambda request: Reply(
            {
                "Successful": [sent(request.body["Entries"][0])],
                "Failed": [failed("1", "InternalError", sender=False)],
            }
        ),
    )
    assert statuses(queues.send(JOBS, [Entry("a"), Entry("b")])) == [AnswerStatus.OK] * 2
    assert [entry["MessageBody"] for entry in sqs.entries("SendMessageBatch")] == ["a", "b", "b"]


def test_an_entry_that_is_not_answered_was_not_done(
    sqs: Sqs, queues: SqsQueues, patience: None
) -> None:
    sqs.always(
        "SendMessageBatch",
        lambda request: Reply(
            {"Successful": [sent(e) for e in request.body["Entries"] if e["MessageBody"] != "b"]}
        ),
    )
    answers = queues.send(JOBS, [Entry("a"), Entry("b"), Entry("c")])
    assert statuses(answers) == [AnswerStatus.OK, AnswerStatus.FAILED, AnswerStatus.OK]
    assert "did not answer" in answers[1].reason
    assert [e["MessageBody"] for e in sqs.entries("SendMessageBatch")] == [*"abc", *"bbb"]


def test_an_entry_under_both_successful_and_failed_was_not_surely_done(
    sqs: Sqs, queues: SqsQueues
) -> None:
    sqs.next(
        "SendMessageBatch",
        lambda request: Reply(
            {
                "Successful": [sent(entry) for entry in request.body["Entries"]],
                "Failed": [failed("1", "ServiceUnavailable", sender=False)],
            }
        ),
    )
    answers = queues.send(JOBS, [Entry("a"), Entry("b")])
    assert statuses(answers) == [AnswerStatus.OK, AnswerStatus.FAILED]


def test_an_entry_that_was_stored_damaged_is_sent_again(
    sqs: Sqs, queues: SqsQueues, patience: None
) -> None:
    def damage(request: Request) -> Reply:
        answers = [sent(entry) for entry in request.body["Entries"]]
        answers[1]["MD5OfMessageBody"] = "0" * 32
        return Reply({"Successful": answers})

    sqs.next("SendMessageBatch", damage)
    assert statuses(queues.send(JOBS, [Entry("a"), Entry("b")])) == [AnswerStatus.OK] * 2
    assert [entry["MessageBody"] for entry in sqs.entries("SendMessageBatch")] == ["a", "b", "b"]


def test_an_entry_that_is_refused_for_itself_is_not_sent_again(
    sqs: Sqs, queues: SqsQueues, patience: None
) -> None:
    sqs.next(
        "SendMessageBatch",
        lambda request: Reply(
            {
                "Successful": [sent(request.body["Entries"][0])],
                "Failed": [failed("1", "InvalidMessageContents", "a bad sign", sender=True)],
            }
        ),
    )
    answers = queues.send(JOBS, [Entry("a"), Entry("b")])
    assert statuses(answers) == [AnswerStatus.OK, AnswerStatus.FAILED]
    assert answers[1].reason == "InvalidMessageContents: a bad sign"
    assert sqs.count()["SendMessageBatch"] == 1


@pytest.mark.parametrize("code", ["ThrottlingException", "KmsThrottled", "SomethingNew"])
def test_entries_that_may_be_done_later_are_told_as_unavailable_when_nothing_was_done(
    sqs: Sqs, queues: SqsQueues, patience: None, code: str
) -> None:
    sqs.always("SendMessageBatch", Reply({"Failed": [failed("0", code, "later", sender=True)]}))
    with pytest.raises(QueueUnavailable, match=f"none of 1 entries.*{code}: later"):
        queues.send(JOBS, [Entry("a")])
    assert sqs.count()["SendMessageBatch"] == 4


def test_entries_refused_here_are_told_beside_those_that_were_sent(
    sqs: Sqs, queues: SqsQueues
) -> None:
    answers = queues.send(JOBS, [Entry("a"), Entry(""), Entry("b")])
    assert statuses(answers) == [AnswerStatus.OK, AnswerStatus.FAILED, AnswerStatus.OK]
    assert [entry["MessageBody"] for entry in sqs.entries("SendMessageBatch")] == ["a", "b"]


def test_a_request_refused_for_one_entry_is_done_for_the_others(
    sqs: Sqs, queues: SqsQueues
) -> None:
    def answer(request: Request) -> Reply:
        if any(entry["MessageBody"] == "bad" for entry in request.body["Entries"]):
            return refusal("com.amazonaws.sqs#InvalidMessageContents", "a bad sign")
        return sqs.success(request)

    sqs.always("SendMessageBatch", answer)
    answers = queues.send(JOBS, [Entry("a"), Entry("bad"), Entry("b")])
    assert statuses(answers) == [AnswerStatus.OK, AnswerStatus.FAILED, AnswerStatus.OK]
    assert "a bad sign" in answers[1].reason


def test_what_a_later_batch_could_not_do_is_told_by_entry(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.next("SendMessageBatch", sqs.success)
    sqs.always("SendMessageBatch", refusal("AccessDenied", "not now", status=403))
    answers = queues.send(JOBS, [Entry(f"{number}") for number in range(200)])
    assert statuses(answers) == [AnswerStatus.OK] * 10 + [AnswerStatus.FAILED] * 190
    assert all("not now" in answer.reason for answer in answers[10:])
    # Those that had not gone out when the first was refused were not sent in vain.
    assert sqs.count()["SendMessageBatch"] <= 1 + 8


def test_a_refusal_of_the_first_batch_ends_the_verb(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.always("SendMessageBatch", refusal("AccessDenied", "not now", status=403))
    with pytest.raises(QueueRefused, match="not now"):
        queues.send(JOBS, [Entry(f"{number}") for number in range(200)])
    assert sqs.count()["SendMessageBatch"] == 1


def test_batches_of_a_long_list_go_out_side_by_side(sqs: Sqs, queues: SqsQueues) -> None:
    together = threading.Barrier(8)

    def answer(request: Request) -> Reply:
        together.wait(timeout=30)
        return sqs.success(request)

    sqs.next("SendMessageBatch", sqs.success, *[answer] * 8)
    assert all(each.ok for each in queues.send(JOBS, [Entry("a")] * 90))


def test_one_token_named_twice_goes_out_once_and_is_answered_twice(
    sqs: Sqs, queues: SqsQueues
) -> None:
    lease = Lease(JOBS, "t")
    assert statuses(queues.delete([lease, Lease(JOBS, ""), lease])) == [AnswerStatus.OK] * 3
    assert [entry["ReceiptHandle"] for entry in sqs.entries("DeleteMessageBatch")] == ["t"]


def test_deletes_of_several_queues_go_to_their_queues(sqs: Sqs, queues: SqsQueues) -> None:
    leases = [Lease(f"q{number % 3}", f"t{number}") for number in range(33)]
    assert all(answer.ok for answer in queues.delete(leases))
    for request in sqs.of("DeleteMessageBatch"):
        queue = request.body["QueueUrl"].rpartition("home-")[2]
        for entry in request.body["Entries"]:
            assert Lease(queue, entry["ReceiptHandle"]) in leases
    assert len(sqs.entries("DeleteMessageBatch")) == 33


def queue_of(request: Request) -> str:
    return str(request.body["QueueUrl"]).rpartition("home-")[2]


BARRED = refusal("com.amazonaws.sqs#QueueDeletedRecently")
MISSING = refusal("com.amazonaws.sqs#QueueDoesNotExist")


@pytest.mark.parametrize("problem", [refusal("AccessDenied", status=403), MISSING])
def test_a_queue_that_cannot_be_used_keeps_no_batch_of_another(
    sqs: Sqs, queues: SqsQueues, problem: Reply
) -> None:
    sqs.always("CreateQueue", BARRED)
    sqs.always(
        "DeleteMessageBatch",
        lambda request: problem if queue_of(request) == "a" else sqs.success(request),
    )
    # A delete goes from the last lease to the first: that batch is of the queue that is no use.
    leases = [Lease("b" if number % 2 == 0 else "a", f"t{number}") for number in range(60)]
    answers = queues.delete(leases)
    assert [lease.queue for lease, answer in zip(leases, answers, strict=True) if answer.ok] == [
        "b"
    ] * 30
    assert {answer.status for answer in answers} == {AnswerStatus.OK, AnswerStatus.FAILED}
    assert Counter(map(queue_of, sqs.of("DeleteMessageBatch"))) == {"a": 1, "b": 3}


def test_queues_that_all_cannot_be_used_are_told_by_the_first_of_them(
    sqs: Sqs, queues: SqsQueues
) -> None:
    sqs.always("DeleteMessageBatch", MISSING)
    sqs.always("CreateQueue", BARRED)
    with pytest.raises(QueueUnavailable, match="queue c was deleted less than 60 s ago"):
        queues.delete([Lease("a", "t"), Lease("b", "t"), Lease("c", "t")])


def test_a_service_that_is_away_stops_the_batches_of_every_queue(
    sqs: Sqs, queues: SqsQueues
) -> None:
    sqs.always("DeleteMessageBatch", DROP)
    with pytest.raises(QueueUnavailable, match="cannot be reached"):
        queues.delete([Lease(f"q{number}", "t") for number in range(40)])
    assert {queue_of(request) for request in sqs.of("DeleteMessageBatch")} == {"q39"}


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 45), trouble=st.floats(0.0, 0.9))
def test_an_answer_is_ok_if_and_only_if_the_service_acknowledged_the_entry(
    sqs: Sqs, queues: SqsQueues, patience: None, seed: int, count: int, trouble: float
) -> None:
    chance = random.Random(seed)
    acknowledged: Counter[str] = Counter()
    lock = threading.Lock()

    def answer(request: Request) -> Reply:
        body: dict[str, list[Any]] = {"Successful": [], "Failed": []}
        with lock:
            for entry in request.body["Entries"]:
                if chance.random() >= trouble:
                    body["Successful"].append(sent(entry))
                    acknowledged[entry["MessageBody"]] += 1
                elif chance.random() < 0.7:
                    code = chance.choice(["InternalError", "InvalidMessageContents"])
                    body["Failed"].append(failed(entry["Id"], code, sender=code[1] == "n"))
        return Reply({name: entries for name, entries in body.items() if entries})

    sqs.always("SendMessageBatch", answer)
    entries = [Entry(f"{number}") for number in range(count)]
    try:
        answers = queues.send(JOBS, entries)
    except QueueUnavailable:
        assert not acknowledged
        return
    assert len(answers) == count
    assert [answer.ok for answer in answers] == [bool(acknowledged[e.body]) for e in entries]
    assert max(acknowledged.values(), default=1) == 1


def test_closing_ends_the_threads(sqs: Sqs, queues: SqsQueues) -> None:
    queues.send(JOBS, [Entry("a")] * 90)
    queues.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("sqs-batch")]
    with pytest.raises(QueueError, match="closed"):
        queues.delete([Lease(JOBS, "t")])
