"""Sweeps of a home: stored whole or not at all, never mixed, and read again."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gapless.declaration.control import Asked, ControlState
from gapless.declaration.errors import DeclarationError
from gapless.declaration.runs import extension
from gapless.declaration.runset import RunSet
from gapless.declaration.space import Space
from gapless.declaration.sweep import FrozenSweep, Limits, Sweep
from gapless.errors import UserMistake
from gapless.storage import layout
from gapless.storage.blobs import Blob
from gapless.storage.errors import StorageError, StorageUnavailable
from gapless.storage.memory import MemoryBlobs
from gapless.storage.sweeps import SweepStore

NOW_S = 1_000.0


class FailingBlobs(MemoryBlobs):
    """Memory that fails at the n-th write, like a program that is killed there."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOW_S)
        self.writes_left = 10**9
        self.written: list[str] = []

    def _write(self, key: str) -> None:
        if self.writes_left <= 0:
            raise StorageUnavailable("killed here")
        self.writes_left -= 1
        self.written.append(key)

    def put(self, key: str, data: bytes) -> None:
        self._write(key)
        super().put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self._write(key)
        return super().put_if_absent(key, data)


def sweep(**changes: Any) -> FrozenSweep:
    declared: dict[str, Any] = {
        "name": "walk",
        "function": "walk:rms",
        "space": Space.grid(n=range(50), m=range(10)).where("n * 7 % 5 != m % 5"),
        "replicates": 2,
    }
    return Sweep(**{**declared, **changes}).freeze()


@pytest.fixture
def blobs() -> FailingBlobs:
    return FailingBlobs()


@pytest.fixture
def store(blobs: FailingBlobs) -> SweepStore:
    return SweepStore(blobs)


def test_a_sweep_is_read_as_it_was_stored(store: SweepStore) -> None:
    frozen = sweep(limits=Limits(attempts=7), priority=3, run_time_s=0.5)
    assert store.store(frozen, "c" * 64, NOW_S) is True
    stored = store.load(frozen.id)
    assert stored.id == frozen.id
    assert stored.declaration == frozen.declaration
    assert stored.segments == (frozen.segment,)
    assert stored.runs.total == frozen.segment.count
    parameters = stored.runs.describe(5).parameters
    assert (parameters["n"] * 7) % 5 != parameters["m"] % 5
    control = store.control(frozen.id)
    assert (control.version, control.state) == (0, ControlState.RUNNING)
    assert (control.limits.attempts, control.priority, control.run_time_s) == (7, 3, 0.5)
    assert (control.code, control.at_s) == ("c" * 64, NOW_S)


def test_objects_come_first_and_the_sweep_itself_last(
    store: SweepStore, blobs: FailingBlobs
) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    assert len(frozen.objects) == 1
    assert blobs.written == [
        *[layout.object_(sha256) for sha256 in frozen.objects],
        layout.segment(frozen.id, 0),
        layout.control(frozen.id, 0),
        layout.sweep(frozen.id),
    ]


@pytest.mark.parametrize("writes", range(4))
def test_a_submitter_killed_at_any_write_leaves_no_sweep_and_the_next_completes_it(
    store: SweepStore, blobs: FailingBlobs, writes: int
) -> None:
    blobs.writes_left = writes
    with pytest.raises(StorageUnavailable):
        store.store(sweep(), None, NOW_S)
    assert store.ids() == []
    assert not store.exists(sweep().id)
    blobs.writes_left = 10**9
    changed = sweep(limits=Limits(attempts=9), priority=5)
    assert store.store(changed, "d" * 64, NOW_S) is True
    assert store.ids() == [changed.id]
    control = store.control(changed.id)
    assert (control.limits.attempts, control.priority, control.code) == (9, 5, "d" * 64)
    assert store.load(changed.id).runs.total == changed.segment.count


def test_storing_the_same_again_changes_nothing(store: SweepStore, blobs: FailingBlobs) -> None:
    store.store(sweep(), None, NOW_S)
    before = {blob.key: blobs.get(blob.key) for blob in blobs.list("")}
    assert store.store(sweep(limits=Limits(attempts=9)), "e" * 64, NOW_S + 5) is False
    assert {blob.key: blobs.get(blob.key) for blob in blobs.list("")} == before


def test_of_many_submitters_at_once_one_stores_and_all_agree(store: SweepStore) -> None:
    start = threading.Barrier(6)
    answers: list[bool] = []

    def submit(number: int) -> None:
        frozen = sweep(limits=Limits(attempts=number + 1))
        start.wait(timeout=30)
        answers.append(store.store(frozen, None, NOW_S))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(answers) == [False] * 5 + [True]
    assert store.load(sweep().id).segments == (sweep().segment,)


def test_another_sweep_with_the_same_id_is_refused(store: SweepStore, blobs: FailingBlobs) -> None:
    frozen = sweep()
    other = sweep(seed=99)
    blobs.put(layout.sweep(frozen.id), other.declaration.encode())
    with pytest.raises(DeclarationError, match=f"id {frozen.id}.*another name") as caught:
        store.store(frozen, None, NOW_S)
    assert frozen.declaration.digest in str(caught.value)
    assert other.declaration.digest in str(caught.value)


def test_sweeps_are_listed_and_found_by_name(store: SweepStore, blobs: FailingBlobs) -> None:
    frozen = [sweep(), sweep(seed=1), sweep(name="walk-2"), sweep(name="wal")]
    for each in frozen:
        store.store(each, None, NOW_S)
    blobs.put("sweeps/half-12345678/segments/0.json", b"{}")
    assert store.ids() == sorted(each.id for each in frozen)
    assert store.ids_named("walk") == sorted([frozen[0].id, frozen[1].id])
    assert store.ids_named("walk-2") == [frozen[2].id]
    assert store.ids_named("half") == []


def test_a_sweep_that_is_not_there_is_a_mistake_that_names_the_nearest(store: SweepStore) -> None:
    with pytest.raises(UserMistake, match="the home holds no sweep yet"):
        store.load("walk-00000000")
    store.store(sweep(), None, NOW_S)
    with pytest.raises(UserMistake, match=f"did you mean {sweep().id}"):
        store.load("walk-00000000")
    with pytest.raises(UserMistake, match=r"there is no sweep 'zzz'.*holds walk-"):
        store.control("zzz")


def test_a_sweep_whose_declaration_was_changed_by_hand_is_refused(
    store: SweepStore, blobs: FailingBlobs
) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    key = layout.sweep(frozen.id)
    blobs.put(key, blobs.get(key).replace(b'"seed":0', b'"seed":1'))
    with pytest.raises(StorageError, match="changed after it was submitted"):
        store.load(frozen.id)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format":"gapless.sweep/1"}'])
def test_a_damaged_declaration_is_named(
    store: SweepStore, blobs: FailingBlobs, data: bytes
) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    blobs.put(layout.sweep(frozen.id), data)
    with pytest.raises(StorageError, match=r"sweep\.json of the home is damaged"):
        store.load(frozen.id)


def test_a_record_of_a_newer_format_asks_for_an_update(
    store: SweepStore, blobs: FailingBlobs
) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    newer = store.control(frozen.id).encode().replace(b"control/1", b"control/2")
    blobs.put(layout.control(frozen.id, 1), newer)
    with pytest.raises(StorageError, match=r"control/1\.json is of format 2.*update gapless"):
        store.control(frozen.id)


def test_a_missing_segment_is_told(store: SweepStore, blobs: FailingBlobs) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    blobs.put(layout.segment(frozen.id, 2), frozen.segment.encode())
    with pytest.raises(StorageError, match=r"segments \[0, 2\]: one is missing"):
        store.load(frozen.id)


def test_an_extension_is_a_segment_after_the_others(store: SweepStore) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    larger = Space.grid(n=range(60), m=range(10)).freeze()
    before = store.load(frozen.id).runs
    added = extension(frozen.declaration, [frozen.segment], larger, 2, fetch=store.get_object)
    assert added is not None
    assert store.add_segment(frozen.id, added.segment, added.objects) is True
    assert store.add_segment(frozen.id, added.segment, added.objects) is False
    stored = store.load(frozen.id)
    assert stored.segments == (frozen.segment, added.segment)
    assert stored.runs.total == 60 * 10 * 2
    for number in (0, 5, frozen.segment.count - 1):
        assert stored.runs.describe(number) == before.describe(number)


def test_of_two_extensions_at_once_the_second_is_told(store: SweepStore) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    spaces = [Space.grid(n=range(count), m=range(10)).freeze() for count in (60, 70)]
    first, second = (
        extension(frozen.declaration, [frozen.segment], space, 2, fetch=store.get_object)
        for space in spaces
    )
    assert first is not None
    assert second is not None
    store.add_segment(frozen.id, first.segment, first.objects)
    with pytest.raises(UserMistake, match="another segment 1 already"):
        store.add_segment(frozen.id, second.segment, second.objects)


@pytest.mark.parametrize("other", [1.0, True])
def test_segments_that_only_python_takes_for_equal_are_told_apart(
    store: SweepStore, other: float
) -> None:
    frozen = sweep(space=Space.grid(n=[0]))
    store.store(frozen, None, NOW_S)
    first, second = (
        extension(
            frozen.declaration,
            [frozen.segment],
            Space.grid(n=[value]).freeze(),
            2,
            fetch=store.get_object,
        )
        for value in (1, other)
    )
    assert first is not None
    assert second is not None
    assert store.add_segment(frozen.id, first.segment) is True
    assert store.add_segment(frozen.id, first.segment) is False
    with pytest.raises(UserMistake, match="another segment 1 already"):
        store.add_segment(frozen.id, second.segment)


def test_the_highest_version_of_control_counts(store: SweepStore) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    for version in range(1, 13):
        assert store.set_control(frozen.id, priority=version, at_s=NOW_S).version == version
    assert store.control(frozen.id).priority == 12


def test_changes_of_control_at_the_same_time_are_all_kept(store: SweepStore) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    start = threading.Barrier(3)

    def change(**changes: Any) -> None:
        start.wait(timeout=30)
        store.set_control(frozen.id, **changes)

    wanted: list[dict[str, Any]] = [
        {"priority": 5},
        {"code": "f" * 64},
        {"limits": Limits(attempts=8)},
    ]
    threads = [threading.Thread(target=change, kwargs=each) for each in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    control = store.control(frozen.id)
    assert (control.version, control.priority, control.code) == (3, 5, "f" * 64)
    assert control.limits.attempts == 8


def test_a_change_meant_for_one_version_is_not_made_to_another(store: SweepStore) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    store.set_control(frozen.id, state=ControlState.PAUSED)
    store.set_control(frozen.id, state=ControlState.RUNNING)
    assert store.set_control_at(frozen.id, 0, state=ControlState.PAUSED) is None
    assert store.control(frozen.id).state is ControlState.RUNNING
    paused = store.set_control_at(frozen.id, 2, state=ControlState.PAUSED)
    assert paused is not None
    assert store.control(frozen.id) == paused


def test_a_state_that_cannot_follow_is_refused_and_not_stored(store: SweepStore) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    store.set_control(frozen.id, state=ControlState.CANCELLED)
    with pytest.raises(UserMistake, match="cancelled"):
        store.set_control(frozen.id, state=ControlState.PAUSED)
    assert store.control(frozen.id).version == 1


def test_runs_asked_anew_are_listed_by_epoch(store: SweepStore) -> None:
    frozen = sweep()
    store.store(frozen, None, NOW_S)
    records = [
        Asked(epoch=epoch, runs=RunSet.span(0, epoch), at_s=NOW_S, why="again")
        for epoch in range(1, 12)
    ]
    assert store.asked(frozen.id) == []
    for record in reversed(records):
        assert store.ask(frozen.id, record) is True
    assert store.asked(frozen.id) == records


def test_an_epoch_is_given_to_one_record_only(store: SweepStore) -> None:
    record = Asked(epoch=1, runs=RunSet.of(1), at_s=NOW_S)
    other = Asked(epoch=1, runs=RunSet.of(2), at_s=NOW_S)
    assert store.ask("walk-1", record) is True
    assert store.ask("walk-1", record) is True
    assert store.ask("walk-1", other) is False
    assert store.asked("walk-1") == [record]


def test_a_damaged_object_is_told_and_mended_by_storing_it_again(
    store: SweepStore, blobs: FailingBlobs
) -> None:
    sha256 = store.put_object(b"a table")
    blobs.put(layout.object_(sha256), b"a tab")
    with pytest.raises(StorageError, match="damaged"):
        store.get_object(sha256)
    assert store.put_object(b"a table") == sha256
    assert store.get_object(sha256) == b"a table"
    with pytest.raises(StorageError, match="lacks object 0000"):
        store.get_object("0" * 64)


def test_an_object_under_a_wrong_hash_stops_the_submit(store: SweepStore) -> None:
    frozen = dataclasses.replace(sweep(), objects={"0" * 64: b"something"})
    with pytest.raises(StorageError, match="another hash"):
        store.store(frozen, None, NOW_S)
    assert store.ids() == []


def test_listing_sweeps_does_not_list_their_results(blobs: FailingBlobs) -> None:
    class NoListing(FailingBlobs):
        def list(self, prefix: str) -> Iterator[Blob]:
            raise AssertionError(f"{prefix} was listed")

    no_listing = NoListing()
    store = SweepStore(no_listing)
    store.store(sweep(), None, NOW_S)
    no_listing.put(layout.shard(sweep().id, "x"), b"")
    assert store.ids() == [sweep().id]
