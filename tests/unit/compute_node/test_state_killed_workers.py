"""What a node does about workers that it kills, withdraws work from, or that end between runs."""

from __future__ import annotations

import pytest

from compute_node.commands import (
    AssignChunk,
    KillWorker,
    RetireWorker,
    Warn,
    WithdrawChunks,
)
from compute_node.events import (
    ChunkEnded,
    ControlsRead,
    Progress,
    StopAsked,
    SweepFacts,
    SweepPrepared,
    Ticked,
    WorkerDied,
    WorkerUnfit,
)
from tests.unit.compute_node.a_node import Node, S, span


def tick(node: Node, worker: int, run: int, running_s: float) -> None:
    node.tell(Ticked((Progress(worker, run, 1, running_s),)))


def given(node: Node) -> AssignChunk:
    """Give the only chunk that was assigned since the last time."""
    (chunk,) = node.all(AssignChunk)
    node.commands.clear()
    return chunk  # type: ignore[no-any-return]


def test_a_worker_that_was_killed_gets_nothing_more() -> None:
    node = Node(time_s=10.0)
    node.receive(span(0, 5))
    chunk = given(node)
    tick(node, chunk.worker, 0, 11.0)
    assert node.all(KillWorker) == [KillWorker(chunk.worker)]
    # It ended its chunk in the very moment.
    node.tell(ChunkEnded(chunk.worker, chunk.chunk.chunk))
    assert not node.all(AssignChunk)
    node.tell(WorkerDied(worker=chunk.worker, exit="signal 9"))
    node.ready()
    assert given(node).worker != chunk.worker


def test_a_worker_that_is_leaving_is_killed_with_the_others_when_the_node_stops() -> None:
    node = Node()
    node.tell(ControlsRead((SweepFacts(sweep=S, version=1, code="new"),)))
    node.receive(span(0, 5))
    node.tell(SweepPrepared(S, "new", 10))
    assert node.all(RetireWorker) == [RetireWorker(1)]
    node.tell(StopAsked())
    assert node.all(KillWorker) == [KillWorker(1)]


def die_in_a_run(node: Node) -> None:
    chunk = given(node)
    node.tell(WorkerDied(worker=chunk.worker, exit="signal 9", run=chunk.chunk.runs.least))


def die_between_runs(node: Node) -> None:
    node.tell(WorkerDied(worker=given(node).worker, exit="signal 9"))


def die_by_the_nodes_own_hand(node: Node) -> None:
    chunk = given(node)
    tick(node, chunk.worker, chunk.chunk.runs.least, 11.0)
    node.tell(WorkerDied(worker=chunk.worker, exit="signal 9"))


def die_without_work(node: Node) -> None:
    (worker,) = node.state.crew.workers
    node.tell(WorkerDied(worker=worker, exit="signal 9"))


@pytest.mark.parametrize(
    ("die", "runs", "unfit"),
    [
        (die_between_runs, 3, True),
        (die_in_a_run, 3, False),
        (die_by_the_nodes_own_hand, 3, False),
        (die_without_work, 0, False),
    ],
)
def test_only_workers_that_die_on_their_own_between_the_runs_they_have_make_a_node_unfit(
    die: object, runs: int, unfit: bool
) -> None:
    assert callable(die)
    node = Node(time_s=10.0, attempts=100)
    if runs:
        node.receive(span(0, runs))
    for _ in range(6):
        if node.state.sweeps[S].open(node.now):
            die(node)
            node.ready()
    warnings = [each.text for each in node.all(Warn)]
    assert node.state.sweeps[S].open(node.now) is not unfit
    assert any("between runs" in text for text in warnings) is unfit


def test_a_long_run_with_nothing_behind_it_is_not_asked_to_end_at_every_tick() -> None:
    node = Node()
    node.receive(span(0, 1))
    chunk = given(node)
    for seconds in (3.0, 4.0, 5.0):
        tick(node, chunk.worker, 0, seconds)
    assert not node.all(WithdrawChunks)


def test_workers_end_what_they_have_of_a_sweep_that_turns_out_unfit_for_this_node() -> None:
    node = Node(workers=2, rules={"only": ()})
    node.receive(span(0, 2))
    assert len(node.all(AssignChunk)) == 2
    node.tell(WorkerUnfit(1, "no module named walk"))
    assert node.all(WithdrawChunks) == [WithdrawChunks(2)]
