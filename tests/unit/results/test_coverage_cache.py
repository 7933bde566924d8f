import msgspec
import pytest

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.results.coverage import Coverage, CoverageReader
from gapless.results.coverage_cache import (
    CachedShard,
    CoverageCache,
    decode_cache,
    encode_cache,
)
from gapless.results.outcome import Outcome
from gapless.storage import layout
from gapless.storage.errors import StorageUnavailable
from gapless.storage.memory import MemoryBlobs
from tests.unit.results.samples import SWEEP
from tests.unit.results.test_coverage import manifest, numbers, store


def cache_of(*manifests, aggregator="agg-1"):
    coverage = Coverage()
    for each in manifests:
        coverage.add(each)
    return CoverageCache(
        sweep=SWEEP,
        aggregator=aggregator,
        shards=tuple(CachedShard.of(each) for each in manifests),
        coverage=dict(coverage.by),
    )


def put_cache(blobs, *manifests, aggregator="agg-1"):
    data = encode_cache(cache_of(*manifests, aggregator=aggregator))
    blobs.put(layout.coverage(SWEEP, aggregator), data)


class CountingBlobs(MemoryBlobs):
    def __init__(self):
        super().__init__(clock=lambda: 100.0)
        self.read = []

    def get(self, key):
        self.read.append(key)
        return super().get(key)

    @property
    def manifests_read(self):
        return [key for key in self.read if "/shards/" in key]


@pytest.fixture
def blobs():
    return CountingBlobs()


FIRST = manifest(1, ok0=[1, 2], failed0=[3])
SECOND = manifest(2, ok0=[4], ok1=[1])
THIRD = manifest(3, ok0=[5])
ALL = [1, 2, 3, 4, 5]


def home(blobs, *manifests):
    for each in manifests:
        store(blobs, each)


def test_a_first_look_reads_only_the_manifests_no_cache_stands_for(blobs):
    home(blobs, FIRST, SECOND, THIRD)
    put_cache(blobs, FIRST, SECOND)
    reader = CoverageReader(blobs, SWEEP)
    coverage = reader.refresh()
    assert blobs.manifests_read == [layout.manifest(SWEEP, THIRD.shard)]
    assert numbers(coverage.final()) == ALL
    assert numbers(coverage.by[0, Outcome.FAILED]) == [3]
    assert list(reader.shards) == [FIRST.shard, SECOND.shard, THIRD.shard]
    assert reader.rows == 6
    assert reader.refresh() is coverage
    assert len(blobs.manifests_read) == 1


def test_caches_of_two_aggregators_may_overlap(blobs):
    home(blobs, FIRST, SECOND, THIRD)
    put_cache(blobs, FIRST, SECOND)
    put_cache(blobs, SECOND, THIRD, aggregator="agg-2")
    reader = CoverageReader(blobs, SWEEP)
    assert numbers(reader.refresh().final()) == ALL
    assert numbers(reader.refresh().final()) == ALL
    assert reader.rows == 6
    assert blobs.manifests_read == []


def test_a_cache_is_void_once_a_shard_it_names_is_gone(blobs):
    home(blobs, FIRST, SECOND)
    put_cache(blobs, FIRST, SECOND)
    blobs.delete(layout.shard(SWEEP, FIRST.shard))
    blobs.delete(layout.manifest(SWEEP, FIRST.shard))
    assert numbers(CoverageReader(blobs, SWEEP).refresh().final()) == [1, 4]
    assert layout.manifest(SWEEP, SECOND.shard) in blobs.read


@pytest.mark.parametrize("which", [layout.shard, layout.manifest])
def test_a_cache_is_void_once_a_file_it_stands_for_has_another_size(blobs, which):
    home(blobs, FIRST, SECOND)
    put_cache(blobs, FIRST, SECOND)
    blobs.put(which(SWEEP, FIRST.shard), b"cut")
    blobs.put(layout.shard(SWEEP, FIRST.shard), b"cu")
    reader = CoverageReader(blobs, SWEEP)
    assert numbers(reader.refresh().final()) == [1, 4]
    assert FIRST.shard in reader.problems


def test_a_shard_that_goes_after_its_cache_was_taken_takes_its_runs_with_it(blobs):
    home(blobs, FIRST, SECOND)
    put_cache(blobs, FIRST, SECOND)
    reader = CoverageReader(blobs, SWEEP)
    reader.refresh()
    blobs.delete(layout.shard(SWEEP, FIRST.shard))
    assert numbers(reader.refresh().final()) == [1, 4]
    assert list(reader.shards) == [SECOND.shard]


@pytest.mark.parametrize("cached", [False, True])
def test_a_cache_lives_on_when_its_shard_was_replaced(blobs, cached):
    new = manifest(9, replaces=(FIRST.shard,), ok0=[1, 2], failed0=[3])
    home(blobs, SECOND, new)
    put_cache(blobs, FIRST, SECOND)
    if cached:
        put_cache(blobs, new, aggregator="agg-2")
    reader = CoverageReader(blobs, SWEEP)
    assert numbers(reader.refresh().final()) == [1, 2, 3, 4]
    assert layout.manifest(SWEEP, SECOND.shard) not in blobs.read
    assert list(reader.shards) == [SECOND.shard, new.shard]
    blobs.delete(layout.shard(SWEEP, new.shard))
    blobs.delete(layout.manifest(SWEEP, new.shard))
    assert numbers(reader.refresh().final()) == [1, 4]


@pytest.mark.parametrize("data", [b"", b"{", b'{"format":"gapless.coverage/2"}'])
def test_a_cache_nobody_can_read_is_ignored(blobs, data):
    home(blobs, FIRST)
    blobs.put(layout.coverage(SWEEP, "agg-1"), data)
    assert numbers(CoverageReader(blobs, SWEEP).refresh().final()) == [1, 2, 3]


def test_a_cache_under_another_name_or_of_another_sweep_is_ignored(blobs):
    home(blobs, FIRST)
    other = msgspec.structs.replace(cache_of(FIRST), sweep="other-00000000")
    blobs.put(layout.coverage(SWEEP, "agg-1"), encode_cache(other))
    blobs.put(layout.coverage(SWEEP, "agg-2"), encode_cache(cache_of(FIRST)))
    CoverageReader(blobs, SWEEP).refresh()
    assert blobs.manifests_read == [layout.manifest(SWEEP, FIRST.shard)]


def test_whole_manifests_are_read_when_they_are_needed(blobs):
    home(blobs, FIRST, SECOND)
    put_cache(blobs, FIRST)
    reader = CoverageReader(blobs, SWEEP)
    coverage = reader.refresh()
    assert reader.read_manifests() == {FIRST.shard: FIRST, SECOND.shard: SECOND}
    assert reader.refresh() is coverage
    assert reader.read_manifests() == {FIRST.shard: FIRST, SECOND.shard: SECOND}


def test_a_manifest_that_went_before_it_was_needed_is_left_out(blobs):
    home(blobs, FIRST, SECOND)
    put_cache(blobs, FIRST)
    reader = CoverageReader(blobs, SWEEP)
    reader.refresh()
    blobs.delete(layout.manifest(SWEEP, FIRST.shard))
    assert reader.read_manifests() == {SECOND.shard: SECOND}
    assert numbers(reader.refresh().final()) == [1, 4]


def test_a_look_that_storage_broke_off_is_right_the_next_time(blobs):
    home(blobs, FIRST, SECOND)
    put_cache(blobs, FIRST, SECOND)
    reader = CoverageReader(blobs, SWEEP)
    reader.refresh()
    away = [True]
    get = blobs.get

    def sometimes(key):
        if away.pop() if away else False:
            raise StorageUnavailable("storage is away")
        return get(key)

    blobs.get = sometimes
    with pytest.raises(StorageUnavailable):
        reader.read_manifests()
    assert len(reader.read_manifests()) == 2
    away.append(True)
    home(blobs, THIRD)
    with pytest.raises(StorageUnavailable):
        reader.refresh()
    assert numbers(reader.refresh().final()) == ALL


def test_a_cache_comes_back_as_it_was_written():
    cache = cache_of(FIRST, manifest(2, replaces=("x",), ok1=[7]))
    assert decode_cache(encode_cache(cache)) == cache


@pytest.mark.parametrize(
    ("found", "put"),
    [
        (b'"rows":3', b'"rows":2'),
        (b'"rows":3', b'"rows":-3'),
        (b'"rows":3', b'"rows":"3"'),
        (b'"bytes":3', b'"bytes":0'),
        (b'"ok"', b'"okay"'),
        (b'"0":', b'"-1":'),
        (b"gapless.coverage/1", b"gapless.manifest/1"),
    ],
)
def test_a_cache_that_says_the_impossible_is_damaged(found, put):
    data = encode_cache(cache_of(FIRST))
    assert found in data
    with pytest.raises(DamagedMessage):
        decode_cache(data.replace(found, put))


def test_a_cache_that_names_a_shard_twice_is_damaged():
    cache = cache_of(FIRST)
    twice = msgspec.structs.replace(cache, shards=cache.shards * 2)
    with pytest.raises(DamagedMessage):
        decode_cache(encode_cache(twice))


def test_a_cache_of_a_later_program_is_told_apart():
    data = encode_cache(cache_of(FIRST)).replace(b"gapless.coverage/1", b"gapless.coverage/2")
    with pytest.raises(NewerFormat):
        decode_cache(data)
