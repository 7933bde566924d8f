import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.declaration.control import Asked
from gapless.declaration.runset import RunSet
from gapless.results.coverage import Coverage, CoverageReader, by_outcome, counts, missing
from gapless.results.manifest import Manifest, decode_manifest, encode_manifest
from gapless.results.origin import Origin, shard_id
from gapless.results.outcome import Outcome
from gapless.storage import layout
from gapless.storage.memory import MemoryBlobs
from tests.unit.results.samples import SWEEP, block_of, failed_block, put_shard, shard_of

OK, FAILED, TIMEOUT, LOST = Outcome


def manifest(number=1, replaces=(), **coverage):
    """Coverage by keywords like ok0 or failed2: outcome and epoch."""
    origin = Origin.at(float(number), "agg-1", number)
    sets = {
        (int(key[-1]), Outcome.of_label(key[:-1])): RunSet.of(*runs)
        for key, runs in coverage.items()
    }
    found = {each: sum(len(s) for (_, o), s in sets.items() if o is each) for each in Outcome}
    return Manifest(
        sweep=SWEEP,
        shard=shard_id(origin),
        origin=origin,
        sha256="0" * 64,
        size_bytes=3,
        rows=sum(found.values()),
        counts=found,
        coverage=sets,
        replaces=replaces,
    )


def covered(*manifests):
    coverage = Coverage()
    for each in manifests:
        coverage.add(each)
    return coverage


def store(blobs, each, data=b"hdf"):
    blobs.put(layout.shard(SWEEP, each.shard), data)
    blobs.put(layout.manifest(SWEEP, each.shard), encode_manifest(each))


def asked(epoch, *runs):
    return Asked(epoch=epoch, runs=RunSet.of(*runs), at_s=0.0)


def numbers(runs):
    return runs.to_array().tolist()


@pytest.fixture
def blobs():
    return MemoryBlobs(clock=lambda: 100.0)


def test_coverage_joins_manifests_by_epoch_and_outcome():
    coverage = covered(manifest(1, ok0=[1, 2], failed0=[3]), manifest(2, ok0=[2, 4], ok1=[3]))
    assert {key: numbers(runs) for key, runs in coverage.by.items()} == {
        (0, OK): [1, 2, 4],
        (0, FAILED): [3],
        (1, OK): [3],
    }
    assert numbers(coverage.final()) == [1, 2, 3, 4]
    assert numbers(coverage.final(at_epoch=1)) == [3]
    assert numbers(coverage.final(at_epoch=7)) == []


def test_adding_a_manifest_twice_changes_nothing():
    once, twice = covered(manifest(ok0=[1])), covered(manifest(ok0=[1]), manifest(ok0=[1]))
    assert once.by == twice.by


def test_nothing_is_missing_when_every_run_has_a_final_result():
    assert missing(RunSet.span(0, 3), [], covered(manifest(ok0=[0, 1], lost0=[2]))) == {}


def test_runs_are_missing_at_the_highest_epoch_they_were_asked_for():
    coverage = covered(manifest(1, ok0=[0, 1, 2]), manifest(2, ok1=[1]))
    lacking = missing(RunSet.span(0, 6), [asked(1, 1, 2), asked(2, 2, 3)], coverage)
    assert {epoch: numbers(runs) for epoch, runs in lacking.items()} == {0: [4, 5], 2: [2, 3]}


def test_a_result_of_a_later_epoch_is_no_gap_of_an_earlier_one():
    assert missing(RunSet.of(1), [], covered(manifest(ok3=[1]))) == {}


def test_runs_that_were_never_declared_are_not_missing():
    assert missing(RunSet.of(1), [asked(1, 1, 99)], covered(manifest(ok1=[1]))) == {}


def test_a_run_counts_as_ok_when_one_of_its_results_is():
    coverage = covered(manifest(1, failed0=[1, 2]), manifest(2, ok0=[1], timeout0=[2], lost0=[3]))
    found = counts(RunSet.span(0, 5), [], coverage)
    assert found == {OK: 1, FAILED: 1, TIMEOUT: 0, LOST: 1}


def test_only_results_since_the_asked_epoch_count():
    coverage = covered(manifest(1, ok0=[1, 2, 3]), manifest(2, failed1=[2]))
    found = by_outcome(RunSet.span(1, 4), [asked(1, 2, 3)], coverage)
    assert {outcome: numbers(runs) for outcome, runs in found.items()} == {
        OK: [1],
        FAILED: [2],
        TIMEOUT: [],
        LOST: [],
    }


def test_the_highest_epoch_decides_even_when_an_earlier_one_was_ok():
    coverage = covered(manifest(1, ok0=[1]), manifest(2, failed1=[1]))
    assert counts(RunSet.of(1), [asked(1, 1)], coverage)[FAILED] == 1
    assert counts(RunSet.of(1), [], coverage)[FAILED] == 1


def test_the_reader_reads_only_manifests_it_has_not_seen(blobs):
    first, second = manifest(1, ok0=[1]), manifest(2, ok0=[2])
    store(blobs, first)
    read = []

    class Counting:
        def get(self, key):
            read.append(key)
            return blobs.get(key)

        list = blobs.list

    reader = CoverageReader(Counting(), SWEEP)
    reader.refresh()
    store(blobs, second)
    assert numbers(reader.refresh().final()) == [1, 2]
    assert read == [layout.manifest(SWEEP, each.shard) for each in (first, second)]


def test_a_manifest_that_is_gone_takes_its_runs_with_it(blobs):
    first, second = manifest(1, ok0=[1]), manifest(2, ok0=[2])
    store(blobs, first)
    store(blobs, second)
    reader = CoverageReader(blobs, SWEEP)
    reader.refresh()
    blobs.delete(layout.manifest(SWEEP, first.shard))
    assert numbers(reader.refresh().final()) == [2]
    assert list(reader.orphans) == [first.shard]


def test_a_manifest_that_was_exchanged_counts_as_it_is_now():
    now = [100.0]
    blobs = MemoryBlobs(clock=lambda: now[0])
    store(blobs, manifest(1, ok0=[1, 2]))
    reader = CoverageReader(blobs, SWEEP)
    reader.refresh()
    now[0] = 200.0
    store(blobs, manifest(1, ok0=[2, 3]))
    assert numbers(reader.refresh().final()) == [2, 3]


def test_when_the_replacement_goes_too_its_runs_are_gaps_again(blobs):
    old = manifest(1, ok0=[1, 2])
    new = manifest(2, replaces=(old.shard,), ok0=[1, 2])
    store(blobs, old)
    store(blobs, new)
    reader = CoverageReader(blobs, SWEEP)
    reader.refresh()
    for each in (old, new):
        blobs.delete(layout.manifest(SWEEP, each.shard))
    assert numbers(reader.refresh().final()) == []


RESULTS = st.dictionaries(
    st.tuples(st.integers(0, 2), st.sampled_from(list(Outcome))),
    st.sets(st.integers(0, 7), min_size=1),
    max_size=6,
)


@given(RESULTS, st.lists(st.sets(st.integers(0, 7)), max_size=2))
def test_every_declared_run_is_missing_or_counts_once(results, anew):
    coverage = covered(
        *(manifest(1, **{f"{o.label}{epoch}": runs}) for (epoch, o), runs in results.items())
    )
    declared = RunSet.span(0, 6)
    records = [asked(epoch, *runs) for epoch, runs in enumerate(anew, start=1)]
    lacking = missing(declared, records, coverage)
    shown = by_outcome(declared, records, coverage)
    for run in range(6):
        wanted = max((e for e, runs in enumerate(anew, start=1) if run in runs), default=0)
        rows = [(epoch, -o) for (epoch, o), runs in results.items() if run in runs]
        rows = [each for each in rows if each[0] >= wanted]
        assert [epoch for epoch, runs in lacking.items() if run in runs] == (
            [] if rows else [wanted]
        )
        # The order of counting is that of the outcomes' numbers, ok first.
        expected = [Outcome(-max(rows)[1])] if rows else []
        assert [outcome for outcome, runs in shown.items() if run in runs] == expected


def test_a_shard_that_is_gone_does_not_count_though_its_manifest_remains(blobs):
    first = manifest(1, ok0=[1])
    store(blobs, first)
    reader = CoverageReader(blobs, SWEEP)
    assert numbers(reader.refresh().final()) == [1]
    blobs.delete(layout.shard(SWEEP, first.shard))
    assert numbers(reader.refresh().final()) == []
    assert "is gone" in reader.problems[first.shard]


def test_a_shard_of_another_size_does_not_count(blobs):
    first = manifest(1, ok0=[1])
    store(blobs, first, data=b"cut short")
    reader = CoverageReader(blobs, SWEEP)
    assert numbers(reader.refresh().final()) == []
    assert "9 bytes, its manifest says 3" in reader.problems[first.shard]


def test_a_shard_written_while_the_listing_went_by_counts(blobs):
    first = manifest(1, ok0=[1])
    store(blobs, first)

    class LateListing:
        get = blobs.get

        def list(self, prefix):
            return (blob for blob in blobs.list(prefix) if not blob.key.endswith(".h5"))

    assert numbers(CoverageReader(LateListing(), SWEEP).refresh().final()) == [1]


def test_replaced_shards_may_go_in_any_order_without_a_gap(blobs):
    old, new = manifest(1, ok0=[1]), None
    store(blobs, old)
    reader = CoverageReader(blobs, SWEEP)
    before = reader.refresh()
    new = manifest(2, replaces=(old.shard,), ok0=[1])
    store(blobs, new)
    reader.refresh()
    assert list(reader.shards) == [new.shard]
    blobs.delete(layout.shard(SWEEP, old.shard))
    assert numbers(reader.refresh().final()) == [1]
    assert reader.problems == {}
    blobs.delete(layout.manifest(SWEEP, old.shard))
    assert reader.refresh() is before
    assert numbers(before.final()) == [1]


def test_an_unreadable_manifest_is_reported_and_does_not_count(blobs):
    bad = "20260101T000000000000Z-agg-1-000001"
    for name in (bad, "notes"):
        blobs.put(layout.shard(SWEEP, name), b"hdf")
        blobs.put(layout.manifest(SWEEP, name), b"{")
    reader = CoverageReader(blobs, SWEEP)
    assert not reader.refresh().final()
    assert "cannot be read" in reader.problems.pop(bad)
    # No aggregator names anything like this: it is somebody's own file.
    assert reader.problems == {}
    assert reader.orphans == {}


def test_a_manifest_of_another_sweep_or_shard_does_not_count(blobs):
    strange = msgspec.structs.replace(manifest(1, ok0=[1]), sweep="other-00000000")
    store(blobs, strange)
    reader = CoverageReader(blobs, SWEEP)
    assert not reader.refresh().final()
    assert "other-00000000" in reader.problems[strange.shard]


def test_a_complete_shard_without_a_manifest_is_adopted_when_old_enough(blobs):
    shard = shard_of(block_of({1: {"x": 1.0}}), failed_block([2]))
    blobs.put(layout.shard(SWEEP, shard.shard_id), shard.data)
    reader = CoverageReader(blobs, SWEEP)
    assert not reader.refresh().final()
    assert reader.adopt_orphans(older_than_s=60.0, now_s=159.0).adopted == ()
    assert reader.adopt_orphans(older_than_s=60.0, now_s=160.0).adopted == (shard.shard_id,)
    assert decode_manifest(blobs.get(layout.manifest(SWEEP, shard.shard_id))) == shard.manifest
    assert numbers(reader.refresh().final()) == [1, 2]
    assert reader.orphans == {}


def test_an_orphan_nobody_can_read_is_reported_and_left_alone(blobs):
    shard = shard_of(block_of({1: {"x": 1.0}}))
    blobs.put(layout.shard(SWEEP, shard.shard_id), shard.data[:-100])
    noise = "20260101T000000000000Z-agg-1-000001"
    for name in (noise, "notes"):
        blobs.put(layout.shard(SWEEP, name), b"noise")
    reader = CoverageReader(blobs, SWEEP)
    reader.refresh()
    adoption = reader.adopt_orphans(older_than_s=0.0, now_s=1000.0)
    assert adoption.adopted == ()
    assert set(adoption.unreadable) == {shard.shard_id, noise}
    for name in (noise, "notes"):
        assert blobs.get(layout.shard(SWEEP, name)) == b"noise"


def test_a_shard_of_another_sweep_is_not_adopted(blobs):
    shard = shard_of(block_of({1: {}}))
    blobs.put(layout.shard("other-00000000", shard.shard_id), shard.data)
    reader = CoverageReader(blobs, "other-00000000")
    reader.refresh()
    adoption = reader.adopt_orphans(older_than_s=0.0, now_s=1000.0)
    assert SWEEP in adoption.unreadable[shard.shard_id]


def test_a_stored_shard_counts_at_once(blobs):
    put_shard(blobs, shard_of(block_of({4: {}})))
    assert numbers(CoverageReader(blobs, SWEEP).refresh().final()) == [4]
