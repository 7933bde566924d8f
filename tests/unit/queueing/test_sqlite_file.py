"""queue.db deleted, replaced, truncated or damaged under running programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from queueing.errors import QueueDiskFull, QueueError, QueueUnavailable
from queueing.port import Answer, AnswerStatus, Entry, Extension, Message, Replacement
from queueing.sqlite import SqliteQueues
from queueing.sqlite_file import FileState, QueueFile
from queueing.sqlite_library import load
from tests.chaos.small_disk import SmallDisk
from tests.unit.queueing.queue_programs import SEND_UNTIL_TOLD, line, program, tell


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "queue.db"


@pytest.fixture
def queues(path: Path) -> Iterator[SqliteQueues]:
    made = SqliteQueues(path)
    yield made
    made.close()


def receive(queues: SqliteQueues) -> list[Message]:
    return queues.receive(["jobs"], most=100, wait_s=0.0, lease_s=60.0)


def bodies(queues: SqliteQueues) -> list[str]:
    return [message.body for message in receive(queues)]


def check_sound(path: Path) -> None:
    connection = load().connect(str(path))
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


def _delete(*suffixes: str) -> Callable[[Path], None]:
    def delete(path: Path) -> None:
        for suffix in suffixes:
            Path(f"{path}{suffix}").unlink()

    return delete


def _truncate(suffix: str, share: float) -> Callable[[Path], None]:
    def truncate(path: Path) -> None:
        size = Path(f"{path}{suffix}").stat().st_size
        os.truncate(f"{path}{suffix}", int(size * share))

    return truncate


def _overwrite(path: Path) -> None:
    path.write_bytes(b"no database, only words\n" * 20)


def _replace_by_garbage(path: Path) -> None:
    path.unlink()
    path.write_bytes(os.urandom(100_000))


def _replace_by_nothing(path: Path) -> None:
    path.unlink()
    path.touch()


def _replace_by_another_database(path: Path) -> None:
    path.unlink()
    connection = load().connect(str(path))
    connection.execute("CREATE TABLE messages (x)")
    connection.commit()
    connection.close()


LOSSES = {
    "deleted": _delete(""),
    "deleted with wal": _delete("", "-wal"),
    "deleted with shm": _delete("", "-shm"),
    "deleted with wal and shm": _delete("", "-wal", "-shm"),
    "wal deleted": _delete("-wal"),
    "shm deleted": _delete("-shm"),
    "wal and shm deleted": _delete("-wal", "-shm"),
    "truncated to nothing": _truncate("", 0.0),
    "truncated to a part": _truncate("", 0.4),
    "wal truncated": _truncate("-wal", 0.0),
    "overwritten": _overwrite,
    "replaced by garbage": _replace_by_garbage,
    "replaced by an empty file": _replace_by_nothing,
    "replaced by another database": _replace_by_another_database,
}


@pytest.fixture(params=sorted(LOSSES))
def lose(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    return LOSSES[request.param]


def test_what_is_sent_after_a_loss_is_received_by_everybody(
    path: Path, queues: SqliteQueues, lose: Callable[[Path], None]
) -> None:
    other = SqliteQueues(path)
    queues.send("jobs", [Entry("lost")] * 50)
    assert len(receive(other)) == 50
    lose(path)
    assert queues.send("jobs", [Entry("after")]) == [Answer()]
    newcomer = SqliteQueues(path)
    assert newcomer.heads(["jobs"]) == {"jobs": ["after"]}
    assert bodies(other) == ["after"]
    other.close()
    newcomer.close()
    check_sound(path)


@pytest.mark.parametrize(
    "verb",
    [
        lambda queues, lease: queues.create("jobs"),
        lambda queues, lease: queues.send("jobs", []),
        lambda queues, lease: queues.receive(["jobs"], most=1, wait_s=0.0, lease_s=60.0),
        lambda queues, lease: queues.extend([Extension(lease, 60.0)]),
        lambda queues, lease: queues.release([lease]),
        lambda queues, lease: queues.delete([lease]),
        lambda queues, lease: queues.replace(lease, [Replacement("rest")]),
        lambda queues, lease: queues.facts("jobs"),
        lambda queues, lease: queues.heads(["jobs"]),
        lambda queues, lease: queues.drop("jobs"),
    ],
    ids=lambda verb: verb.__code__.co_names[0],
)
def test_every_verb_makes_a_lost_file_anew(
    path: Path,
    queues: SqliteQueues,
    lose: Callable[[Path], None],
    verb: Callable[[SqliteQueues, object], object],
) -> None:
    queues.send("jobs", [Entry("lost")])
    lease = receive(queues)[0].lease
    lose(path)
    verb(queues, lease)
    check_sound(path)
    assert queues.heads(["jobs"]) == {"jobs": []}


def test_a_lease_of_a_lost_file_is_lost(path: Path, queues: SqliteQueues) -> None:
    queues.send("jobs", [Entry("lost")])
    lease = receive(queues)[0].lease
    path.unlink()
    assert queues.extend([Extension(lease, 60.0)])[0].status is AnswerStatus.LEASE_LOST
    given = queues.replace(lease, [Replacement("rest")])
    assert given.answer.status is AnswerStatus.LEASE_LOST
    assert queues.delete([lease])[0].ok
    assert bodies(queues) == []


def test_a_queue_made_anew_has_a_new_time_of_creation(path: Path) -> None:
    now = [1_800_000_000.0]
    queues = SqliteQueues(path, clock=lambda: now[0])
    queues.create("jobs")
    before = queues.facts("jobs").created_at_s
    now[0] += 100.0
    path.unlink()
    assert queues.facts("jobs").created_at_s == before + 100.0
    queues.close()


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_file_lost_in_the_middle_of_a_verb_is_noticed_before_it_answers(
    path: Path, lose: Callable[[Path], None], moment: int
) -> None:
    calls = [-1_000]

    def clock() -> float:
        # Every transaction reads the clock once, after it began and before it commits.
        calls[0] += 1
        if calls[0] == moment:
            lose(path)
        return 1_800_000_000.0

    queues = SqliteQueues(path, clock=clock)
    queues.send("jobs", [Entry("lost")] * 20)
    calls[0] = -1
    for number in range(3):
        assert queues.send("jobs", [Entry(f"{number}")]) == [Answer()]
    newcomer = SqliteQueues(path)
    expected = [f"{number}" for number in range(moment, 3)]
    assert newcomer.heads(["jobs"]) == {"jobs": expected}
    newcomer.close()
    queues.close()
    check_sound(path)


@pytest.mark.parametrize("kind", ["deleted", "deleted with wal and shm", "replaced by garbage"])
def test_a_file_lost_during_the_commit_is_noticed_before_success_is_reported(
    path: Path, queues: SqliteQueues, kind: str
) -> None:
    queues.create("jobs")
    losses = [LOSSES[kind]]

    def lose_at_commit(statement: str) -> None:
        if statement == "COMMIT" and losses:
            losses.pop()(path)

    queues._sessions._opened().handle.set_trace_callback(lose_at_commit)
    assert queues.send("jobs", [Entry("a")]) == [Answer()]
    assert losses == []
    newcomer = SqliteQueues(path)
    assert newcomer.heads(["jobs"]) == {"jobs": ["a"]}
    newcomer.close()


def _error(code: int) -> Exception:
    error: Exception = load().OperationalError("disk I/O error")
    error.sqlite_errorcode = code  # type: ignore[attr-defined]
    return error


def test_a_passing_error_costs_a_sound_file_nothing(path: Path, queues: SqliteQueues) -> None:
    queues.send("jobs", [Entry("kept")])
    errors = [_error(10)]

    def work(handle: object) -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert queues._sessions.write(work) == "done"
    assert queues.heads(["jobs"]) == {"jobs": ["kept"]}
    assert list(path.parent.glob("*.damaged-*")) == []


def test_a_file_whose_fsync_failed_is_never_written_again(path: Path, queues: SqliteQueues) -> None:
    queues.send("jobs", [Entry("in doubt")])
    errors = [_error(1034)]

    def work(handle: object) -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert queues._sessions.write(work) == "done"
    assert queues.heads(["jobs"]) == {"jobs": []}
    assert list(path.parent.glob("*.damaged-*")) != []


def test_trouble_with_an_old_file_does_not_harm_the_one_others_made_meanwhile(
    path: Path, queues: SqliteQueues
) -> None:
    queues.create("jobs")
    other = SqliteQueues(path)
    errors = [_error(1034)]

    def work(handle: object) -> str:
        if errors:
            path.unlink()
            other.send("jobs", [Entry("new")])
            raise errors.pop()
        return "done"

    assert queues._sessions.write(work) == "done"
    assert queues.heads(["jobs"]) == {"jobs": ["new"]}
    other.close()


class _Deleting(type(Path())):  # type: ignore[misc] # the class of this system's paths
    """A path that deletes one file the n-th time that it is put into words, so at step n."""

    steps_left = 0
    deletes = ""

    def __str__(self) -> str:
        if self.steps_left:
            self.steps_left -= 1
            if not self.steps_left:
                Path(self.deletes).unlink(missing_ok=True)
        return super().__str__()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("step", range(1, 6))
def test_a_file_deleted_at_any_step_of_its_opening_is_noticed(
    path: Path, queues: SqliteQueues, step: int, suffix: str
) -> None:
    queues.send("jobs", [Entry("old")])
    deleting = _Deleting(path)
    file = QueueFile(deleting, patience_s=1.0)
    deleting.steps_left, deleting.deletes = step, f"{path}{suffix}"
    opened = file.open()
    assert not deleting.steps_left
    assert opened.state() is FileState.INTACT
    assert all(Path(f"{path}{each}").exists() for each in ("", "-wal", "-shm"))
    with file.locked():
        opened.close()
    # Whoever had the old one open comes along, and nothing is sent into nowhere.
    queues.send("jobs", [Entry("new")])
    other = SqliteQueues(path)
    assert "new" in other.heads(["jobs"])["jobs"]
    other.close()


@pytest.mark.parametrize("wait_s", [0.0, 5.0])
def test_a_receive_from_what_cannot_be_opened_says_that_the_queue_is_unavailable(
    path: Path, queues: SqliteQueues, wait_s: float
) -> None:
    path.mkdir(parents=True)
    with pytest.raises(QueueUnavailable, match="cannot be opened"):
        queues.receive(["jobs"], most=1, wait_s=wait_s, lease_s=60.0)


def test_a_receive_that_waits_while_the_file_is_lost_wakes_for_the_new_one(
    path: Path, queues: SqliteQueues
) -> None:
    queues.create("jobs")
    received: list[str] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        messages = queues.receive(["jobs"], most=1, wait_s=60.0, lease_s=60.0)
        received.extend(message.body for message in messages)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(30.0)
    path.unlink()
    queues.send("jobs", [Entry("new")])
    thread.join(30.0)
    assert not thread.is_alive()
    assert received == ["new"]


def test_left_over_wal_and_shm_of_a_deleted_file_do_not_get_into_the_new_one(path: Path) -> None:
    first = SqliteQueues(path)
    first.send("jobs", [Entry("lost")] * 10)
    shutil.copy(f"{path}-wal", path.parent / "wal")
    shutil.copy(f"{path}-shm", path.parent / "shm")
    first.close()
    path.unlink()
    (path.parent / "wal").rename(f"{path}-wal")
    (path.parent / "shm").rename(f"{path}-shm")
    second = SqliteQueues(path)
    assert second.heads(["jobs"]) == {"jobs": []}
    second.close()
    check_sound(path)


def test_what_a_creator_left_that_died_is_no_obstacle(path: Path) -> None:
    path.parent.mkdir()
    for suffix in (".new", ".new-wal", ".new-shm", "-wal", "-shm"):
        Path(f"{path}{suffix}").write_bytes(b"half")
    queues = SqliteQueues(path)
    assert queues.send("jobs", [Entry("a")]) == [Answer()]
    queues.close()
    check_sound(path)
    assert not Path(f"{path}.new").exists()


def test_a_damaged_file_is_kept_aside(path: Path, queues: SqliteQueues) -> None:
    queues.send("jobs", [Entry("lost")])
    _overwrite(path)
    queues.send("jobs", [Entry("after")])
    kept = [each for each in path.parent.glob("queue.db.damaged-*") if each.suffix != "-wal"]
    assert any(each.read_bytes().startswith(b"no database") for each in kept)


def test_damage_deep_in_the_file_is_noticed_when_it_is_met(path: Path) -> None:
    first = SqliteQueues(path)
    first.send("jobs", [Entry("x" * 500) for _ in range(500)])
    first.close()
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xff" * (path.stat().st_size - 20 * 4096))
    second = SqliteQueues(path)
    second.heads(["jobs"])
    assert second.send("jobs", [Entry("after")]) == [Answer()]
    assert "after" in bodies(second)
    second.close()
    check_sound(path)


def test_a_file_of_a_newer_program_is_left_alone(path: Path, queues: SqliteQueues) -> None:
    queues.send("jobs", [Entry("a")])
    queues.close()
    connection = load().connect(str(path))
    connection.execute("PRAGMA user_version=2")
    connection.close()
    newcomer = SqliteQueues(path)
    with pytest.raises(QueueError, match="update gapless"):
        newcomer.send("jobs", [Entry("b")])
    assert path.exists()
    assert list(path.parent.glob("*.damaged-*")) == []


def test_processes_go_on_while_their_file_is_lost_again_and_again(path: Path) -> None:
    queues = SqliteQueues(path)
    queues.create("jobs")
    with ExitStack() as stack:
        others = [stack.enter_context(program(SEND_UNTIL_TOLD, path)) for _ in range(3)]
        assert [line(each) for each in others] == ["ready"] * 3
        for number in range(12):
            for _ in range(5):
                assert queues.send("jobs", [Entry("mine")]) == [Answer()]
            if number % 3 == 0:
                path.unlink(missing_ok=True)
            elif number % 3 == 1:
                path.unlink(missing_ok=True)
                Path(f"{path}-wal").unlink(missing_ok=True)
            else:
                os.truncate(path, 0)
        for each in others:
            tell(each)
        assert all(int(line(each)) > 0 for each in others)
        assert [each.wait(60) for each in others] == [0, 0, 0]
    assert queues.send("jobs", [Entry("last")]) == [Answer()]
    assert queues.heads(["jobs"])["jobs"][-1] == "last"
    queues.close()
    check_sound(path)


# What the machine refuses


def test_a_file_others_hold_too_long_is_unavailable_and_goes_on_later(path: Path) -> None:
    queues = SqliteQueues(path, patience_s=0.05)
    queues.create("jobs")
    holder = load().connect(str(path), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(QueueUnavailable, match="others held it"):
        queues.send("jobs", [Entry("a")])
    holder.execute("ROLLBACK")
    holder.close()
    assert queues.send("jobs", [Entry("b")]) == [Answer()]
    assert bodies(queues) == ["b"]
    queues.close()


def test_a_folder_that_cannot_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    queues = SqliteQueues(tmp_path / "file" / "queue.db")
    with pytest.raises(QueueUnavailable, match="mend the folder"):
        queues.send("jobs", [Entry("a")])


_FILL = """
import os, sys
from pathlib import Path
from queueing.errors import QueueUnavailable
from queueing.port import Entry
from queueing.sqlite import SqliteQueues
from queueing.sqlite_file import FileState, QueueFile
folder = Path(sys.argv[1])
queues = SqliteQueues(folder / "queue.db")
sent = 0
try:
    while True:
        sent += sum(answer.ok for answer in queues.send("jobs", [Entry("x" * 20_000)]))
except QueueUnavailable as error:
    print(error)
assert sent > 10, sent
os.truncate(folder / "ballast", 0)
assert queues.send("jobs", [Entry("room again")])[0].ok
assert queues.facts("jobs").visible == sent + 1
"""


def test_a_full_disk_is_unavailable_and_nothing_is_lost_when_there_is_room_again(
    tmp_path: Path,
) -> None:
    script = (
        'mount -t tmpfs -o size=4m none "$1" && head -c 1500000 /dev/zero > "$1/ballast"'
        ' && exec "$2" -c "$3" "$1"'
    )
    probe = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none {tmp_path}"]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, _FILL],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"the disk of {tmp_path} is full" in done.stdout


@pytest.mark.parametrize("room_bytes", [0, 12_288, 24_576, 49_152, 98_304, 110_592, 135_168])
def test_a_full_disk_is_never_taken_for_a_lost_or_damaged_queue(
    room_bytes: int, small_disk: SmallDisk
) -> None:
    small_disk.fill(leave_bytes=room_bytes)
    path = small_disk.folder / "queue.db"
    queues = SqliteQueues(path)
    with pytest.raises(QueueDiskFull, match=rf"the disk of {path.parent} is full .*: free some"):
        queues.send("jobs", [Entry("x" * 150_000)])
    assert not [each.name for each in small_disk.folder.iterdir() if "damaged" in each.name]
    small_disk.free()
    assert queues.send("jobs", [Entry("room again")])[0].ok
    queues.close()


_FORK = """
import os, sys
from pathlib import Path
from queueing.port import Entry
from queueing.sqlite import SqliteQueues
from queueing.sqlite_file import FileState, QueueFile
path = Path(sys.argv[1])
queues = SqliteQueues(path)
queues.send("jobs", [Entry("before"), Entry("second")])
mine = queues.receive(["jobs"], most=1, wait_s=0.0, lease_s=600.0)
child = os.fork()
if child == 0:
    found = queues.receive(["jobs"], most=5, wait_s=0.0, lease_s=600.0)
    assert [message.body for message in found] == ["second"], found
    queues.send("jobs", [Entry("from the child")])
    queues.delete([message.lease for message in found])
    queues.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert queues.heads(["jobs"]) == {"jobs": ["before", "from the child"]}
assert queues.facts("jobs").leased == 1
queues.close()
"""


def test_a_forked_child_opens_the_file_anew_and_leaves_its_parents_leases(path: Path) -> None:
    subprocess.run([sys.executable, "-c", _FORK, str(path)], check=True, timeout=60)
    check_sound(path)


def test_a_folder_that_is_away_is_waited_for_and_not_made_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "home" / "queue.db"
    queues = SqliteQueues(path, patience_s=1.0)
    assert queues.send("a-jobs", [Entry("before")])[0].ok
    path.parent.rename(tmp_path / "away")
    with pytest.raises(QueueUnavailable):
        queues.send("a-jobs", [Entry("meanwhile")])
    assert not path.parent.exists()
    (tmp_path / "away").rename(path.parent)
    assert queues.send("a-jobs", [Entry("after")])[0].ok
    assert queues.heads(["a-jobs"]) == {"a-jobs": ["before", "after"]}
    queues.close()


def test_heads_of_a_file_deleted_while_they_are_read_are_read_anew(path: Path) -> None:
    queues, other = SqliteQueues(path), SqliteQueues(path)
    queues.send("jobs", [Entry("old")])
    seen: list[list[str]] = []

    def read(_queue: str, heads: Iterator[str]) -> int:
        seen.append(list(heads))
        if len(seen) == 1:
            path.unlink()
            other.send("jobs", [Entry("new"), Entry("newer")])
        return len(seen[-1])

    assert queues.read_heads(["jobs"], read) == {"jobs": 2}
    assert [sorted(each) for each in seen] == [["old"], ["new", "newer"]]
    queues.close()
    other.close()
