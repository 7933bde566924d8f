"""A node with several sweeps, several workers, and nothing to do for a while."""

from __future__ import annotations

import pytest

from compute_node.commands import (
    AssignChunk,
    DeleteJob,
    Exit,
    PrepareSweep,
    ReadCoverage,
    ReceiveJobs,
    RecordLost,
    ReplaceJob,
    StartWorker,
    WithdrawChunks,
)
from compute_node.events import (
    ControlsRead,
    JobReplaced,
    LeaseExpiring,
    ReceiveEnded,
    StopAsked,
    SweepFacts,
    SweepPrepared,
    SweepsCompleted,
    Ticked,
    WorkerDied,
)
from compute_node.rules import NodeRules
from compute_node.state import NodeState
from gapless.declaration.messages import Job, encode_job
from gapless.declaration.runset import RunSet
from queueing.port import AnswerStatus, Lease, Message
from tests.unit.compute_node.a_node import Node, S, span

T = "t-00000000"


def job_of(sweep: str, runs: RunSet) -> Message:
    body = encode_job(Job(sweep=sweep, job="j", runs=runs))
    return Message(Lease(f"{sweep}-jobs", sweep), body, 1)


def of_two_sweeps(**rules: object) -> NodeState:
    """A node of two sweeps, the second with the higher priority, neither prepared."""
    given: dict[str, object] = {"node": "n", "id_prefix": "n-1", "workers": 2, "only": (S, T)}
    state = NodeState(NodeRules(**{**given, **rules}))  # type: ignore[arg-type]
    state.handle(ControlsRead((SweepFacts(sweep=S), SweepFacts(sweep=T, priority=3))), 0.0)
    return state


def all_of(kind: type, commands: list[object]) -> list[object]:
    return [each for each in commands if isinstance(each, kind)]


def test_the_files_of_every_sweep_with_a_job_are_fetched_whichever_is_fetched_already() -> None:
    state = of_two_sweeps()
    commands = state.handle(ReceiveEnded((job_of(S, span(0, 1)),)), 1.0)
    assert all_of(PrepareSweep, commands) == [PrepareSweep(S, "")]
    state.handle(SweepPrepared(T, "", 5), 2.0)
    again = state.handle(ReceiveEnded((job_of(T, span(0, 1)),)), 2.0)
    assert not all_of(PrepareSweep, again)
    state.sweeps[T].total = None
    assert all_of(PrepareSweep, state.handle(Ticked(), 3.0)) == [PrepareSweep(T, "")]


def test_workers_start_for_a_sweep_that_is_ready_though_the_preferred_one_is_not() -> None:
    state = of_two_sweeps()
    state.handle(ReceiveEnded((job_of(S, span(0, 1)),)), 1.0)
    started = all_of(StartWorker, state.handle(SweepPrepared(S, "", 5), 2.0))
    assert [each.deployment.sweep for each in started] == [S]  # type: ignore[attr-defined]


def test_several_resting_sweeps_are_looked_at_a_second_each() -> None:
    state = of_two_sweeps(rest_s=60.0, rest_after_s=600.0)
    for sweep in state.sweeps.values():
        sweep.complete = True
    state._receiving = False
    (receive,) = all_of(ReceiveJobs, state.handle(Ticked(), 100.0))
    assert receive == ReceiveJobs((f"{T}-jobs", f"{S}-jobs"), 1, 2.0)


def test_a_sweep_without_work_whose_pace_is_unknown_makes_no_node_careful() -> None:
    state = of_two_sweeps()
    state.sweeps[S].pace.measure(runs=1, busy_s=0.5)
    state._job_runs = 1.0
    assert state._jobs_wanted() == 4
    state.sweeps[T].total = 50
    state.handle(ReceiveEnded((job_of(T, span(0, 1)),)), 1.0)
    state._job_runs = 1.0
    assert state._jobs_wanted() == 3


def test_of_runs_nobody_knows_two_a_worker_are_asked_for() -> None:
    node = Node(workers=3)
    node.state._job_runs = 1.0
    assert node.state._jobs_wanted() == 6
    node.state._job_runs = 2.0
    assert node.state._jobs_wanted() == 3


def test_completed_sweeps_that_this_node_does_not_serve_hide_no_other() -> None:
    node = Node()
    node.receive(span(0, 1))
    node.tell(SweepsCompleted((("strange-00000000", 0, 9), (S, 0, 10_000)), node.now))
    assert node.all(DeleteJob)


def test_two_runs_lost_together_are_both_being_recorded() -> None:
    node = Node(workers=2, attempts=1)
    node.receive(span(0, 2))
    assert len(node.all(AssignChunk)) == 2
    for worker, chunk in enumerate(node.all(AssignChunk), start=1):
        node.tell(WorkerDied(worker=worker, exit="signal 9", run=chunk.chunk.runs.least))
    assert len(node.all(RecordLost)) == 2
    assert node.state.sweeps[S].lanes[0].recording == span(0, 2)


def test_a_job_that_nobody_had_before_is_begun_without_a_look() -> None:
    node = Node()
    message = job_of(S, span(0, 1))
    node.tell(ReceiveEnded((message,), unread=frozenset({S})))
    node.tell(ControlsRead((SweepFacts(sweep=S),)))
    assert node.all(AssignChunk)
    assert not node.all(ReadCoverage)


def test_every_worker_ends_what_went_to_others() -> None:
    node = Node(workers=2)
    (lease,) = node.receive(span(0, 2))
    node.tell(LeaseExpiring(lease))
    (replace,) = node.all(ReplaceJob)
    node.commands.clear()
    node.tell(JobReplaced(replace.job, AnswerStatus.OK, (None,)))
    assert node.all(WithdrawChunks) == [WithdrawChunks(1), WithdrawChunks(2)]


def test_a_node_that_stops_waits_until_its_job_is_given_back() -> None:
    node = Node()
    node.tell(ReceiveEnded(problem="away"))
    node.receive(span(0, 2))
    node.tell(StopAsked())
    (replace,) = node.all(ReplaceJob)
    assert not node.all(Exit)
    node.tell(JobReplaced(replace.job, AnswerStatus.OK, (None,)))
    assert node.all(Exit) == [Exit(0)]


@pytest.mark.parametrize(("waits_s", "ends"), [(9.9, False), (10.0, True)])
def test_a_node_that_finds_nothing_for_so_long_ends_with_status_0(
    waits_s: float, ends: bool
) -> None:
    node = Node(rules={"idle_exit_s": 10.0})
    node.tell(Ticked(), after=5.0)
    node.tell(ReceiveEnded())
    node.tell(Ticked(), after=waits_s)
    node.tell(ReceiveEnded(problem="away"))
    assert node.all(Exit) == ([Exit(0)] if ends else [])


def test_a_node_that_looks_for_work_is_not_idle() -> None:
    node = Node(rules={"idle_exit_s": 10.0})
    node.tell(ReceiveEnded((job_of(S, span(0, 1)),)))
    for sweep in node.state.sweeps.values():
        sweep.lanes.clear()
    node.tell(Ticked(), after=1.0)
    node.tell(Ticked(), after=500.0)
    assert not node.all(Exit)
