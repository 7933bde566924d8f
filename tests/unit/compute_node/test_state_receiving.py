"""How much a node asks for, when, and what it does with messages it cannot use."""

from __future__ import annotations

import pytest

from compute_node.commands import (
    AssignChunk,
    LetGo,
    PrepareSweep,
    PutQuarantine,
    ReadCoverage,
    ReceiveJobs,
    RecordLost,
    ReplaceJob,
    StartWorker,
    Warn,
)
from compute_node.events import (
    ControlsRead,
    MessageSetAside,
    PreparationFailed,
    ReceiveEnded,
    SweepFacts,
    SweepPrepared,
    SweepState,
    Ticked,
)
from compute_node.jobs_in_hand import Intent
from gapless.declaration.messages import Job, encode_job
from gapless.declaration.runset import RunSet
from queueing.port import Lease, Message
from tests.unit.compute_node.a_node import Node, S, span

OTHER = "t-00000000"


def node_that_knows(mean_s: float | None, *, job_runs: int = 1, workers: int = 2) -> Node:
    """A node that received a job of so many runs before, done by now."""
    node = Node(workers=workers)
    if mean_s is not None:
        node.state.sweeps[S].pace.measure(runs=1, busy_s=mean_s)
        node.state._job_runs = float(job_runs)
    return node


def asked_for(node: Node) -> int:
    node.commands.clear()
    node.state._receiving = False
    node.tell(Ticked(), after=1.0)
    return sum(each.most for each in node.all(ReceiveJobs))


def message(runs: RunSet, *, sweep: str = S, queue: str = S, count: int = 1) -> Message:
    body = encode_job(Job(sweep=sweep, job="j", runs=runs))
    return Message(Lease(f"{queue}-jobs", "x"), body, count)


@pytest.mark.parametrize(
    ("mean_s", "job_runs", "workers", "most"),
    [
        (None, 0, 2, 1),  # nothing is known: one job
        (0.01, 1, 2, 10),  # 2 s of work ahead are 200 jobs of one run: a whole batch
        (0.01, 50, 2, 4),
        (0.01, 400, 2, 1),
        (0.5, 1, 2, 4),
        (0.5, 1, 3, 6),
    ],
)
def test_a_node_asks_for_as_much_as_keeps_its_workers_busy(
    mean_s: float | None, job_runs: int, workers: int, most: int
) -> None:
    assert asked_for(node_that_knows(mean_s, job_runs=job_runs, workers=workers)) == most


@pytest.mark.parametrize(
    ("mean_s", "job_runs", "workers", "most"),
    [(5.0, 1, 8, 1), (5.1, 1, 2, 2), (60.0, 1, 6, 6), (60.0, 3, 6, 2)],
)
def test_of_runs_of_more_than_five_seconds_a_node_asks_for_as_many_as_workers_are_idle(
    mean_s: float, job_runs: int, workers: int, most: int
) -> None:
    assert asked_for(node_that_knows(mean_s, job_runs=job_runs, workers=workers)) == most


def test_a_node_with_a_second_of_work_for_each_worker_asks_for_nothing() -> None:
    node = node_that_knows(0.5)
    node.receive(span(0, 4))
    (job,) = node.state.sweeps[S].lanes[0].jobs.values()
    job.todo = span(0, 3)
    assert node.state._jobs_wanted() == 1
    job.todo = span(0, 4)
    assert node.state._jobs_wanted() == 0


def test_a_node_holds_no_more_unfinished_jobs_than_it_may() -> None:
    node = Node(rules={"most_jobs": 3})
    node.state.sweeps[S].pace.measure(runs=1000, busy_s=0.001)
    node.receive(span(0, 1), span(1, 2))
    lane = node.state.sweeps[S].lanes[0]
    for job in lane.jobs.values():
        job.todo = job.remaining
    assert node.state._jobs_wanted() == 1
    node.receive(span(2, 3))
    for job in lane.jobs.values():
        job.todo = job.remaining
    assert node.state._jobs_wanted() == 0


@pytest.mark.parametrize("intent", [Intent.LOOK_UP, Intent.WAIT])
def test_jobs_that_are_not_begun_count_with_all_their_runs(intent: Intent) -> None:
    node = node_that_knows(0.5, job_runs=1)
    node.receive(span(0, 4))
    (job,) = node.state.sweeps[S].lanes[0].jobs.values()
    job.intent, job.todo = intent, RunSet()
    assert node.state._jobs_wanted() == 0
    job.remaining = span(0, 3)
    assert node.state._jobs_wanted() == 1


@pytest.mark.parametrize(
    ("total", "runs", "wanted"),
    [
        (10, span(8, 10), True),
        (10, span(8, 11), False),
        (10, span(8, 12), False),
        (None, span(0, 1), False),
    ],
)
def test_a_node_asks_for_nothing_while_it_cannot_tell_whether_it_can_do_what_it_has(
    total: int | None, runs: RunSet, wanted: bool
) -> None:
    node = Node(workers=4)
    node.state.sweeps[S].total = total
    node.commands.clear()
    node.receive(runs)
    assert bool(node.all(ReceiveJobs)) is wanted


def test_a_receive_that_failed_is_tried_again_later_each_time() -> None:
    node = Node()
    waits = []
    for _ in range(4):
        node.commands.clear()
        node.tell(ReceiveEnded(problem="away"))
        begun = node.now
        while not node.all(ReceiveJobs):
            node.tell(Ticked(), after=0.01)
        waits.append(node.now - begun)
    assert waits[0] > 0.1
    assert waits == sorted(waits)
    node.tell(ReceiveEnded())
    node.commands.clear()
    node.tell(Ticked(), after=0.01)
    node.tell(ReceiveEnded(problem="away"))
    assert node.state._receive_tries == 1


def test_a_job_on_the_queue_of_another_sweep_goes_to_quarantine() -> None:
    node = Node()
    found = message(span(0, 1), sweep=OTHER, queue=S)
    node.tell(ReceiveEnded((found,)))
    (put,) = node.all(PutQuarantine)
    assert (put.lease, put.sweep, put.body) == (found.lease, S, found.body)
    assert OTHER in put.reason
    assert not node.all(AssignChunk)


def test_a_message_of_a_cancelled_sweep_is_let_go_unread() -> None:
    node = Node()
    node.tell(ControlsRead((SweepFacts(sweep=S, version=1, state=SweepState.CANCELLED),)))
    found = Message(Lease(f"{S}-jobs", "x"), "no job", 1)
    node.tell(ReceiveEnded((found,)))
    assert node.all(LetGo) == [LetGo(found.lease)]
    assert not node.all(PutQuarantine)


def test_what_could_not_be_set_aside_is_told() -> None:
    node = Node()
    node.tell(MessageSetAside(Lease(f"{S}-jobs", "x")))
    assert not node.all(Warn)
    node.tell(MessageSetAside(Lease(f"{S}-jobs", "x"), "storage is away"))
    (warning,) = node.all(Warn)
    assert "storage is away" in warning.text


@pytest.mark.parametrize(
    ("deaths", "count", "runs", "intent"),
    [
        (0, 1, 9, Intent.WORK),
        (0, 2, 9, Intent.LOOK_UP),
        (2, 1, 9, Intent.LOOK_UP),
        (2, 2, 9, Intent.HALVE),
        (3, 1, 2, Intent.HALVE),
        (3, 1, 1, Intent.LOOK_UP),
        (5, 1, 1, Intent.LOOK_UP),
    ],
)
def test_what_a_job_is_taken_in_for_follows_from_how_often_its_nodes_were_gone(
    deaths: int, count: int, runs: int, intent: Intent
) -> None:
    node = Node()
    node.receive(span(0, runs), deaths=deaths, count=count)
    (job,) = node.state.sweeps[S].lanes[0].jobs.values()
    assert job.intent is intent
    assert job.job.deaths == deaths + count - 1
    assert node.all(ReadCoverage) == ([ReadCoverage(S)] if intent is Intent.LOOK_UP else [])
    assert bool(node.all(ReplaceJob)) is (intent is Intent.HALVE)
    assert not node.all(RecordLost)


def test_a_single_run_whose_nodes_were_gone_six_times_is_recorded_as_lost() -> None:
    node = Node(code="")
    node.receive(span(7, 8), deaths=4, count=3, epoch=2)
    (lost,) = node.all(RecordLost)
    assert (lost.sweep, lost.epoch, lost.code, lost.worker) == (S, 2, "", None)
    (attempt,) = lost.attempts
    assert (attempt.run, attempt.number, attempt.outcome) == (7, 6, "lost")
    assert attempt.exit == "its node was gone 6 times"
    assert (attempt.started_s, attempt.duration_s) == (0.0, 0.0)
    assert not node.all(AssignChunk)


def test_files_that_cannot_be_had_are_asked_for_again_later_each_time() -> None:
    node = Node()
    held = node.state.sweeps[S]
    held.total = None
    waits = []
    for tries in range(1, 9):
        node.commands.clear()
        node.tell(PreparationFailed(S, "away"))
        assert held.prepare_tries == tries
        begun = node.now
        held.total = None
        node.state.crew.workers.clear()
        while not node.all(PrepareSweep):
            node.tell(Ticked(), after=0.05)
        assert held.preparing
        waits.append(node.now - begun)
    assert waits[0] >= 0.5
    assert waits[1] > waits[0]
    assert max(waits) <= 30.1
    assert not node.all(Warn)
    node.tell(SweepPrepared(S, "", 10))
    assert (held.prepare_tries, held.preparing) == (0, False)


def test_files_that_can_never_be_had_make_the_node_unfit() -> None:
    node = Node()
    node.tell(PreparationFailed(S, "the bundle is damaged", fatal=True))
    (warning,) = node.all(Warn)
    assert "the bundle is damaged" in warning.text
    assert not node.state.sweeps[S].open(node.now)


def test_the_files_of_new_code_are_fetched_before_any_worker_starts_for_it() -> None:
    node = Node(code="")
    node.receive(span(0, 1))
    node.commands.clear()
    node.tell(ControlsRead((SweepFacts(sweep=S, version=1, code="c1"),)))
    assert node.all(PrepareSweep) == [PrepareSweep(S, "c1")]
    assert not node.all(StartWorker)
    node.tell(Ticked(), after=1.0)
    assert len(node.all(PrepareSweep)) == 1
