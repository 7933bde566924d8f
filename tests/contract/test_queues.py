"""What every queue backend promises; add one in queue_harness.BACKENDS or SERVICES."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from queueing.errors import QueueError
from queueing.port import (
    MAX_BATCH,
    MAX_DELAY_S,
    MAX_LEASE_S,
    MAX_MESSAGE_BYTES,
    AnswerStatus,
    Entry,
    Extension,
    Lease,
    Message,
    Queues,
    Replacement,
)
from tests.contract.queue_harness import BACKENDS, SERVICES, Backend, LocalQueues, Promise, need

JOBS = "walk-1a2b3c4d-jobs"
RESULTS = "walk-1a2b3c4d-results"


@pytest.fixture(params=sorted([*BACKENDS, *SERVICES]))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param in SERVICES:
        return SERVICES[request.param](request)
    return BACKENDS[request.param](tmp_path)


@pytest.fixture
def queues(backend: Backend) -> Iterator[Queues]:
    made = backend.make()
    yield made
    made.close()


@pytest.fixture(params=sorted(BACKENDS))
def local_queues(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalQueues]:
    made = BACKENDS[request.param](tmp_path).make()
    yield made
    made.close()


def send(queues: Queues, *bodies: str, queue: str = JOBS) -> None:
    answers = queues.send(queue, [Entry(body) for body in bodies])
    assert all(answer.ok for answer in answers)


def receive(
    queues: Queues,
    *names: str,
    most: int = MAX_BATCH,
    wait_s: float = 0.0,
    lease_s: float = 60,
) -> list[Message]:
    return queues.receive(names or (JOBS,), most=most, wait_s=wait_s, lease_s=lease_s)


def bodies(messages: list[Message]) -> list[str]:
    return [message.body for message in messages]


def only(messages: list[Message]) -> Message:
    (message,) = messages
    return message


def pass_almost(backend: Backend) -> None:
    """Let time pass until shortly before a lease or delay of `times.lease_s` ends."""
    backend.advance(backend.times.lease_s - backend.times.before_s)


def pass_the_rest(backend: Backend) -> None:
    """Let it end."""
    backend.advance(backend.times.before_s + backend.times.grain_s)


def pass_lease(backend: Backend) -> None:
    """Let a lease or delay of `times.lease_s` end."""
    backend.advance(backend.times.lease_s + backend.times.grain_s)


def assert_waited(backend: Backend, began: float, seconds: float) -> None:
    waited_s = backend.now() - began
    assert seconds - 0.3 <= waited_s <= seconds + backend.times.late_s


# Sending


def test_a_sent_message_is_received_as_it_was_sent(queues: Queues) -> None:
    body = 'a header {"x": 1}\n\nline\ttwo \\ "quoted" ~\r\n'
    send(queues, body)
    message = only(receive(queues))
    assert message.body == body
    assert message.receive_count == 1
    assert message.lease.queue == JOBS


@pytest.mark.parametrize("body", ["\n", "a\n", "\na", "a\nb\nc", " "])
def test_line_ends_and_blanks_are_kept(queues: Queues, body: str) -> None:
    send(queues, body)
    assert bodies(receive(queues)) == [body]


def test_a_message_of_the_largest_size_is_carried(queues: Queues) -> None:
    body = "head\n" + "x" * (MAX_MESSAGE_BYTES - 5)
    send(queues, body)
    assert bodies(receive(queues, most=1)) == [body]


@pytest.mark.parametrize(
    "entry",
    [
        Entry(""),
        Entry("caf\u00e9"),
        Entry("bell \x07"),
        Entry("nul \x00"),
        Entry("x" * (MAX_MESSAGE_BYTES + 1)),
        Entry("x", delay_s=-1.0),
        Entry("x", delay_s=MAX_DELAY_S + 1.0),
        Entry("x", delay_s=float("nan")),
        Entry("x", priority=2**40),
    ],
    ids=["empty", "not-ascii", "control", "nul", "large", "past", "late", "nan", "priority"],
)
def test_an_entry_that_cannot_be_sent_is_refused_and_the_others_are_sent(
    queues: Queues, entry: Entry
) -> None:
    answers = queues.send(JOBS, [Entry("before"), entry, Entry("after")])
    assert [answer.status for answer in answers] == [
        AnswerStatus.OK,
        AnswerStatus.FAILED,
        AnswerStatus.OK,
    ]
    assert answers[1].reason
    assert sorted(bodies(receive(queues))) == ["after", "before"]


def test_any_number_of_entries_is_sent_and_answered_one_by_one(
    backend: Backend, queues: Queues
) -> None:
    answers = queues.send(JOBS, [Entry(f"job {number}") for number in range(backend.many)])
    assert len(answers) == backend.many
    assert all(answer.ok for answer in answers)
    assert queues.facts(JOBS).visible == backend.many


def test_sending_nothing_answers_nothing(queues: Queues) -> None:
    assert queues.send(JOBS, []) == []


# Receiving


def test_a_received_message_is_hidden_from_others(queues: Queues) -> None:
    send(queues, "a")
    assert bodies(receive(queues)) == ["a"]
    assert receive(queues) == []


def test_messages_come_first_in_first_out(backend: Backend, queues: Queues) -> None:
    need(backend, Promise.ORDER)
    send(queues, *(f"{number}" for number in range(25)))
    received: list[str] = []
    while messages := receive(queues, most=10):
        received += bodies(messages)
    assert received == [f"{number}" for number in range(25)]


def test_a_higher_priority_comes_first_then_first_in_first_out(
    backend: Backend, queues: Queues
) -> None:
    need(backend, Promise.PRIORITY)
    queues.send(
        JOBS,
        [Entry("low", priority=-1), Entry("a"), Entry("high", priority=5), Entry("b")],
    )
    assert bodies(receive(queues)) == ["high", "a", "b", "low"]


def test_a_delayed_message_keeps_its_place_once_it_is_visible(
    backend: Backend, queues: Queues
) -> None:
    need(backend, Promise.ORDER)
    queues.send(JOBS, [Entry("early", delay_s=backend.times.lease_s), Entry("late")])
    pass_lease(backend)
    assert bodies(receive(queues)) == ["early", "late"]


def test_no_more_messages_come_than_asked_for(queues: Queues) -> None:
    send(queues, "a", "b", "c")
    assert len(receive(queues, most=2)) == 2


def test_several_queues_are_received_from_in_the_order_named(queues: Queues) -> None:
    send(queues, "job", queue=JOBS)
    send(queues, "result", queue=RESULTS)
    messages = receive(queues, RESULTS, JOBS)
    while len(messages) < 2 and (more := receive(queues, RESULTS, JOBS)):
        messages += more
    assert bodies(messages) == ["result", "job"]
    assert [message.lease.queue for message in messages] == [RESULTS, JOBS]


def test_queues_are_apart(queues: Queues) -> None:
    send(queues, "job", queue=JOBS)
    assert receive(queues, RESULTS) == []


def test_a_lease_that_ends_makes_the_message_visible_and_counts_the_receive(
    backend: Backend, queues: Queues
) -> None:
    send(queues, "a")
    receive(queues, lease_s=backend.times.lease_s)
    pass_almost(backend)
    assert receive(queues) == []
    pass_the_rest(backend)
    assert only(receive(queues)).receive_count == 2


def test_a_delayed_message_is_not_visible_before_its_time(backend: Backend, queues: Queues) -> None:
    queues.send(JOBS, [Entry("later", delay_s=backend.times.lease_s)])
    pass_almost(backend)
    assert receive(queues) == []
    pass_the_rest(backend)
    assert bodies(receive(queues)) == ["later"]


def test_an_empty_receive_waits_as_long_as_it_was_asked_to(
    backend: Backend, queues: Queues
) -> None:
    began = backend.now()
    assert receive(queues, wait_s=2.0) == []
    assert_waited(backend, began, 2.0)


def test_a_waiting_receive_wakes_for_the_earliest_message_whatever_its_priority(
    backend: Backend, queues: Queues
) -> None:
    queues.send(
        JOBS,
        [Entry("important", delay_s=300.0, priority=9), Entry("soon", delay_s=2.0, priority=-9)],
    )
    began = backend.now()
    assert bodies(receive(queues, wait_s=600.0)) == ["soon"]
    assert_waited(backend, began, 2.0)


def test_a_waiting_receive_wakes_for_the_earliest_of_several_queues(
    backend: Backend, queues: Queues
) -> None:
    need(backend, Promise.WAITS_FOR_ALL)
    queues.send(JOBS, [Entry("job", delay_s=30.0)])
    queues.send(RESULTS, [Entry("result", delay_s=2.0)])
    began = backend.now()
    assert bodies(receive(queues, JOBS, RESULTS, wait_s=60.0)) == ["result"]
    assert_waited(backend, began, 2.0)


def test_a_waiting_receive_wakes_when_a_lease_ends(backend: Backend, queues: Queues) -> None:
    send(queues, "a")
    receive(queues, lease_s=2.0)
    began = backend.now()
    assert bodies(receive(queues, wait_s=60.0)) == ["a"]
    assert_waited(backend, began, 2.0)


def test_a_receive_that_finds_something_does_not_wait_for_more(
    backend: Backend, queues: Queues
) -> None:
    send(queues, "a")
    began = backend.now()
    assert bodies(receive(queues, most=10, wait_s=20.0)) == ["a"]
    assert_waited(backend, began, 0.0)


@pytest.mark.parametrize(
    ("most", "wait_s", "lease_s"),
    [(0, 0.0, 60.0), (1, -1.0, 60.0), (1, 0.0, 0.0), (1, 0.0, MAX_LEASE_S + 1.0)],
)
def test_a_receive_that_cannot_work_is_an_error(
    queues: Queues, most: int, wait_s: float, lease_s: float
) -> None:
    with pytest.raises(QueueError):
        queues.receive([JOBS], most=most, wait_s=wait_s, lease_s=lease_s)


def test_a_receive_from_no_queue_is_an_error(queues: Queues) -> None:
    with pytest.raises(QueueError, match="at least one queue"):
        queues.receive([], most=1, wait_s=0.0, lease_s=60.0)


def test_a_clock_that_was_set_back_hides_nothing_longer_than_the_longest_lease(
    backend: Backend, queues: Queues
) -> None:
    need(backend, Promise.OWN_CLOCK)
    queues.send(JOBS, [Entry("delayed", delay_s=100.0), Entry("leased")])
    receive(queues, lease_s=MAX_LEASE_S)
    backend.advance(-2 * MAX_LEASE_S)
    assert sorted(bodies(receive(queues))) == ["delayed", "leased"]


def test_threads_share_the_messages_without_doubling_or_losing_any(queues: Queues) -> None:
    send(queues, *(f"{number}" for number in range(120)))
    taken: list[str] = []
    failures: list[BaseException] = []

    def take() -> None:
        try:
            while messages := receive(queues, most=7):
                taken.extend(bodies(messages))
                queues.delete([message.lease for message in messages])
        except BaseException as failure:  # noqa: BLE001 - shown by the assert below
            failures.append(failure)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert failures == []
    assert sorted(taken, key=int) == [f"{number}" for number in range(120)]


# Renewing


def test_a_renewed_lease_lasts_from_the_renewal(backend: Backend, queues: Queues) -> None:
    send(queues, "a")
    lease_s = backend.times.lease_s
    lease = only(receive(queues, lease_s=lease_s)).lease
    backend.advance(lease_s / 2)
    assert [answer.ok for answer in queues.extend([Extension(lease, lease_s)])] == [True]
    pass_almost(backend)
    assert receive(queues) == []
    pass_the_rest(backend)
    assert bodies(receive(queues)) == ["a"]


def test_a_renewal_may_shorten_a_lease(backend: Backend, queues: Queues) -> None:
    send(queues, "a")
    lease = only(receive(queues, lease_s=600)).lease
    queues.extend([Extension(lease, backend.times.lease_s)])
    pass_lease(backend)
    assert bodies(receive(queues)) == ["a"]


def test_a_lease_of_a_message_in_other_hands_is_lost(backend: Backend, queues: Queues) -> None:
    need(backend, Promise.TELLS_LOST_LEASES)
    send(queues, "a")
    late = only(receive(queues, lease_s=backend.times.lease_s)).lease
    pass_lease(backend)
    current = only(receive(queues, lease_s=60)).lease
    answers = queues.extend([Extension(late, 60.0), Extension(current, 60.0)])
    assert [answer.status for answer in answers] == [AnswerStatus.LEASE_LOST, AnswerStatus.OK]
    assert answers[0].reason


def test_leases_of_deleted_and_unknown_messages_are_lost(backend: Backend, queues: Queues) -> None:
    need(backend, Promise.TELLS_LOST_LEASES)
    send(queues, "a")
    lease = only(receive(queues)).lease
    queues.delete([lease])
    unknown = [Lease(JOBS, "no such token"), Lease(JOBS, ""), Lease(JOBS, "7.\u0664")]
    answers = queues.extend([Extension(each, 60.0) for each in [lease, *unknown]])
    assert {answer.status for answer in answers} == {AnswerStatus.LEASE_LOST}


def test_a_lease_never_lasts_longer_than_the_longest_lease_from_its_receive(
    backend: Backend, queues: Queues
) -> None:
    need(backend, Promise.LONG_TIMES)
    send(queues, "a")
    lease = only(receive(queues, lease_s=MAX_LEASE_S)).lease
    backend.advance(MAX_LEASE_S - 100.5)
    assert queues.extend([Extension(lease, MAX_LEASE_S)])[0].ok
    backend.advance(100.5 + backend.times.grain_s)
    assert only(receive(queues)).receive_count == 2


def test_a_lease_as_old_as_the_longest_lease_is_lost(backend: Backend, queues: Queues) -> None:
    need(backend, Promise.TELLS_LOST_LEASES)
    need(backend, Promise.LONG_TIMES)
    send(queues, "a")
    lease = only(receive(queues, lease_s=60.0)).lease
    backend.advance(MAX_LEASE_S)
    assert queues.extend([Extension(lease, 60.0)])[0].status is AnswerStatus.LEASE_LOST


def test_a_renewal_for_no_time_is_refused_and_the_others_are_done(queues: Queues) -> None:
    send(queues, "a", "b")
    first, second = receive(queues)
    answers = queues.extend([Extension(first.lease, 0.0), Extension(second.lease, 60.0)])
    assert [answer.status for answer in answers] == [AnswerStatus.FAILED, AnswerStatus.OK]


# Giving back


def test_a_released_message_is_visible_at_once(queues: Queues) -> None:
    send(queues, "a", "b")
    first, second = receive(queues)
    assert [answer.ok for answer in queues.release([first.lease])] == [True]
    message = only(receive(queues))
    assert (message.body, message.receive_count) == (first.body, 2)
    queues.delete([message.lease, second.lease])
    assert receive(queues) == []


def test_a_released_message_is_visible_in_its_place(backend: Backend, queues: Queues) -> None:
    need(backend, Promise.ORDER)
    send(queues, "a", "b", "c")
    first = receive(queues, most=1)[0]
    assert [answer.ok for answer in queues.release([first.lease])] == [True]
    messages = receive(queues)
    assert bodies(messages) == ["a", "b", "c"]
    assert messages[0].receive_count == 2


def test_a_message_released_with_a_delay_comes_back_after_it(
    backend: Backend, queues: Queues
) -> None:
    send(queues, "a")
    queues.release([only(receive(queues)).lease], delay_s=backend.times.lease_s)
    assert queues.facts(JOBS).delayed + queues.facts(JOBS).leased == 1
    pass_almost(backend)
    assert receive(queues) == []
    pass_the_rest(backend)
    assert bodies(receive(queues)) == ["a"]


def test_releasing_an_outdated_lease_is_no_error_and_changes_nothing(
    backend: Backend, queues: Queues
) -> None:
    send(queues, "a")
    late = only(receive(queues, lease_s=backend.times.lease_s)).lease
    pass_lease(backend)
    receive(queues, lease_s=60)
    assert [answer.ok for answer in queues.release([late, Lease(JOBS, "unknown")])] == [True, True]
    assert receive(queues) == []


def test_a_release_delayed_beyond_the_longest_delay_is_refused(queues: Queues) -> None:
    send(queues, "a")
    lease = only(receive(queues)).lease
    answers = queues.release([lease], delay_s=MAX_DELAY_S + 1.0)
    assert [answer.status for answer in answers] == [AnswerStatus.FAILED]
    assert receive(queues) == []


# Deleting


def test_a_deleted_message_never_comes_back(backend: Backend, queues: Queues) -> None:
    send(queues, "a\nwith a second line")
    lease = only(receive(queues, lease_s=backend.times.lease_s)).lease
    assert [answer.ok for answer in queues.delete([lease])] == [True]
    backend.advance(backend.times.past_any_lease_s)
    assert receive(queues) == []
    assert queues.facts(JOBS).visible == 0


def test_deleting_twice_or_with_an_unknown_lease_is_no_error(queues: Queues) -> None:
    send(queues, "a")
    lease = only(receive(queues)).lease
    leases = [lease, lease, Lease(JOBS, "unknown"), Lease(RESULTS, lease.token)]
    assert [answer.ok for answer in queues.delete(leases)] == [True] * 4
    assert [answer.ok for answer in queues.delete([lease])] == [True]


def test_deleting_with_an_outdated_lease_leaves_the_message_to_its_new_holder(
    backend: Backend, queues: Queues
) -> None:
    need(backend, Promise.KEEPS_WHAT_OTHERS_HOLD)
    send(queues, "a")
    late = only(receive(queues, lease_s=backend.times.lease_s)).lease
    pass_lease(backend)
    receive(queues, lease_s=backend.times.lease_s)
    assert queues.delete([late])[0].ok
    pass_lease(backend)
    assert bodies(receive(queues)) == ["a"]


def test_a_late_holder_may_still_delete_what_nobody_else_has_received(
    backend: Backend, queues: Queues
) -> None:
    send(queues, "a")
    late = only(receive(queues, lease_s=backend.times.lease_s)).lease
    pass_lease(backend)
    assert queues.delete([late])[0].ok
    assert receive(queues) == []


def test_any_number_of_leases_is_given_back_or_deleted(backend: Backend, queues: Queues) -> None:
    send(queues, *["a"] * backend.many)
    messages: list[Message] = []
    while found := receive(queues, most=700, lease_s=600):
        messages += found
    leases = [message.lease for message in messages]
    assert len(leases) == backend.many
    half = backend.many // 2
    assert [answer.ok for answer in queues.release(leases[:half])] == [True] * half
    assert queues.facts(JOBS).visible == half
    assert [answer.ok for answer in queues.delete(leases[half:])] == [True] * half
    assert queues.facts(JOBS).leased == 0
    assert queues.facts(JOBS).visible == half


def test_leases_that_were_given_back_delete_nothing(backend: Backend, queues: Queues) -> None:
    need(backend, Promise.KEEPS_WHAT_OTHERS_HOLD)
    send(queues, "a", "b")
    leases = [message.lease for message in receive(queues, most=2)]
    queues.release(leases)
    others = receive(queues, most=2)
    assert len(others) == 2
    assert [answer.ok for answer in queues.delete(leases)] == [True] * 2
    assert queues.facts(JOBS).leased == 2


# Replacing


def test_a_replaced_message_gives_way_to_all_its_replacements(queues: Queues) -> None:
    send(queues, "whole")
    lease = only(receive(queues)).lease
    given = queues.replace(lease, [Replacement("half"), Replacement("other half")])
    assert given.answer.ok
    assert given.leases == (None, None)
    messages = receive(queues)
    assert sorted(bodies(messages)) == ["half", "other half"]
    assert [message.receive_count for message in messages] == [1, 1]
    queues.delete([lease])
    assert queues.facts(JOBS).leased == 2


def test_a_replacement_takes_the_place_of_the_old_message(backend: Backend, queues: Queues) -> None:
    need(backend, Promise.HAND_OVER)
    send(queues, "a", "b")
    queues.replace(receive(queues, most=1)[0].lease, [Replacement("rest of a"), Replacement("new")])
    assert bodies(receive(queues)) == ["rest of a", "b", "new"]


def test_a_replacement_keeps_the_priority_unless_it_has_its_own(
    backend: Backend, queues: Queues
) -> None:
    need(backend, Promise.PRIORITY)
    queues.send(JOBS, [Entry("high", priority=5), Entry("middle", priority=3)])
    lease = receive(queues, most=1)[0].lease
    queues.replace(lease, [Replacement("still high"), Replacement("low", priority=-1)])
    assert bodies(receive(queues)) == ["still high", "middle", "low"]


def test_a_replacement_can_be_handed_over_leased(backend: Backend, queues: Queues) -> None:
    need(backend, Promise.HAND_OVER)
    send(queues, "whole")
    old = only(receive(queues, lease_s=60)).lease
    backend.advance(50.0)
    new = queues.replace(old, [Replacement("rest", lease_s=60.0)]).leases[0]
    assert new is not None
    assert new != old
    assert queues.extend([Extension(old, 60.0)])[0].status is AnswerStatus.LEASE_LOST
    backend.advance(59.0)
    assert receive(queues) == []
    backend.advance(1.0)
    message = only(receive(queues))
    assert (message.body, message.receive_count) == ("rest", 2)


def test_the_longest_lease_of_a_replacement_counts_from_the_replace(
    backend: Backend, queues: Queues
) -> None:
    need(backend, Promise.HAND_OVER)
    send(queues, "whole")
    old = only(receive(queues, lease_s=MAX_LEASE_S)).lease
    backend.advance(MAX_LEASE_S - 10.0)
    new = queues.replace(old, [Replacement("rest", lease_s=60.0)]).leases[0]
    assert new is not None
    backend.advance(30.0)
    assert queues.extend([Extension(new, 600.0)])[0].ok
    backend.advance(599.0)
    assert receive(queues) == []


def test_a_replacement_may_be_delayed(backend: Backend, queues: Queues) -> None:
    send(queues, "a")
    queues.replace(
        only(receive(queues)).lease, [Replacement("again", delay_s=backend.times.lease_s)]
    )
    pass_almost(backend)
    assert receive(queues) == []
    pass_the_rest(backend)
    assert bodies(receive(queues)) == ["again"]


def test_a_replace_with_nothing_deletes(queues: Queues) -> None:
    send(queues, "a")
    given = queues.replace(only(receive(queues)).lease, [])
    assert (given.answer.ok, given.leases) == (True, ())
    facts = queues.facts(JOBS)
    assert (facts.visible, facts.leased, facts.delayed) == (0, 0, 0)


def test_a_replace_of_an_outdated_lease_sends_nothing(backend: Backend, queues: Queues) -> None:
    need(backend, Promise.TELLS_LOST_LEASES)
    send(queues, "a")
    late = only(receive(queues, lease_s=backend.times.lease_s)).lease
    pass_lease(backend)
    receive(queues, lease_s=60)
    given = queues.replace(late, [Replacement("rest")])
    assert given.answer.status is AnswerStatus.LEASE_LOST
    assert given.leases == ()
    assert receive(queues) == []
    assert queues.facts(JOBS).leased == 1


@pytest.mark.parametrize(
    "bad",
    [Replacement(""), Replacement("\u00e9"), Replacement("x", lease_s=9.0, delay_s=9.0)],
    ids=["empty", "not-ascii", "leased-and-delayed"],
)
def test_one_bad_replacement_refuses_all_and_the_old_message_stays(
    queues: Queues, bad: Replacement
) -> None:
    send(queues, "a")
    lease = only(receive(queues)).lease
    given = queues.replace(lease, [Replacement("good"), bad])
    assert given.answer.status is AnswerStatus.FAILED
    assert given.answer.reason
    assert queues.release([lease])[0].ok
    assert bodies(receive(queues)) == ["a"]


# Queues themselves


def test_every_verb_makes_a_missing_queue(queues: Queues) -> None:
    lease = Lease("gone", "1.0")
    queues.create("created")
    assert queues.receive(["received"], most=1, wait_s=0.0, lease_s=60.0) == []
    assert queues.send("sent", []) == []
    assert queues.delete([lease])[0].ok
    assert queues.release([lease])[0].ok
    queues.extend([Extension(lease, 60.0)])
    queues.replace(lease, [Replacement("rest")])
    for queue in ("created", "received", "sent", "gone", "counted"):
        facts = queues.facts(queue)
        assert (facts.visible, facts.leased, facts.delayed) == (0, 0, 0)


def test_creating_again_changes_nothing(backend: Backend, queues: Queues) -> None:
    queues.create(JOBS)
    created_at_s = queues.facts(JOBS).created_at_s
    assert created_at_s == pytest.approx(backend.now(), abs=1.0 + backend.times.late_s)
    send(queues, "a")
    pass_lease(backend)
    queues.create(JOBS)
    assert queues.facts(JOBS).created_at_s == created_at_s
    assert bodies(receive(queues)) == ["a"]


def test_facts_count_visible_leased_and_delayed_messages(backend: Backend, queues: Queues) -> None:
    need(backend, Promise.EXACT_COUNTS)
    queues.send(JOBS, [Entry("a"), Entry("b"), Entry("c"), Entry("d", delay_s=600.0)])
    receive(queues, most=2, lease_s=backend.times.lease_s)
    facts = queues.facts(JOBS)
    assert (facts.visible, facts.leased, facts.delayed) == (1, 2, 1)
    pass_lease(backend)
    facts = queues.facts(JOBS)
    assert (facts.visible, facts.leased, facts.delayed) == (3, 0, 1)


def test_a_dropped_queue_is_empty_and_new(backend: Backend, queues: Queues) -> None:
    send(queues, "a", "b\nwith more", queue=JOBS)
    send(queues, "kept", queue=RESULTS)
    lease = receive(queues, most=1)[0].lease
    before = queues.facts(JOBS).created_at_s
    pass_lease(backend)
    queues.drop(JOBS)
    queues.drop(JOBS)
    assert queues.delete([lease])[0].ok
    facts = queues.facts(JOBS)
    assert (facts.visible, facts.leased, facts.delayed) == (0, 0, 0)
    assert facts.created_at_s > before
    assert bodies(receive(queues, RESULTS)) == ["kept"]


def test_heads_are_the_first_lines_of_all_messages(local_queues: LocalQueues) -> None:
    local_queues.send(
        JOBS, [Entry("leased\nx"), Entry("visible"), Entry("delayed\ny\nz", delay_s=60.0)]
    )
    send(local_queues, "result\n" + "x" * 1000, queue=RESULTS)
    receive(local_queues, most=1)
    assert local_queues.heads([JOBS, RESULTS, "missing"]) == {
        JOBS: ["leased", "visible", "delayed"],
        RESULTS: ["result"],
        "missing": [],
    }


def test_heads_can_be_read_without_keeping_them(local_queues: LocalQueues) -> None:
    send(local_queues, "1\nx", "2", "3")
    send(local_queues, "10\n" + "x" * 1000, queue=RESULTS)
    receive(local_queues, most=1)
    sums = local_queues.read_heads(
        [JOBS, RESULTS, "missing"], lambda queue, heads: f"{queue} {sum(map(int, heads))}"
    )
    assert sums == {JOBS: f"{JOBS} 6", RESULTS: f"{RESULTS} 10", "missing": "missing 0"}


def test_a_closed_backend_says_so(backend: Backend) -> None:
    queues = backend.make()
    send(queues, "a")
    queues.close()
    queues.close()
    with pytest.raises(QueueError, match="closed"):
        queues.send(JOBS, [Entry("b")])
