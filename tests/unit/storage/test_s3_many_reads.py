"""Many objects of S3 read at once, and what following the manifests of a sweep costs there."""

from __future__ import annotations

import pytest

from gapless.results.coverage import CoverageReader
from gapless.storage.bulk_reads import BulkReads, read_many
from gapless.storage.errors import StorageRefused
from gapless.storage.memory import MemoryBlobs
from gapless.storage.persistent_blobs import PersistentBlobs
from tests.services.proxy_faults import REFUSED
from tests.unit.results.samples import SWEEP, block_of, put_shard, shard_of
from tests.unit.storage.s3_bucket import Bucket

COUNTS = [0, 3, 40, 300]
"""None, few (one after the other), many, and more than are read ahead."""


def keys_of(bucket: Bucket, count: int) -> list[str]:
    keys = [f"{number:03d}" for number in range(count)]
    for key in keys:
        bucket.put_directly(key, key.encode())
    return keys


def store_shards(bucket: Bucket, count: int) -> None:
    blobs = bucket.blobs()
    for number in range(count):
        put_shard(blobs, shard_of(block_of({number: {"x": 1.0}}), number=number))


@pytest.mark.parametrize("count", COUNTS)
def test_many_are_given_in_order_without_those_that_are_missing(bucket: Bucket, count: int) -> None:
    keys = keys_of(bucket, count)
    asked = [name for key in reversed(keys) for name in (key, f"{key}-missing")]
    expected = [(key, key.encode()) for key in reversed(keys)]
    blobs = bucket.blobs()
    assert list(read_many(blobs, asked)) == expected
    assert blobs.requests == ({"GetObject": 2 * count} if count else {})
    assert list(read_many(PersistentBlobs(bucket.blobs(), tell=print), asked)) == expected


@pytest.mark.parametrize("count", [5, 40])
def test_what_was_read_before_an_error_is_given_before_it(bucket: Bucket, count: int) -> None:
    keys = keys_of(bucket, count)
    bucket.fail(REFUSED, "GetObject", times=None, key=f"{keys[4]}$")
    given: list[str] = []
    with pytest.raises(StorageRefused, match="AccessDenied"):
        given.extend(key for key, _ in read_many(bucket.blobs(), keys))
    assert given == keys[:4]


def test_blobs_without_that_gift_are_read_one_by_one() -> None:
    blobs = MemoryBlobs()
    blobs.put("b", b"2")
    blobs.put("a", b"1")
    assert not isinstance(blobs, BulkReads)
    assert list(read_many(blobs, ["b", "missing", "a"])) == [("b", b"2"), ("a", b"1")]
    persistent = PersistentBlobs(blobs, tell=print)
    assert list(read_many(persistent, ["b", "missing", "a"])) == [("b", b"2"), ("a", b"1")]


def test_a_refresh_costs_its_listing_and_one_read_for_each_new_manifest(bucket: Bucket) -> None:
    store_shards(bucket, 30)
    blobs = bucket.blobs()
    reader = CoverageReader(blobs, SWEEP)
    assert len(reader.refresh().final()) == 30
    # One listing for the caches of coverage, one for each 1,000 shards and manifests.
    assert blobs.requests == {"ListObjectsV2": 2, "GetObject": 30}
    reader.refresh()
    assert blobs.requests == {"ListObjectsV2": 3, "GetObject": 30}


def test_a_refresh_that_failed_keeps_what_it_had_read(bucket: Bucket) -> None:
    store_shards(bucket, 5)
    blobs = bucket.blobs()
    reader = CoverageReader(blobs, SWEEP)
    bucket.fail(REFUSED, "GetObject", key=r"-000003\.json$")
    with pytest.raises(StorageRefused):
        reader.refresh()
    assert len(reader.refresh().final()) == 5
    # Three were given and the fourth was not; then the two that were left.
    assert blobs.requests["GetObject"] == 6
