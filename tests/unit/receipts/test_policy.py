"""When a gap may be sent again."""

from __future__ import annotations

from gapless.declaration.runset import RunSet
from receipts.ledger import SentReceipt
from receipts.policy import EXACT_SNAPSHOT, ResubmitPolicy

GUESS = ResubmitPolicy(first_wait_s=100.0, most_copies=3, one_more_after_s=5000.0)


def sent(*receipts: tuple[RunSet, float]) -> list[SentReceipt]:
    return [
        SentReceipt(runs=runs, sent_at_s=sent_at_s, queue_created_at_s=0.0)
        for runs, sent_at_s in receipts
    ]


def test_what_a_snapshot_proves_gone_is_sent_at_once() -> None:
    gaps = RunSet.span(0, 10)
    history = sent(*[(gaps, 1000.0)] * 20)
    assert EXACT_SNAPSHOT.too_early(gaps, history, now_s=1000.0) == RunSet()


def test_a_gap_waits_after_its_first_send() -> None:
    gaps = RunSet.span(0, 10)
    history = sent((RunSet.span(0, 5), 1000.0))
    assert GUESS.too_early(gaps, history, now_s=1099.0) == RunSet.span(0, 5)
    assert GUESS.too_early(gaps, history, now_s=1100.0) == RunSet()


def test_the_wait_doubles_with_each_send() -> None:
    gaps = RunSet.of(4)
    history = sent((RunSet.span(0, 5), 0.0), (RunSet.span(3, 9), 1000.0))
    assert GUESS.too_early(gaps, history, now_s=1199.0) == gaps
    assert GUESS.too_early(gaps, history, now_s=1200.0) == RunSet()


def test_runs_of_one_receipt_wait_by_their_own_number_of_sends() -> None:
    gaps = RunSet.of(1, 4, 7)
    history = sent((RunSet.span(0, 5), 0.0), (RunSet.span(3, 9), 1000.0))
    assert GUESS.too_early(gaps, history, now_s=1150.0) == RunSet.of(4)


def test_after_so_many_copies_one_more_goes_a_day() -> None:
    gaps = RunSet.of(1, 2)
    history = sent((RunSet.of(1, 2), 0.0), (RunSet.of(1, 2), 1.0), (RunSet.of(1), 2.0))
    assert GUESS.too_early(gaps, history, now_s=5001.9) == RunSet.of(1)
    assert GUESS.too_early(gaps, history, now_s=5002.0) == RunSet()
    again = [*history, *sent((RunSet.of(1), 5002.0))]
    assert GUESS.too_early(gaps, again, now_s=10_001.0) == RunSet.of(1)
    assert GUESS.too_early(gaps, again, now_s=10_002.0) == RunSet()


def test_a_clock_that_was_set_back_holds_up_no_run_for_ever() -> None:
    gaps = RunSet.of(1)
    assert GUESS.too_early(gaps, sent((gaps, 1e9)), now_s=1000.0) == RunSet()
    assert GUESS.too_early(gaps, sent((gaps, 1050.0)), now_s=1000.0) == gaps


def test_only_gaps_are_held_back() -> None:
    history = sent((RunSet.span(0, 100), 0.0))
    assert GUESS.too_early(RunSet.of(5), history, now_s=1.0) == RunSet.of(5)
