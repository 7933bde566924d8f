"""The work of one transaction does not grow with the queue, and large bodies are not rewritten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queueing import sqlite_verbs as verbs
from queueing.port import MAX_MESSAGE_BYTES, Entry, Extension, Lease, Message
from queueing.sqlite_schema import build, connect

NOW = 1_800_000_000.0


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[Any]:
    build(tmp_path / "queue.db")
    opened = connect(tmp_path / "queue.db")
    yield opened
    opened.close()


def fill(handle: Any, *, ready: int, hidden: int) -> None:
    handle.execute("BEGIN")
    verbs.send(handle, "jobs", [Entry("x", delay_s=900.0)] * (hidden // 2), now=NOW)
    verbs.send(handle, "jobs", [Entry("x", priority=1)] * (hidden // 2), now=NOW)
    take(handle, most=hidden // 2)
    verbs.send(
        handle, "jobs", [Entry("x", priority=number % 3) for number in range(ready)], now=NOW
    )
    handle.execute("COMMIT")


def take(handle: Any, *, most: int = 1) -> list[Message]:
    return verbs.take(handle, ["jobs"], most=most, lease_s=600.0, owner="me", now=NOW)


def steps(handle: Any, work: Callable[[], object]) -> int:
    """Count the steps of SQLite's virtual machine, in tens."""
    counted = [0]

    def count() -> int:
        counted[0] += 1
        return 0

    handle.set_progress_handler(count, 10)
    work()
    handle.set_progress_handler(None, 0)
    return counted[0]


def _receive_and_delete(handle: Any) -> None:
    verbs.delete(handle, [message.lease for message in take(handle, most=10)], now=NOW)


def _extend(handle: Any) -> None:
    lease = Lease("jobs", "1.unknown")
    verbs.extend(handle, [Extension(lease, 60.0)] * 10, owner="me", now=NOW)


@pytest.mark.parametrize(
    "work",
    [
        _receive_and_delete,
        _extend,
        lambda handle: verbs.look_ahead(handle, ["jobs"], now=NOW),
        verbs.owners_of_leases,
        lambda handle: verbs.send(handle, "jobs", [Entry("x")] * 10, now=NOW),
    ],
    ids=["receive and delete", "extend", "look ahead", "owners", "send"],
)
def test_a_verb_costs_the_same_however_many_messages_are_about(
    handle: Any, work: Callable[[Any], object]
) -> None:
    fill(handle, ready=50, hidden=50)
    few = steps(handle, lambda: work(handle))
    fill(handle, ready=10_000, hidden=10_000)
    assert steps(handle, lambda: work(handle)) <= few + 5


def test_receiving_and_renewing_a_large_message_does_not_write_it_again(
    handle: Any, tmp_path: Path
) -> None:
    verbs.send(handle, "jobs", [Entry("head\n" + "x" * (MAX_MESSAGE_BYTES - 5))], now=NOW)
    handle.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    wal = tmp_path / "queue.db-wal"
    lease = take(handle)[0].lease
    for _ in range(10):
        verbs.extend(handle, [Extension(lease, 60.0)], owner="me", now=NOW)
    assert 0 < wal.stat().st_size < MAX_MESSAGE_BYTES / 4


def test_the_end_of_a_lease_is_the_end_of_one_owners_leases_only(handle: Any) -> None:
    verbs.send(handle, "jobs", [Entry("a"), Entry("b")], now=NOW)
    for owner in ("one", "two"):
        verbs.take(handle, ["jobs"], most=1, lease_s=600.0, owner=owner, now=NOW)
    assert verbs.owners_of_leases(handle) == ["one", "two"]
    assert verbs.end_leases_of(handle, ["one"]) == 1
    assert verbs.owners_of_leases(handle) == ["two"]
    assert [message.body for message in take(handle, most=10)] == ["a"]
