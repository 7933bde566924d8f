"""When a gap may be sent again: the very ends of each wait, and policies of other numbers."""

from __future__ import annotations

from gapless.declaration.runset import RunSet
from receipts.ledger import SentReceipt
from receipts.policy import ResubmitPolicy

GAP = RunSet.of(3)
DAY_S = 86_400.0


def sent_at(*times_s: float) -> list[SentReceipt]:
    return [SentReceipt(runs=GAP, sent_at_s=each_s, queue_created_at_s=0.0) for each_s in times_s]


def test_a_wait_of_less_than_a_second_is_kept() -> None:
    policy = ResubmitPolicy(first_wait_s=0.5)
    assert policy.needs_history
    assert policy.too_early(GAP, sent_at(10.0), now_s=10.4) == GAP
    assert policy.too_early(GAP, sent_at(10.0), now_s=10.5) == RunSet()


def test_a_send_a_whole_wait_in_the_future_holds_up_nobody() -> None:
    policy = ResubmitPolicy(first_wait_s=100.0)
    assert policy.too_early(GAP, sent_at(1099.9), now_s=1000.0) == GAP
    assert policy.too_early(GAP, sent_at(1100.0), now_s=1000.0) == RunSet()


def test_a_run_waits_by_its_own_number_of_sends_though_fewer_would_wait_longer() -> None:
    policy = ResubmitPolicy(first_wait_s=100.0, most_copies=2, one_more_after_s=10.0)
    assert policy.too_early(GAP, sent_at(0.0, 1.0), now_s=10.9) == GAP
    assert policy.too_early(GAP, sent_at(0.0, 1.0), now_s=11.0) == RunSet()


def test_six_copies_go_with_doubled_waits_and_then_one_a_day() -> None:
    policy = ResubmitPolicy(first_wait_s=100.0)
    fifth = sent_at(0.0, 0.0, 0.0, 0.0, 0.0)
    assert policy.too_early(GAP, fifth, now_s=1599.0) == GAP
    assert policy.too_early(GAP, fifth, now_s=1600.0) == RunSet()
    sixth = [*fifth, *sent_at(0.0)]
    assert policy.too_early(GAP, sixth, now_s=DAY_S - 1.0) == GAP
    assert policy.too_early(GAP, sixth, now_s=DAY_S) == RunSet()
