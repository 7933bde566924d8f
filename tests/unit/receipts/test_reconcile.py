"""Where every run is, and what is sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import pytest

from gapless.declaration.control import Asked, ControlState
from gapless.declaration.runset import RunSet
from gapless.errors import UserMistake
from gapless.results.outcome import Outcome
from gapless.storage import layout
from queueing.errors import QueueUnavailable
from queueing.memory import MemoryQueues
from queueing.port import Answer, AnswerStatus, Entry
from receipts.errors import LedgerLacksSweep
from receipts.ledger import State, open_ledger
from receipts.reconcile import ExitStatus
from tests.unit.receipts.world import Died, Fate, World, declare

_T = TypeVar("_T")


class QueuesNobodyCanDrop(MemoryQueues):
    """As while the service is away just when a queue is to be dropped."""

    def drop(self, queue: str) -> None:
        raise QueueUnavailable(f"{queue} is away")


def test_a_sweep_just_submitted_is_in_flight(world: World) -> None:
    sweep = world.submit(declare(100)).sweep_id
    report = world.reconcile(sweep)
    assert report.exit_status is ExitStatus.IN_FLIGHT
    assert (report.total, report.submitted, report.stored_runs) == (100, 100, 0)
    assert report.in_flight == RunSet.span(0, 100)
    assert not report.gaps
    assert report.sweep_id == sweep
    assert (report.gaps, report.unsent, report.pending) == (RunSet(), RunSet(), RunSet())
    assert (report.cancelled, report.waiting) == (RunSet(), RunSet())
    assert report.jobs_queued == 100
    assert report.exact
    assert report.look_again_in_s is None


def test_a_sweep_of_which_all_is_stored_is_complete(world: World) -> None:
    sweep = world.submit(declare(100), job_size=50).sweep_id
    world.take_jobs(sweep, 2)
    world.keep(sweep, {(0, Outcome.OK): RunSet.span(0, 90)})
    world.keep(sweep, {(0, Outcome.FAILED): RunSet.span(90, 100)})
    report = world.reconcile(sweep)
    assert report.complete
    assert report.exit_status is ExitStatus.COMPLETE
    assert report.stored[Outcome.OK] == 90
    assert report.stored[Outcome.FAILED] == 10


def test_runs_in_deliveries_and_in_leased_jobs_are_no_gaps(world: World) -> None:
    sweep = world.submit(declare(100), job_size=25).sweep_id
    world.deliver(sweep, world.take_jobs(sweep, 1))
    world.queues.receive([layout.jobs_queue(sweep)], most=1, wait_s=0.0, lease_s=900.0)
    report = world.reconcile(sweep)
    assert report.in_flight == RunSet.span(0, 100)
    assert report.deliveries_queued == 1
    assert not report.gaps


def test_a_run_that_is_nowhere_is_a_gap(world: World) -> None:
    sweep = world.submit(declare(100), job_size=25).sweep_id
    lost = world.take_jobs(sweep, 1)
    report = world.reconcile(sweep)
    assert report.gaps == lost
    assert report.exit_status is ExitStatus.GAPS
    assert world.on_queue(sweep) == {0: RunSet.span(0, 100) - lost}


def test_a_gap_is_sent_again_once_with_a_receipt(world: World) -> None:
    sweep = world.submit(declare(100), job_size=25).sweep_id
    lost = world.take_jobs(sweep, 1)
    report = world.reconcile(sweep, resubmit=True)
    assert report.gaps == lost
    assert report.resubmitted == 25
    assert report.exit_status is ExitStatus.IN_FLIGHT
    assert world.on_queue(sweep) == {0: RunSet.span(0, 100)}
    again = world.reconcile(sweep, resubmit=True)
    assert not again.gaps
    assert again.jobs_sent == 0


def test_everything_a_deleted_queue_held_is_sent_again(world: World) -> None:
    sweep = world.submit(declare(100), job_size=25).sweep_id
    done = world.take_jobs(sweep, 1)
    world.keep(sweep, {(0, Outcome.OK): done})
    world.deliver(sweep, world.take_jobs(sweep, 1))
    world.lose_queues(sweep)
    report = world.reconcile(sweep, resubmit=True)
    assert report.gaps == RunSet.span(0, 100) - done
    assert world.on_queue(sweep) == {0: RunSet.span(0, 100) - done}


def test_many_gaps_are_sent_again_in_about_a_hundred_jobs(world: World) -> None:
    sweep = world.submit(declare(250), job_size=20).sweep_id
    world.lose_queues(sweep)
    report = world.reconcile(sweep, resubmit=True)
    assert (report.resubmitted, report.jobs_sent) == (250, 84)


def test_a_gap_may_be_lost_and_sent_again_without_end(world: World) -> None:
    sweep = world.submit(declare(10), job_size=10).sweep_id
    for _ in range(8):
        world.lose_queues(sweep)
        assert world.reconcile(sweep, resubmit=True).resubmitted == 10
    assert world.on_queue(sweep) == {0: RunSet.span(0, 10)}


def test_runs_a_dead_submit_never_sent_are_found_and_sent(world: World) -> None:
    frozen = declare(20)
    for moment in range(100):
        with pytest.raises(Died):
            world.submit(frozen, **world.ports_until(Fate(moment)))
        if world.store.exists(frozen.id):
            break
    report = world.reconcile(frozen.id)
    assert report.unsent == RunSet.span(0, 20)
    assert report.exit_status is ExitStatus.GAPS
    assert world.reconcile(frozen.id, resubmit=True).exit_status is ExitStatus.IN_FLIGHT
    assert world.on_queue(frozen.id) == {0: RunSet.span(0, 20)}
    assert world.submit(frozen).jobs_sent == 0


class Refusing(MemoryQueues):
    """Takes nothing while `closed`."""

    closed = True

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        if self.closed:
            return [Answer(AnswerStatus.FAILED, "full")] * len(entries)
        return super().send(queue, entries)


def test_pending_jobs_are_sent_by_reconcile_without_being_asked(world: World) -> None:
    queues = Refusing(clock=world.clock)
    frozen = declare(20)
    assert world.submit(frozen, queues=queues, job_size=10).jobs_pending == 2
    report = world.reconcile(frozen.id, queues=queues)
    assert (report.jobs_pending, report.refusals) == (2, ("full",))
    assert report.pending == RunSet.span(0, 20)
    assert report.exit_status is ExitStatus.GAPS
    queues.closed = False
    report = world.reconcile(frozen.id, queues=queues)
    assert (report.jobs_sent, report.jobs_pending) == (2, 0)
    assert report.in_flight == RunSet.span(0, 20)
    assert report.exit_status is ExitStatus.IN_FLIGHT


def test_a_pending_gap_is_not_given_a_second_receipt(world: World) -> None:
    queues = Refusing(clock=world.clock)
    frozen = declare(20)
    world.submit(frozen, queues=queues, job_size=10)
    world.reconcile(frozen.id, queues=queues, resubmit=True)
    assert world.ledger.count(frozen.id, State.PENDING) == 2


def test_damaged_and_foreign_messages_count_for_nothing_and_are_told(world: World) -> None:
    sweep = world.submit(declare(10), job_size=10).sweep_id
    other = world.submit(declare(10, name="other"), job_size=10).sweep_id
    body = world.queues.heads([layout.jobs_queue(other)])[layout.jobs_queue(other)][0]
    world.lose_queues(sweep)
    newer = body.replace("gapless.job/1", "gapless.job/7")
    bodies = ["no job", body, newer]
    world.queues.send(layout.jobs_queue(sweep), [Entry(each) for each in bodies])
    report = world.reconcile(sweep)
    assert report.gaps == RunSet.span(0, 10)
    assert len(report.damaged_messages) == 2
    assert other in report.damaged_messages[1]
    assert report.newer_messages == 1


def test_messages_in_quarantine_are_counted(world: World) -> None:
    sweep = world.submit(declare(10)).sweep_id
    world.blobs.put(layout.quarantine(sweep, "m1"), b"?")
    assert world.reconcile(sweep).quarantined == 1


def test_a_shard_that_is_gone_makes_gaps_of_its_runs(world: World) -> None:
    sweep = world.submit(declare(10), job_size=10).sweep_id
    runs = world.take_jobs(sweep, 1)
    world.keep(sweep, {(0, Outcome.OK): runs})
    world.blobs.delete(layout.shard(sweep, "shard-0000"))
    report = world.reconcile(sweep)
    assert report.gaps == runs
    assert "shard-0000 is gone" in report.storage_problems[0]


def test_a_cancelled_sweep_is_told_and_nothing_is_sent(world: World) -> None:
    sweep = world.submit(declare(100), job_size=25).sweep_id
    world.keep(sweep, {(0, Outcome.OK): world.take_jobs(sweep, 1)})
    world.store.set_control(sweep, state=ControlState.CANCELLED)
    world.lose_queues(sweep)
    report = world.reconcile(sweep, resubmit=True)
    assert report.state is ControlState.CANCELLED
    assert report.cancelled == RunSet.span(25, 100)
    assert (report.gaps, report.unsent, report.pending) == (RunSet(), RunSet(), RunSet())
    assert report.exit_status is ExitStatus.GAPS
    assert world.on_queue(sweep) == {}


def test_what_came_to_the_queues_of_a_cancelled_sweep_after_all_is_dropped(world: World) -> None:
    sweep = world.submit(declare(100), job_size=25).sweep_id
    world.store.set_control(sweep, state=ControlState.CANCELLED)
    # As after a program that slept through the cancel and used a queue that was dropped by then.
    assert world.jobs(sweep) == 4
    world.reconcile(sweep)
    assert world.jobs(sweep) == 0


def test_a_cancelled_sweep_is_told_though_its_queues_cannot_be_dropped(world: World) -> None:
    sweep = world.submit(declare(100)).sweep_id
    world.store.set_control(sweep, state=ControlState.CANCELLED)
    queues = QueuesNobodyCanDrop(clock=world.clock)
    assert len(world.reconcile(sweep, queues=queues).cancelled) == 100


def test_what_still_lies_on_the_queues_of_a_cancelled_sweep_is_cancelled_and_not_in_flight(
    world: World,
) -> None:
    queues = QueuesNobodyCanDrop(clock=world.clock)
    sweep = world.submit(declare(100)).sweep_id
    (body, *_) = world.queues.heads([layout.jobs_queue(sweep)])[layout.jobs_queue(sweep)]
    queues.send(layout.jobs_queue(sweep), [Entry(body)])
    world.store.set_control(sweep, state=ControlState.CANCELLED)
    report = world.reconcile(sweep, queues=queues)
    assert report.jobs_queued == 1
    assert (report.cancelled, report.in_flight) == (RunSet.span(0, 100), RunSet())


def test_a_cancelled_sweep_that_is_resumed_gets_its_runs_back(world: World) -> None:
    sweep = world.submit(declare(100), job_size=25).sweep_id
    world.store.set_control(sweep, state=ControlState.CANCELLED)
    world.lose_queues(sweep)
    world.store.set_control(sweep, state=ControlState.RUNNING)
    assert world.reconcile(sweep, resubmit=True).resubmitted == 100


def test_a_sweep_the_home_does_not_hold_is_told(world: World) -> None:
    with pytest.raises(UserMistake, match="no sweep 'walk-00000000'"):
        world.reconcile("walk-00000000")


def test_a_lost_ledger_is_noticed(world: World) -> None:
    sweep = world.submit(declare(10)).sweep_id
    empty = open_ledger("sqlite://")
    with pytest.raises(LedgerLacksSweep, match=r"sweep reconcile .* --rebuild"):
        world.reconcile(sweep, ledger=empty)
    empty.close()


def test_an_unreachable_queue_is_told_and_the_receipts_wait(world: World) -> None:
    class Away(MemoryQueues):
        def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
            raise QueueUnavailable("no route")

    sweep = world.submit(declare(10), job_size=10).sweep_id
    with pytest.raises(QueueUnavailable, match="no route; 10 jobs"):
        world.reconcile(sweep, resubmit=True, queues=Away(clock=world.clock))
    assert world.ledger.count(sweep, State.PENDING) == 10
    report = world.reconcile(sweep)
    assert report.jobs_sent == 10


def test_a_reconciler_killed_anywhere_is_finished_by_the_same_command() -> None:
    for moment in range(300):
        here = World(open_ledger("sqlite://"))
        sweep = here.submit(declare(20), job_size=5).sweep_id
        here.keep(sweep, {(0, Outcome.OK): here.take_jobs(sweep, 1)})
        here.store.ask(sweep, Asked(epoch=1, runs=RunSet.of(0, 1), at_s=1.0))
        here.take_jobs(sweep, 2)
        died = False
        try:
            here.reconcile(sweep, resubmit=True, **here.ports_until(Fate(moment)))
        except Died:
            died = True
        report = here.reconcile(sweep, resubmit=True)
        assert report.exit_status is ExitStatus.IN_FLIGHT
        assert here.on_queue(sweep) == {0: RunSet.span(5, 20), 1: RunSet.of(0, 1)}
        assert here.ledger.count(sweep, State.PENDING) == 0
        here.ledger.close()
        if not died:
            break
    assert 10 < moment < 299


def test_a_run_that_moves_while_reconcile_looks_is_no_gap(world: World) -> None:
    """A delivery may be stored and deleted after the queues were looked at."""
    sweep = world.submit(declare(10), job_size=10).sweep_id
    world.deliver(sweep, world.take_jobs(sweep, 1))

    class Moving(MemoryQueues):
        def read_heads(
            self, queues: Sequence[str], read: Callable[[str, Iterator[str]], _T]
        ) -> dict[str, _T]:
            found = world.queues.read_heads(queues, read)
            world.keep(sweep, {(0, Outcome.OK): RunSet.span(0, 10)})
            world.lose_queues(sweep)
            return found

    report = world.reconcile(sweep, queues=Moving(clock=world.clock))
    assert report.complete
    assert not report.gaps
    assert not report.in_flight
