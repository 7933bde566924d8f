"""Receiving: whose turn it is, for how long, and what keeps nobody else waiting."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing.errors import QueueRefused, QueueUnavailable
from queueing.port import Message
from queueing.sqs import SqsQueues
from queueing.sqs_receiving import Rota
from tests.contract.queue_harness import VirtualClock
from tests.unit.queueing.sqs_loopback import DROP, Reply, Request, Sqs, messages, refusal

BARRED = refusal("com.amazonaws.sqs#QueueDeletedRecently")
MISSING = refusal("com.amazonaws.sqs#QueueDoesNotExist")


class Polls:
    """Lets long polls take their time on the virtual clock; some queues hold messages."""

    def __init__(self, sqs: Sqs, clock: VirtualClock) -> None:
        self._clock = clock
        self.asked: list[tuple[str, int]] = []
        self.holding: set[str] = set()
        sqs.always("ReceiveMessage", self._answer)

    def _answer(self, request: Request) -> Reply:
        queue = request.body["QueueUrl"].rpartition("home-")[2]
        wait_s = request.body["WaitTimeSeconds"]
        self.asked.append((queue, wait_s))
        if queue in self.holding:
            return messages(f"of {queue}")
        self._clock.advance(wait_s + 0.01)
        return Reply({})


@pytest.fixture
def polls(sqs: Sqs, clock: VirtualClock) -> Polls:
    return Polls(sqs, clock)


def receive(queues: SqsQueues, *names: str, wait_s: float = 20.0, most: int = 1) -> list[Message]:
    return queues.receive(names, most=most, wait_s=wait_s, lease_s=60.0)


def test_one_queue_is_polled_for_the_whole_wait(polls: Polls, queues: SqsQueues) -> None:
    assert receive(queues, "a") == []
    assert receive(queues, "a", wait_s=50.0) == []
    assert polls.asked == [("a", 20), ("a", 20), ("a", 20), ("a", 10)]


def test_no_wait_asks_every_queue_once(polls: Polls, queues: SqsQueues) -> None:
    assert receive(queues, "a", "b", "c", wait_s=0.0) == []
    assert polls.asked == [("a", 0), ("b", 0), ("c", 0)]


def test_a_short_wait_is_the_shortest_long_poll(polls: Polls, queues: SqsQueues) -> None:
    receive(queues, "a", wait_s=0.25)
    assert polls.asked == [("a", 1)]


@pytest.mark.parametrize("count", [1, 3, 25])
def test_an_idle_program_makes_about_three_requests_a_minute_for_each_queue(
    polls: Polls, queues: SqsQueues, clock: VirtualClock, count: int
) -> None:
    names = [f"q{number}" for number in range(count)]
    receive(queues, *names)
    polls.asked.clear()
    began = clock()
    while clock() - began < 200.0:
        assert receive(queues, *names) == []
    asked = Counter(queue for queue, _ in polls.asked)
    minutes = (clock() - began) / 60.0
    assert set(asked) == set(names)
    assert max(asked.values()) / minutes <= 3.6
    assert min(asked.values()) / minutes >= 0.9
    assert all(1 <= wait_s <= 20 for _, wait_s in polls.asked) or count > 20


def test_a_busy_queue_is_looked_at_before_those_seen_empty(polls: Polls, queues: SqsQueues) -> None:
    polls.holding.add("c")
    assert [m.body for m in receive(queues, "a", "b", "c")] == ["of c"]
    assert polls.asked == [("a", 1), ("b", 1), ("c", 1)]
    polls.asked.clear()
    assert [m.body for m in receive(queues, "a", "b", "c")] == ["of c"]
    assert polls.asked == [("c", 1)]


def test_a_queue_seen_empty_long_ago_has_its_preference_again(
    polls: Polls, queues: SqsQueues, clock: VirtualClock
) -> None:
    polls.holding.add("b")
    receive(queues, "a", "b")
    polls.holding.add("a")
    clock.advance(20.0)
    assert [m.body for m in receive(queues, "a", "b")] == ["of a"]


def test_an_idle_round_begins_with_the_queue_seen_empty_longest_ago(
    polls: Polls, queues: SqsQueues
) -> None:
    receive(queues, "a", "b")
    polls.asked.clear()
    receive(queues, "b", "a")
    assert polls.asked == [("a", 10), ("b", 10)]


@given(
    seen=st.lists(st.tuples(st.sampled_from("abcde"), st.booleans(), st.floats(0, 60))),
    queues=st.permutations("abcde"),
    wait_s=st.floats(0, 30),
)
def test_every_queue_has_its_turn(
    seen: list[tuple[str, bool, float]], queues: list[str], wait_s: float
) -> None:
    rota, now = Rota(), 0.0
    for queue, is_empty, later in seen:
        now += later
        rota.saw(queue, is_empty=is_empty, now=now)
    fresh, idle = rota.order(queues, now=now, wait_s=wait_s)
    assert sorted([*fresh, *idle]) == sorted(queues)
    assert fresh == [queue for queue in queues if queue in fresh]


def test_a_request_asks_for_at_most_ten_messages_and_their_receive_counts(
    sqs: Sqs, queues: SqsQueues
) -> None:
    reply = messages("a")
    reply.messages[0]["Attributes"]["ApproximateReceiveCount"] = "7"
    sqs.next("ReceiveMessage", reply)
    (message,) = receive(queues, "a", most=300)
    assert message.receive_count == 7
    body = sqs.of("ReceiveMessage")[0].body
    assert body["MaxNumberOfMessages"] == 10
    assert body["MessageSystemAttributeNames"] == ["ApproximateReceiveCount"]


def test_a_message_damaged_on_its_way_is_left_to_come_again(
    sqs: Sqs, queues: SqsQueues, caplog: pytest.LogCaptureFixture
) -> None:
    reply = messages("whole", "damaged")
    reply.messages[1]["Body"] = "dam\u0001ged"
    sqs.next("ReceiveMessage", reply)
    with caplog.at_level(logging.WARNING, "gapless.queues"):
        assert [message.body for message in receive(queues, "a", most=10)] == ["whole"]
    assert "damaged" in caplog.text


# Queues that cannot be asked


def test_a_queue_that_is_barred_keeps_no_other_waiting(
    sqs: Sqs, polls: Polls, queues: SqsQueues, caplog: pytest.LogCaptureFixture
) -> None:
    sqs.next("GetQueueUrl", MISSING, sqs.success, MISSING)
    sqs.next("CreateQueue", BARRED, BARRED)
    polls.holding.add("b")
    with caplog.at_level(logging.WARNING, "gapless.queues"):
        for _ in range(2):
            assert [m.body for m in receive(queues, "a", "b")] == ["of b"]
    (record,) = caplog.records
    assert "queue a was deleted less than 60 s ago" in record.getMessage()
    polls.holding.add("a")
    assert [m.body for m in receive(queues, "a", "b")] == ["of a"]


def test_the_wait_is_spent_on_the_queues_that_can_be_asked(
    sqs: Sqs, polls: Polls, queues: SqsQueues, clock: VirtualClock
) -> None:
    sqs.next("GetQueueUrl", MISSING)
    sqs.next("CreateQueue", BARRED)
    began = clock()
    assert receive(queues, "a", "b") == []
    assert clock() - began == pytest.approx(20.0, abs=1.0)
    assert {queue for queue, _ in polls.asked} == {"b"}
    assert sqs.count()["CreateQueue"] == 1


def test_a_queue_that_refuses_keeps_no_other_waiting(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.next("ReceiveMessage", refusal("AccessDenied", status=403), messages("of b"))
    assert [m.body for m in receive(queues, "a", "b")] == ["of b"]


def test_no_queue_at_all_is_told(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.always("ReceiveMessage", refusal("AccessDenied", status=403))
    with pytest.raises(QueueRefused, match="queue a"):
        receive(queues, "a", "b")


def test_a_service_that_is_away_is_not_asked_for_every_queue(
    sqs: Sqs, queues: SqsQueues, clock: VirtualClock
) -> None:
    def slow(_request: Request) -> Reply:
        clock.advance(6.0)
        return DROP

    sqs.always("ReceiveMessage", slow)
    with pytest.raises(QueueUnavailable, match="queue q0"):
        receive(queues, *(f"q{number}" for number in range(50)), wait_s=0.0)
    asked = {request.body["QueueUrl"] for request in sqs.of("ReceiveMessage")}
    assert len(asked) == 1


def test_a_receive_whose_answer_is_lost_is_not_sent_again(sqs: Sqs, queues: SqsQueues) -> None:
    # Each may have hidden ten messages for a whole lease.
    sqs.always("ReceiveMessage", DROP)
    with pytest.raises(QueueUnavailable, match="queue a"):
        receive(queues, "a")
    assert sqs.count()["ReceiveMessage"] == 1


def test_of_many_queues_two_are_asked_when_nothing_answers(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.always("ReceiveMessage", DROP)
    with pytest.raises(QueueUnavailable, match="queue q0"):
        receive(queues, *(f"q{number}" for number in range(50)))
    assert sqs.count()["ReceiveMessage"] == 2


def test_one_connection_that_ended_keeps_no_other_queue_waiting(
    sqs: Sqs, queues: SqsQueues
) -> None:
    sqs.next("ReceiveMessage", DROP, messages("of b"))
    assert [m.body for m in receive(queues, "a", "b")] == ["of b"]


# The ceiling


def counts(leased: int) -> Reply:
    return Reply(
        {
            "Attributes": {
                "CreatedTimestamp": "1",
                "ApproximateNumberOfMessages": "17",
                "ApproximateNumberOfMessagesNotVisible": str(leased),
                "ApproximateNumberOfMessagesDelayed": "0",
            }
        }
    )


def test_an_empty_queue_with_very_many_messages_in_flight_is_an_alarm(
    sqs: Sqs,
    polls: Polls,
    queues: SqsQueues,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sqs.always("GetQueueAttributes", counts(119_500))
    began = clock()
    with caplog.at_level(logging.WARNING, "gapless.queues"):
        while clock() - began < 1_000.0:
            receive(queues, "a")
    assert sqs.count()["GetQueueAttributes"] == 3
    assert len(caplog.records) == 3
    assert "119500" in caplog.text
    assert "17 visible" in caplog.text


def test_an_empty_queue_is_no_alarm_by_itself(
    sqs: Sqs,
    polls: Polls,
    queues: SqsQueues,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sqs.always("GetQueueAttributes", counts(99_999))
    began = clock()
    with caplog.at_level(logging.WARNING, "gapless.queues"):
        while clock() - began < 700.0:
            receive(queues, "a")
    assert sqs.count()["GetQueueAttributes"] == 2
    assert caplog.records == []


def test_a_queue_that_gives_messages_is_not_counted(
    sqs: Sqs, polls: Polls, queues: SqsQueues, clock: VirtualClock
) -> None:
    polls.holding.add("a")
    for _ in range(20):
        receive(queues, "a")
        clock.advance(100.0)
    assert "GetQueueAttributes" not in sqs.count()


def test_counting_that_fails_stops_nobody(
    sqs: Sqs, polls: Polls, queues: SqsQueues, clock: VirtualClock
) -> None:
    sqs.always("GetQueueAttributes", refusal("AccessDenied", status=403))
    began = clock()
    while clock() - began < 400.0:
        assert receive(queues, "a") == []
    assert sqs.count()["GetQueueAttributes"] == 1


@pytest.mark.parametrize(
    "over", [refusal("OverLimit"), refusal("com.amazonaws.sqs#OverLimit", status=403)]
)
def test_a_short_poll_at_the_ceiling_says_what_to_do(
    sqs: Sqs, queues: SqsQueues, over: Reply
) -> None:
    sqs.next("ReceiveMessage", over)
    with pytest.raises(QueueUnavailable, match="start an aggregator"):
        receive(queues, "a", wait_s=0.0)
