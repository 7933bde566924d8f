"""kill -9 at every step of making queue.db, setting a damaged one aside, and owning leases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# The audit events of CPython mark every call that touches the file system: the child kills itself
# at the n-th one, for every n until it gets through, and each time its parent must find a queue
# that works, with all that the child was told is done.
_SWEEP = """
import os, shutil, signal, sys
from pathlib import Path
from queueing.port import Entry
from queueing.sqlite import SqliteQueues
from queueing.sqlite_library import load

folder, start = Path(sys.argv[1]), sys.argv[2]
EVENTS = ("open", "os.", "fcntl.", "sqlite3.", "pathlib.")

def prepare(path):
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    if start == "left-over wal":
        Path(f"{path}-wal").write_bytes(b"w" * 5000)
        Path(f"{path}-shm").write_bytes(b"s" * 32768)
    elif start == "damaged":
        path.write_bytes(b"no database")
    elif start == "sound":
        queues = SqliteQueues(path)
        queues.send("jobs", [Entry("before")])
        queues.close()

def child(path, step, told):
    seen = 0
    def audit(event, arguments):
        nonlocal seen
        if event.startswith(EVENTS) and event != "os.write":
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
    queues = SqliteQueues(path)
    sys.addaudithook(audit)
    assert queues.send("jobs", [Entry("sent")])[0].ok
    os.write(told, b"s")
    got = queues.receive(["jobs"], most=10, wait_s=0.0, lease_s=600.0)
    os.write(told, b"r")
    queues.close()
    os._exit(0)

step, killed = 0, 0
while True:
    step += 1
    path = folder / "home" / "queue.db"
    prepare(path)
    reading, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(path, step, told)
    os.close(told)
    _, status = os.waitpid(pid, 0)
    answered = os.read(reading, 10)
    os.close(reading)
    queues = SqliteQueues(path)
    bodies = queues.heads(["jobs"])["jobs"]
    if start == "sound":
        assert bodies[:1] == ["before"], (step, bodies)
    if answered:
        assert bodies[-1:] == ["sent"], (step, bodies)
    assert queues.send("jobs", [Entry("after")])[0].ok
    found = queues.receive(["jobs"], most=10, wait_s=0.0, lease_s=60.0)
    assert [each.body for each in found] == [*bodies, "after"], (step, found)
    queues.close()
    connection = load().connect(str(path))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert not list(path.parent.glob("queue.db.new*")), step
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, status
        break
    killed += 1
print(killed)
"""


@pytest.mark.parametrize("start", ["missing", "left-over wal", "damaged", "sound"])
def test_a_queue_works_after_a_kill_at_every_step(tmp_path: Path, start: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SWEEP, str(tmp_path), start],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 9
