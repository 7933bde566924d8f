"""Leases: the 12 hours, dead tokens, what a replace does and does not do."""

from __future__ import annotations

import pytest

from queueing.errors import QueueUnavailable
from queueing.leases import Renewals
from queueing.port import MAX_LEASE_S, AnswerStatus, Extension, Lease, Replacement
from queueing.sqs import SqsQueues
from queueing.sqs_leases import HeldLeases
from tests.contract.queue_harness import VirtualClock
from tests.unit.queueing.sqs_loopback import Reply, Request, Sqs, failed, messages, refusal, sent

JOBS = "walk-jobs"
CHANGE = "ChangeMessageVisibilityBatch"
EXPIRED = "Value t for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
UNAVAILABLE = (
    "Value t for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not "
    "available for visibility timeout change."
)
BEYOND = (
    "Value 900 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the "
    "message is beyond the limit [43200 seconds]"
)
DEAD = [
    ("ReceiptHandleIsInvalid", "The input receipt handle is invalid."),
    ("InvalidParameterValue", EXPIRED),
    ("InvalidParameterValue", UNAVAILABLE),
    ("InvalidParameterValue", BEYOND),
    ("MessageNotInflight", "The specified message isn't in flight."),
    ("AWS.SimpleQueueService.MessageNotInflight", "The specified message isn't in flight."),
    ("com.amazonaws.sqs#ReceiptHandleIsInvalid", "The input receipt handle is invalid."),
]


def receive(sqs: Sqs, queues: SqsQueues, count: int = 1, lease_s: float = 900.0) -> list[Lease]:
    sqs.next("ReceiveMessage", messages(*"abcdefghij"[:count]))
    found = queues.receive([JOBS], most=10, wait_s=0.0, lease_s=lease_s)
    return [message.lease for message in found]


def timeouts(sqs: Sqs) -> list[int]:
    return [entry["VisibilityTimeout"] for entry in sqs.entries(CHANGE)]


# Twelve hours


def test_a_renewal_asks_for_no_more_than_is_left_of_the_twelve_hours(
    sqs: Sqs, queues: SqsQueues, clock: VirtualClock
) -> None:
    (lease,) = receive(sqs, queues, lease_s=MAX_LEASE_S)
    clock.advance(MAX_LEASE_S - 100.5)
    assert queues.extend([Extension(lease, 900.0)])[0].ok
    assert timeouts(sqs) == [100]
    clock.advance(60.0)
    assert queues.extend([Extension(lease, 900.0)])[0].ok
    assert timeouts(sqs) == [100, 40]


def test_the_twelve_hours_count_from_before_the_wait_for_a_message(
    sqs: Sqs, queues: SqsQueues, clock: VirtualClock
) -> None:
    def late(_request: Request) -> Reply:
        clock.advance(20.0)
        return messages("a")

    sqs.next("ReceiveMessage", late)
    (message,) = queues.receive([JOBS], most=1, wait_s=20.0, lease_s=MAX_LEASE_S)
    queues.extend([Extension(message.lease, MAX_LEASE_S)])
    assert timeouts(sqs) == [43_180]


def test_what_is_left_below_a_second_is_a_lost_lease_and_nothing_is_asked(
    sqs: Sqs, queues: SqsQueues, clock: VirtualClock
) -> None:
    (lease,) = receive(sqs, queues, lease_s=MAX_LEASE_S)
    clock.advance(MAX_LEASE_S - 0.9)
    # A visibility timeout of 0 would give the message back.
    assert queues.extend([Extension(lease, 900.0)])[0].status is AnswerStatus.LEASE_LOST
    assert timeouts(sqs) == []


def test_parts_of_a_second_are_rounded_up(sqs: Sqs, queues: SqsQueues) -> None:
    (lease,) = receive(sqs, queues, lease_s=1.2)
    assert sqs.of("ReceiveMessage")[0].body["VisibilityTimeout"] == 2
    queues.extend([Extension(lease, 0.3)])
    assert timeouts(sqs) == [1]


def test_a_release_is_delayed_by_no_more_than_is_left_of_the_twelve_hours(
    sqs: Sqs, queues: SqsQueues, clock: VirtualClock
) -> None:
    (lease,) = receive(sqs, queues, lease_s=MAX_LEASE_S)
    clock.advance(MAX_LEASE_S - 100.0)
    assert queues.release([lease], delay_s=900.0)[0].ok
    assert timeouts(sqs) == [100]


# Leases that have ended


def test_a_lease_that_ended_by_our_own_clock_is_lost_without_a_question(
    sqs: Sqs, queues: SqsQueues, clock: VirtualClock
) -> None:
    (lease,) = receive(sqs, queues, lease_s=60.0)
    before = sqs.count()
    clock.advance(60.0)
    assert queues.extend([Extension(lease, 60.0)])[0].status is AnswerStatus.LEASE_LOST
    given = queues.replace(lease, [Replacement("rest")])
    assert (given.answer.status, given.leases) == (AnswerStatus.LEASE_LOST, ())
    # Released by an outdated token it might show what another program works on.
    assert queues.release([lease])[0].ok
    assert sqs.count() == before


def test_a_lease_that_ended_may_still_be_deleted(
    sqs: Sqs, queues: SqsQueues, clock: VirtualClock
) -> None:
    (lease,) = receive(sqs, queues, lease_s=60.0)
    clock.advance(60.0)
    assert queues.delete([lease])[0].ok
    assert [entry["ReceiptHandle"] for entry in sqs.entries("DeleteMessageBatch")] == ["token-1"]


def test_a_renewed_lease_ends_when_its_renewal_does(
    sqs: Sqs, queues: SqsQueues, clock: VirtualClock
) -> None:
    (lease,) = receive(sqs, queues, lease_s=60.0)
    clock.advance(50.0)
    assert queues.extend([Extension(lease, 60.0)])[0].ok
    clock.advance(59.0)
    assert queues.extend([Extension(lease, 60.0)])[0].ok
    clock.advance(60.0)
    assert queues.extend([Extension(lease, 60.0)])[0].status is AnswerStatus.LEASE_LOST


@pytest.mark.parametrize(("code", "message"), DEAD)
def test_a_dead_token_is_a_lost_lease_for_extend_and_no_error_for_the_others(
    sqs: Sqs, queues: SqsQueues, patience: None, code: str, message: str
) -> None:
    first, second, third = receive(sqs, queues, count=3)
    dead = Reply({"Failed": [failed("0", code, message, sender=True)]})
    sqs.always(CHANGE, dead)
    sqs.always("DeleteMessageBatch", dead)
    answer = queues.extend([Extension(first, 60.0)])[0]
    assert answer.status is AnswerStatus.LEASE_LOST
    assert message in answer.reason
    assert queues.release([second])[0].ok
    assert queues.delete([third])[0].ok
    assert sqs.count()[CHANGE] == 2
    assert sqs.count()["DeleteMessageBatch"] == 1


def test_a_dead_token_told_for_a_whole_request_is_a_lost_lease_too(
    sqs: Sqs, queues: SqsQueues
) -> None:
    (lease,) = receive(sqs, queues)
    sqs.always(CHANGE, refusal("com.amazonaws.sqs#InvalidParameterValue", EXPIRED))
    assert queues.extend([Extension(lease, 60.0)])[0].status is AnswerStatus.LEASE_LOST


def test_a_renewal_that_is_refused_for_another_reason_is_no_lost_lease(
    sqs: Sqs, queues: SqsQueues
) -> None:
    (lease,) = receive(sqs, queues)
    text = "Value x for parameter VisibilityTimeout is invalid."
    sqs.next(CHANGE, Reply({"Failed": [failed("0", "InvalidParameterValue", text, sender=True)]}))
    assert queues.extend([Extension(lease, 60.0)])[0].status is AnswerStatus.FAILED
    assert queues.extend([Extension(lease, 60.0)])[0].ok


def test_renewals_fail_one_by_one(sqs: Sqs, queues: SqsQueues) -> None:
    leases = receive(sqs, queues, count=3)
    sqs.next(
        CHANGE,
        Reply(
            {
                "Successful": [{"Id": "0"}],
                "Failed": [
                    failed("1", "InternalError", sender=False),
                    failed("2", "ReceiptHandleIsInvalid", sender=True),
                ],
            }
        ),
    )
    answers = queues.extend([Extension(lease, 60.0) for lease in leases])
    assert [answer.status for answer in answers] == [
        AnswerStatus.OK,
        AnswerStatus.FAILED,
        AnswerStatus.LEASE_LOST,
    ]


# Replace


def test_a_replace_deletes_only_after_every_replacement_was_acknowledged(
    sqs: Sqs, queues: SqsQueues
) -> None:
    (lease,) = receive(sqs, queues)
    given = queues.replace(lease, [Replacement(f"part {number}") for number in range(12)])
    assert given.answer.ok
    assert given.leases == (None,) * 12
    assert [request.operation for request in sqs.requests][-1] == "DeleteMessageBatch"
    assert len(sqs.entries("SendMessageBatch")) == 12
    assert queues.extend([Extension(lease, 60.0)])[0].status is AnswerStatus.LEASE_LOST


def test_a_replace_of_which_a_part_failed_deletes_nothing_and_then_sends_the_rest(
    sqs: Sqs, queues: SqsQueues
) -> None:
    (lease,) = receive(sqs, queues)
    sqs.next(
        "SendMessageBatch",
        lambda request: Reply(
            {
                "Successful": [sent(request.body["Entries"][0])],
                "Failed": [failed("1", "InternalError", "oh", sender=False)],
            }
        ),
    )
    parts = [Replacement("a"), Replacement("b"), Replacement("b")]
    given = queues.replace(lease, parts)
    assert (given.answer.status, given.leases) == (AnswerStatus.FAILED, ())
    assert "DeleteMessageBatch" not in sqs.count()
    assert queues.replace(lease, parts).answer.ok
    bodies = [entry["MessageBody"] for entry in sqs.entries("SendMessageBatch")]
    assert bodies == ["a", "b", "b", "b", "b"]
    assert sqs.count()["DeleteMessageBatch"] == 1


def test_a_replace_whose_delete_failed_sends_nothing_twice(sqs: Sqs, queues: SqsQueues) -> None:
    (lease,) = receive(sqs, queues)
    oh = Reply({"Failed": [failed("0", "InternalError", "oh", sender=False)]})
    sqs.next("DeleteMessageBatch", oh)
    with pytest.raises(QueueUnavailable, match="oh"):
        queues.replace(lease, [Replacement("rest")])
    assert queues.replace(lease, [Replacement("rest")]).answer.ok
    assert len(sqs.entries("SendMessageBatch")) == 1
    assert sqs.count()["DeleteMessageBatch"] == 2


# Kept by a LeaseKeeper


class Visibility:
    """Renews as SQS does: never beyond 12 hours from the receive, and not after the end."""

    def __init__(self, sqs: Sqs, clock: VirtualClock, *, lease_s: float) -> None:
        self._clock = clock
        self._received_at = clock()
        self._lease_s = lease_s
        self.ends_at: dict[str, float] = {}
        self.refused: list[str] = []
        sqs.always(CHANGE, self._answer)

    def _answer(self, request: Request) -> Reply:
        done, not_done = [], []
        for entry in request.body["Entries"]:
            token, now = entry["ReceiptHandle"], self._clock()
            until = now + entry["VisibilityTimeout"]
            if until > self._received_at + MAX_LEASE_S:
                self.refused.append(token)
                not_done.append(failed(entry["Id"], "InvalidParameterValue", BEYOND, sender=True))
            elif self.ends_at.get(token, self._received_at + self._lease_s) <= now:
                self.refused.append(token)
                not_done.append(failed(entry["Id"], "MessageNotInflight", sender=True))
            else:
                self.ends_at[token] = until
                done.append({"Id": entry["Id"]})
        return Reply({"Successful": done, "Failed": not_done})


def test_a_keeper_holds_many_leases_for_nearly_twelve_hours_and_says_when_they_end(
    sqs: Sqs, queues: SqsQueues, clock: VirtualClock
) -> None:
    lease_s = 1_800.0
    began = clock()
    service = Visibility(sqs, clock, lease_s=lease_s)
    expiring: list[Lease] = []
    lost: dict[Lease, float] = {}

    def lose(lease: Lease) -> None:
        lost[lease] = clock()

    renewals = Renewals(
        queues,
        lease_s=lease_s,
        on_lost=lose,
        on_expiring=expiring.append,
        monotonic=clock,
    )
    leases = []
    for number in range(3):
        sqs.next("ReceiveMessage", messages(*"abcdefgh", first_token=10 * number))
        for message in queues.receive([JOBS], most=10, wait_s=0.0, lease_s=lease_s):
            renewals.hold(message.lease)
            leases.append(message.lease)
    while renewals.held:
        renewals.beat()
        clock.advance(renewals.turn())
        assert clock() - began < 2 * MAX_LEASE_S
    assert service.refused == []
    assert sorted(each.token for each in expiring) == sorted(each.token for each in leases)
    assert min(lost.values()) - began >= MAX_LEASE_S - 60.0
    assert max(lost.values()) - began <= MAX_LEASE_S
    # All that is due goes out together: 24 leases are three requests.
    assert sqs.count()[CHANGE] <= 3 * (MAX_LEASE_S / (lease_s / 3) + 60)


def test_a_keeper_renews_again_soon_what_failed_and_gives_up_only_what_is_lost(
    sqs: Sqs, queues: SqsQueues, clock: VirtualClock
) -> None:
    lost: list[Lease] = []
    renewals = Renewals(queues, lease_s=900.0, on_lost=lost.append, monotonic=clock)
    leases = receive(sqs, queues, count=3)
    for lease in leases:
        renewals.hold(lease)
    clock.advance(300.0)
    sqs.next(
        CHANGE,
        Reply(
            {
                "Successful": [{"Id": "0"}],
                "Failed": [
                    failed("1", "InternalError", sender=False),
                    failed("2", "ReceiptHandleIsInvalid", sender=True),
                ],
            }
        ),
        refusal("AccessDenied", status=403),
    )
    renewals.beat()
    assert renewals.turn() == pytest.approx(30.0)
    assert lost == [leases[2]]
    clock.advance(30.0)
    assert renewals.turn() == pytest.approx(30.0)
    clock.advance(30.0)
    renewals.turn()
    tokens = [[e["ReceiptHandle"] for e in request.body["Entries"]] for request in sqs.of(CHANGE)]
    assert tokens == [["token-1", "token-2", "token-3"], ["token-2"], ["token-2"]]
    assert lost == [leases[2]]


# What is remembered


def test_ended_leases_are_forgotten_in_time() -> None:
    clock = VirtualClock()
    held = HeldLeases(clock)
    for number in range(5_000):
        clock.advance(1.0)
        held.enter(Lease(JOBS, f"t{number}"), asked_at=clock(), lease_s=60.0)
    assert len(held) <= 1_060


def test_leases_given_back_are_forgotten(sqs: Sqs, queues: SqsQueues) -> None:
    leases = receive(sqs, queues, count=3)
    queues.delete(leases[:1])
    queues.release(leases[1:2])
    queues.replace(leases[2], [])
    for lease in leases:
        assert queues.replace(lease, []).answer.status is AnswerStatus.LEASE_LOST
