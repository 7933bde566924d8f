"""Records of a sweep that never change are read once, and never taken for others of their key."""

from __future__ import annotations

from collections import Counter

import pytest

from gapless.declaration.control import Asked, ControlState
from gapless.declaration.runs import extension
from gapless.declaration.runset import RunSet
from gapless.declaration.space import Space
from gapless.declaration.sweep import Sweep
from gapless.errors import UserMistake
from gapless.storage import layout
from gapless.storage.memory import MemoryBlobs
from gapless.storage.sweeps import SweepStore


class CountedBlobs(MemoryBlobs):
    """Memory with a clock set by hand that counts what is read and listed."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(clock=lambda: self.now)
        self.read: Counter[str] = Counter()
        self.listed = 0

    def get(self, key: str) -> bytes:
        self.read[key] += 1
        return super().get(key)

    def list(self, prefix):  # type: ignore[no-untyped-def]
        self.listed += 1
        return super().list(prefix)


def submit(blobs: CountedBlobs, *, code: str = "a" * 64) -> str:
    sweep = Sweep(name="walk", function="walk:rms", space=Space.grid(n=range(4))).freeze()
    SweepStore(blobs).store(sweep, code, blobs.now)
    return sweep.id


@pytest.fixture
def blobs() -> CountedBlobs:
    return CountedBlobs()


def test_each_record_is_read_once_however_often_it_is_asked_for(blobs: CountedBlobs) -> None:
    sweep = submit(blobs)
    store = SweepStore(blobs)
    store.ask(sweep, Asked(epoch=1, runs=RunSet.of(2), at_s=1.0))
    blobs.read.clear()
    for _ in range(20):
        assert store.control(sweep).version == 0
        assert [each.epoch for each in store.asked(sweep)] == [1]
        assert len(store.segments(sweep)) == 1
    assert set(blobs.read.values()) == {1}
    assert blobs.listed == 60


def test_a_new_version_is_read_and_the_one_before_is_kept_no_longer(blobs: CountedBlobs) -> None:
    sweep = submit(blobs)
    store = SweepStore(blobs)
    store.control(sweep)
    SweepStore(blobs).set_control(sweep, state=ControlState.PAUSED)
    blobs.read.clear()
    assert store.control(sweep).state is ControlState.PAUSED
    assert store.control(sweep).version == 1
    assert dict(blobs.read) == {layout.control(sweep, 1): 1}


def test_a_new_segment_and_new_asked_runs_are_read(blobs: CountedBlobs) -> None:
    sweep = submit(blobs)
    store = SweepStore(blobs)
    known = store.load(sweep)
    store.asked(sweep)
    larger = Space.grid(n=range(9)).freeze()
    added = extension(known.declaration, known.segments, larger, 1, fetch=store.get_object)
    assert added is not None
    other = SweepStore(blobs)
    other.add_segment(sweep, added.segment, added.objects)
    other.ask(sweep, Asked(epoch=1, runs=RunSet.of(0), at_s=1.0))
    assert len(store.load(sweep).runs.all) == 9
    assert [each.epoch for each in store.asked(sweep)] == [1]


def test_a_sweep_that_was_removed_and_submitted_again_has_its_new_records(
    blobs: CountedBlobs,
) -> None:
    sweep = submit(blobs)
    store = SweepStore(blobs)
    assert store.control(sweep).code == "a" * 64
    for blob in [*blobs.list(layout.sweep_prefix(sweep))]:
        blobs.delete(blob.key)
    with pytest.raises(UserMistake, match="no sweep"):
        store.control(sweep)
    blobs.now += 1.0
    assert submit(blobs, code="b" * 64) == sweep
    assert store.control(sweep).code == "b" * 64


def test_a_sweep_that_was_removed_and_submitted_again_between_two_looks_has_its_new_records(
    blobs: CountedBlobs,
) -> None:
    sweep = submit(blobs)
    store = SweepStore(blobs)
    store.control(sweep)
    for blob in [*blobs.list(layout.sweep_prefix(sweep))]:
        blobs.delete(blob.key)
    blobs.now += 1.0
    submit(blobs, code="b" * 64)
    assert store.control(sweep).code == "b" * 64


def test_the_names_of_a_home_are_told_in_one_request_and_need_not_be_whole(
    blobs: CountedBlobs,
) -> None:
    sweep = submit(blobs)
    blobs.put(layout.segment("half-00000000", 0), b"{}")
    store = SweepStore(blobs)
    assert store.names() == sorted([sweep, "half-00000000"])
    assert store.ids() == [sweep]
