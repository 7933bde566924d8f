import logging
import threading
import time

import pytest

from aggregator.commands import ReceiveDeliveries
from aggregator.events import ReceiveFailed
from aggregator.service import Aggregator, AggregatorSettings
from gapless.declaration.control import ControlState
from gapless.errors import GaplessError, UserMistake
from gapless.results.reader import Results
from gapless.storage import layout
from gapless.storage.errors import StorageUnavailable
from gapless.storage.folder import FolderBlobs
from gapless.storage.memory import MemoryBlobs
from gapless.storage.sweeps import SweepStore
from queueing.errors import QueueError, QueueUnavailable
from queueing.memory import MemoryQueues
from queueing.port import Answer, AnswerStatus
from queueing.sqlite import SqliteQueues
from tests.unit.aggregator.homes import (
    WAIT_S,
    Running,
    delivery_body,
    quarantined,
    queued,
    send,
    store_sweep,
)


def wait_until(true):
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        pause.wait(0.01)


@pytest.fixture(params=["memory", "disk"])
def place(request, tmp_path):
    if request.param == "memory":
        blobs, queues = MemoryBlobs(), MemoryQueues()
    else:
        blobs, queues = FolderBlobs(tmp_path / "home"), SqliteQueues(tmp_path / "queue.db")
    yield blobs, queues
    queues.close()


def test_deliveries_become_rows_and_their_messages_go(place):
    blobs, queues = place
    sweep = store_sweep(blobs)
    send(queues, sweep, delivery_body(sweep, 0, 10), delivery_body(sweep, 10, 20, blobs=blobs))
    assert Running(blobs, queues, until_complete=True).join() == 0
    assert Results(blobs, sweep).values("y").tolist() == list(range(20))
    assert queued(queues, sweep) == 0


def test_what_cannot_be_used_is_in_quarantine_and_not_on_the_queue(place):
    blobs, queues = place
    sweep = store_sweep(blobs)
    outside = delivery_body(sweep, 15, 25)
    stray = delivery_body("other-00000000", 0, 10)
    send(queues, sweep, "rubbish", outside, stray, delivery_body(sweep, 0, 20))
    assert Running(blobs, queues, until_complete=True).join() == 0
    kept = [each.partition(b"\n")[2].decode() for each in quarantined(blobs, sweep)]
    assert sorted(kept) == sorted(["rubbish", outside, stray])
    assert queued(queues, sweep) == 0
    assert len(Results(blobs, sweep)) == 20


def test_a_message_of_a_newer_format_stays_on_the_queue(place):
    blobs, queues = place
    sweep = store_sweep(blobs)
    newer = delivery_body(sweep, 0, 20).replace("gapless.delivery/1", "gapless.delivery/2")
    send(queues, sweep, newer, delivery_body(sweep, 0, 20))
    assert Running(blobs, queues, until_complete=True).join() == 0
    facts = queues.facts(layout.results_queue(sweep))
    assert (facts.visible, facts.leased, facts.delayed) == (0, 0, 1)


def test_a_stop_stores_and_deletes_what_is_buffered(place):
    blobs, queues = place
    sweep = store_sweep(blobs)
    send(queues, sweep, delivery_body(sweep, 0, 10))
    running = Running(blobs, queues, flush_age_s=300.0)
    wait_until(lambda: queues.facts(layout.results_queue(sweep)).leased == 1)
    assert not list(blobs.list(layout.shards_prefix(sweep)))
    assert running.stop() == 0
    assert len(Results(blobs, sweep)) == 10
    assert queued(queues, sweep) == 0


def test_an_aggregator_that_left_takes_in_none_of_the_events_that_wait():
    aggregator = Aggregator(AggregatorSettings(blobs=MemoryBlobs(), queues=MemoryQueues()))
    for _ in range(3):
        aggregator.stop()
    assert aggregator.run() == 0


def test_two_aggregators_share_the_work_of_one_sweep(place):
    blobs, queues = place
    sweep = store_sweep(blobs, points=100)
    send(queues, sweep, *[delivery_body(sweep, each, each + 1) for each in range(100)])
    both = [
        Running(blobs, queues, aggregator_id=f"agg-{n}", flush_rows=7, until_complete=True)
        for n in range(2)
    ]
    # What one stores completes the sweep for the other when it reads the manifests.
    assert [each.join() for each in both] == [0, 0]
    assert Results(blobs, sweep).values("y").tolist() == list(range(100))
    assert queued(queues, sweep) == 0


def test_a_sweep_submitted_later_is_served_too(place):
    blobs, queues = place
    first = store_sweep(blobs, name="first")
    running = Running(blobs, queues)
    send(queues, first, delivery_body(first, 0, 20))
    wait_until(lambda: queued(queues, first) == 0)
    second = store_sweep(blobs, name="second")
    send(queues, second, delivery_body(second, 0, 20))
    wait_until(lambda: queued(queues, second) == 0)
    assert running.stop() == 0
    assert len(Results(blobs, second)) == 20


def test_only_the_sweeps_named_are_served():
    blobs, queues = MemoryBlobs(), MemoryQueues()
    mine, other = store_sweep(blobs, name="mine"), store_sweep(blobs, name="other")
    for sweep in (mine, other):
        send(queues, sweep, delivery_body(sweep, 0, 20))
    assert Running(blobs, queues, sweep_ids=(mine,), until_complete=True).join() == 0
    assert queued(queues, other) == 1


def test_a_paused_sweep_is_stored_all_the_same():
    blobs, queues = MemoryBlobs(), MemoryQueues()
    sweep = store_sweep(blobs)
    SweepStore(blobs).set_control(sweep, state=ControlState.PAUSED)
    send(queues, sweep, delivery_body(sweep, 0, 20))
    assert Running(blobs, queues, until_complete=True).join() == 0


def test_a_cancelled_sweep_gets_no_queue_again():
    blobs, queues = MemoryBlobs(), MemoryQueues()
    sweep = store_sweep(blobs)
    SweepStore(blobs).set_control(sweep, state=ControlState.CANCELLED)
    assert Running(blobs, queues, until_complete=True).join() == 0
    assert layout.results_queue(sweep) not in queues._queues


class ShyBlobs(MemoryBlobs):
    """Refuses shards while `away`."""

    def __init__(self):
        super().__init__()
        self.away = True
        self.refused = threading.Event()

    def put_if_absent(self, key, data):
        if self.away and key.endswith(".h5"):
            self.refused.set()
            raise StorageUnavailable("the folder is read-only")
        return super().put_if_absent(key, data)


def test_a_refused_flush_keeps_the_messages_and_is_made_again():
    blobs, queues = ShyBlobs(), MemoryQueues()
    sweep = store_sweep(blobs)
    send(queues, sweep, delivery_body(sweep, 0, 20))
    running = Running(blobs, queues, until_complete=True)
    assert blobs.refused.wait(WAIT_S)
    assert queued(queues, sweep) == 1
    blobs.away = False
    assert running.join() == 0
    assert queued(queues, sweep) == 0
    assert len(Results(blobs, sweep)) == 20


class MoodyQueues(MemoryQueues):
    """Is away for the first receives; deletes in part, then not at all, then well."""

    def __init__(self):
        super().__init__()
        self.receives = self.deletes = 0

    def receive(self, queues, **more):
        self.receives += 1
        if self.receives <= 2:
            raise QueueUnavailable("nobody answers")
        return super().receive(queues, **more)

    def delete(self, leases):
        self.deletes += 1
        if self.deletes == 1:
            refused = [Answer(AnswerStatus.FAILED, "busy")] * (len(leases) - 1)
            return [*super().delete(leases[:1]), *refused]
        if self.deletes == 2:
            raise QueueUnavailable("nobody answers")
        return super().delete(leases)


def test_a_moody_queue_is_asked_until_all_is_deleted():
    blobs, queues = MemoryBlobs(), MoodyQueues()
    sweep = store_sweep(blobs)
    send(queues, sweep, *[delivery_body(sweep, each, each + 5) for each in (0, 5, 10, 15)])
    assert Running(blobs, queues, until_complete=True).join() == 0
    assert queued(queues, sweep) == 0
    assert queues.deletes == 3


@pytest.mark.parametrize("trouble", [UserMistake, QueueError, GaplessError])
def test_no_trouble_with_the_queues_that_has_a_name_ends_an_aggregator(trouble, caplog):
    class Troubled(MemoryQueues):
        def __init__(self):
            super().__init__()
            self.left = {"receive": 2, "delete": 2, "extend": 2}

        def _meet(self, verb):
            if self.left[verb]:
                self.left[verb] -= 1
                raise trouble("no credentials for now")

        def receive(self, queues, **more):
            self._meet("receive")
            return super().receive(queues, **more)

        def delete(self, leases):
            self._meet("delete")
            return super().delete(leases)

        def extend(self, extensions):
            self._meet("extend")
            return super().extend(extensions)

    blobs, queues = MemoryBlobs(), Troubled()
    sweep = store_sweep(blobs)
    send(queues, sweep, delivery_body(sweep, 0, 20))
    with caplog.at_level(logging.INFO):
        assert Running(blobs, queues, until_complete=True, lease_s=0.3).join() == 0
    assert queued(queues, sweep) == 0
    assert caplog.text.count("no deliveries can be received for now") == 1
    assert caplog.text.count("receiving deliveries works again") == 1


@pytest.mark.parametrize("trouble", [UserMistake, GaplessError])
def test_no_trouble_with_the_home_that_has_a_name_ends_an_aggregator(trouble):
    class Troubled(MemoryBlobs):
        left = 3

        def put_if_absent(self, key, data):
            if self.left and "sweeps/" not in key.partition("/shards/")[0]:
                self.left -= 1
                raise trouble("no credentials for now")
            if self.left and key.endswith(".h5"):
                self.left -= 1
                raise trouble("no credentials for now")
            return super().put_if_absent(key, data)

    blobs, queues = Troubled(), MemoryQueues()
    sweep = store_sweep(blobs)
    send(queues, sweep, "rubbish", delivery_body(sweep, 0, 20))
    assert Running(blobs, queues, until_complete=True).join() == 0
    assert len(Results(blobs, sweep)) == 20
    assert len(quarantined(blobs, sweep)) == 1


def test_a_receive_that_failed_is_not_repeated_before_the_aggregator_has_waited():
    class Watched(MemoryQueues):
        calls = 0

        def receive(self, queues, **more):
            self.calls += 1
            raise QueueUnavailable("the reply was lost")

    queues = Watched()
    settings = AggregatorSettings(blobs=MemoryBlobs(), queues=queues)
    ended = Aggregator(settings)._receive(ReceiveDeliveries(("s-results",), 10))
    assert ended == [ReceiveFailed("the reply was lost")]
    assert queues.calls == 1


def test_a_sweep_that_was_removed_and_submitted_again_is_noticed_while_it_rests():
    blobs, queues = MemoryBlobs(), MemoryQueues()
    sweep = store_sweep(blobs)
    send(queues, sweep, delivery_body(sweep, 0, 20))
    running = Running(blobs, queues, rest_s=0.3, rest_after_s=0.1)
    wait_until(lambda: queued(queues, sweep) == 0)
    for each in [*blobs.list(layout.sweep_prefix(sweep))]:
        blobs.delete(each.key)
    store_sweep(blobs)
    send(queues, sweep, delivery_body(sweep, 0, 20, name="of the second life"))
    wait_until(lambda: queued(queues, sweep) == 0)
    assert running.stop() == 0
    assert len(Results(blobs, sweep)) == 20


def test_leases_outlast_a_storage_that_is_away_for_longer():
    blobs, queues = ShyBlobs(), MemoryQueues()
    sweep = store_sweep(blobs)
    send(queues, sweep, delivery_body(sweep, 0, 20))
    running = Running(blobs, queues, until_complete=True, lease_s=0.6)
    assert blobs.refused.wait(WAIT_S)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 1.5)
    assert queues.facts(layout.results_queue(sweep)).leased == 1
    blobs.away = False
    assert running.join() == 0


def test_temporary_files_of_dead_writers_are_swept_at_the_start():
    blobs, queues = MemoryBlobs(), MemoryQueues()
    swept = []
    running = Running(blobs, queues, sweep_leftovers=swept.append, clock=lambda: 12.0)
    wait_until(lambda: swept)
    assert running.stop() == 0
    assert swept == [12.0]


def test_an_error_nobody_foresaw_ends_the_program():
    class Broken(MemoryQueues):
        def receive(self, queues, **more):
            raise RuntimeError("a bug")

    blobs = MemoryBlobs()
    store_sweep(blobs)
    with pytest.raises(RuntimeError, match="a bug"):
        Running.here(blobs, Broken())
