import hashlib
import json

import pytest

from aggregator.commands import Flush, QuarantineMessage
from aggregator.decoding import read_message
from aggregator.events import (
    Buffered,
    FlushFailed,
    MessageUndecodable,
    NewerFormatReceived,
    QuarantineFailed,
    ShardStored,
)
from aggregator.home_view import HomeView
from aggregator.own_coverage import OwnCoverage
from aggregator.proof import AlreadyFinal
from aggregator.store import DeliveryStore, Origins
from gapless.results.coverage import CoverageReader
from gapless.results.manifest import decode_manifest, encode_manifest, manifest_of_shard
from gapless.results.reader import Results
from gapless.storage import layout
from gapless.storage.errors import StorageUnavailable
from gapless.storage.memory import MemoryBlobs
from gapless.storage.sweeps import SweepStore
from queueing.port import Lease, Message
from tests.unit.aggregator.homes import delivery_body, quarantined, store_sweep

NOW_S = 1_700_000_000.0


class UnreliableBlobs(MemoryBlobs):
    """Raises at the n-th put, after having done it or instead."""

    def __init__(self):
        super().__init__(clock=lambda: NOW_S)
        self.fail_before: set[int] = set()
        self.fail_after: set[int] = set()
        self.puts = 0

    def put(self, key, data):
        self._count(lambda: super(UnreliableBlobs, self).put(key, data))

    def put_if_absent(self, key, data):
        return self._count(lambda: super(UnreliableBlobs, self).put_if_absent(key, data))

    def _count(self, deed):
        self.puts += 1
        if self.puts in self.fail_before:
            raise StorageUnavailable("storage is away")
        done = deed()
        if self.puts in self.fail_after:
            raise StorageUnavailable("no answer came")
        return done


class Place:
    """A home with one sweep, and the store step of one aggregator."""

    def __init__(self):
        self.blobs = UnreliableBlobs()
        self.sweep_id = store_sweep(self.blobs)
        self.blobs.puts = 0
        self.elapsed_s = 0.0
        self.store = self.new_store()

    def new_store(self, name="agg-1"):
        home = HomeView(self.blobs, SweepStore(self.blobs))
        self.own = OwnCoverage(self.blobs, name, lambda: self.elapsed_s)
        return DeliveryStore(self.blobs, home, Origins(name, lambda: NOW_S), self.own)

    def buffered(self, *runs, **more) -> Buffered:
        return self.read(delivery_body(self.sweep_id, *runs, **more))

    def read(self, body):
        lease = Lease(
            layout.results_queue(self.sweep_id), hashlib.sha256(body.encode()).hexdigest()
        )
        return read_message(Message(lease, body, 1))

    def flush(self, *batch, number=1):
        return self.store.flush(Flush(self.sweep_id, number, batch))

    def shards(self):
        return [each.key for each in self.blobs.list(layout.shards_prefix(self.sweep_id))]


@pytest.fixture
def place():
    return Place()


def test_a_flush_makes_shard_and_manifest_durable_and_proves_it(place):
    batch = (place.buffered(0, 10), place.buffered(10, 15))
    done = place.flush(*batch)
    assert isinstance(done, ShardStored)
    assert done.stored == batch
    data = place.blobs.get(layout.shard(place.sweep_id, done.proof.shard_id))
    assert hashlib.sha256(data).hexdigest() == done.proof.sha256
    assert decode_manifest(place.blobs.get(done.proof.manifest_key)).sha256 == done.proof.sha256
    assert Results(place.blobs, place.sweep_id).values("y").tolist() == list(range(15))


@pytest.mark.parametrize("when", ["fail_before", "fail_after"])
@pytest.mark.parametrize("put", [1, 2])
def test_a_put_without_answer_is_repeated_as_the_same_shard(place, when, put):
    getattr(place.blobs, when).add(put)
    delivery = place.buffered(0, 10)
    failed = place.flush(delivery)
    assert isinstance(failed, FlushFailed)
    done = place.flush(delivery)
    assert isinstance(done, ShardStored)
    assert len(place.shards()) == 2
    assert place.shards()[0].endswith(f"{done.proof.shard_id}.h5")


def test_a_name_taken_by_another_shard_is_left_alone_and_a_new_one_taken(place):
    taken = place.new_store().flush(Flush(place.sweep_id, 1, (place.buffered(10, 20),)))
    before = place.blobs.get(layout.shard(place.sweep_id, taken.proof.shard_id))
    delivery = place.buffered(0, 10)
    assert isinstance(place.flush(delivery), FlushFailed)
    done = place.flush(delivery)
    assert done.proof.shard_id != taken.proof.shard_id
    assert place.blobs.get(layout.shard(place.sweep_id, taken.proof.shard_id)) == before
    assert len(Results(place.blobs, place.sweep_id)) == 20


def test_a_manifest_written_by_who_adopted_the_shard_is_as_good(place):
    place.blobs.fail_after.add(1)
    delivery = place.buffered(0, 10)
    assert isinstance(place.flush(delivery), FlushFailed)
    (key,) = place.shards()
    shard_id = key.rpartition("/")[2].removesuffix(".h5")
    manifest = manifest_of_shard(place.blobs.get(key), shard_id)
    place.blobs.put(layout.manifest(place.sweep_id, shard_id), encode_manifest(manifest))
    assert place.flush(delivery).proof.shard_id == shard_id


def test_a_crash_between_shard_and_manifest_leaves_a_shard_that_is_adopted(place):
    place.blobs.fail_before.add(2)
    assert isinstance(place.flush(place.buffered(0, 10)), FlushFailed)
    home = HomeView(place.blobs, SweepStore(place.blobs))
    assert home.adopt(place.sweep_id, older_than_s=0.0, now_s=NOW_S).count == 1
    assert len(Results(place.blobs, place.sweep_id)) == 10


def test_a_damaged_block_is_rejected_and_the_rest_is_stored(place):
    body = delivery_body(place.sweep_id, 0, 10)
    middle = len(body) - 40
    damaged = place.read(body[:middle] + ("A" if body[middle] != "A" else "B") + body[middle + 1 :])
    good = place.buffered(10, 20)
    done = place.flush(damaged, good)
    assert done.stored == (good,)
    ((rejected, reason),) = done.rejected
    assert rejected is damaged
    assert "damaged on the way" in reason


def test_a_block_of_other_runs_than_its_header_says_is_rejected(place):
    body = delivery_body(place.sweep_id, 0, 10)
    lying = place.read(body.replace("[[0,10]]", "[[0,11]]"))
    done = place.flush(lying)
    assert done.proof is None
    assert "or other ones" in done.rejected[0][1]
    assert place.shards() == []


def test_a_delivery_that_no_shard_can_hold_does_not_stop_the_others(place):
    outside, good = place.buffered(15, 25), place.buffered(0, 10)
    done = place.flush(outside, good)
    assert done.stored == (good,)
    assert "no shard can hold it" in done.rejected[0][1]


def test_a_sweep_the_home_does_not_have_rejects_its_deliveries(place):
    stranger = place.read(delivery_body("gone-00000000", 0, 10))
    done = place.store.flush(Flush("gone-00000000", 1, (stranger,)))
    assert "the home has no sweep gone-00000000" in done.rejected[0][1]


def test_a_claim_is_fetched_and_stored(place):
    place.flush(place.buffered(0, 10, blobs=place.blobs))
    assert len(Results(place.blobs, place.sweep_id)) == 10


def test_a_claim_of_other_bytes_is_rejected(place):
    claimed = place.buffered(0, 10, blobs=place.blobs)
    place.blobs.put(claimed.delivery.claim.key, b"A" * claimed.delivery.claim.size_bytes)
    assert "is not what the delivery says" in place.flush(claimed).rejected[0][1]


def test_a_longer_object_than_claimed_is_rejected(place):
    claimed = place.buffered(0, 10, blobs=place.blobs)
    key = claimed.delivery.claim.key
    place.blobs.put(key, place.blobs.get(key) + b"AAAA")
    assert "is not what the delivery says" in place.flush(claimed).rejected[0][1]


def test_a_claim_that_is_gone_is_rejected_while_runs_are_missing(place):
    claimed = place.buffered(0, 10, blobs=place.blobs)
    place.blobs.delete(claimed.delivery.claim.key)
    done = place.flush(claimed)
    assert done.final == ()
    assert "is gone" in done.rejected[0][1]


def test_a_claim_that_is_gone_is_done_with_when_its_runs_are_final(place):
    claimed = place.buffered(0, 10, blobs=place.blobs)
    place.flush(place.buffered(0, 12), number=1)
    place.blobs.delete(claimed.delivery.claim.key)
    done = place.flush(claimed, number=2)
    assert done.rejected == ()
    assert done.final == ((claimed, AlreadyFinal(place.sweep_id, 1)),)


def test_a_claim_that_is_gone_is_not_done_with_by_results_of_an_earlier_epoch(place):
    claimed = place.buffered(0, 10, epoch=1, blobs=place.blobs)
    place.flush(place.buffered(0, 10, epoch=0), number=1)
    place.blobs.delete(claimed.delivery.claim.key)
    assert place.flush(claimed, number=2).rejected


def test_storage_away_while_a_claim_is_fetched_is_a_failed_flush(place, monkeypatch):
    claimed = place.buffered(0, 10, blobs=place.blobs)

    def away(*_):
        raise StorageUnavailable("storage is away")

    monkeypatch.setattr(place.blobs, "get_range", away)
    assert isinstance(place.flush(claimed), FlushFailed)
    monkeypatch.undo()
    assert place.flush(claimed).stored == (claimed,)


def test_a_message_in_quarantine_keeps_its_body_and_the_reason(place):
    lease = Lease(layout.results_queue(place.sweep_id), "t")
    done = place.store.quarantine(QuarantineMessage(lease, "rub\nbish", "no JSON"))
    (kept,) = quarantined(place.blobs, place.sweep_id)
    head, _, body = kept.partition(b"\n")
    assert body == b"rub\nbish"
    assert json.loads(head)["reason"] == "no JSON"
    assert done.proof.key == layout.quarantine(
        place.sweep_id, hashlib.sha256(b"rub\nbish").hexdigest()
    )


def test_a_quarantine_that_storage_refuses_proves_nothing(place):
    place.blobs.fail_before.add(1)
    lease = Lease(layout.results_queue(place.sweep_id), "t")
    done = place.store.quarantine(QuarantineMessage(lease, "rubbish", "no JSON"))
    assert isinstance(done, QuarantineFailed)


def test_flush_times_increase_also_when_the_clock_goes_back():
    times = iter([100.0, 50.0, 50.0, 100.000001, 101.0])
    origins = Origins("agg-1", lambda: next(times))
    made = [origins.next() for _ in range(5)]
    assert made == sorted(made)
    assert len({each.flushed_at for each in made}) == 5


@pytest.mark.parametrize(
    "key", ["home.json", "claims/", "claims/../home.json", "claims/a/b", "claims/.x", "/claims/a"]
)
def test_a_claim_on_anything_but_a_claimed_object_is_undecodable(place, key):
    body = delivery_body(place.sweep_id, 0, 10, blobs=place.blobs)
    found = place.read(body.replace("claims/delivery-0-10-0", key))
    assert isinstance(found, MessageUndecodable)


def test_a_claim_of_an_absurd_size_is_undecodable(place):
    body = delivery_body(place.sweep_id, 0, 10, blobs=place.blobs)
    size = json.loads(body)["claim"]["size_bytes"]
    found = place.read(body.replace(f'"size_bytes":{size}', '"size_bytes":99999999999'))
    assert isinstance(found, MessageUndecodable)


def test_a_delivery_of_a_newer_format_is_told_apart_from_a_damaged_one(place):
    body = delivery_body(place.sweep_id, 0, 10).replace("gapless.delivery/1", "gapless.delivery/2")
    assert isinstance(place.read(body), NewerFormatReceived)
    assert isinstance(place.read("gapless.delivery/2"), MessageUndecodable)


def test_what_was_stored_is_what_reconcile_will_count(place):
    place.flush(place.buffered(0, 10))
    coverage = CoverageReader(place.blobs, place.sweep_id).refresh()
    assert len(coverage.final()) == 10
