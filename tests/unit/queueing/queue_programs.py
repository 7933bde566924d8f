"""Other programs that use a queue file, as real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_START = """
import sys
from pathlib import Path
from queueing.port import Entry
from queueing.sqlite import SqliteQueues
queues = SqliteQueues(Path(sys.argv[1]))
"""

LEASE_ALL = """
messages = queues.receive(["jobs"], most=100, wait_s=0.0, lease_s=600.0)
print(len(messages), flush=True)
sys.stdin.read()
"""

SEND_WHEN_TOLD = """
queues.facts("jobs")
print("ready", flush=True)
sys.stdin.readline()
answers = queues.send("jobs", [Entry("from another process")])
print(answers[0].ok, flush=True)
"""

SEND_UNTIL_TOLD = """
import threading
told = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()
print("ready", flush=True)
sent = 0
while not told.is_set():
    answers = queues.send("jobs", [Entry("x"), Entry("y\\nz")])
    assert all(answer.ok for answer in answers)
    messages = queues.receive(["jobs"], most=1, wait_s=0.0, lease_s=60.0)
    queues.delete([message.lease for message in messages])
    sent += 1
print(sent, flush=True)
"""


@contextmanager
def program(
    body: str, path: Path, *, before: Sequence[str] = (), arguments: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run a program that has `queues` on `path`; it is killed at the end, if it still runs."""
    started = subprocess.Popen(
        [*before, sys.executable, "-c", _START + body, str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate(timeout=60)


def line(process: subprocess.Popen[str]) -> str:
    """Read the next line a program prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    """Send a program the line it waits for."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
