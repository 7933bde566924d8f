"""Reading shards ahead: in order, bounded, and errors in the place of what cannot be read."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from gapless.results.shard_bytes import read_shards
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing, StorageError, StorageRefused, StorageUnavailable
from gapless.storage.folder import FolderBlobs
from gapless.storage.memory import MemoryBlobs
from tests.unit.results.samples import block_of
from tests.unit.results.verified_home import VerifiedHome

SWEEP = "walk-0123abcd"
MB = 10**6


class CountedReads:
    """Blobs that note which shards were asked for, and can hold back every answer."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.errors: dict[str, Exception] = {}

    def get(self, key: str) -> bytes:
        name = key.rpartition("/")[2]
        if not name.endswith(".h5"):
            raise BlobMissing(key)
        self.asked.append(name)
        assert self.may_answer.wait(30)
        if name in self.errors:
            raise self.errors[name]
        return self._blobs.get(key)


@pytest.fixture
def blobs() -> Any:
    held = MemoryBlobs()
    for number in range(20):
        held.put(layout.shard(SWEEP, f"s{number:02d}"), b"%d" % number)
    return CountedReads(held)


def sizes(count: int = 20, size_bytes: int = 1) -> dict[str, int]:
    return {f"s{number:02d}": size_bytes for number in range(count)}


@pytest.mark.parametrize("readers", [1, 2, 6])
def test_every_shard_is_given_once_and_in_order(blobs: CountedReads, readers: int) -> None:
    found = [*read_shards(blobs, SWEEP, sizes(), readers=readers)]  # type: ignore[arg-type]
    assert [name for name, _ in found] == [*sizes()]
    assert [each.data for _, each in found] == [b"%d" % n for n in range(20)]  # type: ignore[union-attr]


@pytest.mark.parametrize("readers", [1, 3])
def test_an_error_stands_in_the_place_of_its_shard(blobs: CountedReads, readers: int) -> None:
    blobs.errors["s03.h5"] = StorageUnavailable("EIO")
    found = dict(read_shards(blobs, SWEEP, sizes(), readers=readers))  # type: ignore[arg-type]
    assert isinstance(found.pop("s03"), StorageError)
    assert not any(isinstance(each, StorageError) for each in found.values())


@pytest.mark.parametrize("readers", [1, 3])
def test_a_refusal_ends_the_reading(blobs: CountedReads, readers: int) -> None:
    blobs.errors["s03.h5"] = StorageRefused("403")
    with pytest.raises(StorageRefused):
        list(read_shards(blobs, SWEEP, sizes(), readers=readers))  # type: ignore[arg-type]


@pytest.mark.parametrize(("size_bytes", "most"), [(1, 4), (100 * MB, 3), (10_000 * MB, 2)])
def test_what_is_read_ahead_is_bounded_by_number_and_by_bytes(
    blobs: CountedReads, size_bytes: int, most: int
) -> None:
    reading = read_shards(blobs, SWEEP, sizes(size_bytes=size_bytes), readers=3)  # type: ignore[arg-type]
    for number in range(15):
        next(reading)
        assert len(blobs.asked) <= number + most
    reading.close()
    assert len(blobs.asked) < 20


def test_who_stops_reading_does_not_wait_for_what_is_under_way(blobs: CountedReads) -> None:
    reading = read_shards(blobs, SWEEP, sizes(), readers=2)  # type: ignore[arg-type]
    next(reading)
    blobs.may_answer.clear()
    reading.close()
    blobs.may_answer.set()


def test_memory_is_bounded_by_the_largest_shard_not_by_all_of_them(tmp_path: Any) -> None:
    home = VerifiedHome(blobs=FolderBlobs(tmp_path))
    home.blobs.put(layout.HOME, b"{}")
    chance = np.random.default_rng(1)
    for _ in range(12):
        home.keep(home.shard(block_of({run: {"y": chance.random(10_000)} for run in range(25)})))
    total_bytes = home.verify().size_bytes
    assert total_bytes > 20 * MB
    tracemalloc.start()
    try:
        done = home.verify()
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (done.findings, done.shards) == ([], 12)
    # A shard is of 2 MB; it is held once, beside some pieces of it.
    assert peak_bytes < 0.4 * total_bytes
