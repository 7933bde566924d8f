"""What is a gap when queues can only be asked for counts."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.results.outcome import Outcome
from gapless.storage import layout
from queueing.errors import QueueRefused, QueueUnavailable
from queueing.memory import MemoryQueues
from queueing.port import Answer, Entry, QueueFacts
from receipts.ledger import State, open_ledger
from receipts.looks import read_looks
from receipts.rebuild import rebuild
from receipts.reconcile import ExitStatus, ReconcileReport
from tests.unit.receipts.world import CountedQueues, Died, Fate, World, declare

SETTLE_S = 120.0


@dataclass
class Remote:
    """A sweep of 100 runs in jobs of 25, just submitted, on queues that can only be counted."""

    world: World
    queues: CountedQueues
    sweep: str

    @property
    def jobs(self) -> str:
        return layout.jobs_queue(self.sweep)

    def reconcile(self, **options: object) -> ReconcileReport:
        return self.world.reconcile(self.sweep, **{"queues": self.queues, **options})

    def later(self, seconds: float = SETTLE_S) -> None:
        self.world.now_s += seconds

    def prove(self, **options: object) -> ReconcileReport:
        """Look twice, long after the last send; give the second report."""
        self.later()
        self.reconcile()
        self.later()
        return self.reconcile(**options)


def remote_in(world: World) -> Remote:
    queues = world.counted()
    sweep = world.submit(declare(100), job_size=25, queues=queues).sweep_id
    return Remote(world, queues, sweep)


@pytest.fixture
def here() -> Iterator[Remote]:
    world = World(open_ledger("sqlite://"), tick_s=0.001)
    yield remote_in(world)
    world.ledger.close()


ALL = RunSet.span(0, 100)


def test_what_lies_on_the_queues_is_in_flight_and_the_report_says_it_is_a_guess(
    here: Remote,
) -> None:
    here.world.deliver(here.sweep, here.world.take_jobs(here.sweep, 1))
    for _ in range(3):
        here.later()
        report = here.reconcile(resubmit=True)
        assert not report.exact
        assert report.in_flight == ALL
        assert (report.jobs_queued, report.deliveries_queued) == (3, 1)
        assert (report.jobs_sent, report.look_again_in_s) == (0, None)
        assert report.exit_status is ExitStatus.IN_FLIGHT


def test_a_leased_or_delayed_message_keeps_runs_in_flight(here: Remote) -> None:
    here.world.take_jobs(here.sweep, 3)
    (message,) = here.world.queues.receive([here.jobs], most=1, wait_s=0.0, lease_s=40_000.0)
    assert not here.prove().gaps
    here.world.queues.release([message.lease], delay_s=900.0)
    assert not here.prove().gaps


def test_runs_of_a_purged_queue_are_gaps_after_the_second_look(here: Remote) -> None:
    here.world.purge(here.jobs)
    here.later()
    first = here.reconcile(resubmit=True)
    assert not first.gaps
    assert first.in_flight == ALL
    assert first.exit_status is ExitStatus.IN_FLIGHT
    assert first.look_again_in_s == pytest.approx(SETTLE_S)
    here.later(SETTLE_S - 5)
    between = here.reconcile(resubmit=True)
    assert not between.gaps
    assert between.look_again_in_s == pytest.approx(5.0, abs=0.1)
    here.later(5)
    second = here.reconcile()
    assert second.gaps == ALL
    assert not second.in_flight
    assert second.exit_status is ExitStatus.GAPS
    sent = here.reconcile(resubmit=True)
    assert (sent.gaps, sent.resubmitted) == (ALL, 100)
    assert sent.exit_status is ExitStatus.IN_FLIGHT
    assert here.world.on_queue(here.sweep) == {0: ALL}


def test_a_look_just_after_a_send_is_too_early_to_count(here: Remote) -> None:
    here.world.purge(here.jobs)
    report = here.reconcile()
    assert report.look_again_in_s == pytest.approx(SETTLE_S, abs=0.1)
    assert not read_looks(here.world.ledger, here.sweep)
    here.later(SETTLE_S - 1)
    assert here.reconcile().look_again_in_s == pytest.approx(1.0, abs=0.1)
    here.later(1)
    here.reconcile()
    here.later()
    assert here.reconcile().gaps == ALL


def test_a_message_seen_at_a_look_between_makes_the_first_look_void(here: Remote) -> None:
    here.world.purge(here.jobs)
    here.later()
    here.reconcile()
    here.world.queues.send(here.jobs, [Entry("a remainder")])
    here.later(60)
    here.reconcile()
    here.world.take_anything(here.jobs)
    here.later(60)
    assert not here.reconcile().gaps
    here.later()
    assert here.reconcile().gaps == ALL


def test_jobs_sent_after_the_first_look_make_it_void(here: Remote) -> None:
    lost = here.world.purge(here.jobs)
    here.world.keep(here.sweep, {(0, Outcome.OK): RunSet.span(0, 10)})
    here.later()
    here.reconcile()
    here.world.resubmit(here.sweep, RunSet.of(0), queues=here.queues)
    assert not read_looks(here.world.ledger, here.sweep)
    here.world.purge(here.jobs)
    here.later()
    assert not here.reconcile().gaps
    here.later()
    assert here.reconcile().gaps == (lost - RunSet.span(1, 10))


def test_a_run_that_was_stored_between_the_looks_is_no_gap(here: Remote) -> None:
    here.world.purge(here.jobs)
    here.later()
    here.reconcile()
    here.world.keep(here.sweep, {(0, Outcome.OK): RunSet.span(0, 10)})
    here.later()
    assert here.reconcile().gaps == RunSet.span(10, 100)


def test_a_run_lost_from_storage_after_the_first_look_needs_a_first_look_itself(
    here: Remote,
) -> None:
    here.world.purge(here.jobs)
    here.world.keep(here.sweep, {(0, Outcome.OK): RunSet.span(0, 10)})
    here.later()
    here.reconcile()
    here.world.blobs.delete(layout.shard(here.sweep, "shard-0000"))
    here.later()
    assert here.reconcile().gaps == RunSet.span(10, 100)
    here.later()
    assert here.reconcile().gaps == ALL


def test_runs_of_a_queue_made_anew_are_gaps_at_once(here: Remote) -> None:
    here.later(5)
    here.world.queues.drop(here.jobs)
    report = here.reconcile(resubmit=True)
    assert report.gaps == ALL
    assert report.resubmitted == 100
    assert here.reconcile(resubmit=True).jobs_sent == 0


def test_a_queue_made_anew_within_the_same_second_is_found_by_two_looks(here: Remote) -> None:
    here.world.now_s = float(int(here.world.now_s)) + 0.1
    created_at_s = here.queues.facts(here.jobs).created_at_s
    here.world.queues.drop(here.jobs)
    here.world.queues.create(here.jobs)
    same = here.queues.facts(here.jobs).created_at_s == created_at_s
    assert same
    assert not here.reconcile().gaps
    assert here.prove().gaps == ALL


def test_a_queue_made_anew_between_the_looks_makes_the_first_void(here: Remote) -> None:
    here.world.purge(here.jobs)
    here.later()
    here.reconcile()
    here.world.queues.drop(layout.results_queue(here.sweep))
    here.later()
    assert not here.reconcile().gaps
    here.later()
    assert here.reconcile().gaps == ALL


def test_deliveries_that_a_deleted_result_queue_held_are_found_by_two_looks(here: Remote) -> None:
    done = here.world.take_jobs(here.sweep, 4)
    here.world.deliver(here.sweep, done)
    here.world.queues.drop(layout.results_queue(here.sweep))
    assert not here.reconcile().gaps
    assert here.prove(resubmit=True).resubmitted == 100


def test_jobs_older_than_the_queue_keeps_messages_are_gaps(here: Remote) -> None:
    retention_s = 86_400.0
    here.later(retention_s - 60)
    assert not here.reconcile(retention_s=retention_s).gaps
    here.later(61)
    report = here.reconcile(retention_s=retention_s, resubmit=True)
    assert report.gaps == ALL
    assert report.resubmitted == 100


def test_what_a_node_has_in_hand_is_no_gap_until_it_is_not_heard_any_more(here: Remote) -> None:
    held = RunSet.span(0, 25)
    here.later(5)
    here.world.queues.drop(here.jobs)
    here.world.report_node("n1", {here.sweep: {0: held}, "other-01234567": {0: ALL}})
    report = here.reconcile(resubmit=True)
    assert report.gaps == ALL - held
    assert report.in_flight == held
    assert report.silent_s == {"n1": pytest.approx(0.0, abs=0.1)}
    here.later(300)
    assert here.reconcile().silent_s == {"n1": pytest.approx(300.0, abs=0.1)}
    here.later(301)
    report = here.reconcile()
    assert (report.gaps, report.silent_s) == (held, {})


def test_a_node_in_the_middle_of_a_purged_job_is_waited_for_at_either_look(here: Remote) -> None:
    here.world.purge(here.jobs)
    here.later()
    here.world.report_node("n1", {here.sweep: {0: RunSet.span(0, 25)}})
    here.reconcile()
    here.world.report_node("n1", {})
    here.later()
    assert here.reconcile().gaps == RunSet.span(25, 100)
    here.later()
    assert here.reconcile().gaps == ALL


def test_a_damaged_report_of_a_node_says_nothing(here: Remote) -> None:
    here.world.blobs.put(layout.node("n1"), b"?")
    here.world.queues.drop(here.jobs)
    here.later(1)
    assert here.reconcile().gaps == ALL


def test_receipts_made_anew_need_two_looks_even_when_the_queue_is_another_one(
    here: Remote,
) -> None:
    empty = open_ledger("sqlite://")
    here.later(5)
    world = here.world
    rebuild(ledger=empty, store=world.store, clock=world.clock, new_id=world.new_id)
    here.world.queues.drop(here.jobs)
    assert not here.reconcile(ledger=empty).gaps
    here.later()
    assert here.reconcile(ledger=empty).gaps == ALL
    empty.close()


def test_force_believes_one_look(here: Remote) -> None:
    here.world.purge(here.jobs)
    here.world.report_node("n1", {here.sweep: {0: RunSet.span(0, 25)}})
    here.later()
    assert here.reconcile(resubmit=True, force=True).resubmitted == 100


def test_forced_twice_at_once_nothing_goes_out_twice_even_where_counts_lie(here: Remote) -> None:
    class Lying(CountedQueues):
        def facts(self, queue: str) -> QueueFacts:
            return QueueFacts(super().facts(queue).created_at_s, visible=0, leased=0, delayed=0)

    here.later()
    lying = Lying(here.world.queues, here.world.clock)
    assert here.reconcile(queues=lying, resubmit=True, force=True).resubmitted == 100
    again = here.reconcile(queues=lying, resubmit=True, force=True)
    assert again.in_flight == ALL
    assert again.jobs_sent == 0


def test_force_sends_what_only_receipts_made_anew_vouch_for(here: Remote) -> None:
    empty = open_ledger("sqlite://")
    world = here.world
    rebuild(ledger=empty, store=world.store, clock=world.clock, new_id=world.new_id)
    assert here.reconcile(ledger=empty, resubmit=True, force=True).resubmitted == 100
    empty.close()


def test_a_gap_that_was_sent_often_waits_unless_forced(here: Remote) -> None:
    for _ in range(5):
        here.world.purge(here.jobs)
        here.later(3600)
        assert here.prove(resubmit=True).resubmitted == 100
    here.world.purge(here.jobs)
    held = here.prove(resubmit=True)
    assert held.waiting == held.gaps == ALL
    assert held.resubmitted == 0
    assert held.exit_status is ExitStatus.GAPS
    assert here.reconcile(resubmit=True, force=True).resubmitted == 100


def test_a_gap_that_was_sent_often_is_sent_again_the_next_day(here: Remote) -> None:
    for _ in range(8):
        here.world.purge(here.jobs)
        here.later(86_400)
        assert here.prove(resubmit=True).resubmitted == 100


def test_a_cancelled_sweep_has_no_queues_made_for_it(here: Remote) -> None:
    here.world.store.set_control(here.sweep, state=ControlState.CANCELLED)
    here.world.lose_queues(here.sweep)
    asked = here.queues.facts_asked
    report = here.reconcile(resubmit=True)
    assert report.cancelled == ALL
    assert (report.exact, report.look_again_in_s) == (False, None)
    assert (report.jobs_queued, report.deliveries_queued, report.newer_messages) == (0, 0, 0)
    assert (report.damaged_messages, report.silent_s) == ((), {})
    assert report.exit_status is ExitStatus.GAPS
    assert here.queues.facts_asked == asked


def test_a_cancelled_sweep_that_is_resumed_gets_its_runs_back_at_once(here: Remote) -> None:
    here.world.store.set_control(here.sweep, state=ControlState.CANCELLED)
    here.world.lose_queues(here.sweep)
    here.world.store.set_control(here.sweep, state=ControlState.RUNNING)
    here.later(5)
    assert here.reconcile(resubmit=True).resubmitted == 100


def test_a_complete_sweep_remembers_no_look(here: Remote) -> None:
    here.world.purge(here.jobs)
    here.later()
    here.reconcile()
    assert read_looks(here.world.ledger, here.sweep)
    here.world.keep(here.sweep, {(0, Outcome.OK): ALL})
    report = here.reconcile()
    assert report.exit_status is ExitStatus.COMPLETE
    assert report.look_again_in_s is None
    assert not read_looks(here.world.ledger, here.sweep)


def test_a_clock_that_was_set_back_makes_a_look_void(here: Remote) -> None:
    here.world.purge(here.jobs)
    here.later(1_000_000)
    here.reconcile()
    here.later(-900_000)
    assert not here.reconcile().gaps
    here.later()
    assert here.reconcile().gaps == ALL


def test_gaps_of_a_raised_epoch_are_found_too(here: Remote) -> None:
    here.world.take_jobs(here.sweep, 4)
    here.world.keep(here.sweep, {(0, Outcome.FAILED): ALL})
    here.world.resubmit(here.sweep, RunSet.span(0, 30), queues=here.queues)
    here.world.purge(here.jobs)
    assert here.prove(resubmit=True).gaps == RunSet.span(0, 30)
    assert here.world.on_queue(here.sweep) == {1: RunSet.span(0, 30)}


def test_a_submit_asks_for_counts_once(here: Remote) -> None:
    asked = here.queues.facts_asked
    here.world.submit(declare(50, name="other"), queues=here.queues)
    assert here.queues.facts_asked == asked + 1
    here.world.submit(declare(50, name="other"), queues=here.queues)
    assert here.queues.facts_asked == asked + 1


def test_jobs_a_queue_refuses_for_good_hide_no_gaps_of_others(here: Remote) -> None:
    class Full(CountedQueues):
        def send(self, queue: str, entries: list[Entry]) -> list[Answer]:
            return []

    here.world.purge(here.jobs)
    full = Full(here.world.queues, here.world.clock)
    here.world.keep(here.sweep, {(0, Outcome.OK): RunSet.span(0, 10)})
    here.world.resubmit(here.sweep, RunSet.of(0), queues=full)
    assert here.world.ledger.count(here.sweep, State.PENDING) == 1
    here.later()
    here.reconcile(queues=full)
    here.later()
    report = here.reconcile(queues=full)
    assert report.gaps == RunSet.span(10, 100)
    assert report.pending == RunSet.of(0)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (QueueUnavailable("no route"), "when the queue is back"),
        (QueueRefused("not allowed"), "when that is mended"),
    ],
)
def test_what_kept_jobs_from_being_sent_keeps_its_kind(
    here: Remote, error: QueueUnavailable, advice: str
) -> None:
    class Away(CountedQueues):
        def send(self, queue: str, entries: list[Entry]) -> list[Answer]:
            raise error

    away = Away(here.world.queues, here.world.clock)
    with pytest.raises(type(error), match=f"{error}; 50 jobs .* {advice}") as raised:
        here.world.submit(declare(50, name="other"), queues=away)
    assert type(raised.value) is type(error)


def test_a_ledger_made_anew_knows_segments_and_epochs(here: Remote) -> None:
    world, here_sweep = here.world, here.sweep
    world.submit(declare(120), extend=here_sweep, queues=here.queues)
    world.take_anything(here.jobs)
    world.keep(here_sweep, {(0, Outcome.OK): RunSet.span(0, 110)})
    world.resubmit(here_sweep, RunSet.span(5, 10), queues=here.queues)
    world.lose_queues(here_sweep)
    empty = open_ledger("sqlite://")
    rebuild(ledger=empty, store=world.store, clock=world.clock, new_id=world.new_id)
    here.later()
    assert here.reconcile(ledger=empty).in_flight == RunSet.span(5, 10) | RunSet.span(110, 120)
    here.later()
    assert here.reconcile(ledger=empty, resubmit=True).resubmitted == 15
    assert world.on_queue(here_sweep) == {0: RunSet.span(110, 120), 1: RunSet.span(5, 10)}
    empty.close()


class Barring(CountedQueues):
    """The name of a deleted queue is barred for 60 s."""

    barred_until_s = 0.0

    def drop(self, queue: str) -> None:
        if queue in self.inner._queues:  # type: ignore[union-attr]
            self.barred_until_s = self._clock() + 60.0
        self.inner.drop(queue)

    def create(self, queue: str) -> None:
        if self._clock() < self.barred_until_s:
            raise QueueUnavailable("deleted less than 60 s ago")
        self.inner.create(queue)


def test_a_first_submit_bars_no_queue_for_itself(here: Remote) -> None:
    barring = Barring(here.world.queues, here.world.clock)
    assert here.world.submit(declare(50, name="other"), queues=barring).runs_sent == 50


def test_queues_of_a_home_that_is_gone_are_emptied_before_the_submit(here: Remote) -> None:
    world = World(here.world.ledger, tick_s=0.001)
    barring = Barring(here.world.queues, world.clock)
    for _ in range(2):
        with pytest.raises(QueueUnavailable, match=r"60 s ago; 2 jobs .* run the same command"):
            world.submit(declare(100), job_size=50, queues=barring)
    assert world.ledger.count(here.sweep, State.PENDING) == 2
    world.now_s += 60.0
    assert world.submit(declare(100), queues=barring).runs_sent == 100
    assert here.world.jobs(here.sweep) == 2


def test_a_reconciler_killed_anywhere_proves_the_gaps_with_the_same_command() -> None:
    kills = 0
    for moment in range(300):
        here = remote_in(World(open_ledger("sqlite://"), tick_s=0.001))
        world = here.world
        world.keep(here.sweep, {(0, Outcome.OK): world.take_jobs(here.sweep, 1)})
        world.purge(here.jobs)
        fate = Fate(moment)
        died = 0
        for _ in range(6):
            here.later()
            ports = world.ports_until(fate) if not died else {}
            queues = here.queues if died else DyingCounted(here.queues, fate)
            try:
                here.reconcile(resubmit=True, **{**ports, "queues": queues})
            except Died:
                died = 1
        assert world.on_queue(here.sweep) == {0: RunSet.span(25, 100)}
        assert world.ledger.count(here.sweep, State.PENDING) == 0
        # Killed between the send and the mark, it sends those jobs twice: harmless.
        assert world.jobs(here.sweep) in {75, 150}
        world.ledger.close()
        kills += died
        if not died:
            break
    assert 20 < kills < 299


class DyingCounted:
    """Queues to be counted whose owner is killed before a call."""

    def __init__(self, queues: CountedQueues, fate: Fate) -> None:
        self._queues = queues
        self._fate = fate

    def __getattr__(self, name: str) -> object:
        found = getattr(self._queues, name)
        self._fate.step()
        return found


def test_two_reconcilers_at_once_send_a_gap_once(tmp_path: Path) -> None:
    world = World(open_ledger(tmp_path), tick_s=0.001)
    here = remote_in(world)
    world.purge(here.jobs)
    here.later()
    here.reconcile()
    here.later()
    start = threading.Barrier(2)
    reports: list[ReconcileReport] = []

    def one(name: str) -> None:
        ledger = open_ledger(tmp_path)
        ids = (f"{name}-{number}" for number in itertools.count())
        start.wait()
        reports.append(here.reconcile(ledger=ledger, new_id=lambda: next(ids), resubmit=True))
        ledger.close()

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert sorted(report.resubmitted for report in reports) == [0, 100]
    assert world.on_queue(here.sweep) == {0: ALL}
    assert world.jobs(here.sweep) == 100
    assert world.ledger.count(here.sweep, State.SENT) == 104
    world.ledger.close()


def test_a_look_that_lasted_counts_from_its_end(here: Remote) -> None:
    class Slow(CountedQueues):
        def facts(self, queue: str) -> QueueFacts:
            here.later(300)
            return super().facts(queue)

    here.world.purge(here.jobs)
    here.later()
    here.reconcile(queues=Slow(here.world.queues, here.world.clock))
    here.later(60)
    assert not here.reconcile().gaps
    here.later(60)
    assert here.reconcile().gaps == ALL


def test_looks_within_one_tick_of_the_clock_are_one(here: Remote) -> None:
    here.world.purge(here.jobs)
    here.world.tick_s = 0.0
    here.world.keep(here.sweep, {(0, Outcome.OK): RunSet.span(0, 10)})
    here.later()
    here.reconcile()
    here.world.blobs.delete(layout.shard(here.sweep, "shard-0000"))
    assert not here.reconcile().gaps
    assert [look.runs for look in read_looks(here.world.ledger, here.sweep)] == [ALL]


def test_a_queue_away_at_a_look_forgets_no_earlier_look(here: Remote) -> None:
    class Away(MemoryQueues):
        def facts(self, queue: str) -> QueueFacts:
            raise QueueUnavailable("no route")

    here.world.purge(here.jobs)
    here.later()
    here.reconcile()
    here.later()
    with pytest.raises(QueueUnavailable):
        here.reconcile(queues=CountedQueues(Away(), here.world.clock))
    assert here.reconcile().gaps == ALL


def test_what_was_delivered_before_the_work_queue_was_lost_is_not_sent_again(
    here: Remote,
) -> None:
    done = here.world.take_jobs(here.sweep, 4)
    assert done == ALL
    here.world.deliver(here.sweep, RunSet.span(0, 50))
    here.world.deliver(here.sweep, RunSet.span(50, 99))
    here.later()
    here.world.queues.drop(here.jobs)
    first = here.reconcile(resubmit=True)
    assert not first.gaps
    assert first.maybe_delivered == first.in_flight == ALL
    assert first.resubmitted == 0
    assert first.exit_status is ExitStatus.IN_FLIGHT
    assert first.look_again_in_s == SETTLE_S
    here.world.keep(here.sweep, {(0, Outcome.OK): RunSet.span(0, 99)})
    here.world.take_anything(layout.results_queue(here.sweep))
    second = here.reconcile(resubmit=True)
    assert second.gaps == RunSet.of(99)
    assert second.resubmitted == 1


def test_a_delivery_that_nobody_can_store_hides_a_lost_work_queue_for_an_hour(
    here: Remote,
) -> None:
    here.world.queues.send(layout.results_queue(here.sweep), [Entry("of a newer format")])
    here.later()
    here.world.queues.drop(here.jobs)
    began_s = here.world.now_s
    while not (report := here.reconcile(resubmit=True)).resubmitted:
        assert report.look_again_in_s is not None
        here.later(report.look_again_in_s)
    assert report.resubmitted == 100
    assert here.world.now_s - began_s == pytest.approx(3600.0, abs=1.0)


def test_forced_gaps_do_not_wait_for_results_that_are_counted(here: Remote) -> None:
    here.world.deliver(here.sweep, RunSet.of(0))
    here.later()
    here.world.queues.drop(here.jobs)
    report = here.reconcile(resubmit=True, force=True)
    assert report.resubmitted == 100
    assert not report.maybe_delivered


def test_queues_that_were_both_made_anew_are_told_until_something_is_sent(here: Remote) -> None:
    assert not here.reconcile().queues_made_anew
    here.later()
    here.world.lose_queues(here.sweep)
    assert here.reconcile().queues_made_anew
    assert here.reconcile(resubmit=True).queues_made_anew
    assert not here.reconcile().queues_made_anew
