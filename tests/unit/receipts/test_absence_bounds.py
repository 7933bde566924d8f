"""What looks prove at their very ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gapless.declaration.runset import RunSet
from queueing.port import QueueFacts
from receipts.absence import Seen, Sends, count, judge
from receipts.looks import Look, MayBeQueued

EMPTY = QueueFacts(created_at_s=10.0, visible=0, leased=0, delayed=0)
ALL = RunSet.span(0, 10)


def seen(at_s: float, *, jobs: QueueFacts = EMPTY, results: QueueFacts = EMPTY) -> Seen:
    return Seen(began_at_s=at_s, ended_at_s=at_s, jobs=jobs, results=results, in_hand={})


@pytest.mark.parametrize("counts", [(3, 2, 1), (0, 1, 1), (1, 1, 0), (1, 0, 1)])
def test_every_message_counts_wherever_it_is(counts: tuple[int, int, int]) -> None:
    visible, leased, delayed = counts
    facts = QueueFacts(created_at_s=1.0, visible=visible, leased=leased, delayed=delayed)
    assert count(facts) == sum(counts)
    assert not seen(0.0, jobs=facts).nothing_queued
    assert not seen(0.0, results=facts).nothing_queued


@pytest.mark.parametrize(
    ("jobs_at", "results_at", "anew"),
    [(101.0, 101.0, True), (100.0, 101.0, False), (101.0, 100.0, False)],
)
def test_queues_were_made_anew_only_if_both_were_after_the_last_send(
    jobs_at: float, results_at: float, anew: bool
) -> None:
    sends = Sends(MayBeQueued(sent={}, unknown={0: ALL}), last_at_s=100.0)
    now = seen(
        1000.0,
        jobs=replace(EMPTY, created_at_s=jobs_at),
        results=replace(EMPTY, created_at_s=results_at),
    )
    assert sends.queues_made_anew(now) is anew
    assert not Sends(MayBeQueued(sent={0: ALL}, unknown={}), 100.0).queues_made_anew(now)
    assert not Sends(MayBeQueued(sent={}, unknown={}), None).queues_made_anew(now)


@pytest.mark.parametrize(("sent_at_s", "proven"), [(1119.9, False), (1120.0, True)])
def test_a_send_a_whole_wait_in_the_future_holds_up_no_look(sent_at_s: float, proven: bool) -> None:
    sends = Sends(MayBeQueued(sent={0: ALL}, unknown={}), last_at_s=sent_at_s)
    first = Look(epoch=0, runs=ALL, at_s=800.0, jobs_created_at_s=10.0, results_created_at_s=10.0)
    verdict = judge({0: ALL}, seen=seen(1000.0), sends=sends, earlier=[first], settle_s=120.0)
    assert verdict.gaps == {0: ALL if proven else RunSet()}
