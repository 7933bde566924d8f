"""A folder home with a sweep of the user's code in it, and what a node left on its result queue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from compute_node.agent import NodeSettings, run_node
from gapless.declaration.messages import (
    Job,
    decode_delivery,
    decode_job,
    delivery_blocks,
    encode_job,
)
from gapless.declaration.runset import RunSet
from gapless.declaration.space import Space
from gapless.declaration.sweep import Limits, Sweep
from gapless.results.block import AttemptRecord, Block, ErrorRecord, decode_block
from gapless.results.manifest import encode_manifest
from gapless.results.outcome import Outcome
from gapless.results.shard import Origin, encode_shard
from gapless.storage import layout
from gapless.storage.bundle import pack
from gapless.storage.folder import FolderBlobs
from gapless.storage.sweeps import SweepStore
from queueing.port import Entry
from queueing.sqlite import SqliteQueues


@dataclass
class Delivered:
    """Everything that lies on the result queue."""

    blocks: list[Block] = field(default_factory=list)
    deliveries: int = 0

    @property
    def runs(self) -> list[int]:
        return sorted(run for block in self.blocks for run in block.run.tolist())

    @property
    def outcomes(self) -> dict[int, Outcome]:
        return {
            run: Outcome(outcome)
            for block in self.blocks
            for run, outcome in zip(block.run.tolist(), block.outcome.tolist(), strict=True)
        }

    @property
    def errors(self) -> dict[int, ErrorRecord]:
        return {error.run: error for block in self.blocks for error in block.errors}

    def attempts(self, run: int) -> list[AttemptRecord]:
        return [each for block in self.blocks for each in block.attempts if each.run == run]

    def values(self, name: str) -> dict[int, Any]:
        return {
            run: block.values[name].at(row)
            for block in self.blocks
            if name in block.values
            for row, run in enumerate(block.run.tolist())
            if block.values[name].valid is None or block.values[name].valid[row]
        }


class Place:
    """A home on a disk of its own, with one sweep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = FolderBlobs(folder / "home")
        self.store = SweepStore(self.blobs)
        self.queues = SqliteQueues(folder / "queue.db")
        self.sweep = ""
        self.total = 0

    def submit(self, code: str, *, runs: int, job_size: int | None = None, **sweep: Any) -> None:
        """Store a sweep of `runs` runs with a parameter x = 0, 1, … in declared order."""
        source = self.folder / "source"
        source.mkdir(exist_ok=True)
        (source / "work.py").write_text(textwrap.dedent(code))
        bundle = pack(source)
        declared: dict[str, Any] = {
            "name": "t",
            "function": "work:f",
            "space": Space.grid(x=list(range(runs))),
            "order": "declared",
        }
        frozen = Sweep(**declared | sweep).freeze()
        self.blobs.put_if_absent(layout.object_(bundle.sha256), bundle.data)
        self.store.store(frozen, bundle.sha256, time.time())
        self.sweep, self.total = frozen.id, runs
        size = job_size or runs
        self.send(*(RunSet.span(start, min(runs, start + size)) for start in range(0, runs, size)))

    def send(self, *jobs: RunSet, deaths: int = 0) -> None:
        bodies = [
            encode_job(Job(sweep=self.sweep, job=f"j{index}", runs=runs, deaths=deaths))
            for index, runs in enumerate(jobs)
        ]
        self.queues.send(layout.jobs_queue(self.sweep), [Entry(body) for body in bodies])

    def settings(self, **changes: Any) -> NodeSettings:
        given: dict[str, Any] = {
            "node_id": "node-1",
            "blobs": self.blobs,
            "queues": self.queues,
            "work_folder": self.folder / "work",
            "sweep_ids": [self.sweep],
            "workers": 2,
            "idle_exit_s": 0.01,
            "linger_s": 0.1,
        }
        return NodeSettings(**given | changes)

    def run_node(self, **changes: Any) -> int:
        return run_node(self.settings(**changes))

    def delivered(self) -> Delivered:
        found = Delivered()
        while messages := self.queues.receive(
            [layout.results_queue(self.sweep)], most=10, wait_s=0.0, lease_s=600.0
        ):
            for message in messages:
                found.deliveries += 1
                delivery = decode_delivery(message.body)
                texts = message.body.partition("\n")[2]
                if delivery.claim is not None:
                    texts = self.blobs.get(delivery.claim.key).decode()
                found.blocks += map(decode_block, delivery_blocks(delivery, texts))
        return found

    def store_results(self) -> str:
        """Do an aggregator's work: what was delivered becomes a shard with its manifest."""
        stored = self.store.load(self.sweep)
        shard = encode_shard(
            self.delivered().blocks,
            sweep_id=self.sweep,
            declaration_json=stored.declaration.encode(),
            runs=stored.runs,
            origin=Origin(flushed_at="2026-01-01T00:00:00.000000Z", aggregator="a", number=1),
        )
        self.blobs.put(layout.shard(self.sweep, shard.shard_id), shard.data)
        key = layout.manifest(self.sweep, shard.shard_id)
        self.blobs.put(key, encode_manifest(shard.manifest))
        return shard.shard_id

    def jobs(self) -> list[Job]:
        """Take every job that is visible."""
        messages = []
        while got := self.queues.receive(
            [layout.jobs_queue(self.sweep)], most=10, wait_s=0.0, lease_s=600.0
        ):
            messages += got
        return [decode_job(message.body) for message in messages]


def wait_until(holds: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Wait for an outside event, with a deadline."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.01)


class NodeProgram:
    """A node as a process of its own, to be signalled and killed.

    While the file `hole` is there, neither queues nor home answer it.
    """

    def __init__(self, place: Place, **changes: Any) -> None:
        self.hole = place.folder / "hole"
        program = f"""
            import sys
            from pathlib import Path
            sys.path.insert(0, {str(Path(__file__).parents[3])!r})
            from compute_node.agent import NodeSettings, run_node
            from gapless.storage.folder import FolderBlobs
            from queueing.sqlite import SqliteQueues
            from tests.unit.compute_node.holes import Hole
            hole = Path({str(self.hole)!r})
            queues = Hole(SqliteQueues(Path({str(place.folder / "queue.db")!r})), hole)
            settings = dict(
                node_id="node-2",
                blobs=Hole(FolderBlobs({str(place.folder / "home")!r}), hole),
                queues=queues,
                work_folder=Path({str(place.folder / "work")!r}),
                sweep_ids=[{place.sweep!r}],
                workers=2,
                linger_s=0.1,
            )
            status = run_node(NodeSettings(**settings | {changes!r}))
            queues.close()
            sys.exit(status)
        """
        self.process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 30.0) -> int:
        return self.process.wait(seconds)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.queues.close()


@pytest.fixture
def start_node(place: Place) -> Iterator[Callable[..., NodeProgram]]:
    started: list[NodeProgram] = []

    def start(**changes: Any) -> NodeProgram:
        started.append(NodeProgram(place, **changes))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def limits() -> type[Limits]:
    return Limits


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    def alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        stat = Path(f"/proc/{pid}/stat")
        return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")

    return alive
