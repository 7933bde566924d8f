"""What SqliteQueues does with threads, waiting and many messages, beyond the contract."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from queueing.port import Entry, Message
from queueing.sqlite import SqliteQueues
from queueing.sqlite_library import load


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def queues(path: Path) -> Iterator[SqliteQueues]:
    made = SqliteQueues(path)
    yield made
    made.close()


class Sleeper:
    """Real sleep that tells when somebody waits."""

    def __init__(self) -> None:
        self.waiting = threading.Event()

    def __call__(self, seconds: float) -> None:
        self.waiting.set()
        time.sleep(seconds)


def test_closing_ends_a_receive_that_waits_in_another_thread(path: Path) -> None:
    sleeper = Sleeper()
    queues = SqliteQueues(path, sleep=sleeper)
    answers: list[list[Message]] = []

    def wait() -> None:
        answers.append(queues.receive(["jobs"], most=1, wait_s=600.0, lease_s=60.0))

    thread = threading.Thread(target=wait)
    thread.start()
    assert sleeper.waiting.wait(60.0)
    queues.close()
    thread.join(60.0)
    assert answers == [[]]


def test_a_waiting_receive_wakes_for_a_send_by_another_thread(path: Path) -> None:
    sleeper = Sleeper()
    queues = SqliteQueues(path, sleep=sleeper)
    answers: list[list[Message]] = []

    def wait() -> None:
        answers.append(queues.receive(["jobs"], most=1, wait_s=600.0, lease_s=60.0))

    thread = threading.Thread(target=wait)
    thread.start()
    assert sleeper.waiting.wait(60.0)
    queues.send("jobs", [Entry("a")])
    thread.join(60.0)
    assert [message.body for message in answers[0]] == ["a"]
    queues.close()


def test_the_connections_of_ended_threads_are_closed(path: Path, queues: SqliteQueues) -> None:
    together = threading.Barrier(5)

    def send(body: str) -> None:
        together.wait(60.0)
        queues.send("jobs", [Entry(body)])
        together.wait(60.0)

    threads = [threading.Thread(target=send, args=(f"{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert len(queues._sessions._by_thread) == 5
    assert queues.facts("jobs").visible == 5
    assert len(queues._sessions._by_thread) == 1


def test_the_last_to_close_leaves_one_plain_file(path: Path) -> None:
    first, second = SqliteQueues(path), SqliteQueues(path)
    first.send("jobs", [Entry("a")])
    second.send("jobs", [Entry("b")])
    first.close()
    second.close()
    assert sorted(each.name for each in path.parent.iterdir()) == ["queue.db", "queue.lock"]


def test_messages_and_leases_outlive_the_program(path: Path) -> None:
    first = SqliteQueues(path)
    first.send("jobs", [Entry("a"), Entry("b", delay_s=600.0)])
    created_at_s = first.facts("jobs").created_at_s
    first.close()
    second = SqliteQueues(path)
    facts = second.facts("jobs")
    assert (facts.created_at_s, facts.visible, facts.delayed) == (created_at_s, 1, 1)
    second.close()


def test_every_commit_is_durable_before_it_is_answered(queues: SqliteQueues) -> None:
    def pragma(handle: object, name: str) -> object:
        return handle.execute(f"PRAGMA {name}").fetchone()[0]  # type: ignore[attr-defined]

    # 2 is FULL (https://sqlite.org/pragma.html#pragma_synchronous).
    assert queues._sessions.read(lambda handle: pragma(handle, "synchronous")) == 2
    assert queues._sessions.read(lambda handle: pragma(handle, "journal_mode")) == "wal"


def test_heads_see_one_moment_of_all_queues(path: Path, queues: SqliteQueues) -> None:
    queues.send("jobs", [Entry("job")])
    other = load().connect(str(path), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE messages SET queue = 'results', head = 'result'")
    assert queues.heads(["jobs", "results"]) == {"jobs": ["job"], "results": []}
    other.execute("COMMIT")
    assert queues.heads(["jobs", "results"]) == {"jobs": [], "results": ["result"]}
    other.close()
