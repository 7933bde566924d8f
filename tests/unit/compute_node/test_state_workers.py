"""What a node does about workers that end, hang or fail runs."""

from __future__ import annotations

from typing import Any

import pytest

from compute_node.attempts import Attempt
from compute_node.commands import (
    AssignChunk,
    ForgetBlocks,
    KillWorker,
    RecordLost,
    StartWorker,
    Warn,
    WithdrawChunks,
)
from compute_node.events import (
    BlockMade,
    ChunkEnded,
    ControlsRead,
    Progress,
    SweepFacts,
    SweepState,
    Ticked,
    WorkerDied,
    WorkerReady,
    WorkerUnfit,
)
from gapless.declaration.runset import RunSet
from tests.unit.compute_node.a_node import Node, S, span


def tick(node: Node, run: int, running_s: float, *, worker: int = 1, attempt: int = 1) -> None:
    node.tell(Ticked((Progress(worker, run, attempt, running_s),)))


def large_chunk(node: Node, runs: int = 40) -> AssignChunk:
    """Let the worker have a chunk of many runs."""
    node.receive(span(0, 1))
    node.make(node.all(AssignChunk)[0], busy_s=0.001)
    node.acknowledge()
    node.commands.clear()
    node.receive(span(100, 100 + runs))
    return node.all(AssignChunk)[0]


def lane(node: Node, epoch: int = 0) -> Any:
    return node.state.sweeps[S].lanes[epoch]


def failure(run: int, number: int = 1) -> Attempt:
    return Attempt(
        run=run, number=number, outcome="failed", exit="oh", started_s=1.0, duration_s=2.0
    )


def test_a_dead_worker_is_told_of_in_full_when_its_run_had_its_last_attempt() -> None:
    node = Node(attempts=1, code="")
    node.receive(span(3, 4), epoch=2)
    node.tell(
        WorkerDied(
            worker=1,
            exit="signal 11",
            run=3,
            attempt=1,
            started_s=5.0,
            duration_s=7.0,
            peak_memory_bytes=99,
        )
    )
    attempt = Attempt(
        run=3,
        number=1,
        outcome="lost",
        exit="signal 11",
        started_s=5.0,
        duration_s=7.0,
        peak_memory_bytes=99,
    )
    (lost,) = node.all(RecordLost)
    assert lost == RecordLost(sweep=S, epoch=2, code="", attempts=(attempt,), worker=1)
    assert lane(node, 2).recording == RunSet.of(3)


def test_a_run_that_takes_down_its_worker_is_tried_as_often_as_it_may_and_at_once() -> None:
    node = Node(attempts=3)
    node.receive(span(3, 4))
    for number in (1, 2, 3):
        (chunk,) = node.all(AssignChunk)
        assert [each.number for each in chunk.chunk.earlier] == list(range(1, number))
        node.commands.clear()
        node.tell(WorkerDied(worker=number, exit="signal 9", run=3, attempt=number))
        node.ready()
    (lost,) = node.all(RecordLost)
    assert [each.number for each in lost.attempts] == [1, 2, 3]
    assert not node.all(AssignChunk)


def test_runs_that_a_dead_worker_did_not_begin_are_done_by_another() -> None:
    node = Node(attempts=1)
    chunk = large_chunk(node)
    runs = chunk.chunk.runs
    node.commands.clear()
    node.tell(WorkerDied(worker=1, exit="signal 9", run=runs.least))
    (lost,) = node.all(RecordLost)
    assert [each.run for each in lost.attempts] == [runs.least]
    _, job = lane(node).jobs.values()
    assert job.todo == span(100, 140) - RunSet.of(runs.least)


def test_a_run_that_the_dead_worker_had_reported_is_charged_to_nobody() -> None:
    node = Node(attempts=1)
    chunk = large_chunk(node)
    first = chunk.chunk.runs.least
    node.make(chunk, runs=RunSet.of(first))
    node.tell(WorkerDied(worker=1, exit="signal 9", run=first))
    assert not node.all(RecordLost)


def test_a_worker_that_ends_while_it_starts_makes_the_node_unfit_with_what_it_said() -> None:
    node = Node(workers=1)
    node.receive(span(0, 1))
    node.tell(WorkerDied(worker=1, exit="signal 9", run=0))
    (start,) = node.all(StartWorker)
    node.commands.clear()
    node.tell(WorkerDied(worker=start.worker, exit="status 3"))
    (warning,) = node.all(Warn)
    assert "status 3" in warning.text
    assert S in warning.text
    assert not node.state.sweeps[S].open(node.now + 29.9)
    assert node.state.sweeps[S].open(node.now + 30.0)


def test_a_worker_that_is_unfit_gives_its_runs_back() -> None:
    node = Node(workers=2)
    node.receive(span(0, 2))
    given = node.all(AssignChunk)
    assert len(given) == 2
    node.tell(WorkerUnfit(1, "no module named walk"))
    assert sorted(node.state.crew.workers) == [2]
    assert list(lane(node).chunks) == [given[1].chunk.chunk]
    assert len(node.all(Warn)) == 1


def test_a_worker_that_was_ready_once_makes_the_next_unfitness_short_again() -> None:
    node = Node()
    held = node.state.sweeps[S]
    held.unfit_s = 240.0
    node.tell(WorkerReady(1))
    assert held.unfit_s == 240.0
    node.tell(WorkerDied(worker=1, exit="status 0"))
    node.receive(span(0, 1))
    (start,) = node.all(StartWorker)
    node.tell(WorkerReady(start.worker))
    assert held.unfit_s == 0.0


@pytest.mark.parametrize(
    ("number", "wait_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 64.0), (8, 64.0)]
)
def test_a_failed_run_is_tried_again_after_a_pause_that_doubles(number: int, wait_s: float) -> None:
    node = Node(attempts=20, retry_on=("failed",))
    node.receive(span(0, 1))
    (chunk,) = node.all(AssignChunk)
    lane(node).attempts[0] = tuple(failure(0, each) for each in range(1, number))
    node.commands.clear()
    node.tell(ChunkEnded(1, chunk.chunk.chunk, (failure(0, number),)))
    node.tell(Ticked(), after=wait_s - 0.01)
    assert not node.all(AssignChunk)
    node.tell(Ticked(), after=0.02)
    (again,) = node.all(AssignChunk)
    assert again.chunk.runs == RunSet.of(0)
    assert again.chunk.retry_failed
    assert not again.chunk.retry_lost
    assert again.chunk.attempts == 20


@pytest.mark.parametrize("retry_on", [("failed",), ("lost",), ("timeout",), ("failed", "lost")])
def test_a_worker_is_told_what_is_worth_another_attempt(retry_on: tuple[str, ...]) -> None:
    node = Node(attempts=4, retry_on=retry_on)
    node.receive(span(0, 1))
    (given,) = node.all(AssignChunk)
    assert given.chunk.attempts == 4
    assert given.chunk.retry_failed is ("failed" in retry_on)
    assert given.chunk.retry_lost is ("lost" in retry_on)


def test_a_failed_run_that_no_job_holds_any_more_is_not_tried_again() -> None:
    node = Node(attempts=3, retry_on=("failed",))
    node.receive(span(0, 1))
    (chunk,) = node.all(AssignChunk)
    lane(node).jobs.clear()
    node.tell(ChunkEnded(1, chunk.chunk.chunk, (failure(0),)))
    assert lane(node).retries == {}
    assert not node.all(RecordLost)


def test_a_failure_that_is_not_worth_another_attempt_is_recorded() -> None:
    node = Node(attempts=3, retry_on=("lost",))
    node.receive(span(0, 1))
    (chunk,) = node.all(AssignChunk)
    node.tell(ChunkEnded(1, chunk.chunk.chunk, (failure(0), failure(77))))
    (lost,) = node.all(RecordLost)
    assert (lost.attempts, lost.worker) == ((failure(0),), None)


@pytest.mark.parametrize(("running_s", "killed"), [(10.0, False), (10.1, True)])
def test_a_run_is_killed_past_its_time_only(running_s: float, killed: bool) -> None:
    node = Node(time_s=10.0, attempts=1)
    node.receive(span(0, 1))
    tick(node, 0, running_s)
    assert bool(node.all(KillWorker)) is killed
    # Once is enough.
    tick(node, 0, running_s + 1.0)
    assert len(node.all(KillWorker)) == 1
    node.tell(WorkerDied(worker=1, exit="signal 9", run=0))
    (lost,) = node.all(RecordLost)
    (attempt,) = lost.attempts
    assert attempt.outcome == "timeout"
    assert attempt.exit == "killed after 10 s (limits.time)"


def test_a_kill_for_an_earlier_attempt_charges_nobody() -> None:
    node = Node(time_s=10.0, attempts=1)
    node.receive(span(0, 1))
    tick(node, 0, 11.0, attempt=1)
    node.tell(WorkerDied(worker=1, exit="signal 9", run=0, attempt=2))
    assert not node.all(RecordLost)


def test_a_worker_without_a_chunk_is_not_watched() -> None:
    node = Node(time_s=10.0)
    tick(node, 0, 99.0)
    tick(node, 0, 99.0, worker=8)
    assert not node.all(KillWorker)


@pytest.mark.parametrize(("running_s", "freed"), [(2.0, False), (2.1, True)])
def test_what_waits_behind_a_run_of_more_than_two_seconds_is_freed(
    running_s: float, freed: bool
) -> None:
    node = Node(rules={"workers": 1})
    chunk = large_chunk(node)
    runs = chunk.chunk.runs
    third = runs.first(3).greatest
    tick(node, third, running_s)
    assert bool(node.all(WithdrawChunks)) is freed
    _, job = lane(node).jobs.values()
    assert (runs - span(0, third + 1)).issubset(job.todo) is freed
    assert runs.first(3).isdisjoint(job.todo)
    assert node.state.crew.workers[1].held_up is freed


def test_nothing_is_freed_behind_a_run_that_was_withdrawn_before() -> None:
    node = Node()
    large_chunk(node)
    tick(node, 9_999, 50.0)
    assert not node.all(WithdrawChunks)
    assert not node.state.crew.workers[1].held_up


def test_a_worker_is_fed_again_once_its_long_run_is_over() -> None:
    node = Node()
    chunk = large_chunk(node)
    tick(node, chunk.chunk.runs.least, 5.0)
    assert node.state.crew.workers[1].held_up
    node.tell(ChunkEnded(1, chunk.chunk.chunk))
    assert not node.state.crew.workers[1].held_up


def test_results_of_a_cancelled_sweep_are_forgotten() -> None:
    node = Node()
    node.receive(span(0, 1))
    (chunk,) = node.all(AssignChunk)
    node.tell(ControlsRead((SweepFacts(sweep=S, version=1, state=SweepState.CANCELLED),)))
    node.commands.clear()
    node.make(chunk)
    assert node.all(ForgetBlocks) == [ForgetBlocks((1,))]
    assert node.state.deliveries.empty


def test_the_pace_is_learned_from_workers_and_not_from_what_the_node_records() -> None:
    node = Node()
    node.receive(span(0, 2))
    made = {"sweep": S, "epoch": 0, "digest": "d" * 32, "size_bytes": 100, "busy_s": 8.0}
    node.tell(BlockMade(block=1, runs=RunSet.of(0), **made))  # type: ignore[arg-type]
    assert node.state.sweeps[S].pace.mean_s is None
    node.state.sweeps[S].barren_deaths = 3
    node.tell(BlockMade(block=2, runs=RunSet.of(1), worker=1, chunk=1, **made))  # type: ignore[arg-type]
    assert node.state.sweeps[S].pace.mean_s == 8.0
    assert node.state.sweeps[S].barren_deaths == 0


def test_only_the_fifth_death_between_runs_in_a_row_makes_the_node_unfit() -> None:
    node = Node()
    node.receive(span(0, 1))
    for number in range(1, 6):
        assert not node.all(Warn)
        assert node.state.sweeps[S].barren_deaths == number - 1
        node.tell(WorkerDied(worker=number, exit="status 1"))
        node.ready()
    (warning,) = node.all(Warn)
    assert "status 1" in warning.text
    assert node.state.sweeps[S].barren_deaths == 0
