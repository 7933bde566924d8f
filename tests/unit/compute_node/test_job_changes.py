"""When a job's message is deleted, replaced or let go, and what is put in its place."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from compute_node.commands import DeleteJob, LetGo, ReplaceJob, SendPieces
from compute_node.events import SweepFacts, SweepState
from compute_node.job_changes import cut_off, failed, held_again, next_change, with_deaths
from compute_node.jobs_in_hand import Intent, JobInHand
from compute_node.rules import NodeRules, Remainders
from compute_node.sweeps_in_hand import SweepInHand
from gapless.declaration.messages import Job, decode_job
from gapless.declaration.runset import RunSet
from queueing.port import Lease

LEASE = Lease("s-jobs", "7")
RULES = NodeRules(node="n", id_prefix="n-1", workers=2, lease_s=900.0)
ANYBODYS = NodeRules(
    node="n", id_prefix="n-1", workers=2, lease_s=900.0, remainders=Remainders.ANYBODYS
)


def span(start: int, stop: int) -> RunSet:
    return RunSet.span(start, stop)


def job(runs: RunSet, *, deaths: int = 1, received_at: float = 0.0, **more: Any) -> JobInHand:
    message = Job(sweep="s", job="j", runs=runs, epoch=4, deaths=deaths)
    held = JobInHand(7, LEASE, message, runs, received_at=received_at, changed_at=received_at)
    held.todo = runs
    for name, value in more.items():
        setattr(held, name, value)
    return held


def sweep(mean_s: float | None = None, **facts: Any) -> SweepInHand:
    held = SweepInHand(SweepFacts(sweep="s", **facts))
    if mean_s is not None:
        held.pace.measure(runs=1, busy_s=mean_s)
    return held


def change(
    held: JobInHand,
    of: SweepInHand | None = None,
    *,
    now: float = 0.0,
    rules: NodeRules = RULES,
    busy: RunSet | None = None,
) -> DeleteJob | LetGo | ReplaceJob | SendPieces | None:
    numbers = itertools.count(1)
    return next_change(
        held,
        now=now,
        rules=rules,
        sweep=of or sweep(),
        busy=busy,
        new_id=lambda: f"new-{next(numbers)}",
        workers=2,
    )


def put(found: object) -> list[Job]:
    assert isinstance(found, ReplaceJob)
    assert (found.job, found.lease) == (7, LEASE)
    return [decode_job(each.body) for each in found.replacements]


def test_the_message_of_a_cancelled_sweep_is_left_as_it_is() -> None:
    cancelled = sweep(state=SweepState.CANCELLED)
    assert change(job(span(0, 4)), cancelled) == LetGo(LEASE)
    assert change(job(span(0, 4), remaining=RunSet()), cancelled) == LetGo(LEASE)


def test_a_job_is_deleted_when_nothing_of_it_remains_and_not_before() -> None:
    assert change(job(span(0, 4), remaining=RunSet())) == DeleteJob(7, LEASE)
    assert change(job(span(0, 4), remaining=span(3, 4), todo=RunSet())) is None


@pytest.mark.parametrize(("runs", "halves"), [(8, (4, 4)), (7, (4, 3)), (2, (1, 1)), (1, (1,))])
def test_a_job_of_too_many_deaths_is_halved(runs: int, halves: tuple[int, ...]) -> None:
    found = change(job(span(0, runs), deaths=3, intent=Intent.HALVE), sweep(priority=6))
    pieces = put(found)
    assert tuple(len(each.runs) for each in pieces) == halves
    assert RunSet.union(each.runs for each in pieces) == span(0, runs)
    assert [(each.deaths, each.epoch) for each in pieces] == [(2, 4)] * len(halves)
    assert [each.job for each in pieces] == ["new-1", "new-2"][: len(halves)]
    assert isinstance(found, ReplaceJob)
    assert {each.priority for each in found.replacements} == {6}
    assert {(each.lease_s, each.delay_s) for each in found.replacements} == {(0.0, 0.0)}


def test_a_job_is_given_back_once_none_of_its_runs_is_under_way() -> None:
    assert change(job(span(0, 4)), busy=span(3, 5)) is None
    (left,) = put(change(job(span(0, 4)), busy=span(4, 5)))
    assert (left.runs, left.job, left.deaths, left.epoch) == (span(0, 4), "j", 1, 4)


def test_a_job_whose_lease_ends_is_given_back_with_what_is_under_way() -> None:
    (left,) = put(change(job(span(0, 4), expiring=True), busy=span(3, 5)))
    assert left.runs == span(0, 4)


@pytest.mark.parametrize(("unfit_until", "delay_s"), [(50.0, 0.0), (160.0, 60.0), (9e9, 900.0)])
def test_what_a_node_cannot_do_is_given_back_until_it_may_be_able_to(
    unfit_until: float, delay_s: float
) -> None:
    held = sweep(priority=3)
    held.unfit_until = unfit_until
    found = change(job(span(0, 4)), held, now=100.0, busy=RunSet())
    assert isinstance(found, ReplaceJob)
    (replacement,) = found.replacements
    assert (replacement.delay_s, replacement.lease_s, replacement.priority) == (delay_s, 0.0, 3)


def test_a_job_that_is_to_go_back_goes_back_at_once() -> None:
    found = change(job(span(0, 4), intent=Intent.GIVE_BACK), sweep(priority=3))
    (left,) = put(found)
    assert left.runs == span(0, 4)
    assert isinstance(found, ReplaceJob)
    (replacement,) = found.replacements
    assert (replacement.delay_s, replacement.lease_s, replacement.priority) == (0.0, 0.0, 3)


@pytest.mark.parametrize("intent", [Intent.LOOK_UP, Intent.WAIT])
def test_a_job_that_waits_to_be_begun_keeps_its_message(intent: Intent) -> None:
    assert change(job(span(0, 999), intent=intent, expiring=True), sweep(mean_s=60.0)) is None


def test_a_job_near_its_last_renewal_is_put_again_and_held() -> None:
    found = change(job(span(0, 4), expiring=True), sweep(priority=3))
    (left,) = put(found)
    assert (left.runs, left.job) == (span(0, 4), "j")
    assert isinstance(found, ReplaceJob)
    (replacement,) = found.replacements
    assert (replacement.lease_s, replacement.delay_s, replacement.priority) == (900.0, 0.0, 3)


@pytest.mark.parametrize(
    ("now", "changed_at", "acknowledged", "due"),
    [
        (160.0, 100.0, True, True),
        (159.9, 100.0, True, False),
        (160.0, 100.0, False, False),
        (200.0, 141.0, True, False),
        (200.0, 140.0, True, True),
    ],
)
def test_a_job_is_decremented_once_a_minute_after_something_of_it_arrived(
    now: float, changed_at: float, acknowledged: bool, due: bool
) -> None:
    held = job(span(0, 9), received_at=100.0, acknowledged=acknowledged, changed_at=changed_at)
    held.remaining = span(4, 9)
    found = change(held, now=now)
    if due:
        (left,) = put(found)
        assert left.runs == span(4, 9)
    else:
        assert found is None
    assert change(held, now=now, rules=ANYBODYS) is None


@pytest.mark.parametrize(("now", "due"), [(219.9, False), (220.0, True)])
def test_a_job_is_not_decremented_before_it_is_worth_the_request(now: float, due: bool) -> None:
    rules = dataclasses.replace(RULES, decrement_after_s=120.0)
    held = job(span(0, 9), received_at=100.0, acknowledged=True)
    held.remaining = span(4, 9)
    assert (change(held, now=now, rules=rules) is not None) is due


def test_a_job_that_takes_too_long_is_cut_up() -> None:
    # 1,000 runs of 2 s on 2 workers take 1,000 s; 120 s of them stay: 120 runs.
    held = job(span(0, 1000))
    found = change(held, sweep(mean_s=2.0, priority=3))
    remainder, *pieces = put(found)
    assert (remainder.runs, remainder.job, remainder.deaths) == (span(0, 120), "j", 1)
    assert RunSet.union(each.runs for each in pieces) == span(120, 1000)
    assert sum(len(each.runs) for each in pieces) == 880
    assert [each.job for each in pieces] == [f"new-{n}" for n in range(1, len(pieces) + 1)]
    assert [(each.deaths, each.epoch) for each in pieces] == [(1, 4)] * len(pieces)
    assert (held.todo, held.handed_over) == (span(0, 120), span(120, 1000))
    assert held.remaining == span(0, 1000)
    assert isinstance(found, ReplaceJob)
    assert [each.lease_s for each in found.replacements] == [900.0] + [0.0] * len(pieces)
    assert {each.priority for each in found.replacements} == {3}


def test_pieces_are_no_smaller_than_what_is_kept_and_fit_one_batch_with_the_remainder() -> None:
    sizes = [len(each.runs) for each in put(change(job(span(0, 1000)), sweep(mean_s=2.0)))]
    assert sizes == [120, 120, 120, 120, 120, 120, 120, 120, 40]
    sizes = [len(each.runs) for each in put(change(job(span(0, 9000)), sweep(mean_s=2.0)))]
    assert (len(sizes), sizes[0], sizes[1]) == (10, 120, 987)


def test_each_worker_keeps_a_run_however_long_it_takes() -> None:
    remainder, *pieces = put(change(job(span(0, 5)), sweep(mean_s=3600.0)))
    assert remainder.runs == span(0, 2)
    assert [each.runs for each in pieces] == [span(2, 4), span(4, 5)]
    assert change(job(span(0, 2)), sweep(mean_s=3600.0)) is None


@pytest.mark.parametrize(("mean_s", "cut"), [(1.2, False), (1.21, True)])
def test_a_job_is_cut_up_above_ten_minutes_of_work_only(mean_s: float, cut: bool) -> None:
    found = change(job(span(0, 1000)), sweep(mean_s=mean_s))
    assert isinstance(found, ReplaceJob) is cut


def test_only_what_is_to_do_is_cut_off() -> None:
    held = job(span(0, 1000), todo=span(500, 1000))
    remainder, *pieces = put(change(held, sweep(mean_s=4.0)))
    assert remainder.runs == span(0, 560)
    assert RunSet.union(each.runs for each in pieces) == span(560, 1000)


def test_where_a_remainder_is_anybodys_pieces_are_sent_beside_the_job() -> None:
    held = job(span(0, 1000))
    found = change(held, sweep(mean_s=2.0, priority=3), rules=ANYBODYS)
    assert isinstance(found, SendPieces)
    assert (found.job, found.queue) == (7, "s-jobs")
    assert {each.priority for each in found.pieces} == {3}
    pieces = [decode_job(each.body) for each in found.pieces]
    assert RunSet.union(each.runs for each in pieces) == span(120, 1000) == held.handed_over


def test_a_job_keeps_what_was_told_of_it_when_its_deaths_change() -> None:
    message = Job(sweep="s", job="j", runs=span(0, 4), epoch=4, deaths=1)
    assert with_deaths(message, 1) is message
    again = with_deaths(message, 2)
    assert (again.deaths, again.job, again.runs, again.epoch) == (2, "j", span(0, 4), 4)


def test_a_change_that_fails_is_tried_again_later_and_later() -> None:
    held = job(span(0, 4), changing=True)
    waits = []
    for tries in range(1, 5):
        failed(held, 100.0)
        assert (held.changing, held.tries) == (False, tries)
        waits.append(held.try_at - 100.0)
        held.changing = True
    assert waits[0] > 0.0
    assert waits[3] > 2 * waits[0]
    other = job(span(0, 4), lease=Lease("s-jobs", "8"))
    failed(other, 100.0)
    assert other.try_at - 100.0 != waits[0]


def test_what_was_cut_off_is_no_part_of_the_job_any_more() -> None:
    held = job(span(0, 9), handed_over=span(4, 9), changing=True, tries=3)
    cut_off(held, 50.0)
    assert (held.remaining, held.handed_over) == (span(0, 4), RunSet())
    assert (held.changing, held.tries, held.changed_at) == (False, 0, 50.0)
    assert held.lease == LEASE


def test_a_remainder_held_again_has_its_new_lease_and_counts_anew() -> None:
    held = job(span(0, 9), handed_over=span(4, 9), changing=True, expiring=True, acknowledged=True)
    fresh = Lease("s-jobs", "8")
    held_again(held, fresh, 50.0)
    assert (held.lease, held.expiring, held.acknowledged) == (fresh, False, False)
    assert (held.remaining, held.changing, held.changed_at) == (span(0, 4), False, 50.0)
