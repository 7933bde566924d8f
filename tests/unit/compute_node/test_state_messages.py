"""What a node makes of the messages it received: told, begun in time, recorded, let go."""

from __future__ import annotations

import pytest

from compute_node.commands import (
    AssignChunk,
    DeleteJob,
    LetGo,
    PutQuarantine,
    ReceiveJobs,
    RecordLost,
    ReleaseJob,
    ReplaceJob,
    SendDelivery,
    StoreClaim,
    Warn,
    WithdrawChunks,
)
from compute_node.events import (
    ControlsRead,
    DeliveryRefused,
    DrainAsked,
    JobDeleted,
    JobReplaced,
    LeaseExpiring,
    LeaseLost,
    ReceiveEnded,
    SweepFacts,
    SweepsCompleted,
    SweepState,
    Ticked,
)
from gapless.declaration.messages import Job, decode_job, encode_job
from gapless.declaration.runset import RunSet
from queueing.port import AnswerStatus, Lease, Message
from tests.unit.compute_node.a_node import Node, S, span


def job(runs: RunSet, token: str = "x") -> Message:
    body = encode_job(Job(sweep=S, job=f"j{token}", runs=runs))
    return Message(Lease(f"{S}-jobs", token), body, 1)


def given(node: Node) -> list[int]:
    """Give the runs that workers were given since the last time."""
    chunks = node.all(AssignChunk)
    node.commands.clear()
    return [run for chunk in chunks for run in chunk.chunk.runs]


def test_a_person_is_told_which_format_a_node_does_not_know() -> None:
    node = Node()
    newer = encode_job(Job(sweep=S, job="j", runs=span(0, 1))).replace("job/1", "job/9")
    node.tell(ReceiveEnded((Message(Lease(f"{S}-jobs", "x"), newer, 1),)))
    assert node.all(ReleaseJob)
    (warning,) = node.all(Warn)
    assert "format 9" in warning.text


def test_what_goes_to_quarantine_goes_there_with_the_reason() -> None:
    node = Node()
    node.tell(ReceiveEnded((Message(Lease(f"{S}-jobs", "x"), "no job", 1),)))
    (put,) = node.all(PutQuarantine)
    assert "not a job" in put.reason
    (warning,) = node.all(Warn)
    assert put.reason in warning.text


def test_runs_that_are_being_recorded_as_lost_are_not_done_again_by_another_job() -> None:
    node = Node(workers=4)
    node.receive(span(1, 2), span(2, 3), deaths=6)
    assert len(node.all(RecordLost)) == 2
    node.receive(span(0, 4))
    node.finish()
    (sent,) = node.all(SendDelivery)
    assert sent.delivery.runs == RunSet.from_numbers([0, 3])


def test_a_drain_waits_until_the_runs_that_are_being_recorded_as_lost_are_recorded() -> None:
    node = Node()
    node.receive(span(1, 2), span(2, 3), deaths=6)
    node.tell(DrainAsked())
    assert not node.all(ReplaceJob)


def test_a_job_that_waits_behind_one_that_is_done_is_begun_once_its_sweep_is_known() -> None:
    node = Node(workers=2)
    node.receive(span(0, 1))
    assert given(node) == [0]
    node.tell(ReceiveEnded((job(span(5, 6)),), unread=frozenset({S})))
    assert given(node) == []
    node.tell(ControlsRead((SweepFacts(sweep=S),)))
    assert given(node) == [5]


def test_a_job_that_was_taken_before_is_looked_up_for_seconds_whatever_the_clock_shows() -> None:
    node = Node()
    node.tell(Ticked(), after=1000.0)
    node.receive(span(0, 1), deaths=1)
    node.tell(Ticked(), after=4.9)
    assert given(node) == []
    node.tell(Ticked(), after=0.2)
    assert given(node) == [0]


def test_how_many_jobs_are_asked_for_follows_from_the_size_of_the_last_one() -> None:
    node = Node(workers=2)
    node.receive(span(0, 2))
    node.finish(busy_s=0.1)
    node.acknowledge()
    node.commands.clear()
    node.tell(ReceiveEnded())
    # 2 s of work ahead are 20 runs of 0.1 s: 10 jobs of 2 runs.
    assert [each.most for each in node.all(ReceiveJobs)] == [10]
    node.receive(span(10, 15))
    node.finish(busy_s=0.1)
    node.commands.clear()
    node.tell(ReceiveEnded())
    assert [each.most for each in node.all(ReceiveJobs)] == [4]


def test_a_job_whose_change_is_on_its_way_holds_up_no_other_job() -> None:
    node = Node()
    for run in (0, 1):
        node.commands.clear()
        (lease,) = node.receive(span(run, run + 1))
        node.finish()
        node.acknowledge()
        # The delete of the first is not answered.
        assert [each.lease for each in node.all(DeleteJob)] == [lease]


def test_a_delete_that_failed_is_soon_tried_again() -> None:
    node = Node()
    node.receive(span(0, 1))
    node.finish()
    node.acknowledge()
    (delete,) = node.all(DeleteJob)
    node.commands.clear()
    node.tell(JobDeleted(delete.job, AnswerStatus.FAILED, "away"))
    assert not node.all(DeleteJob)
    node.tell(Ticked(), after=0.25)
    assert node.all(DeleteJob) == [delete]


def test_a_remainder_that_could_be_put_only_the_second_time_is_worked_on() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 9))
    (first,) = node.all(AssignChunk)
    node.tell(LeaseExpiring(lease))
    (replace,) = node.all(ReplaceJob)
    node.commands.clear()
    node.tell(JobReplaced(replace.job, AnswerStatus.FAILED, (None,)))
    node.tell(Ticked(), after=0.25)
    assert node.all(ReplaceJob) == [replace]
    node.tell(JobReplaced(replace.job, AnswerStatus.OK, (Lease(lease.queue, "fresh"),)))
    node.make(first)
    done: list[int] = []
    while chunks := node.all(AssignChunk):
        node.commands.remove(chunks[0])
        done += chunks[0].chunk.runs
        node.make(chunks[0])
    assert done == list(range(1, 9))


def test_answers_about_a_job_that_was_let_go_meanwhile_change_nothing() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 2))
    node.tell(LeaseExpiring(lease))
    (replace,) = node.all(ReplaceJob)
    node.tell(LeaseLost(lease))
    node.commands.clear()
    node.tell(JobReplaced(replace.job, AnswerStatus.FAILED, (None,)))
    node.tell(JobDeleted(replace.job, AnswerStatus.OK))
    assert not node.commands


def test_a_remainder_leased_for_a_job_let_go_of_a_cancelled_sweep_is_let_go_too() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 9))
    node.tell(LeaseExpiring(lease))
    (replace,) = node.all(ReplaceJob)
    node.tell(LeaseLost(lease))
    node.tell(ControlsRead((SweepFacts(sweep=S, version=1, state=SweepState.CANCELLED),)))
    node.commands.clear()
    fresh = Lease(lease.queue, "fresh")
    node.tell(JobReplaced(replace.job, AnswerStatus.OK, (fresh,)))
    # Given back, it would make the queue of the cancelled sweep anew.
    assert node.commands == [LetGo(fresh)]


def test_workers_end_what_is_stored_already() -> None:
    node = Node()
    node.receive(span(0, 2))
    (chunk,) = node.all(AssignChunk)
    node.tell(SweepsCompleted(((S, 0, 10_000),), node.now))
    assert node.all(WithdrawChunks) == [WithdrawChunks(chunk.worker)]


@pytest.mark.parametrize(("total", "stored"), [(5, True), (4, False)])
def test_a_job_is_stored_when_its_last_run_is_among_those_a_complete_sweep_has(
    total: int, stored: bool
) -> None:
    node = Node()
    node.receive(span(0, 5))
    node.tell(SweepsCompleted(((S, 0, total),), node.now))
    assert bool(node.all(DeleteJob)) is stored


def test_an_outage_however_long_makes_no_claim_of_a_delivery() -> None:
    node = Node()
    node.receive(span(0, 1))
    node.finish()
    for _ in range(5):
        (sent,) = node.all(SendDelivery)
        node.commands.clear()
        node.tell(DeliveryRefused(sent.delivery.delivery, "away", away=True))
        node.tell(Ticked(), after=60.0)
    assert not node.all(StoreClaim)
    assert node.all(SendDelivery) == [sent]


def test_what_is_left_of_a_job_is_given_back_when_the_node_drains() -> None:
    node = Node()
    node.receive(span(0, 1), span(5, 6))
    node.tell(DrainAsked())
    (back,) = node.all(ReplaceJob)
    assert [decode_job(each.body).runs for each in back.replacements] == [span(5, 6)]


@pytest.mark.parametrize(("run_s", "chunks"), [(1.0, 2), (1.1, 1)])
def test_a_run_waits_behind_another_one_if_it_takes_a_second_at_most(
    run_s: float, chunks: int
) -> None:
    node = Node()
    node.receive(span(0, 1))
    node.finish(busy_s=run_s)
    node.commands.clear()
    node.receive(span(5, 9))
    assert len(node.all(AssignChunk)) == chunks
