"""Cutting runs into jobs and sending them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.declaration.messages import Job, decode_job, encode_job
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from queueing.errors import QueueUnavailable
from queueing.memory import MemoryQueues
from queueing.port import MAX_MESSAGE_BYTES, Answer, AnswerStatus, Entry
from receipts.jobs import Round, cut, job_size_for, send_pending, write_round
from receipts.ledger import Ledger, NewReceipt, State, Why, open_ledger

SWEEP = "walk-01234567"
EXACT = 349_562
"""So many scattered runs take 700,000 bytes."""
HALVES = [174_782, 174_781]


@pytest.mark.parametrize(
    ("total", "run_time_s", "expected"),
    [
        (1, None, 1),
        (1000, None, 1),
        (1001, None, 2),
        (6_000_000, None, 6000),
        (10**9, None, 10_000),
        (10**6, 0.005, 10_000),
        (10**6, 0.5, 120),
        (10**6, 3600.0, 1),
        (0, None, 1),
    ],
)
def test_a_job_is_a_thousandth_of_the_runs_or_a_minute_of_work(
    total: int, run_time_s: float | None, expected: int
) -> None:
    assert job_size_for(total, run_time_s=run_time_s) == expected


@given(numbers=st.sets(st.integers(0, 300)), size=st.integers(1, 40))
def test_cutting_gives_full_jobs_in_order_and_loses_nothing(numbers: set[int], size: int) -> None:
    pieces = list(cut(RunSet.from_numbers(numbers), size))
    assert [number for piece in pieces for number in piece] == sorted(numbers)
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(pieces)


def test_a_job_too_large_for_a_message_is_cut_further() -> None:
    numbers = np.random.default_rng(1).integers(0, 4 * 10**8, size=340_000, dtype=np.uint64)
    runs = RunSet.from_numbers(numbers)
    pieces = list(cut(runs, 340_000))
    assert RunSet.union(pieces) == runs
    assert len(pieces) > 1
    bodies = [encode_job(Job(sweep="s" * 49, job="j" * 32, runs=piece)) for piece in pieces]
    assert max(len(body) for body in bodies) <= MAX_MESSAGE_BYTES


def scattered(count: int) -> RunSet:
    """Make a set that takes two bytes a run, and more with each 3,277 runs."""
    return RunSet.from_numbers(np.arange(count, dtype=np.uint64) * np.uint64(20))


@pytest.mark.parametrize(
    ("count", "pieces"), [(EXACT, [EXACT]), (EXACT + 1, HALVES), (EXACT + 2, [HALVES[0]] * 2)]
)
def test_the_largest_set_that_fits_stays_whole_and_a_larger_one_is_cut_in_two(
    count: int, pieces: list[int]
) -> None:
    assert [len(piece) for piece in cut(scattered(count), count)] == pieces


def test_a_job_larger_than_usual_that_fits_stays_whole() -> None:
    assert list(cut(RunSet.span(0, 50_000), 25_000)) == list(RunSet.span(0, 50_000).pieces(25_000))


class Refusing(MemoryQueues):
    """Queues that answer as told, call by call, and then as they should."""

    def __init__(self, *plans: Sequence[bool]) -> None:
        super().__init__(clock=lambda: 50.0)
        self.plans = list(plans)
        self.calls = 0

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        self.calls += 1
        if not self.plans:
            return super().send(queue, entries)
        plan = self.plans.pop(0)
        super().send(queue, [entry for entry, ok in zip(entries, plan, strict=False) if ok])
        failed = Answer(AnswerStatus.FAILED, "throttled")
        return [Answer() if ok else failed for _, ok in zip(entries, plan, strict=False)]


class Away(MemoryQueues):
    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        raise QueueUnavailable("the queue cannot be reached")


def ledger_with(jobs: int) -> Ledger:
    ledger = open_ledger("sqlite://")
    ids = itertools.count()
    write_round(
        ledger,
        Round(sweep=SWEEP, why=Why.SUBMIT, job_size=10, generation=0),
        [(0, RunSet.span(0, 10 * jobs))],
        clock=lambda: 1.0,
        new_id=lambda: f"job-{next(ids)}",
    )
    return ledger


def runs_on(queues: MemoryQueues) -> list[RunSet]:
    queue = layout.jobs_queue(SWEEP)
    return [decode_job(head).runs for head in queues.heads([queue])[queue]]


def test_every_job_is_sent_once_with_its_own_runs() -> None:
    ledger, queues = ledger_with(3), MemoryQueues(clock=lambda: 50.0)
    sending = send_pending(SWEEP, ledger=ledger, queues=queues, clock=lambda: 60.0, priority=4)
    assert (sending.jobs_sent, sending.runs_sent, sending.jobs_pending) == (3, 30, 0)
    assert runs_on(queues) == list(RunSet.span(0, 30).pieces(10))
    again = send_pending(SWEEP, ledger=ledger, queues=queues, clock=lambda: 61.0, priority=4)
    assert again.jobs_sent == 0
    assert len(runs_on(queues)) == 3


def test_a_sent_receipt_names_its_queue_by_its_creation() -> None:
    ledger, queues = ledger_with(1), MemoryQueues(clock=lambda: 50.0)
    send_pending(SWEEP, ledger=ledger, queues=queues, clock=lambda: 60.0, priority=0)
    (found,) = ledger.sent_to(SWEEP, epoch=0, queue_created_at_s=50.0)
    assert found.sent_at_s == 60.0


def test_a_queue_that_was_there_before_is_named_by_its_own_creation() -> None:
    now_s = 50.0
    ledger, queues = ledger_with(1), MemoryQueues(clock=lambda: now_s)
    queues.create(layout.jobs_queue(SWEEP))
    now_s = 70.0
    send_pending(SWEEP, ledger=ledger, queues=queues, clock=lambda: 80.0, priority=0)
    (found,) = ledger.sent_to(SWEEP, epoch=0, queue_created_at_s=50.0)
    assert found.runs == RunSet.span(0, 10)


class Counting(MemoryQueues):
    """Notes of each send how many jobs it was given."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 50.0)
        self.sends: list[int] = []

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        self.sends.append(len(entries))
        return super().send(queue, entries)


@pytest.mark.parametrize(
    ("sizes", "sends"),
    [
        ([1_000_000] * 9, [4, 4, 1]),
        ([1_000_000] * 3 + [1_000_001] + [1_000_000] * 4, [3, 3, 2]),
        ([400_000] * 12, [10, 2]),
    ],
)
def test_jobs_are_sent_four_million_characters_at_a_time_at_most(
    sizes: list[int], sends: list[int]
) -> None:
    ledger, queues = open_ledger("sqlite://"), Counting()
    for number, size in enumerate(sizes):
        frame = len(encode_job(Job(sweep=SWEEP, job="", runs=RunSet.of(number))))
        job = f"{number:x}" * (size - frame)
        ledger.write(
            [
                NewReceipt(
                    sweep=SWEEP,
                    epoch=0,
                    runs=RunSet.of(number),
                    job=job,
                    why=Why.SUBMIT,
                    generation=0,
                    created_at_s=1.0,
                )
            ]
        )
    sending = send_pending(SWEEP, ledger=ledger, queues=queues, clock=lambda: 60.0, priority=0)
    assert queues.sends == sends
    assert (sending.jobs_sent, sending.runs_sent) == (len(sizes), len(sizes))


def test_a_refused_job_stays_pending_and_is_tried_again() -> None:
    ledger, queues = ledger_with(3), Refusing([True, False, True])
    sending = send_pending(SWEEP, ledger=ledger, queues=queues, clock=lambda: 60.0, priority=0)
    assert (sending.jobs_sent, sending.runs_sent, sending.jobs_pending) == (3, 30, 0)
    assert sorted(runs.least for runs in runs_on(queues)) == [0, 10, 20]


def test_an_entry_without_an_answer_was_not_sent() -> None:
    ledger, queues = ledger_with(3), Refusing([True])
    sending = send_pending(SWEEP, ledger=ledger, queues=queues, clock=lambda: 60.0, priority=0)
    assert sending.jobs_sent == 3
    assert sorted(runs.least for runs in runs_on(queues)) == [0, 10, 20]
    assert sending.refusals == ["the queue did not answer"]


def test_a_job_that_is_always_refused_is_reported_after_three_tries() -> None:
    ledger, queues = ledger_with(2), Refusing([True, False], [False], [False], [False])
    sending = send_pending(SWEEP, ledger=ledger, queues=queues, clock=lambda: 60.0, priority=0)
    assert (sending.jobs_sent, sending.jobs_pending) == (1, 1)
    assert sending.refusals == ["throttled"]
    assert queues.calls == 3
    assert ledger.submitted(SWEEP).pending_runs(0) == RunSet.span(10, 20)


def test_an_unreachable_queue_leaves_everything_pending_and_says_what_to_do() -> None:
    ledger = ledger_with(2)
    with pytest.raises(QueueUnavailable, match=r"2 jobs .* run the same command again"):
        send_pending(
            SWEEP,
            ledger=ledger,
            queues=Away(clock=lambda: 50.0),
            clock=lambda: 60.0,
            priority=0,
        )
    assert ledger.count(SWEEP, State.PENDING) == 2


def test_more_jobs_than_a_page_are_all_sent() -> None:
    ledger, queues = ledger_with(2_500), MemoryQueues(clock=lambda: 50.0)
    sending = send_pending(SWEEP, ledger=ledger, queues=queues, clock=lambda: 60.0, priority=0)
    assert sending.jobs_sent == 2_500
    assert RunSet.union(runs_on(queues)) == RunSet.span(0, 25_000)
