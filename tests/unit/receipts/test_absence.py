"""What two looks prove, as arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from gapless.declaration.runset import RunSet
from queueing.port import QueueFacts
from receipts.absence import Seen, Sends, Verdict, judge, judge_by_force
from receipts.looks import Look, MayBeQueued

EMPTY = QueueFacts(created_at_s=10.0, visible=0, leased=0, delayed=0)
ALL = RunSet.span(0, 10)
SENT = Sends(MayBeQueued(sent={0: ALL}, unknown={}), last_at_s=100.0)


def seen(
    at_s: float,
    *,
    jobs: QueueFacts = EMPTY,
    results: QueueFacts = EMPTY,
    in_hand: Mapping[int, RunSet] | None = None,
) -> Seen:
    return Seen(began_at_s=at_s, ended_at_s=at_s, jobs=jobs, results=results, in_hand=in_hand or {})


def look(at_s: float, runs: RunSet = ALL, *, epoch: int = 0) -> Look:
    return Look(
        epoch=epoch, runs=runs, at_s=at_s, jobs_created_at_s=10.0, results_created_at_s=10.0
    )


def judged(
    now: Seen, earlier: Sequence[Look] = (), lacking: RunSet = ALL, sends: Sends = SENT
) -> Verdict:
    return judge({0: lacking}, seen=now, sends=sends, earlier=earlier, settle_s=120.0)


def test_a_first_look_proves_nothing_and_is_remembered() -> None:
    verdict = judged(seen(1000.0))
    assert verdict == Verdict(gaps={0: RunSet()}, looks=(look(1000.0),), look_again_in_s=120.0)


def test_a_second_look_proves_what_was_missing_at_both() -> None:
    verdict = judged(seen(1120.0), [look(1000.0, RunSet.span(0, 6))], RunSet.span(4, 10))
    assert verdict.gaps == {0: RunSet.span(4, 6)}
    assert verdict.looks == (look(1000.0, RunSet.span(4, 6)), look(1120.0, RunSet.span(6, 10)))
    assert verdict.look_again_in_s == 120.0


def test_a_look_too_soon_keeps_the_first_one() -> None:
    verdict = judged(seen(1119.0), [look(1000.0)])
    assert verdict.gaps == {0: RunSet()}
    assert verdict.looks == (look(1000.0),)
    assert verdict.look_again_in_s == 1.0


@pytest.mark.parametrize("count", ["visible", "leased", "delayed"])
@pytest.mark.parametrize("queue", ["jobs", "results"])
def test_any_message_makes_a_look_void(queue: str, count: str) -> None:
    now = replace(seen(1120.0), **{queue: replace(EMPTY, **{count: 1})})
    assert judged(now, [look(1000.0)]) == Verdict(gaps={0: RunSet()})


@pytest.mark.parametrize("queue", ["jobs", "results"])
def test_another_queue_makes_the_first_look_void(queue: str) -> None:
    now = replace(seen(1120.0), **{queue: replace(EMPTY, created_at_s=11.0)})
    verdict = judged(now, [look(1000.0)])
    assert verdict.gaps == {0: RunSet()}
    assert [each.at_s for each in verdict.looks] == [1120.0]


def test_a_look_at_another_epoch_proves_nothing() -> None:
    assert judged(seen(1120.0), [look(1000.0, epoch=1)]).gaps == {0: RunSet()}


def test_a_send_from_the_future_holds_up_no_look() -> None:
    sends = Sends(SENT.may_be_queued, last_at_s=1e9)
    assert judged(seen(1120.0), [look(1000.0)], sends=sends).gaps == {0: ALL}
    soon = Sends(SENT.may_be_queued, last_at_s=1130.0)
    assert judged(seen(1120.0), [look(1000.0)], sends=soon).gaps == {0: RunSet()}


def test_what_no_receipt_vouches_for_needs_no_look() -> None:
    sends = Sends(MayBeQueued(sent={0: RunSet.of(1)}, unknown={0: RunSet.of(2)}), last_at_s=999.0)
    busy = replace(EMPTY, visible=5)
    assert judged(seen(1000.0, jobs=busy), sends=sends).gaps == {0: ALL - RunSet.of(1, 2)}


def test_a_receipt_of_another_epoch_vouches_for_nothing() -> None:
    sends = Sends(MayBeQueued(sent={1: ALL}, unknown={}), last_at_s=None)
    assert judged(seen(1000.0), sends=sends).gaps == {0: ALL}


def test_what_is_in_hand_at_a_later_epoch_counts_for_an_earlier_one() -> None:
    now = seen(1120.0, in_hand={1: RunSet.of(3)})
    assert judged(now, [look(1000.0)]).gaps == {0: ALL - RunSet.of(3)}
    verdict = judge({1: ALL}, seen=seen(1.0, in_hand={0: ALL}), sends=SENT, earlier=[], settle_s=1)
    assert verdict.gaps == {1: ALL}


def test_force_takes_one_look_for_proof_and_else_only_what_is_known_to_be_sent() -> None:
    sends = Sends(MayBeQueued(sent={0: RunSet.of(1)}, unknown={0: RunSet.of(2)}), last_at_s=999.0)
    now = seen(1119.0, in_hand={0: ALL})
    assert judge_by_force({0: ALL}, seen=now, sends=sends, settle_s=120.0) == {0: ALL}
    busy = replace(now, results=replace(EMPTY, leased=1))
    left = {0: ALL - RunSet.of(1)}
    assert judge_by_force({0: ALL}, seen=busy, sends=sends, settle_s=120.0) == left
    soon = replace(now, began_at_s=1118.0)
    assert judge_by_force({0: ALL}, seen=soon, sends=sends, settle_s=120.0) == left


ELSEWHERE = Sends(MayBeQueued(sent={}, unknown={}), last_at_s=9.0)
"""All jobs went to a work queue that is gone."""
HOUR_S = 3600.0


def beside_results(at_s: float, count: int = 5) -> Seen:
    return seen(at_s, results=replace(EMPTY, leased=count))


def test_runs_whose_queue_is_gone_may_lie_among_results_that_are_counted() -> None:
    verdict = judged(beside_results(1000.0), sends=ELSEWHERE)
    assert verdict.gaps == {0: RunSet()}
    assert verdict.maybe_delivered == {0: ALL}
    assert verdict.looks == (look(1000.0),)
    assert verdict.look_again_in_s == 120.0
    # What is stored meanwhile is no gap; the rest is one as soon as no result is counted.
    left = RunSet.of(3)
    stored = judged(seen(1120.0), verdict.looks, lacking=left, sends=ELSEWHERE)
    assert stored == Verdict(gaps={0: left})


def test_a_result_that_nobody_can_use_hides_gaps_for_an_hour_at_most() -> None:
    looks: tuple[Look, ...] = ()
    now_s, verdict = 1000.0, judged(beside_results(1000.0), sends=ELSEWHERE)
    while verdict.look_again_in_s is not None:
        assert verdict.gaps == {0: RunSet()}
        looks = verdict.looks
        now_s += verdict.look_again_in_s
        verdict = judged(beside_results(now_s), looks, sends=ELSEWHERE)
    assert now_s == 1000.0 + HOUR_S
    assert verdict.gaps == {0: ALL}
    assert not verdict.maybe_delivered[0]
    # Not sent again, they stay gaps at the next look.
    assert judged(beside_results(now_s + 1), verdict.looks, sends=ELSEWHERE).gaps == {0: ALL}


def test_each_run_is_waited_for_from_the_first_look_it_was_lost_at() -> None:
    first = look(1000.0, RunSet.span(0, 4))
    verdict = judged(beside_results(1000.0 + HOUR_S - 30), [first], sends=ELSEWHERE)
    assert verdict.gaps == {0: RunSet()}
    assert verdict.look_again_in_s == 30.0
    verdict = judged(beside_results(1000.0 + HOUR_S), verdict.looks, sends=ELSEWHERE)
    assert verdict.gaps == {0: RunSet.span(0, 4)}
    assert verdict.maybe_delivered == {0: RunSet.span(4, 10)}


def test_force_does_not_wait_for_results_that_are_counted() -> None:
    now = beside_results(1000.0)
    assert judge_by_force({0: ALL}, seen=now, sends=ELSEWHERE, settle_s=120.0) == {0: ALL}


@pytest.mark.parametrize(
    ("created_at_s", "sends", "is_told"),
    [
        ((200.0, 200.0), Sends(MayBeQueued(sent={}, unknown={}), last_at_s=100.0), True),
        ((200.0, 50.0), Sends(MayBeQueued(sent={}, unknown={}), last_at_s=100.0), False),
        ((50.0, 200.0), Sends(MayBeQueued(sent={}, unknown={}), last_at_s=100.0), False),
        # The service's clock is ahead of ours.
        ((200.0, 200.0), SENT, False),
        ((200.0, 200.0), Sends(MayBeQueued(sent={}, unknown={0: ALL}), last_at_s=None), False),
    ],
)
def test_queues_made_anew_since_the_last_send_are_told(
    created_at_s: tuple[float, float], sends: Sends, is_told: bool
) -> None:
    jobs, results = (replace(EMPTY, created_at_s=each) for each in created_at_s)
    assert sends.queues_made_anew(seen(1000.0, jobs=jobs, results=results)) is is_told
