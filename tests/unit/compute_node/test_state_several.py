"""A node with several sweeps, several workers, and nothing to do for a while."""

from __future__ import annotations

from typing import Any

import pytest

from compute_node.commands import (
    UNFIT,
    AssignChunk,
    DeleteJob,
    Exit,
    PrepareSweep,
    ReadCoverage,
    ReceiveJobs,
    RecordLost,
    ReplaceJob,
    RetireWorker,
    StartWorker,
    WithdrawChunks,
)
from compute_node.events import (
    ControlsRead,
    JobReplaced,
    LeaseExpiring,
    PreparationFailed,
    ReceiveEnded,
    StopAsked,
    SweepFacts,
    SweepPrepared,
    SweepsCompleted,
    Ticked,
    WorkerDied,
    WorkerReady,
)
from compute_node.rules import NodeRules
from compute_node.state import Mode, NodeState
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


def all_of(kind: type, commands: list[Any]) -> list[Any]:
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


def test_nodes_that_could_not_have_their_files_ask_again_within_a_second_and_not_in_step() -> None:
    moments = set()
    for number in range(5):
        state = of_two_sweeps(id_prefix=f"n-{number}")
        commands = state.handle(PreparationFailed(T, "away"), 0.0)
        now = 0.0
        while not all_of(PrepareSweep, commands):
            now += 0.001
            commands = state.handle(Ticked(), now)
        moments.add(round(now, 2))
    assert len(moments) > 1
    assert max(moments) <= 1.0


def test_workers_start_for_a_sweep_that_is_ready_though_the_preferred_one_is_not() -> None:
    state = of_two_sweeps()
    state.handle(ReceiveEnded((job_of(S, span(0, 1)),)), 1.0)
    started = all_of(StartWorker, state.handle(SweepPrepared(S, "", 5), 2.0))
    assert [each.deployment.sweep for each in started] == [S]


@pytest.mark.parametrize("prepared", [False, True])
def test_a_preferred_sweep_with_nothing_to_do_or_without_its_files_keeps_no_worker_of_another_idle(
    prepared: bool,
) -> None:
    state = of_two_sweeps()
    jobs = [job_of(S, span(0, 1))]
    if prepared:
        state.handle(SweepPrepared(T, "", 5), 0.5)
    else:
        jobs.append(job_of(T, span(0, 1)))
    state.handle(ReceiveEnded(tuple(jobs)), 1.0)
    commands = state.handle(SweepPrepared(S, "", 5), 2.0)
    if prepared:
        # Its workers wait: one of them makes room.
        (retired,) = all_of(RetireWorker, state.handle(WorkerReady(1), 3.0))
        commands = state.handle(WorkerDied(worker=retired.worker, exit="left"), 4.0)
    (start,) = all_of(StartWorker, commands)
    commands = state.handle(WorkerReady(start.worker), 5.0)
    (given,) = all_of(AssignChunk, commands)
    assert (given.chunk.sweep, given.chunk.runs) == (S, span(0, 1))


def test_several_resting_sweeps_are_looked_at_a_second_each() -> None:
    state = of_two_sweeps(rest_s=60.0, rest_after_s=600.0)
    for sweep in state.sweeps.values():
        sweep.complete = True
    state._receiving = False
    (receive,) = all_of(ReceiveJobs, state.handle(Ticked(), 100.0))
    assert receive == ReceiveJobs((f"{T}-jobs", f"{S}-jobs"), 1, 2.0)


def test_a_sweep_without_work_whose_pace_is_unknown_makes_no_node_careful() -> None:
    state = of_two_sweeps()
    state.sweeps[S].pace.measure(runs=1, busy_s=0.25)
    state._job_runs = 1.0
    assert state._jobs_wanted() == 8
    state.sweeps[T].total = 50
    state.handle(ReceiveEnded((job_of(T, span(0, 1)),)), 1.0)
    state._job_runs = 1.0
    assert state._jobs_wanted() == 3


def test_the_work_of_every_sweep_counts_when_more_is_asked_for() -> None:
    state = of_two_sweeps(workers=4)
    for sweep, mean_s in ((S, 1.0), (T, 0.5)):
        state.handle(SweepPrepared(sweep, "", 50), 1.0)
        state.sweeps[sweep].pace.measure(runs=1, busy_s=mean_s)
    state.handle(ReceiveEnded((job_of(S, span(0, 2)), job_of(T, span(0, 2)))), 2.0)
    # 4 s of work ahead, less 2 runs of 1 s and 2 of 0.5 s: one job of a run of 1 s is lacking.
    state._job_runs = 1.0
    assert state._jobs_wanted() == 1


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
    assert node.state.mode is Mode.RUNNING


def test_of_runs_nobody_knows_those_of_every_sweep_count() -> None:
    state = of_two_sweeps(workers=3)
    for sweep in (S, T):
        state.handle(SweepPrepared(sweep, "", 50), 1.0)
    state.handle(ReceiveEnded((job_of(S, span(0, 3)), job_of(T, span(0, 1)))), 2.0)
    state._job_runs = 1.0
    assert state._jobs_wanted() == 2


def test_of_long_runs_no_more_are_asked_for_than_workers_lack_one() -> None:
    node = Node(workers=3)
    node.state.sweeps[S].pace.measure(runs=1, busy_s=60.0)
    for worker in list(node.state.crew.workers):
        node.tell(WorkerDied(worker=worker, exit="signal 9"))
    node.receive(span(0, 1), span(1, 2))
    # Three workers start, and two runs wait for them.
    assert [each.most for each in node.all(ReceiveJobs)] == [1]


def test_a_node_whose_workers_are_in_a_run_is_not_idle_though_the_queue_is_empty() -> None:
    node = Node(workers=2, rules={"idle_exit_s": 10.0})
    node.receive(span(0, 1))
    assert node.all(AssignChunk)
    node.tell(ReceiveEnded())
    for _ in range(30):
        node.tell(Ticked(), after=1.0)
    assert node.state.mode is Mode.RUNNING


def unfit(state: NodeState, sweep: str, now: float) -> list[Any]:
    return state.handle(PreparationFailed(sweep, f"no module in {sweep}", fatal=True), now)


def test_a_node_that_can_run_none_of_its_sweeps_tells_why_of_each() -> None:
    state = of_two_sweeps()
    unfit(state, S, 2.0)
    assert state.mode is Mode.RUNNING
    unfit(state, T, 3.0)
    (ending,) = all_of(Exit, state.handle(ReceiveEnded(), 3.0))
    assert ending.status == UNFIT
    assert ending.message.splitlines() == [
        f"this node cannot run sweep {each}: no module in {each}" for each in (S, T)
    ]


@pytest.mark.parametrize(("now", "mode"), [(31.75, Mode.DRAINING), (32.0, Mode.RUNNING)])
def test_a_node_goes_on_while_it_may_try_one_of_its_sweeps_again(now: float, mode: Mode) -> None:
    state = of_two_sweeps(unfit_delay_s=30.0)
    unfit(state, S, 2.0)
    unfit(state, T, now)
    assert state.mode is mode
