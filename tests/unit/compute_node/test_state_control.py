"""What a node knows of what is wanted of a sweep before it begins a job."""

from __future__ import annotations

from typing import Any

import pytest

from compute_node.attempts import Attempt
from compute_node.commands import (
    AssignChunk,
    DeleteJob,
    ForgetBlocks,
    LetGo,
    PrepareSweep,
    ReadCoverage,
    ReceiveJobs,
    RecordLost,
    ReleaseJob,
    ReplaceJob,
    RetireWorker,
    SendDelivery,
)
from compute_node.events import (
    ChunkEnded,
    ControlsRead,
    DeliveryRefused,
    DrainAsked,
    JobReplaced,
    ReceiveEnded,
    StopAsked,
    SweepFacts,
    SweepPrepared,
    SweepState,
    Ticked,
    WorkerDied,
)
from gapless.declaration.messages import Job, decode_job, encode_job
from queueing.port import AnswerStatus, Lease, Message
from tests.unit.compute_node.a_node import Node, S, span


def job(number: int = 1, *, runs: int = 9, deaths: int = 0) -> Message:
    body = encode_job(Job(sweep=S, job=f"j{number}", runs=span(0, runs), deaths=deaths))
    return Message(Lease(f"{S}-jobs", str(number)), body, 1)


def facts(**known: Any) -> SweepFacts:
    return SweepFacts(sweep=S, **known)


def unread(*messages: Message) -> ReceiveEnded:
    return ReceiveEnded(messages, unread=frozenset({S}))


def test_a_job_is_done_with_the_code_and_the_limits_that_were_read_after_it_came() -> None:
    node = Node()
    newer = facts(version=1, code="new", attempts=7)
    node.tell(ReceiveEnded((job(),), sweeps=(newer,)))
    assert not node.all(AssignChunk)
    assert node.all(PrepareSweep) == [PrepareSweep(S, "new")]
    node.tell(SweepPrepared(S, "new", 10))
    (old,) = node.all(RetireWorker)
    node.tell(WorkerDied(worker=old.worker, exit="left"))
    node.ready()
    (chunk,) = node.all(AssignChunk)
    assert node.state.crew.workers[chunk.worker].deployment.code == "new"
    assert chunk.chunk.attempts == 7


def test_a_job_of_a_sweep_that_is_found_cancelled_is_let_go_undone() -> None:
    node = Node()
    node.tell(ReceiveEnded((job(),), sweeps=(facts(version=1, state=SweepState.CANCELLED),)))
    assert node.all(LetGo) == [LetGo(job().lease)]
    assert not node.all(DeleteJob)
    assert not node.all(AssignChunk)


def test_what_is_on_its_way_for_a_sweep_does_not_make_its_queues_anew_once_it_is_cancelled() -> (
    None
):
    node = Node()
    node.receive(span(0, 5))
    node.finish()
    node.tell(Ticked(), after=2.0)
    (sent,) = node.all(SendDelivery)
    node.tell(ControlsRead((facts(version=1, state=SweepState.CANCELLED),)))
    node.commands.clear()
    node.tell(DeliveryRefused(sent.delivery.delivery, "no such queue", away=True))
    for _ in range(5):
        node.tell(Ticked(), after=60.0)
    assert node.all(ForgetBlocks) == [ForgetBlocks(sent.blocks)]
    assert not node.all(SendDelivery)


def test_a_replace_that_was_done_after_the_sweep_was_cancelled_is_let_go() -> None:
    node = Node(rules={"decrement_after_s": 1.0, "decrement_every_s": 1.0})
    node.receive(span(0, 50))
    (chunk,) = node.all(AssignChunk)
    node.make(chunk, runs=span(0, 1))
    node.tell(Ticked(), after=2.0)
    node.acknowledge()
    (change,) = node.all(ReplaceJob)
    node.tell(ControlsRead((facts(version=1, state=SweepState.CANCELLED),)))
    held = Lease(f"{S}-jobs", "held")
    node.tell(JobReplaced(change.job, AnswerStatus.OK, (held,)))
    assert node.all(LetGo) == [LetGo(held)]
    assert not node.all(ReleaseJob)
    assert not node.all(DeleteJob)


def test_a_job_of_a_sweep_that_is_found_paused_is_given_back_undone() -> None:
    node = Node()
    node.tell(ReceiveEnded((job(),), sweeps=(facts(version=1, state=SweepState.PAUSED),)))
    (back,) = node.all(ReplaceJob)
    assert decode_job(back.replacements[0].body).runs == span(0, 9)
    assert not node.all(AssignChunk)


def test_an_older_control_record_that_comes_later_changes_nothing() -> None:
    node = Node()
    node.tell(ReceiveEnded((), sweeps=(facts(version=2, attempts=7),)))
    node.tell(ControlsRead((facts(version=1, code="old"),)))
    assert node.state.sweeps[S].facts == facts(version=2, attempts=7)


def test_a_sweep_that_was_gone_from_the_home_may_begin_its_versions_anew() -> None:
    node = Node()
    node.tell(ControlsRead((facts(version=5),)))
    node.tell(ControlsRead(()))
    assert node.state.sweeps[S].facts.state is SweepState.PAUSED
    node.tell(ControlsRead((facts(version=0, attempts=7),)))
    assert node.state.sweeps[S].facts == facts(version=0, attempts=7)


def test_a_job_whose_control_record_cannot_be_read_waits_until_it_can() -> None:
    node = Node()
    node.tell(unread(job()))
    node.tell(Ticked(), after=3600.0)
    assert not [*node.all(AssignChunk), *node.all(ReplaceJob), *node.all(DeleteJob)]
    node.tell(ControlsRead((facts(),), node.now))
    assert node.all(AssignChunk)


def test_a_waiting_job_is_not_begun_on_what_was_read_before_it_came() -> None:
    node = Node()
    read_at = node.now
    node.now += 1.0
    node.tell(unread(job()))
    node.tell(ControlsRead((facts(),), read_at))
    assert not node.all(AssignChunk)
    node.tell(ReceiveEnded((), sweeps=(facts(),)))
    assert node.all(AssignChunk)


def test_jobs_that_were_begun_before_go_on_while_another_one_waits() -> None:
    node = Node()
    node.receive(span(100, 109))
    node.tell(unread(job()))
    done = []
    while chunks := node.all(AssignChunk):
        node.commands.remove(chunks[0])
        done += list(chunks[0].chunk.runs)
        node.make(chunks[0])
    assert sorted(done) == list(range(100, 109))


def test_what_is_stored_of_a_waiting_job_that_others_had_is_looked_up_when_it_begins() -> None:
    node = Node()
    node.tell(unread(job(1, deaths=1)))
    assert not node.all(ReadCoverage)
    node.tell(ControlsRead((facts(),), node.now))
    assert node.all(ReadCoverage) == [ReadCoverage(S)]


def test_a_doomed_job_is_recorded_only_when_its_sweep_is_known_to_run() -> None:
    node = Node()
    node.tell(unread(job(runs=1, deaths=6)))
    assert not node.all(RecordLost)
    node.tell(ControlsRead((facts(),), node.now))
    (lost,) = node.all(RecordLost)
    assert lost.attempts[0].run == 0


@pytest.mark.parametrize("state", [SweepState.PAUSED, SweepState.CANCELLED])
def test_a_waiting_job_of_a_sweep_that_does_not_run_is_never_begun(state: SweepState) -> None:
    node = Node()
    node.tell(unread(job()))
    node.tell(ControlsRead((facts(version=1, state=state),), node.now))
    assert not node.all(AssignChunk)
    assert node.all(ReplaceJob if state is SweepState.PAUSED else LetGo)


def test_a_node_that_stops_gives_a_waiting_job_back_as_it_came() -> None:
    node = Node()
    node.tell(unread(job(deaths=1)))
    node.tell(StopAsked())
    (back,) = node.all(ReplaceJob)
    left = decode_job(back.replacements[0].body)
    assert (left.runs, left.deaths) == (span(0, 9), 1)


def test_waiting_jobs_count_as_work_so_that_no_node_hoards_them() -> None:
    node = Node()
    node.tell(ReceiveEnded())
    node.commands.clear()
    node.tell(unread(job(runs=500)))
    assert not node.all(ReceiveJobs)


@pytest.mark.parametrize("how", ["drained", "paused"])
def test_a_run_that_waits_for_another_attempt_goes_back_with_its_job(how: str) -> None:
    node = Node(workers=1, attempts=3, retry_on=("failed",))
    (lease,) = node.receive(span(0, 1))
    (chunk,) = node.all(AssignChunk)
    attempt = Attempt(run=0, number=1, outcome="failed", exit="E", started_s=0.0, duration_s=1.0)
    node.tell(ChunkEnded(chunk.worker, chunk.chunk.chunk, (attempt,)))
    node.commands.clear()
    if how == "drained":
        node.tell(DrainAsked())
    else:
        node.tell(ControlsRead((SweepFacts(sweep=S, version=1, state=SweepState.PAUSED),)))
    (replaced,) = node.all(ReplaceJob)
    assert replaced.lease == lease
    assert [decode_job(each.body).runs for each in replaced.replacements] == [span(0, 1)]
