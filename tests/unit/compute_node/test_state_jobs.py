"""What a node decides about jobs near the end of a lease, and about runs that are stored."""

from __future__ import annotations

import dataclasses

import pytest

from compute_node.commands import (
    AssignChunk,
    DeleteJob,
    Exit,
    ReadCoverage,
    ReceiveJobs,
    ReleaseJob,
    ReplaceJob,
    SendDelivery,
    SendPieces,
    WithdrawChunks,
)
from compute_node.events import (
    ChunkEnded,
    ControlsRead,
    CoverageRead,
    JobReplaced,
    LeaseExpiring,
    LeaseLost,
    PartDied,
    PiecesSent,
    ReceiveEnded,
    SweepFacts,
    SweepState,
    Ticked,
)
from compute_node.rules import Remainders
from gapless.declaration.messages import decode_job
from gapless.declaration.runset import RunSet
from queueing.port import AnswerStatus, Lease
from tests.unit.compute_node.a_node import Node, S, span


def test_a_job_near_its_last_renewal_is_replaced_by_its_remainder_and_worked_on() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 9), deaths=1)
    node.tell(CoverageRead(S, node.now))
    (chunk,) = node.all(AssignChunk)
    node.make(chunk)
    node.tell(Ticked(), after=2.0)
    node.acknowledge()
    node.tell(LeaseExpiring(lease))
    (replace,) = node.all(ReplaceJob)
    (left,) = replace.replacements
    assert (replace.lease, left.lease_s > 0) == (lease, True)
    job = decode_job(left.body)
    assert (job.runs, job.deaths) == (span(1, 9), 1)
    fresh = Lease(lease.queue, "fresh")
    node.tell(JobReplaced(replace.job, AnswerStatus.OK, (fresh,)))
    node.commands.clear()
    node.tell(Ticked(), after=1.0)
    assert not node.all(ReplaceJob)
    (held,) = node.state.sweeps[S].lanes[0].jobs.values()
    assert (held.lease, held.remaining) == (fresh, span(1, 9))


def test_a_hand_over_that_fails_is_tried_again() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 9))
    node.tell(LeaseExpiring(lease))
    (replace,) = node.all(ReplaceJob)
    node.commands.clear()
    node.tell(JobReplaced(replace.job, AnswerStatus.FAILED, reason="away"))
    node.tell(Ticked(), after=1.0)
    (again,) = node.all(ReplaceJob)
    assert again.replacements == replace.replacements


def test_a_job_handed_over_without_a_lease_is_let_go_and_its_worker_stops_after_its_run() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 40))
    node.make(node.all(AssignChunk)[0], busy_s=0.001)
    node.commands.clear()
    node.tell(LeaseExpiring(lease))
    (replace,) = node.all(ReplaceJob)
    assert decode_job(replace.replacements[0].body).runs == span(0, 40)
    node.tell(JobReplaced(replace.job, AnswerStatus.OK, (None,)))
    assert node.all(WithdrawChunks)
    lane = node.state.sweeps[S].lanes[0]
    assert not lane.jobs
    for key, chunk in list(lane.chunks.items()):
        node.tell(ChunkEnded(chunk.worker, key))
    assert not node.all(AssignChunk)
    node.tell(Ticked(), after=2.0)
    assert span(0, 1) in [sent.delivery.runs for sent in node.all(SendDelivery)]


def node_of_a_queue_without_leases_for_remainders() -> Node:
    node = Node()
    node.state.rules = dataclasses.replace(node.state.rules, remainders=Remainders.ANYBODYS)
    return node


def test_what_is_cut_off_is_sent_beside_a_job_whose_queue_gives_leases_by_receives_only() -> None:
    node = node_of_a_queue_without_leases_for_remainders()
    (lease,) = node.receive(span(0, 1000))
    node.make(node.all(AssignChunk)[0], busy_s=4.0)
    (sent,) = node.all(SendPieces)
    assert not node.all(ReplaceJob)
    assert sent.queue == lease.queue
    cut = RunSet.union(decode_job(each.body).runs for each in sent.pieces)
    node.tell(PiecesSent(sent.job, AnswerStatus.OK))
    (job,) = node.state.sweeps[S].lanes[0].jobs.values()
    assert job.lease == lease
    assert job.remaining == span(0, 1000) - cut
    assert job.todo.isdisjoint(cut)


def test_pieces_that_were_not_sent_are_done_here() -> None:
    node = node_of_a_queue_without_leases_for_remainders()
    node.receive(span(0, 1000))
    node.make(node.all(AssignChunk)[0], busy_s=4.0)
    (sent,) = node.all(SendPieces)
    node.tell(PiecesSent(sent.job, AnswerStatus.FAILED, "away"))
    lane = node.state.sweeps[S].lanes[0]
    (job,) = lane.jobs.values()
    assert job.remaining | lane.underway() == span(0, 1000)
    assert not job.handed_over


@pytest.mark.parametrize("remainders", Remainders)
@pytest.mark.parametrize("answer", [AnswerStatus.OK, AnswerStatus.FAILED])
def test_what_is_cut_off_a_job_is_done_for_another_job_that_names_it_too(
    remainders: Remainders, answer: AnswerStatus
) -> None:
    node, _, twin, command = node_that_cuts_up_one_of_two_jobs(remainders)
    if isinstance(command, SendPieces):
        node.tell(PiecesSent(command.job, answer))
    else:
        fresh = Lease(f"{S}-jobs", "fresh") if answer is AnswerStatus.OK else None
        node.tell(JobReplaced(command.job, answer, (fresh,)))
    assert nothing_is_forgotten(node, twin)


@pytest.mark.parametrize("remainders", Remainders)
def test_what_is_being_cut_off_a_job_that_is_let_go_is_done_for_another_that_names_it(
    remainders: Remainders,
) -> None:
    node, lease, twin, _ = node_that_cuts_up_one_of_two_jobs(remainders)
    node.tell(LeaseLost(lease))
    assert nothing_is_forgotten(node, twin)


def node_that_cuts_up_one_of_two_jobs(
    remainders: Remainders,
) -> tuple[Node, Lease, Lease, SendPieces | ReplaceJob]:
    """Give a node with two jobs of the same runs, both leases, and what it has just commanded."""
    node = Node()
    node.state.rules = dataclasses.replace(node.state.rules, remainders=remainders)
    lease, twin = node.receive(span(0, 1000), span(0, 1000))
    node.make(node.all(AssignChunk)[0], busy_s=4.0)
    (command,) = [*node.all(SendPieces), *node.all(ReplaceJob)]
    assert command.job == next(iter(node.state.sweeps[S].lanes[0].jobs))
    return node, lease, twin, command


def nothing_is_forgotten(node: Node, lease: Lease) -> bool:
    """Tell whether all that a job lacks is to be done here, or on its way to other jobs."""
    lane = node.state.sweeps[S].lanes[0]
    (job,) = [each for each in lane.jobs.values() if each.lease == lease]
    return job.remaining.issubset(lane.taken() | job.handed_over)


def test_a_job_is_not_decremented_while_it_is_worked_on_if_anybody_could_take_the_rest() -> None:
    node = node_of_a_queue_without_leases_for_remainders()
    node.receive(span(0, 30))
    node.make(node.all(AssignChunk)[0], busy_s=4.0)
    node.tell(Ticked(), after=61.0)
    node.acknowledge()
    assert not node.all(ReplaceJob)


def test_a_paused_job_near_its_last_renewal_goes_back_while_its_run_goes_on() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 3))
    node.tell(ControlsRead((SweepFacts(sweep=S, state=SweepState.PAUSED),)))
    assert not node.all(ReplaceJob)
    node.tell(LeaseExpiring(lease))
    (replace,) = node.all(ReplaceJob)
    (left,) = replace.replacements
    assert (decode_job(left.body).runs, left.lease_s) == (span(0, 3), 0.0)


def test_a_remainder_leased_after_its_job_was_let_go_is_given_back() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 9))
    node.tell(LeaseExpiring(lease))
    (replace,) = node.all(ReplaceJob)
    node.tell(LeaseLost(lease))
    fresh = Lease(lease.queue, "fresh")
    node.tell(JobReplaced(replace.job, AnswerStatus.OK, (fresh,)))
    assert ReleaseJob(fresh, 0.0) in node.commands


def test_a_job_that_was_taken_before_waits_for_a_look_and_skips_what_is_stored() -> None:
    node = Node()
    node.receive(span(0, 9), count=2)
    assert node.all(ReadCoverage) == [ReadCoverage(S)]
    assert not node.all(AssignChunk)
    node.tell(CoverageRead(S, node.now, ((0, span(0, 8)), (1, span(8, 9)))))
    (chunk,) = node.all(AssignChunk)
    assert chunk.chunk.runs == span(8, 9)


def test_a_job_whose_runs_are_all_stored_is_deleted_undone() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 9), count=2)
    node.tell(CoverageRead(S, node.now, ((0, span(0, 20)),)))
    assert [command.lease for command in node.all(DeleteJob)] == [lease]
    assert not node.all(AssignChunk)


def test_a_look_that_began_before_the_job_came_drops_none_of_it() -> None:
    node = Node()
    looked_at = node.now
    node.now += 1.0
    node.receive(span(0, 9), count=2)
    node.tell(CoverageRead(S, looked_at, ((0, span(0, 9)),)))
    assert not node.all(DeleteJob)
    assert not node.all(AssignChunk)
    node.tell(CoverageRead(S, node.now))
    assert node.all(AssignChunk)


def test_a_look_that_takes_long_is_not_waited_for_and_counts_when_it_comes() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 9), count=2)
    looked_at = node.now
    node.tell(Ticked(), after=node.state.rules.look_up_s)
    assert node.all(AssignChunk)
    node.tell(CoverageRead(S, looked_at, ((0, span(0, 9)),)))
    assert [command.lease for command in node.all(DeleteJob)] == [lease]


def test_a_fresh_job_is_not_looked_up() -> None:
    node = Node()
    node.receive(span(0, 9))
    assert not node.all(ReadCoverage)
    assert node.all(AssignChunk)


def test_a_node_whose_receiver_died_does_not_wait_for_what_it_was_asked() -> None:
    node = Node()
    node.tell(ReceiveEnded())
    assert node.all(ReceiveJobs)
    node.tell(PartDied("receiver", "RuntimeError"))
    (ended,) = node.all(Exit)
    assert ended.status == 1
