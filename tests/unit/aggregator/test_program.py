"""The aggregator as a real process: signals, and kill -9 at every step of a flush."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gapless.results.reader import Results
from gapless.storage import layout
from gapless.storage.folder import FolderBlobs
from queueing.sqlite import SqliteQueues
from tests.unit.aggregator.homes import (
    WAIT_S,
    delivery_body,
    queued,
    send,
    shard_files,
    store_sweep,
)
from tests.unit.aggregator.test_service import wait_until

ROOT = Path(__file__).parents[3]


class Place:
    """A home on disk with one sweep, its queue, and the programs started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = FolderBlobs(folder)
        self.sweep_id = store_sweep(self.blobs)
        self.queues = SqliteQueues(folder / "queue.db")
        self.programs: list[subprocess.Popen[bytes]] = []

    def start(self, **settings):
        command = [sys.executable, "-m", "tests.unit.aggregator.program", str(self.folder)]
        program = subprocess.Popen([*command, json.dumps(settings)], cwd=ROOT)
        self.programs.append(program)
        return program

    def run(self, **settings) -> int:
        return self.start(**settings).wait(WAIT_S)

    @property
    def leased(self) -> int:
        return self.queues.facts(layout.results_queue(self.sweep_id)).leased

    def close(self):
        for program in self.programs:
            program.kill()
            program.wait()
        self.queues.close()


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path / "home")
    yield made
    made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_makes_it_store_what_it_has_and_leave(place, number):
    send(place.queues, place.sweep_id, delivery_body(place.sweep_id, 0, 10))
    program = place.start(flush_age_s=300.0)
    wait_until(lambda: place.leased == 1)
    program.send_signal(number)
    assert program.wait(WAIT_S) == 0
    assert len(Results(place.blobs, place.sweep_id)) == 10
    assert queued(place.queues, place.sweep_id) == 0


def test_a_second_signal_ends_it_at_once_and_loses_nothing(place):
    send(place.queues, place.sweep_id, delivery_body(place.sweep_id, 0, 20))
    # A file where the folder of shards should be: no flush can succeed.
    shards = place.folder / layout.shards_prefix(place.sweep_id).rstrip("/")
    shards.write_bytes(b"")
    program = place.start(flush_age_s=300.0, lease_s=60.0)
    wait_until(lambda: place.leased == 1)
    program.send_signal(signal.SIGTERM)
    # The first one is being heeded: it tries to flush, several times.
    program.send_signal(signal.SIGINT)
    assert program.wait(WAIT_S) in {128 + signal.SIGINT, 128 + signal.SIGTERM}
    shards.unlink()
    assert queued(place.queues, place.sweep_id) == 1
    assert place.run(until_complete=True) == 0
    assert len(Results(place.blobs, place.sweep_id)) == 20


def test_a_stop_ends_in_time_when_neither_queues_nor_home_ever_answer(place, tmp_path):
    send(place.queues, place.sweep_id, delivery_body(place.sweep_id, 0, 20))
    hole = tmp_path / "hole"
    program = place.start(flush_age_s=300.0, hole=str(hole), stop_s=0.5)
    wait_until(lambda: place.leased == 1)
    hole.touch()
    program.send_signal(signal.SIGTERM)
    assert program.wait(WAIT_S) == 1
    assert queued(place.queues, place.sweep_id) == 1
    assert place.run(until_complete=True) == 0
    assert len(Results(place.blobs, place.sweep_id)) == 20


def test_a_stop_that_cannot_store_gives_the_messages_back_with_status_1(place):
    send(place.queues, place.sweep_id, delivery_body(place.sweep_id, 0, 20))
    shards = place.folder / layout.shards_prefix(place.sweep_id).rstrip("/")
    shards.write_bytes(b"")
    program = place.start(flush_age_s=300.0)
    wait_until(lambda: place.leased == 1)
    program.send_signal(signal.SIGTERM)
    assert program.wait(WAIT_S) == 1
    facts = place.queues.facts(layout.results_queue(place.sweep_id))
    assert (facts.visible, facts.leased) == (1, 0)


def test_kill_9_with_a_full_buffer_loses_nothing(place):
    send(place.queues, place.sweep_id, delivery_body(place.sweep_id, 0, 20))
    program = place.start(flush_age_s=300.0, flush_rows=1000, sweep_ids=[place.sweep_id])
    wait_until(lambda: place.leased == 1 or not queued(place.queues, place.sweep_id))
    program.kill()
    program.wait()
    assert place.run(until_complete=True) == 0
    assert Results(place.blobs, place.sweep_id).values("y").tolist() == list(range(20))
    assert queued(place.queues, place.sweep_id) == 0


@pytest.mark.parametrize(
    ("die_after", "manifests", "messages"), [(".h5", 0, 2), (".json", 1, 2), ("delete", 1, 0)]
)
def test_kill_9_after_each_step_of_a_flush_loses_and_doubles_nothing(
    place, die_after, manifests, messages
):
    bodies = [delivery_body(place.sweep_id, each, each + 10) for each in (0, 10)]
    send(place.queues, place.sweep_id, *bodies)
    assert place.run(die_after=die_after, until_complete=True) == -signal.SIGKILL
    found = list(place.blobs.list(layout.shards_prefix(place.sweep_id)))
    assert sum(each.key.endswith(".json") for each in found) == manifests
    assert queued(place.queues, place.sweep_id) == messages
    assert place.run(until_complete=True) == 0
    results = Results(place.blobs, place.sweep_id)
    assert results.values("y").tolist() == list(range(20))
    assert results.duplicates.differing == 0
    assert not results.problems


def test_a_shard_without_manifest_is_adopted_at_the_next_start(place):
    send(place.queues, place.sweep_id, delivery_body(place.sweep_id, 0, 20))
    assert place.run(die_after=".h5", until_complete=True) == -signal.SIGKILL
    place.queues.drop(layout.results_queue(place.sweep_id))
    assert place.run(until_complete=True) == 0
    assert len(shard_files(place.folder, place.sweep_id)) == 1
    assert len(Results(place.blobs, place.sweep_id)) == 20
