"""Show how evenly several processes share one queue file, and at what rate.

    python bench/queue_fairness.py [--processes 8] [--seconds 3]

For each kind of work it prints the rate of all processes together and each one's share (an even
share is 1/processes), least first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from queueing.port import Entry
from queueing.sqlite import SqliteQueues

_KINDS = {"send": (1, 10), "receive+delete": (1, 10)}
_ROUGHLY_PER_S = 40_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--folder", type=Path, default=None, help="default: a temporary one")
    parser.add_argument("--work", nargs=4, metavar=("FILE", "KIND", "BATCH", "SECONDS"))
    arguments = parser.parse_args()
    if arguments.work:
        file, kind, batch, seconds = arguments.work
        _work(Path(file), kind, int(batch), float(seconds))
        return
    for processes in (1, arguments.processes):
        for kind, batches in _KINDS.items():
            for batch in batches:
                with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                    path = Path(folder) / "queue.db"
                    counts = _measure(path, kind, batch, arguments.seconds, processes)
                _show(kind, batch, counts, arguments.seconds)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        _show_waiting(Path(folder) / "queue.db", arguments.seconds)


def _measure(path: Path, kind: str, batch: int, seconds: float, processes: int) -> list[int]:
    queues = SqliteQueues(path)
    queues.create("jobs")
    if kind == "receive+delete":
        queues.send("jobs", [Entry('{"runs": [[0, 10000]]}')] * int(_ROUGHLY_PER_S * seconds))
    queues.close()
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "--work", str(path), kind, str(batch), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for each in started:
        assert each.stdout is not None
        each.stdout.readline()
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    return [json.loads(each.communicate(timeout=seconds + 60)[0]) for each in started]


def _work(path: Path, kind: str, batch: int, seconds: float) -> None:
    queues = SqliteQueues(path)
    queues.facts("jobs")
    print("ready", flush=True)
    sys.stdin.readline()
    if kind == "tick":
        for _ in range(batch):
            time.sleep(seconds)
            queues.send("jobs", [Entry(repr(time.time()))])
        return
    entries = [Entry('{"runs": [[0, 10000]]}')] * batch
    done = 0
    stop_at = time.monotonic() + seconds
    while time.monotonic() < stop_at:
        if kind == "send":
            done += sum(answer.ok for answer in queues.send("jobs", entries))
        else:
            messages = queues.receive(["jobs"], most=batch, wait_s=0.0, lease_s=60.0)
            done += sum(answer.ok for answer in queues.delete([each.lease for each in messages]))
    print(done)
    queues.close()


def _show_waiting(path: Path, seconds: float) -> None:
    queues = SqliteQueues(path)
    used = time.process_time()
    queues.receive(["jobs"], most=1, wait_s=seconds, lease_s=60.0)
    used = (time.process_time() - used) / seconds
    delays_s: list[float] = []
    sender = subprocess.Popen(
        [sys.executable, __file__, "--work", str(path), "tick", "30", "0.1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sender.stdin is not None
    sender.stdin.write("go\n")
    sender.stdin.flush()
    while len(delays_s) < 30:
        for message in queues.receive(["jobs"], most=1, wait_s=30.0, lease_s=60.0):
            delays_s.append(time.time() - float(message.body))
            queues.delete([message.lease])
    sender.communicate(timeout=60)
    queues.close()
    delays_s.sort()
    print(f"waiting: {used:.2%} of a core;", end=" ")
    print(f"wakes {delays_s[15] * 1e3:.0f} ms after a send (most {delays_s[-1] * 1e3:.0f} ms)")


def _show(kind: str, batch: int, counts: list[int], seconds: float) -> None:
    total = sum(counts)
    shares = " ".join(f"{count / max(total, 1):.3f}" for count in sorted(counts))
    print(f"{kind:15} batch {batch:3}  {len(counts)} processes  {total / seconds:9,.0f}/s", end="")
    print(f"  shares {shares}", flush=True)


if __name__ == "__main__":
    main()
