"""What a node decides, one behaviour a test, on a clock of numbers."""

from __future__ import annotations

import pytest

from compute_node.attempts import Attempt
from compute_node.commands import (
    UNFIT,
    AssignChunk,
    DeleteJob,
    Exit,
    ForgetBlocks,
    KillWorker,
    LetGo,
    PrepareSweep,
    PutQuarantine,
    ReceiveJobs,
    RecordLost,
    ReleaseJob,
    ReplaceJob,
    SendDelivery,
    StartWorker,
    Warn,
    WithdrawChunks,
)
from compute_node.events import (
    BlockMade,
    ChunkEnded,
    ControlsRead,
    DeliveryRefused,
    DrainAsked,
    JobReplaced,
    LeaseLost,
    Progress,
    ReceiveEnded,
    StopAsked,
    SweepFacts,
    SweepPrepared,
    SweepsCompleted,
    SweepState,
    Ticked,
    WorkerDied,
    WorkerReady,
    WorkerUnfit,
)
from compute_node.rules import NodeRules
from gapless.declaration.messages import Job, decode_job, encode_job
from gapless.declaration.runset import RunSet
from queueing.port import AnswerStatus, Lease, Message
from tests.unit.compute_node.a_node import Node, S, span


def test_a_job_stays_on_the_queue_until_its_delivery_is_acknowledged() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 3))
    node.finish()
    (sent,) = node.all(SendDelivery)
    assert sent.delivery.runs == span(0, 3)
    assert not node.all(DeleteJob)
    while node.all(SendDelivery):
        node.acknowledge()
    assert [command.lease for command in node.all(DeleteJob)] == [lease]


def test_a_job_stays_on_the_queue_when_the_delivery_is_refused() -> None:
    node = Node()
    node.receive(span(0, 1))
    node.finish()
    (sent,) = node.all(SendDelivery)
    node.tell(DeliveryRefused(sent.delivery.delivery, "away", away=True))
    assert not node.all(DeleteJob)
    assert not node.all(ForgetBlocks)
    assert sent in node.tell(Ticked(), after=1.0)


def test_a_run_of_two_jobs_is_done_once_and_leaves_both() -> None:
    node = Node()
    leases = node.receive(span(0, 2), span(1, 3))
    done: list[int] = []
    while chunks := node.all(AssignChunk):
        node.commands.remove(chunks[0])
        done += chunks[0].chunk.runs
        node.make(chunks[0])
    assert sorted(done) == [0, 1, 2]
    node.tell(Ticked(), after=2.0)
    while node.all(SendDelivery):
        node.acknowledge()
    assert {command.lease for command in node.all(DeleteJob)} == set(leases)


def test_a_dead_worker_charges_its_current_run_only() -> None:
    node = Node()
    node.receive(span(0, 40))
    for _ in range(2):
        chunk = node.all(AssignChunk)[0]
        node.commands.remove(chunk)
        node.make(chunk, busy_s=0.001)
    chunk = node.all(AssignChunk)[0]
    run = chunk.chunk.runs.least + 1
    node.commands.clear()
    node.tell(WorkerDied(worker=chunk.worker, exit="killed by SIGSEGV", run=run, attempt=1))
    (started,) = node.all(StartWorker)
    node.tell(WorkerReady(started.worker))
    retried = [each.chunk for each in node.all(AssignChunk) if each.chunk.earlier]
    assert [(each.runs, each.earlier[0].exit) for each in retried] == [
        (RunSet.of(run), "killed by SIGSEGV")
    ]
    assert not node.all(RecordLost)


def test_the_last_attempt_makes_a_lost_result_that_leaves_the_job_when_delivered() -> None:
    node = Node(attempts=1)
    (lease,) = node.receive(span(0, 1))
    (chunk,) = node.all(AssignChunk)
    node.tell(WorkerDied(worker=chunk.worker, exit="exit status 7", run=0, attempt=1))
    (lost,) = node.all(RecordLost)
    assert [(each.run, each.outcome, each.exit) for each in lost.attempts] == [
        (0, "lost", "exit status 7")
    ]
    node.tell(BlockMade(sweep=S, epoch=0, block=9, runs=span(0, 1), digest="d", size_bytes=50))
    node.acknowledge()
    assert [command.lease for command in node.all(DeleteJob)] == [lease]


def test_a_run_over_its_limit_is_killed_once_and_charged_as_a_timeout() -> None:
    node = Node(attempts=1, time_s=5.0)
    node.receive(span(0, 1))
    (chunk,) = node.all(AssignChunk)
    node.tell(Ticked((Progress(chunk.worker, 0, 1, 4.9),)))
    assert not node.all(KillWorker)
    node.tell(Ticked((Progress(chunk.worker, 0, 1, 5.1),)))
    node.tell(Ticked((Progress(chunk.worker, 0, 1, 5.2),)))
    assert len(node.all(KillWorker)) == 1
    node.tell(WorkerDied(worker=chunk.worker, exit="killed by SIGKILL", run=0, attempt=1))
    (lost,) = node.all(RecordLost)
    assert lost.attempts[0].outcome == "timeout"


def test_a_kill_that_hits_the_run_after_the_late_one_charges_nobody() -> None:
    node = Node(attempts=1, time_s=5.0)
    node.receive(span(0, 2))
    (chunk,) = node.all(AssignChunk)
    node.tell(Ticked((Progress(chunk.worker, 0, 1, 5.1),)))
    node.tell(WorkerDied(worker=chunk.worker, exit="killed by SIGKILL", run=1, attempt=1))
    assert not node.all(RecordLost)


def test_a_failed_attempt_worth_another_waits_a_little() -> None:
    node = Node(retry_on=("failed",))
    node.receive(span(0, 1))
    (chunk,) = node.all(AssignChunk)
    node.commands.clear()
    failed = Attempt(
        run=0, number=1, outcome="failed", exit="OSError", started_s=0.0, duration_s=0.0
    )
    node.tell(ChunkEnded(chunk.worker, chunk.chunk.chunk, (failed,)))
    assert not node.all(AssignChunk)
    node.tell(Ticked(), after=1.1)
    (again,) = node.all(AssignChunk)
    assert again.chunk.earlier == (failed,)


def test_what_waits_behind_a_long_run_goes_to_another_worker() -> None:
    node = Node(workers=2)
    node.receive(span(0, 2000))
    for _ in range(8):
        for chunk in node.all(AssignChunk):
            node.commands.remove(chunk)
            node.make(chunk, busy_s=0.01 * len(chunk.chunk.runs))
    chunk = next(each for each in node.all(AssignChunk) if len(each.chunk.runs) > 3)
    node.commands.clear()
    current = chunk.chunk.runs.least
    node.tell(Ticked((Progress(chunk.worker, current, 1, 3.0),)))
    assert WithdrawChunks(chunk.worker) in node.commands
    lane = node.state.sweeps[S].lanes[0]
    assert lane.chunks[chunk.chunk.chunk].left == RunSet.of(current)


@pytest.mark.parametrize(("deaths", "count"), [(3, 1), (0, 4), (2, 2)])
def test_a_job_that_was_taken_three_times_is_halved(deaths: int, count: int) -> None:
    node = Node()
    (lease,) = node.receive(span(0, 9), deaths=deaths, count=count)
    assert not node.all(AssignChunk)
    (replace,) = node.all(ReplaceJob)
    halves = [decode_job(each.body) for each in replace.replacements]
    assert replace.lease == lease
    assert [half.runs for half in halves] == [span(0, 5), span(5, 9)]
    assert [half.deaths for half in halves] == [2, 2]
    assert halves[0].job != halves[1].job


def test_a_single_run_that_was_taken_six_times_is_recorded_as_lost() -> None:
    node = Node()
    node.receive(span(4, 5), deaths=5, count=2)
    (lost,) = node.all(RecordLost)
    assert lost.attempts[0].run == 4
    assert not node.all(AssignChunk)


def test_a_job_of_a_newer_format_is_given_back_with_a_long_delay() -> None:
    node = Node()
    body = encode_job(Job(sweep=S, job="j", runs=span(0, 1))).replace("job/1", "job/2")
    lease = Lease(f"{S}-jobs", "1")
    node.tell(ReceiveEnded((Message(lease, body, 1),)))
    assert ReleaseJob(lease, 900.0) in node.commands
    assert not node.all(DeleteJob)


def test_what_is_no_job_goes_to_quarantine() -> None:
    node = Node()
    node.tell(ReceiveEnded((Message(Lease(f"{S}-jobs", "1"), "rubbish", 1),)))
    (kept,) = node.all(PutQuarantine)
    assert (kept.sweep, kept.body) == (S, "rubbish")


def test_a_job_with_runs_the_sweep_does_not_have_is_looked_up_again_and_then_set_aside() -> None:
    node = Node(total=10)
    node.receive(span(5, 15))
    assert node.all(PrepareSweep)
    node.tell(SweepPrepared(S, "", 10))
    assert node.all(PutQuarantine)


def test_runs_added_to_a_sweep_are_done_after_its_files_were_fetched_again() -> None:
    node = Node(total=10)
    node.receive(span(10, 12))
    assert not node.all(AssignChunk)
    node.tell(SweepPrepared(S, "", 12))
    node.tell(WorkerDied(worker=1, exit="exit status 0"))
    (started,) = node.all(StartWorker)
    assert started.deployment.total == 12
    node.tell(WorkerReady(started.worker))
    assert node.all(AssignChunk)


def test_a_lost_lease_is_neither_deleted_nor_replaced_but_its_results_are_delivered() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 1))
    node.tell(LeaseLost(lease))
    node.finish()
    assert node.all(SendDelivery)
    node.acknowledge()
    assert not node.all(DeleteJob)
    assert not node.all(ReplaceJob)


def test_a_long_job_is_decremented_by_what_was_acknowledged_and_kept() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 30))
    (chunk,) = node.all(AssignChunk)
    node.make(chunk, busy_s=4.0)
    node.tell(Ticked(), after=61.0)
    node.acknowledge()
    (replace,) = node.all(ReplaceJob)
    (left,) = replace.replacements
    assert decode_job(left.body).runs == span(1, 30)
    assert left.lease_s > 0
    assert replace.lease == lease


def test_a_job_that_would_take_too_long_is_cut_up_and_none_of_it_is_lost() -> None:
    node = Node()
    node.receive(span(0, 1000))
    (chunk,) = node.all(AssignChunk)
    node.make(chunk, busy_s=4.0)
    (replace,) = node.all(ReplaceJob)
    pieces = [decode_job(each.body) for each in replace.replacements]
    assert RunSet.union(piece.runs for piece in pieces) == span(0, 1000)
    assert sum(len(piece.runs) for piece in pieces) == 1000
    assert 1 < len(pieces) <= 10
    assert [each.lease_s > 0 for each in replace.replacements] == [True] + [False] * (
        len(pieces) - 1
    )
    node.tell(JobReplaced(replace.job, AnswerStatus.FAILED, reason="away"))
    (job,) = node.state.sweeps[S].lanes[0].jobs.values()
    assert job.remaining == span(0, 1000)


def test_no_work_is_assigned_or_received_while_the_outbox_is_full() -> None:
    node = Node()
    node.tell(Ticked(room=False))
    node.receive(span(0, 5))
    assert not node.all(AssignChunk)
    assert not node.all(ReceiveJobs)
    node.tell(Ticked(room=True))
    assert node.all(AssignChunk)


def test_a_sweep_this_node_cannot_run_is_given_back_later_each_time() -> None:
    node = Node()
    node.state.rules = NodeRules(node="n", id_prefix="n-1", workers=1)
    delays = []
    for _ in range(3):
        node.receive(span(0, 5), deaths=1)
        (worker,) = node.state.crew.workers
        node.tell(WorkerUnfit(worker, "no module"))
        (replace,) = node.all(ReplaceJob)
        (whole,) = replace.replacements
        assert decode_job(whole.body).deaths == 1
        delays.append(whole.delay_s)
        node.tell(JobReplaced(replace.job, AnswerStatus.OK, (None,)))
        node.commands.clear()
        node.tell(Ticked(), after=delays[-1] + 1)
    assert delays == sorted(delays)
    assert delays[2] == 4 * delays[0]


def test_a_node_of_one_sweep_that_it_cannot_run_ends_with_a_status_of_its_own() -> None:
    node = Node()
    node.receive(span(0, 5))
    node.tell(WorkerUnfit(1, "no module named x"))
    (replace,) = node.all(ReplaceJob)
    node.tell(JobReplaced(replace.job, AnswerStatus.OK, (None,)))
    (ended,) = node.all(Exit)
    assert ended.status == UNFIT
    assert "no module named x" in ended.message
    assert node.all(Warn)


def test_workers_that_end_between_runs_again_and_again_make_the_node_unfit() -> None:
    node = Node()
    node.receive(span(0, 5))
    for _ in range(5):
        worker = max(node.state.crew.workers)
        node.tell(WorkerDied(worker=worker, exit="killed by SIGKILL"))
        if node.state.crew.workers:
            node.tell(WorkerReady(max(node.state.crew.workers)))
    assert any("between runs" in warning.text for warning in node.all(Warn))


def test_a_drain_waits_for_the_run_that_goes_on_and_gives_the_rest_back() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 5))
    (chunk,) = node.all(AssignChunk)
    node.tell(DrainAsked())
    assert WithdrawChunks(chunk.worker) in node.commands
    assert not node.all(ReplaceJob)
    node.make(chunk)
    assert not node.all(ReplaceJob)
    node.acknowledge()
    (replace,) = node.all(ReplaceJob)
    assert decode_job(replace.replacements[0].body).runs == span(1, 5)
    assert replace.lease == lease
    node.tell(JobReplaced(replace.job, AnswerStatus.OK, (None,)))
    assert node.all(Exit) == [Exit(0)]


def test_a_drain_kills_what_outlasts_the_grace_and_charges_nobody() -> None:
    node = Node()
    node.receive(span(0, 5))
    (chunk,) = node.all(AssignChunk)
    node.tell(DrainAsked())
    node.tell(Ticked(), after=node.state.rules.grace_s)
    assert node.all(KillWorker)
    node.tell(WorkerDied(worker=chunk.worker, exit="killed by SIGKILL", run=0, attempt=1))
    (replace,) = node.all(ReplaceJob)
    assert decode_job(replace.replacements[0].body).runs == span(0, 5)
    assert not node.all(RecordLost)


def test_a_second_signal_gives_back_at_once_what_is_not_acknowledged() -> None:
    node = Node()
    node.receive(span(0, 5))
    (chunk,) = node.all(AssignChunk)
    node.make(chunk)
    node.tell(DrainAsked())
    node.tell(StopAsked())
    (replace,) = node.all(ReplaceJob)
    assert decode_job(replace.replacements[0].body).runs == span(0, 5)
    assert node.all(KillWorker)
    node.tell(Ticked(), after=2.0)
    assert node.all(Exit)


def test_a_drained_node_ends_after_its_grace_and_farewell_whoever_does_not_answer() -> None:
    node = Node(rules={"grace_s": 5.0})
    node.receive(span(0, 5))
    node.finish()
    node.tell(Ticked(), after=2.0)
    assert node.all(SendDelivery)
    node.tell(DrainAsked())
    # Neither the delivery nor the receive is ever answered.
    node.tell(Ticked(), after=34.5)
    assert not node.all(Exit)
    node.tell(Ticked(), after=0.5)
    (ended,) = node.all(Exit)
    assert ended.status == 1
    assert "away to the end" in ended.message


def test_two_nodes_that_met_one_outage_do_not_come_back_in_step() -> None:
    came_back = set()
    for number in range(2):
        node = Node(rules={"id_prefix": f"n-{number}"})
        for _ in range(8):
            node.tell(ReceiveEnded(problem="away"))
            node.commands.clear()
            while not node.all(ReceiveJobs):
                node.tell(Ticked(), after=0.05)
        came_back.add(round(node.now, 2))
    assert len(came_back) == 2


def test_a_cancelled_sweep_takes_its_jobs_with_it_and_a_paused_one_does_not() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 5))
    (chunk,) = node.all(AssignChunk)
    node.tell(ControlsRead((SweepFacts(sweep=S, state=SweepState.PAUSED),)))
    assert not node.all(DeleteJob)
    assert WithdrawChunks(chunk.worker) in node.commands
    node.tell(ControlsRead((SweepFacts(sweep=S, state=SweepState.CANCELLED),)))
    assert node.all(LetGo) == [LetGo(lease)]
    assert not node.all(DeleteJob)
    assert node.all(KillWorker)


def test_the_sweep_of_higher_priority_is_received_and_done_first() -> None:
    node = Node()
    urgent = SweepFacts(sweep="u-00000000", priority=5)
    node.tell(ReceiveEnded())
    node.commands.clear()
    node.tell(ControlsRead((SweepFacts(sweep=S), urgent)))
    node.tell(ReceiveEnded())
    assert node.all(ReceiveJobs)[-1].queues == ("u-00000000-jobs", f"{S}-jobs")


def test_runs_of_different_epochs_are_never_in_one_chunk() -> None:
    node = Node(workers=4)
    node.receive(span(0, 2))
    node.receive(span(0, 2), epoch=1)
    chunks = [each.chunk for each in node.all(AssignChunk)]
    assert {chunk.epoch for chunk in chunks} == {0, 1}


def test_a_node_does_not_hoard_long_runs() -> None:
    node = Node(workers=2)
    node.receive(span(0, 1), span(1, 2), span(2, 3), span(3, 4))
    for chunk in node.all(AssignChunk):
        node.commands.remove(chunk)
        node.make(chunk, busy_s=100.0)
    node.commands.clear()
    node.tell(Ticked(), after=1.0)
    assert not node.all(ReceiveJobs)


def test_a_job_in_hand_whose_runs_are_all_stored_is_deleted() -> None:
    node = Node()
    (lease,) = node.receive(span(0, 5))
    node.tell(SweepsCompleted(((S, 0, 10_000),), node.now))
    assert [command.lease for command in node.all(DeleteJob)] == [lease]


@pytest.mark.parametrize(("epoch", "total"), [(1, 10_000), (0, 3)])
def test_a_job_asked_for_after_the_completeness_was_read_stays(epoch: int, total: int) -> None:
    node = Node()
    node.receive(span(0, 5), epoch=epoch)
    node.tell(SweepsCompleted(((S, 0, total),), node.now))
    assert node.all(AssignChunk)
    assert not node.all(DeleteJob)


def test_a_job_that_comes_after_a_sweep_was_complete_is_done_a_shard_may_be_lost() -> None:
    node = Node()
    node.tell(SweepsCompleted(((S, 0, 10_000),), node.now))
    node.receive(span(0, 5))
    assert node.all(AssignChunk)
    assert not node.all(DeleteJob)


def test_what_was_complete_before_a_job_came_hides_none_of_it_a_shard_may_be_lost() -> None:
    node = Node()
    looked_at = node.now
    node.now += 1.0
    node.receive(span(0, 5))
    node.tell(SweepsCompleted(((S, 0, 10_000),), looked_at))
    assert node.all(AssignChunk)
    assert not node.all(DeleteJob)
