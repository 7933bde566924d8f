"""Submitting: everything is declared and receipted before a job is sent, and sent once."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gapless.declaration.control import ControlState
from gapless.declaration.limits import Limits
from gapless.declaration.runset import MAX_RUNS, RunSet
from gapless.declaration.space import Space
from gapless.errors import UserMistake
from gapless.storage import layout
from gapless.storage.sweeps import SweepStore
from queueing.errors import QueueUnavailable
from queueing.memory import MemoryQueues
from queueing.port import Answer, Entry
from receipts.errors import (
    CodeChanged,
    LedgerLacksSweep,
    SweepCancelled,
    SweepChanged,
    TooManyRuns,
)
from receipts.ledger import State, open_ledger
from tests.unit.receipts.world import CODE, Died, FakeBundle, Fate, World, declare


def test_a_first_submit_declares_receipts_and_sends_every_run(world: World) -> None:
    frozen = declare(100)
    report = world.submit(frozen, job_size=30)
    assert report.created
    assert (report.total, report.earlier_runs) == (100, 0)
    assert (report.jobs_sent, report.runs_sent, report.jobs_pending) == (4, 100, 0)
    assert world.store.ids() == [report.sweep_id] == [frozen.id]
    assert world.on_queue(frozen.id) == {0: RunSet.span(0, 100)}
    assert world.ledger.submitted(frozen.id).sent_runs(0) == RunSet.span(0, 100)
    assert world.store.get_object(CODE.sha256) == CODE.data
    assert world.store.control(frozen.id).code == CODE.sha256


def test_the_job_size_follows_the_hint_of_the_run_time(world: World) -> None:
    frozen = declare(100, run_time_s=3.0)
    assert world.submit(frozen).jobs_sent == 5


def test_jobs_carry_the_priority_of_their_sweep(world: World) -> None:
    low, high = declare(3), declare(3, name="urgent", priority=9)
    for frozen in (low, high):
        world.submit(frozen, job_size=3)
    (message,) = world.queues.receive(
        [layout.jobs_queue(high.id)], most=1, wait_s=0.0, lease_s=10.0
    )
    assert high.id in message.body
    assert world.store.control(high.id).priority == 9


def test_the_same_file_again_sends_nothing(world: World) -> None:
    frozen = declare(100)
    world.submit(frozen, job_size=30)
    again = world.submit(frozen, job_size=7)
    assert not again.created
    assert (again.jobs_sent, again.earlier_runs) == (0, 100)
    assert world.jobs(frozen.id) == 4


def test_a_submitter_killed_anywhere_is_finished_by_the_same_command() -> None:
    moments = 0
    for moment in range(200):
        here = World(open_ledger("sqlite://"))
        frozen = declare(20)
        died = False
        try:
            here.submit(frozen, job_size=5, **here.ports_until(Fate(moment)))
        except Died:
            died = True
        # I5: a job on the queue has a receipt.
        sent_before = here.on_queue(frozen.id).get(0, RunSet())
        assert sent_before.issubset(here.ledger.submitted(frozen.id).runs(0))

        here.submit(frozen, job_size=5)

        assert here.on_queue(frozen.id) == {0: RunSet.span(0, 20)}
        # Killed after the send and before the mark, it sends those jobs twice: harmless.
        assert here.jobs(frozen.id) in {4, 8}
        submitted = here.ledger.submitted(frozen.id)
        assert submitted.sent_runs(0) == RunSet.span(0, 20)
        assert here.ledger.count(frozen.id, State.SENT) == 4
        here.ledger.close()
        if not died:
            break
        moments += 1
    assert 10 < moments < 200


def test_the_sweep_of_a_submitter_killed_before_its_end_is_no_sweep(world: World) -> None:
    frozen = declare(20)
    with pytest.raises(Died):
        world.submit(frozen, **world.ports_until(Fate(8)))
    assert world.ledger.sweep(frozen.id) is not None
    assert world.store.ids() == []
    assert world.submit(frozen).created


def test_two_submitters_at_once_write_one_receipt_a_run(tmp_path: Path) -> None:
    frozen = declare(2_000)
    shared = World(open_ledger(tmp_path))
    start = threading.Barrier(2)
    reports = []

    def one() -> None:
        ledger = open_ledger(tmp_path)
        start.wait(30)
        reports.append(shared.submit(frozen, job_size=10, ledger=ledger))
        ledger.close()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(report.jobs_sent for report in reports) == [0, 200]
    assert shared.ledger.count(frozen.id, State.SENT) == 200
    assert shared.jobs(frozen.id) == 200
    shared.ledger.close()


class Closed(MemoryQueues):
    """A queue service that cannot be reached."""

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        raise QueueUnavailable("no route")


def test_jobs_that_could_not_be_sent_are_sent_by_the_next_submit(world: World) -> None:
    frozen = declare(100)
    with pytest.raises(QueueUnavailable, match=r"no route; 4 jobs .* run the same command again"):
        world.submit(frozen, job_size=25, queues=Closed(clock=world.clock))
    assert world.ledger.count(frozen.id, State.PENDING) == 4
    again = world.submit(frozen)
    assert (again.jobs_sent, again.runs_sent) == (4, 100)


def test_changed_code_asks_which_one_goes_on(world: World) -> None:
    frozen = declare()
    world.submit(frozen)
    changed = FakeBundle(b"def walk(n, seed): return 1")
    with pytest.raises(CodeChanged, match=r"\(walk\.py changed\): `--code old`"):
        world.submit(frozen, changed)
    assert world.store.control(frozen.id).version == 0


def test_code_that_changed_after_the_stored_one_was_lost_offers_the_new_one_only(
    world: World,
) -> None:
    frozen = declare()
    world.submit(frozen)
    world.blobs.delete(layout.object_(CODE.sha256))
    with pytest.raises(CodeChanged, match="lost or damaged: `--code new`") as caught:
        world.submit(frozen, FakeBundle(b"new"))
    assert "--code old" not in str(caught.value)
    world.submit(frozen, FakeBundle(b"new"), code="new")
    assert world.store.control(frozen.id).code == FakeBundle(b"new").sha256


def test_the_same_files_packed_otherwise_are_no_other_code(world: World) -> None:
    frozen = declare()
    world.submit(frozen)
    buffer = io.BytesIO(CODE.data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"packed by another version"

    class Packed:
        data = buffer.getvalue()
        sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()

    assert world.submit(frozen, Packed()).changed == ()
    assert world.store.control(frozen.id).code == CODE.sha256


def test_numbers_that_only_python_takes_for_equal_are_a_change(world: World) -> None:
    first = declare(fixed={"states": 1})
    world.submit(first)
    for other in (1.0, True):
        with pytest.raises(SweepChanged, match="other fixed"):
            world.submit(declare(fixed={"states": other}))
        with pytest.raises(UserMistake, match="other fixed"):
            world.submit(declare(fixed={"states": other}), extend=first.id)
    with pytest.raises(SweepChanged, match="other space"):
        world.submit(
            declare(fixed={"states": 1}, space=Space.grid(n=[float(n) for n in range(100)]))
        )


def test_old_code_goes_on_when_asked(world: World) -> None:
    frozen = declare()
    world.submit(frozen)
    report = world.submit(frozen, FakeBundle(b"new"), code="old")
    assert report.changed == ()
    assert world.store.control(frozen.id).code == CODE.sha256


def test_old_code_needs_no_bundle_where_the_sweep_is_and_is_refused_where_it_is_not(
    world: World,
) -> None:
    frozen = declare()
    with pytest.raises(UserMistake, match=f"no sweep {frozen.id} whose code could go on"):
        world.submit(frozen, None, code="old")
    assert world.ledger.sweep(frozen.id) is None
    assert not world.store.exists(frozen.id)
    world.submit(frozen)
    assert world.submit(frozen, None, code="old").changed == ()
    assert world.store.control(frozen.id).code == CODE.sha256


def test_new_code_goes_on_when_asked_and_is_stored_first(world: World) -> None:
    frozen = declare()
    world.submit(frozen)
    changed = FakeBundle(b"new")
    report = world.submit(frozen, changed, code="new")
    assert report.changed == ("code",)
    assert world.store.control(frozen.id).code == changed.sha256
    assert world.store.get_object(changed.sha256) == changed.data


def test_changed_limits_are_the_next_version_of_control(world: World) -> None:
    world.submit(declare())
    frozen = declare(limits=Limits(time_s=5.0), priority=3)
    report = world.submit(frozen)
    assert report.changed == ("limits", "priority")
    control = world.store.control(frozen.id)
    assert (control.version, control.limits.time_s, control.priority) == (1, 5.0, 3)


def test_a_changed_space_of_the_same_name_asks_what_is_meant(world: World) -> None:
    earlier, later = declare(10), declare(12)
    world.submit(earlier)
    with pytest.raises(SweepChanged, match=f"--extend {earlier.id}") as caught:
        world.submit(later)
    assert caught.value.changed == ("space",)
    assert world.store.ids() == [earlier.id]
    assert world.ledger.sweep(later.id) is None


def test_a_changed_seed_cannot_be_an_extension(world: World) -> None:
    world.submit(declare(10))
    with pytest.raises(SweepChanged, match="with other seed: `--new`"):
        world.submit(declare(10, seed=5))


def test_a_changed_space_is_a_sweep_of_its_own_when_asked(world: World) -> None:
    world.submit(declare(10))
    report = world.submit(declare(12), new=True)
    assert report.created
    assert len(world.store.ids()) == 2


def test_a_cancelled_sweep_of_the_same_name_does_not_ask(world: World) -> None:
    world.submit(declare(10))
    world.store.set_control(declare(10).id, state=ControlState.CANCELLED)
    assert world.submit(declare(12)).created


def test_an_extension_adds_and_sends_only_what_is_new(world: World) -> None:
    earlier = declare(10)
    world.submit(earlier, job_size=10)
    report = world.submit(declare(14), extend=earlier.id, job_size=10)
    assert (report.sweep_id, report.extended_by, report.total) == (earlier.id, 4, 14)
    assert (report.earlier_runs, report.runs_sent) == (10, 4)
    runs = world.store.load(earlier.id).runs
    assert {runs.describe(number).parameters["n"] for number in range(10, 14)} == {10, 11, 12, 13}
    assert world.on_queue(earlier.id) == {0: RunSet.span(0, 14)}


def test_an_extension_of_replicates_adds_those(world: World) -> None:
    earlier = declare(10, replicates=2)
    world.submit(earlier)
    report = world.submit(declare(10, replicates=3), extend=earlier.id)
    assert (report.extended_by, report.total) == (10, 30)


def test_the_same_extension_again_adds_nothing(world: World) -> None:
    earlier = declare(10)
    world.submit(earlier)
    world.submit(declare(14), extend=earlier.id)
    again = world.submit(declare(14), extend=earlier.id)
    assert (again.extended_by, again.total, again.jobs_sent) == (0, 14, 0)


def test_an_extension_killed_anywhere_is_finished_by_the_same_command() -> None:
    for moment in range(200):
        here = World(open_ledger("sqlite://"))
        earlier = declare(6)
        here.submit(earlier)
        died = False
        try:
            here.submit(declare(9), extend=earlier.id, **here.ports_until(Fate(moment)))
        except Died:
            died = True
        here.submit(declare(9), extend=earlier.id)
        assert here.on_queue(earlier.id) == {0: RunSet.span(0, 9)}
        assert here.ledger.submitted(earlier.id).sent_runs(0) == RunSet.span(0, 9)
        here.ledger.close()
        if not died:
            break
    assert 10 < moment < 199


def test_a_sweep_of_another_target_is_no_extension(world: World) -> None:
    earlier = declare(10)
    world.submit(earlier)
    with pytest.raises(UserMistake, match="other target"):
        world.submit(declare(12, function="walk:run"), extend=earlier.id)
    assert len(world.store.segments(earlier.id)) == 1


def test_extending_a_sweep_that_is_not_there_is_told(world: World) -> None:
    with pytest.raises(UserMistake, match="no sweep 'walk-00000000'"):
        world.submit(declare(12), extend="walk-00000000")


def test_a_cancelled_sweep_is_not_submitted_again(world: World) -> None:
    frozen = declare()
    world.submit(frozen)
    world.store.set_control(frozen.id, state=ControlState.CANCELLED)
    world.lose_queues(frozen.id)
    with pytest.raises(SweepCancelled, match="sweep resume"):
        world.submit(frozen)
    with pytest.raises(SweepCancelled):
        world.submit(declare(200), extend=frozen.id)
    assert world.on_queue(frozen.id) == {}


def test_too_many_runs_are_refused_before_anything_is_written(world: World) -> None:
    frozen = declare(10)
    part = replace_part(frozen.segment.parts[0], MAX_RUNS)
    segment = type(frozen.segment)(
        number=0, base=0, parts=(part,), order="declared", key=frozen.segment.key
    )
    with pytest.raises(TooManyRuns, match=r"100,000,000,000 runs.*coarser axes"):
        world.submit(replace(frozen, segment=segment))
    assert world.store.ids() == []


def replace_part(part: object, replicates: int) -> object:
    return type(part)(space=part.space, replicate_start=0, replicate_stop=replicates)  # type: ignore[call-arg,attr-defined]


def test_a_command_is_submitted_like_a_function(world: World) -> None:
    frozen = declare(10, function=None, command=("./walk", "--n={n}"))
    report = world.submit(frozen)
    assert report.runs_sent == 10
    assert world.store.declaration(report.sweep_id).target == frozen.declaration.target


def test_a_lost_ledger_is_noticed(world: World) -> None:
    frozen = declare()
    world.submit(frozen)
    empty = open_ledger("sqlite://")
    with pytest.raises(LedgerLacksSweep, match=r"sweep reconcile .* --rebuild"):
        world.submit(frozen, ledger=empty)
    assert world.jobs(frozen.id) == 100
    empty.close()


def test_receipts_of_a_home_that_is_gone_do_not_count(world: World) -> None:
    frozen = declare()
    world.submit(frozen)
    elsewhere = World(world.ledger)
    report = elsewhere.submit(frozen)
    assert (report.earlier_runs, report.runs_sent) == (0, 100)


def test_messages_of_a_home_that_is_gone_are_not_worked_on(world: World) -> None:
    frozen = declare(10)
    sweep = world.submit(frozen, job_size=5).sweep_id
    world.deliver(sweep, RunSet.span(0, 3))
    for blob in list(world.blobs.list(f"sweeps/{sweep}/")):
        world.blobs.delete(blob.key)
    assert world.submit(frozen, job_size=5).runs_sent == 10
    assert world.jobs(sweep) == 2
    assert world.queues.facts(layout.results_queue(sweep)).visible == 0


def test_another_declaration_of_the_same_id_is_an_error(world: World) -> None:
    frozen = declare(10)
    world.submit(frozen)
    other = declare(12).declaration
    key = layout.sweep(frozen.id)
    world.blobs.put(key, other.encode())
    with pytest.raises(UserMistake, match="another sweep with the id"):
        world.submit(frozen)


def test_a_sweep_without_a_bundle_is_submitted(world: World) -> None:
    frozen = declare()
    world.submit(frozen, None)
    assert world.store.control(frozen.id).code is None
    assert world.submit(frozen, None).changed == ()


def test_the_runs_of_several_segments_are_all_declared(world: World) -> None:
    frozen = declare(5)
    world.submit(frozen)
    wider = declare(3, space=Space.grid(n=[0, 100, 200]))
    world.submit(wider, extend=frozen.id)
    assert SweepStore(world.blobs).load(frozen.id).runs.all == RunSet.span(0, 7)
    assert world.on_queue(frozen.id) == {0: RunSet.span(0, 7)}


def test_submitting_again_puts_back_code_and_tables_that_were_lost(world: World) -> None:
    frozen = declare(1, space=Space.points([{"n": [number] * 50} for number in range(2_000)]))
    assert frozen.objects
    world.submit(frozen, job_size=2_000)
    for sha256 in (CODE.sha256, *frozen.objects):
        world.blobs.delete(layout.object_(sha256))
    world.submit(frozen)
    assert world.store.get_object(CODE.sha256) == CODE.data
    assert {sha256: world.store.get_object(sha256) for sha256 in frozen.objects} == frozen.objects


def test_a_sweep_cannot_be_new_and_an_extension(world: World) -> None:
    with pytest.raises(UserMistake, match="either new or extends"):
        world.submit(declare(), new=True, extend="walk-00000000")
