import pytest

from gapless.results.coverage_cache import read_caches
from gapless.storage import layout
from gapless.storage.memory import MemoryBlobs
from queueing.memory import MemoryQueues
from tests.unit.aggregator.homes import Running, delivery_body, send, store_sweep
from tests.unit.aggregator.test_store import Place


@pytest.fixture
def place():
    return Place()


def cached(place):
    return [len(each.shards) for each in read_caches(place.blobs, place.sweep_id)]


def test_what_was_stored_is_cached_at_most_every_ten_seconds(place):
    place.flush(place.buffered(0, 5))
    place.own.write_due()
    assert cached(place) == []
    place.elapsed_s = 10.0
    place.own.write_due()
    assert cached(place) == [1]
    place.flush(place.buffered(5, 10), number=2)
    place.elapsed_s = 19.0
    place.own.write_due()
    assert cached(place) == [1]
    place.elapsed_s = 20.0
    place.own.write_due()
    (cache,) = read_caches(place.blobs, place.sweep_id)
    assert len(cache.shards) == 2
    assert sum(map(len, cache.coverage.values())) == 10


def test_a_cache_names_nothing_before_its_manifest_is_there(place):
    place.blobs.fail_before.add(2)
    place.flush(place.buffered(0, 5))
    place.own.write_all()
    assert cached(place) == []


def test_a_cache_that_storage_refuses_is_only_logged_and_written_later(place, caplog):
    place.flush(place.buffered(0, 5))
    place.blobs.fail_before.add(place.blobs.puts + 1)
    place.own.write_all()
    assert "its coverage cache was not written" in caplog.text
    assert cached(place) == []
    place.own.write_all()
    assert cached(place) == [1]


def test_an_aggregator_that_leaves_writes_its_cache():
    blobs, queues = MemoryBlobs(), MemoryQueues()
    sweep = store_sweep(blobs)
    send(queues, sweep, delivery_body(sweep, 0, 20))
    assert Running(blobs, queues, until_complete=True).join() == 0
    (cache,) = read_caches(blobs, sweep)
    assert layout.coverage(sweep, "agg-1") in {each.key for each in blobs.list("sweeps/")}
    assert [each.rows for each in cache.shards] == [20]
