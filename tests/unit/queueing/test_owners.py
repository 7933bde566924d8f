"""Leases end with the process that holds them, whatever ends it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from queueing.errors import QueueUnavailable
from queueing.owners import Owner, abandoned
from queueing.port import AnswerStatus, Entry, Extension, Message
from queueing.sqlite import SqliteQueues
from queueing.sqlite_schema import connect
from tests.unit.queueing.queue_programs import LEASE_ALL, SEND_WHEN_TOLD, line, program, tell


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def queues(path: Path) -> Iterator[SqliteQueues]:
    made = SqliteQueues(path)
    yield made
    made.close()


def receive(queues: SqliteQueues, wait_s: float = 0.0) -> list[Message]:
    return queues.receive(["jobs"], most=100, wait_s=wait_s, lease_s=600.0)


def owner_files(path: Path) -> list[str]:
    folder = path.parent / "owners"
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


def test_the_leases_of_a_killed_process_are_free_at_once_and_counted(
    path: Path, queues: SqliteQueues
) -> None:
    queues.send("jobs", [Entry("a"), Entry("b")])
    with program(LEASE_ALL, path) as holder:
        assert line(holder) == "2"
        assert receive(queues) == []
        holder.kill()
        holder.wait(30)
    messages = receive(queues)
    assert [message.body for message in messages] == ["a", "b"]
    assert [message.receive_count for message in messages] == [2, 2]
    assert len(owner_files(path)) == 1


def test_a_waiting_receive_wakes_when_an_owner_is_killed(path: Path, queues: SqliteQueues) -> None:
    queues.send("jobs", [Entry("a")])
    with program(LEASE_ALL, path) as holder:
        assert line(holder) == "1"
        threading.Timer(0.2, holder.kill).start()
        assert [message.body for message in receive(queues, wait_s=60.0)] == ["a"]


def test_a_stopped_process_keeps_its_leases(path: Path, queues: SqliteQueues) -> None:
    queues.send("jobs", [Entry("a")])
    with program(LEASE_ALL, path) as holder:
        assert line(holder) == "1"
        os.kill(holder.pid, signal.SIGSTOP)
        assert receive(queues, wait_s=0.5) == []
        os.kill(holder.pid, signal.SIGCONT)


def test_the_leases_of_a_process_in_another_pid_namespace_are_kept_and_freed(
    path: Path, queues: SqliteQueues
) -> None:
    apart = ["unshare", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        assert not os.environ.get("CI"), "CI must permit pid namespaces"
        pytest.skip("pid namespaces are not permitted here")
    queues.send("jobs", [Entry("a")])
    with program(LEASE_ALL, path, before=apart) as holder:
        assert line(holder) == "1"
        assert receive(queues) == []
        holder.kill()
        assert [message.receive_count for message in receive(queues, wait_s=60.0)] == [2]


def test_a_receive_wakes_for_a_send_by_another_process(path: Path, queues: SqliteQueues) -> None:
    queues.create("jobs")
    received: list[Message] = []
    with program(SEND_WHEN_TOLD, path) as sender:
        assert line(sender) == "ready"
        thread = threading.Thread(target=lambda: received.extend(receive(queues, wait_s=120.0)))
        thread.start()
        tell(sender)
        thread.join(60.0)
        assert not thread.is_alive()
    assert [message.body for message in received] == ["from another process"]


def test_two_users_in_one_process_do_not_take_each_others_leases(
    path: Path, queues: SqliteQueues
) -> None:
    other = SqliteQueues(path)
    queues.send("jobs", [Entry("a"), Entry("b")])
    assert len(receive(other)) == 2
    assert receive(queues) == []
    assert receive(other) == []
    other.close()
    assert [message.receive_count for message in receive(queues)] == [2, 2]


def test_a_user_that_closes_leaves_no_owner_file(path: Path) -> None:
    queues = SqliteQueues(path)
    queues.send("jobs", [Entry("a")])
    assert owner_files(path) == []
    receive(queues)
    assert len(owner_files(path)) == 1
    queues.close()
    assert owner_files(path) == []


def test_the_file_of_an_owner_that_died_without_leases_is_removed(
    path: Path, queues: SqliteQueues
) -> None:
    queues.send("jobs", [Entry("a"), Entry("b")])
    with program(LEASE_ALL, path) as holder:
        assert line(holder) == "2"
        queues.drop("jobs")
        holder.kill()
        holder.wait(30)
    assert len(owner_files(path)) == 1
    queues.send("jobs", [Entry("c")])
    receive(queues)
    assert len(owner_files(path)) == 1
    with program(LEASE_ALL, path) as newcomer:
        line(newcomer)
        assert len(owner_files(path)) == 1


def test_leases_go_by_time_when_the_owners_folder_was_deleted(
    path: Path, queues: SqliteQueues
) -> None:
    queues.send("jobs", [Entry("a"), Entry("b")])
    first = queues.receive(["jobs"], most=1, wait_s=0.0, lease_s=600.0)
    shutil.rmtree(path.parent / "owners")
    other = SqliteQueues(path)
    second = receive(other)
    assert [message.body for message in first + second] == ["a", "b"]
    assert receive(queues) == []
    assert [answer.ok for answer in queues.extend([Extension(first[0].lease, 60.0)])] == [True]
    other.close()
    assert [message.body for message in receive(queues)] == ["b"]


def test_a_killed_owner_renews_nothing(path: Path, queues: SqliteQueues) -> None:
    queues.send("jobs", [Entry("a")])
    other = SqliteQueues(path)
    late = receive(other)[0].lease
    other.close()
    receive(queues)
    assert queues.extend([Extension(late, 60.0)])[0].status is AnswerStatus.LEASE_LOST


def test_an_owner_in_use_is_not_abandoned_even_to_its_own_process(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    name = owner.name()
    with abandoned(tmp_path, name) as is_gone:
        assert not is_gone
    assert owner.name() == name
    assert (tmp_path / name).exists()
    owner.close()
    with abandoned(tmp_path, name) as is_gone:
        assert not is_gone


def test_an_owner_whose_file_was_replaced_takes_a_new_name(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    name = owner.name()
    (tmp_path / name).unlink()
    (tmp_path / name).touch()
    assert owner.name() != name
    owner.close()


def test_an_abandoned_owner_keeps_its_file_when_its_leases_could_not_be_ended(
    tmp_path: Path,
) -> None:
    (tmp_path / "dead").touch()
    seen: list[bool] = []

    def fail() -> None:
        with abandoned(tmp_path, "dead") as is_gone:
            seen.append(is_gone)
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        fail()
    assert seen == [True]
    with abandoned(tmp_path, "dead") as is_gone:
        assert is_gone
    assert not (tmp_path / "dead").exists()


_FORK = """
import os, signal, sys
from pathlib import Path
from queueing.port import Entry
from queueing.sqlite import SqliteQueues
queues = SqliteQueues(Path(sys.argv[1]))
queues.receive(["jobs"], most=1, wait_s=0.0, lease_s=600.0)
child = os.fork()
if child == 0:
    sys.stdin.read()
    os._exit(0)
print("leased", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_forked_child_does_not_keep_its_dead_parents_leases(
    path: Path, queues: SqliteQueues
) -> None:
    queues.send("jobs", [Entry("a")])
    holder = subprocess.Popen(
        [sys.executable, "-c", _FORK, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert line(holder) == "leased"
        holder.wait(30)
        assert [message.receive_count for message in receive(queues, wait_s=60.0)] == [2]
    finally:
        holder.communicate(timeout=30)


def test_leases_that_could_not_be_ended_at_the_close_are_free_at_once(path: Path) -> None:
    holder, other = SqliteQueues(path, patience_s=0.05), SqliteQueues(path)
    holder.send("jobs", [Entry("a")])
    assert len(receive(holder)) == 1
    with contextlib.closing(connect(path)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        with pytest.raises(QueueUnavailable):
            holder.close()
        busy.execute("ROLLBACK")
    assert [message.receive_count for message in receive(other)] == [2]
    other.close()
