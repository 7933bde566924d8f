"""Where the runs of one sweep and epoch are: to do once, taken back, never lost."""

from __future__ import annotations

import pytest

from compute_node.attempts import Attempt
from compute_node.jobs_in_hand import ChunkInHand, Intent, JobInHand, Lane
from gapless.declaration.messages import Job
from gapless.declaration.runset import RunSet
from queueing.port import Lease

NOTHING = RunSet()


def span(start: int, stop: int) -> RunSet:
    return RunSet.span(start, stop)


def job(key: int, runs: RunSet, *, intent: Intent = Intent.WORK) -> JobInHand:
    return JobInHand(
        key,
        Lease("s-jobs", str(key)),
        Job(sweep="s", job=f"j{key}", runs=runs),
        runs,
        received_at=0.0,
        changed_at=0.0,
        intent=intent,
    )


def lane_of(*jobs: JobInHand) -> Lane:
    lane = Lane("s", 0)
    for each in jobs:
        lane.add(each)
    return lane


def give(lane: Lane, key: int, runs: RunSet) -> None:
    lane.chunks[key] = ChunkInHand(1, runs)


def attempt(run: int, number: int = 1) -> Attempt:
    return Attempt(
        run=run,
        number=number,
        outcome="failed",
        exit="",
        started_s=0.0,
        duration_s=0.0,
        peak_memory_bytes=0,
    )


def test_a_run_is_to_do_in_one_job_only() -> None:
    lane = lane_of(first := job(1, span(0, 6)), second := job(2, span(4, 9)))
    assert (first.todo, second.todo) == (span(0, 6), span(6, 9))
    assert (first.greatest, second.greatest) == (5, 8)
    assert lane.todo_count == 9


def test_what_is_underway_anywhere_is_not_to_do_again() -> None:
    lane = lane_of()
    give(lane, 1, RunSet.of(0))
    lane.blocks[1] = RunSet.of(1)
    lane.retries[2] = 5.0
    lane.recording = RunSet.of(3)
    assert lane.underway() == span(0, 4)
    lane.add(new := job(1, span(0, 6)))
    assert new.todo == span(4, 6)
    assert lane.taken() == span(0, 6)


@pytest.mark.parametrize("intent", [each for each in Intent if each is not Intent.WORK])
def test_runs_of_a_job_that_is_not_worked_on_are_not_to_do(intent: Intent) -> None:
    lane = lane_of(held := job(1, span(0, 4), intent=intent))
    assert held.todo == NOTHING
    lane.take_back(span(0, 4))
    assert held.todo == NOTHING


@pytest.mark.parametrize("intent", [Intent.LOOK_UP, Intent.WAIT])
def test_a_job_that_waited_is_begun_with_all_that_remains(intent: Intent) -> None:
    lane = lane_of(held := job(1, span(0, 4), intent=intent))
    lane.begin(held)
    assert (held.intent, held.todo) == (Intent.WORK, span(0, 4))


@pytest.mark.parametrize("intent", [Intent.GIVE_BACK, Intent.HALVE])
def test_a_job_that_is_to_be_replaced_is_never_begun(intent: Intent) -> None:
    lane = lane_of(held := job(1, span(0, 4), intent=intent))
    with pytest.raises(AssertionError):
        lane.begin(held)
    assert held.intent is intent


def test_a_lane_is_empty_when_nothing_is_anywhere() -> None:
    assert lane_of().empty
    assert not lane_of(job(1, span(0, 1))).empty
    for place in ("chunks", "blocks", "retries"):
        lane = lane_of()
        getattr(lane, place)[1] = object()
        assert not lane.empty
    lane = lane_of()
    lane.recording = RunSet.of(1)
    assert not lane.empty


def test_stored_runs_leave_a_job_and_a_job_that_was_looked_up_is_begun() -> None:
    lane = lane_of(held := job(1, span(0, 6), intent=Intent.LOOK_UP))
    lane.attempts = {1: (attempt(1),), 5: (attempt(5),)}
    lane.covered(held, span(0, 3))
    assert (held.remaining, held.todo, held.intent) == (span(3, 6), span(3, 6), Intent.WORK)
    assert list(lane.attempts) == [5]


def test_stored_runs_leave_what_is_to_do_and_what_is_handed_over() -> None:
    lane = lane_of(held := job(1, span(0, 8)))
    held.handed_over = span(4, 8)
    held.todo = span(0, 4)
    lane.covered(held, RunSet.of(2, 6))
    assert held.remaining == RunSet.of(0, 1, 3, 4, 5, 7)
    assert held.todo == RunSet.of(0, 1, 3)
    assert held.handed_over == RunSet.of(4, 5, 7)


def test_a_job_that_waits_is_not_begun_by_what_is_stored() -> None:
    lane = lane_of(held := job(1, span(0, 4), intent=Intent.WAIT))
    lane.covered(held, span(0, 2))
    assert (held.intent, held.remaining, held.todo) == (Intent.WAIT, span(2, 4), NOTHING)


def test_runs_of_a_job_that_is_let_go_are_another_holders_to_do() -> None:
    lane = lane_of(job(1, span(0, 6)), other := job(2, span(4, 9)))
    lane.remove(1)
    assert list(lane.jobs) == [2]
    assert other.todo == span(4, 9)
    lane.remove(1)
    assert other.todo == span(4, 9)


def test_runs_of_a_job_that_is_set_aside_are_another_holders_to_do() -> None:
    lane = lane_of(first := job(1, span(0, 6)), second := job(2, span(4, 9)))
    lane.set_aside(first, Intent.GIVE_BACK)
    assert (first.todo, first.intent) == (NOTHING, Intent.GIVE_BACK)
    assert first.remaining == span(0, 6)
    assert second.todo == span(4, 9)


def test_what_comes_back_is_to_do_in_the_first_job_that_wants_it_and_once() -> None:
    lane = lane_of(first := job(1, span(0, 4)), second := job(2, span(2, 8)))
    assert lane.take(9, 100) == span(0, 8)
    lane.take_back(span(0, 6))
    assert (first.todo, second.todo) == (span(0, 4), span(4, 6))
    lane.take_back(span(0, 20))
    assert (first.todo, second.todo) == (span(0, 4), span(4, 8))


def test_what_comes_back_and_is_underway_elsewhere_is_not_to_do() -> None:
    lane = lane_of(held := job(1, span(0, 4)))
    lane.take(4, 100)
    give(lane, 1, RunSet.of(1))
    lane.take_back(span(0, 4))
    assert held.todo == RunSet.of(0, 2, 3)


def test_a_run_is_wanted_while_a_job_holds_it() -> None:
    lane = lane_of(job(1, span(0, 2)), job(2, span(2, 4)))
    assert [lane.wanted(run) for run in range(5)] == [True, True, True, True, False]


def test_jobs_of_runs_beyond_the_declaration_are_left_alone() -> None:
    lane = lane_of(job(1, span(0, 10)), job(2, span(10, 12)))
    assert [lane.available(total) for total in (9, 10, 11, 12)] == [0, 10, 10, 12]
    assert lane.take(3, 9) == NOTHING
    assert lane.take(30, 11) == span(0, 10)
    assert lane.take(30, 11) == NOTHING
    assert lane.take(1, 12) == RunSet.of(10)


def test_runs_are_taken_job_by_job_up_to_so_many() -> None:
    lane = lane_of(first := job(1, span(0, 3)), second := job(2, span(5, 9)), job(3, span(20, 22)))
    assert lane.take(5, 100) == RunSet.of(0, 1, 2, 5, 6)
    assert (first.todo, second.todo) == (NOTHING, span(7, 9))
    assert lane.take(2, 100) == span(7, 9)
    assert lane.take(0, 100) == NOTHING
    assert lane.todo_count == 2


def test_a_run_is_tried_again_when_it_is_due_and_wanted() -> None:
    lane = lane_of(job(1, span(0, 4)))
    lane.retries = {1: 5.0, 2: 4.0, 9: 0.0}
    lane.attempts = {9: (attempt(9),)}
    assert lane.due_retry(3.9) is None
    assert list(lane.retries) == [1, 2]
    assert list(lane.attempts) == [9]
    assert lane.due_retry(4.0) == 2
    assert lane.due_retry(5.0) == 1


def test_retries_that_end_here_are_to_do_again() -> None:
    lane = lane_of(held := job(1, span(0, 4)))
    lane.take(4, 100)
    lane.retries = {1: 5.0, 7: 5.0}
    lane.end_retries()
    assert lane.retries == {}
    assert held.todo == RunSet.of(1)


def test_reported_runs_leave_their_chunk_for_their_block() -> None:
    lane = lane_of(held := job(1, span(0, 6)))
    give(lane, 7, lane.take(4, 100))
    lane.attempts = {1: (attempt(1),), 3: (attempt(3),)}
    lane.retries = {1: 0.0, 3: 0.0}
    lane.reported(11, span(0, 2), 7)
    assert lane.chunks[7].left == span(2, 4)
    assert lane.blocks == {11: span(0, 2)}
    assert (list(lane.attempts), list(lane.retries)) == ([3], [3])
    assert held.todo == span(4, 6)
    assert held.remaining == span(0, 6)


def test_a_report_of_runs_that_were_to_do_again_takes_them_off_what_is_to_do() -> None:
    lane = lane_of(held := job(1, span(0, 6)))
    give(lane, 7, RunSet.of(0))
    lane.reported(11, span(0, 2), 7)
    assert held.todo == span(2, 6)
    lane.reported(12, RunSet.of(3), 99)
    assert held.todo == RunSet.of(2, 4, 5)


def test_runs_recorded_as_lost_are_recorded_no_more_once_they_lie_in_a_block() -> None:
    lane = lane_of(held := job(1, span(0, 4)))
    lane.take(2, 100)
    lane.recording = span(0, 2)
    lane.reported(11, RunSet.of(0), None)
    assert lane.recording == RunSet.of(1)
    assert held.todo == span(2, 4)
    lane.reported(12, RunSet.of(3), None)
    assert held.todo == RunSet.of(2)


def test_acknowledged_blocks_leave_every_job_that_holds_their_runs() -> None:
    lane = lane_of(first := job(1, span(0, 4)), second := job(2, span(3, 8)), job(3, span(8, 9)))
    lane.blocks = {11: span(2, 5), 12: span(6, 7)}
    lane.acknowledge([11, 99])
    assert (first.remaining, second.remaining) == (span(0, 2), span(5, 8))
    assert (first.todo, second.todo) == (span(0, 2), span(5, 8))
    assert [each.acknowledged for each in lane.jobs.values()] == [True, True, False]
    assert lane.blocks == {12: span(6, 7)}


def test_a_cancelled_lane_keeps_its_jobs_and_wants_nothing_of_them() -> None:
    lane = lane_of(held := job(1, span(0, 4)))
    give(lane, 7, RunSet.of(0))
    lane.blocks = {11: RunSet.of(1)}
    lane.retries = {2: 0.0}
    lane.attempts = {2: (attempt(2),)}
    lane.recording = RunSet.of(3)
    lane.forget()
    assert lane.underway() == NOTHING
    assert (lane.attempts, lane.todo_count) == ({}, 0)
    assert (list(lane.jobs), held.remaining, held.todo) == ([1], NOTHING, NOTHING)
