"""Leases are renewed in time, and only for a program that works."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from gapless.errors import GaplessError, UserMistake
from queueing.errors import QueueError, QueueUnavailable
from queueing.leases import LeaseKeeper, Renewals
from queueing.memory import MemoryQueues
from queueing.port import MAX_LEASE_S, Answer, Entry, Extension, Lease, Message
from tests.contract.queue_harness import VirtualClock

LEASE_S = 900.0


class WatchedQueues(MemoryQueues):
    """Queues that count the requests, and can be away."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock, clock.advance)
        self.requests: list[list[Extension]] = []
        self.away = False
        self.trouble: GaplessError = QueueUnavailable("the service is away")
        self.asked = threading.Event()

    def extend(self, extensions: Sequence[Extension]) -> list[Answer]:
        self.requests.append(list(extensions))
        self.asked.set()
        if self.away:
            raise self.trouble
        return super().extend(extensions)


class Program:
    """A program that holds leases: it beats and turns when a test lets time pass."""

    def __init__(self, lease_s: float = LEASE_S) -> None:
        self.clock = VirtualClock()
        self.queues = WatchedQueues(self.clock)
        self.lost: list[Lease] = []
        self.expiring: list[Lease] = []
        self.beats = True
        self.renewals = Renewals(
            self.queues,
            lease_s=lease_s,
            on_lost=self.lost.append,
            on_expiring=self.expiring.append,
            monotonic=self.clock,
        )
        self.lease_s = lease_s

    def take(self, count: int = 1) -> list[Lease]:
        self.queues.send("jobs", [Entry("x")] * count)
        messages = self.receive(most=count)
        for message in messages:
            self.renewals.hold(message.lease)
        return [message.lease for message in messages]

    def receive(self, most: int = 1) -> list[Message]:
        return self.queues.receive(["jobs"], most=most, wait_s=0.0, lease_s=self.lease_s)

    def pass_time(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.clock.now < until:
            if self.beats:
                self.renewals.beat()
            self.clock.advance(min(self.renewals.turn(), until - self.clock.now))


def test_a_held_lease_never_ends() -> None:
    program = Program()
    program.take()
    for _ in range(20):
        program.pass_time(LEASE_S)
        assert program.receive() == []
    assert program.lost == []


def test_a_lease_is_renewed_once_a_third_of_its_length() -> None:
    program = Program()
    program.take()
    program.pass_time(10 * LEASE_S)
    assert 29 <= len(program.queues.requests) <= 31
    assert {each.lease_s for request in program.queues.requests for each in request} == {LEASE_S}


def test_many_leases_are_renewed_in_one_request() -> None:
    program = Program()
    program.take(500)
    program.pass_time(LEASE_S / 3 + 1.0)
    assert [len(request) for request in program.queues.requests] == [500]


def test_a_dropped_lease_is_not_renewed() -> None:
    program = Program()
    (lease,) = program.take()
    program.renewals.drop(lease)
    program.renewals.drop(lease)
    program.pass_time(LEASE_S + 1.0)
    assert program.queues.requests == []
    assert len(program.receive()) == 1


def test_a_program_that_hangs_loses_its_leases_and_hears_so_when_it_goes_on() -> None:
    program = Program()
    (lease,) = program.take()
    program.pass_time(LEASE_S)
    program.beats = False
    program.pass_time(2 * LEASE_S + 1.0)
    assert len(program.receive()) == 1
    assert program.lost == []
    program.beats = True
    program.pass_time(1.0)
    assert program.lost == [lease]
    assert program.renewals.held == ()


def test_a_program_that_hung_for_a_short_while_keeps_its_leases() -> None:
    program = Program()
    program.take()
    program.beats = False
    program.pass_time(LEASE_S * 1.2)
    program.beats = True
    program.pass_time(5 * LEASE_S)
    assert program.receive() == []
    assert program.lost == []


@pytest.mark.parametrize(
    "trouble",
    [QueueUnavailable("away"), QueueError("what nobody expects"), UserMistake("no credentials")],
)
def test_renewals_go_on_when_the_queues_are_back_in_time(trouble: GaplessError) -> None:
    program = Program()
    program.queues.trouble = trouble
    program.take()
    program.queues.away = True
    program.pass_time(0.9 * LEASE_S)
    assert program.queues.requests
    program.queues.away = False
    program.pass_time(3 * LEASE_S)
    assert program.receive() == []
    assert program.lost == []


def test_a_lost_lease_is_told_once_and_the_others_are_kept() -> None:
    program = Program()
    first, second = program.take(2)
    program.queues.release([first])
    program.pass_time(3 * LEASE_S)
    assert program.lost == [first]
    assert program.renewals.held == (second,)


def test_no_more_is_asked_than_the_longest_lease_leaves() -> None:
    program = Program()
    (lease,) = program.take()
    program.pass_time(MAX_LEASE_S - LEASE_S / 2)
    last = program.queues.requests[-1][0]
    assert last.lease_s < LEASE_S
    assert program.lost == []
    program.pass_time(LEASE_S)
    assert program.lost == [lease]
    assert min(each.lease_s for request in program.queues.requests for each in request) > 0.0


def test_a_lease_near_the_longest_is_announced_once_before_it_ends() -> None:
    program = Program()
    (lease,) = program.take()
    program.pass_time(MAX_LEASE_S - 2 * LEASE_S)
    assert program.expiring == []
    program.pass_time(LEASE_S)
    assert program.expiring == [lease]
    assert program.lost == []


def test_the_time_since_the_receive_counts() -> None:
    program = Program()
    program.queues.send("jobs", [Entry("x")])
    lease = program.receive()[0].lease
    received_at = program.clock.now
    program.clock.advance(LEASE_S / 2)
    program.renewals.hold(lease, received_at=received_at)
    program.renewals.beat()
    program.renewals.turn()
    assert [len(request) for request in program.queues.requests] == [1]


@pytest.mark.parametrize("lease_s", [0.0, -1.0, MAX_LEASE_S + 1.0, float("nan")])
def test_a_lease_length_that_cannot_be_is_an_error(lease_s: float) -> None:
    with pytest.raises(QueueError, match="a lease lasts"):
        Program(lease_s)


# The thread


def test_the_thread_renews_without_being_asked() -> None:
    clock = VirtualClock()
    queues = WatchedQueues(clock)
    queues.send("jobs", [Entry("x")])
    lost: list[Lease] = []
    message = queues.receive(["jobs"], most=1, wait_s=0.0, lease_s=0.3)[0]
    keeper = LeaseKeeper(queues, lease_s=0.3, on_lost=lost.append, stall_s=3600.0)
    keeper.hold(message.lease)
    assert queues.asked.wait(60.0)
    keeper.close()
    assert queues.requests[0] == [Extension(message.lease, 0.3)]
    assert lost == []


def test_the_thread_goes_on_after_a_turn_that_failed() -> None:
    clock = VirtualClock()
    queues = WatchedQueues(clock)
    queues.trouble = UserMistake("no credentials for now")
    queues.away = True
    queues.send("jobs", [Entry("x")])
    message = queues.receive(["jobs"], most=1, wait_s=0.0, lease_s=0.3)[0]
    keeper = LeaseKeeper(queues, lease_s=0.3, on_lost=lambda lease: None, stall_s=3600.0)
    keeper.hold(message.lease)
    assert queues.asked.wait(60.0)
    queues.away = False
    queues.asked.clear()
    assert queues.asked.wait(60.0)
    keeper.beat()
    keeper.close()


def test_an_extension_without_an_answer_stays_due() -> None:
    class Forgetful(WatchedQueues):
        def extend(self, extensions: Sequence[Extension]) -> list[Answer]:
            return super().extend(extensions)[:-1]

    clock = VirtualClock()
    queues = Forgetful(clock)
    queues.send("jobs", [Entry("x")])
    message = queues.receive(["jobs"], most=1, wait_s=0.0, lease_s=LEASE_S)[0]
    renewals = Renewals(
        queues, lease_s=LEASE_S, on_lost=lambda lease: None, monotonic=clock, stall_s=1e9
    )
    renewals.hold(message.lease)
    clock.advance(LEASE_S / 3)
    renewals.turn()
    renewals.turn()
    assert [len(request) for request in queues.requests] == [1, 1]
    assert renewals.held == (message.lease,)


def test_closing_waits_no_longer_for_a_renewal_than_it_is_told() -> None:
    let_go = threading.Event()

    class Silent(WatchedQueues):
        def extend(self, extensions: Sequence[Extension]) -> list[Answer]:
            self.asked.set()
            let_go.wait()
            return super().extend(extensions)

    clock = VirtualClock()
    queues = Silent(clock)
    keeper = LeaseKeeper(queues, lease_s=0.3, on_lost=lambda lease: None, stall_s=3600.0)
    keeper.hold(Lease("jobs", "1.x"))
    assert queues.asked.wait(60.0)
    keeper.close(wait_s=0.05)
    let_go.set()


def test_a_beat_after_a_stall_wakes_the_thread_at_once() -> None:
    clock = VirtualClock()
    queues = WatchedQueues(clock)
    queues.send("jobs", [Entry("x")])
    message = queues.receive(["jobs"], most=1, wait_s=0.0, lease_s=LEASE_S)[0]
    keeper = LeaseKeeper(queues, lease_s=LEASE_S, on_lost=lambda lease: None, monotonic=clock)
    keeper.hold(message.lease)
    clock.advance(LEASE_S + 1.0)
    # By its own timer the thread, which waits in real time, would look again in a minute or more.
    keeper.beat()
    assert queues.asked.wait(30.0)
    keeper.close()


def test_a_failure_in_the_thread_reaches_the_main_loop() -> None:
    clock = VirtualClock()
    queues = WatchedQueues(clock)
    heard = threading.Event()

    def fail(lease: Lease) -> None:
        heard.set()
        raise RuntimeError(f"no use for {lease.queue}")

    keeper = LeaseKeeper(queues, lease_s=LEASE_S, on_lost=fail, monotonic=clock)
    keeper.hold(Lease("jobs", "1.unknown"), received_at=clock.now - LEASE_S)
    assert heard.wait(30.0)
    keeper.close()
    with pytest.raises(QueueError, match="no use for jobs"):
        keeper.beat()
