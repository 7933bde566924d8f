"""A home in memory with a ledger and queues, and somebody who stores results in it."""

from __future__ import annotations

import hashlib
import io
import itertools
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gapless.declaration.messages import Delivery, Part, decode_job, encode_delivery, text_digest
from gapless.declaration.runset import RunSet
from gapless.declaration.space import Space
from gapless.declaration.sweep import FrozenSweep, Sweep
from gapless.results.manifest import Manifest, encode_manifest
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome
from gapless.storage import layout
from gapless.storage.folder import FolderBlobs
from gapless.storage.memory import MemoryBlobs
from gapless.storage.sweeps import SweepStore
from queueing.memory import MemoryQueues
from queueing.port import Entry
from queueing.sqlite import SqliteQueues
from receipts.ledger import Ledger
from receipts.reconcile import ReconcileReport, reconcile
from receipts.resubmit import ResubmitReport, resubmit
from receipts.submit import SubmitReport, submit


@dataclass(frozen=True)
class FakeBundle:
    """Code of a sweep: one file, walk.py."""

    text: bytes

    @property
    def data(self) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo("walk.py"), self.text)
        return buffer.getvalue()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


CODE = FakeBundle(b"def walk(n, seed): ...")


def declare(points: int = 100, **changes: Any) -> FrozenSweep:
    """Freeze a sweep of so many runs."""
    space = Space.grid(n=list(range(points)))
    wanted: dict[str, Any] = {"name": "walk", "function": "walk:walk", "space": space, **changes}
    return Sweep(**wanted).freeze()


class Died(Exception):
    """The program was killed."""


class Dying:
    """A port whose owner is killed before its n-th call, counted over all ports of one `Fate`."""

    def __init__(self, port: Any, fate: Fate) -> None:
        self._port = port
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._fate.step()
            return found(*arguments, **named)

        return call


@dataclass
class Fate:
    """How many calls are left."""

    calls_left: int

    def step(self) -> None:
        if self.calls_left == 0:
            raise Died
        self.calls_left -= 1


@dataclass
class World:
    """All the ports, and a clock that moves a second a look."""

    ledger: Ledger
    folder: Path | None = None
    """Where queues and blobs lie; None: in memory."""
    now_s: float = 1000.0
    queues: MemoryQueues | SqliteQueues = field(init=False)
    blobs: MemoryBlobs | FolderBlobs = field(init=False)
    store: SweepStore = field(init=False)
    ids: Iterator[int] = field(default_factory=itertools.count)
    shards: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        if self.folder is None:
            self.blobs = MemoryBlobs(clock=self.clock)
            self.queues = MemoryQueues(clock=self.clock)
        else:
            self.blobs = FolderBlobs(self.folder)
            self.queues = SqliteQueues(self.folder / "queue.db", clock=self.clock)
        self.store = SweepStore(self.blobs)

    def clock(self) -> float:
        self.now_s += 1.0
        return self.now_s

    def new_id(self) -> str:
        return f"id-{next(self.ids)}"

    def submit(
        self, frozen: FrozenSweep, bundle: FakeBundle | None = CODE, **options: Any
    ) -> SubmitReport:
        ports = {"ledger": self.ledger, "queues": self.queues, "store": self.store}
        return submit(
            frozen, bundle, **{**ports, "clock": self.clock, "new_id": self.new_id, **options}
        )

    def reconcile(self, sweep_id: str, **options: Any) -> ReconcileReport:
        ports = {"ledger": self.ledger, "queues": self.queues, "store": self.store}
        more = {"blobs": self.blobs, "clock": self.clock, "new_id": self.new_id}
        return reconcile(sweep_id, **{**ports, **more, **options})

    def resubmit(self, sweep_id: str, wanted: Any, **options: Any) -> ResubmitReport:
        ports = {"ledger": self.ledger, "queues": self.queues, "store": self.store}
        more = {"blobs": self.blobs, "clock": self.clock, "new_id": self.new_id}
        return resubmit(sweep_id, wanted, **{**ports, **more, **options})

    def ports_until(self, fate: Fate) -> dict[str, Any]:
        """Ports that die together, for submit, reconcile and resubmit."""
        return {
            "ledger": Dying(self.ledger, fate),
            "queues": Dying(self.queues, fate),
            "store": SweepStore(Dying(self.blobs, fate)),  # type: ignore[arg-type]
        }

    def on_queue(self, sweep_id: str) -> dict[int, RunSet]:
        """The runs in jobs, by epoch."""
        queue = layout.jobs_queue(sweep_id)
        jobs = [decode_job(head) for head in self.queues.heads([queue])[queue]]
        found: dict[int, RunSet] = {}
        for job in jobs:
            found[job.epoch] = found.get(job.epoch, RunSet()) | job.runs
        return found

    def jobs(self, sweep_id: str) -> int:
        """How many jobs there are."""
        return self.queues.facts(layout.jobs_queue(sweep_id)).visible

    def lose_queues(self, sweep_id: str) -> None:
        for queue in (layout.jobs_queue(sweep_id), layout.results_queue(sweep_id)):
            self.queues.drop(queue)

    def take_jobs(self, sweep_id: str, most: int) -> RunSet:
        """Take jobs off the queue as a node does that delivered their results."""
        messages = self.queues.receive(
            [layout.jobs_queue(sweep_id)], most=most, wait_s=0.0, lease_s=900.0
        )
        self.queues.delete([message.lease for message in messages])
        return RunSet.union(decode_job(message.body).runs for message in messages)

    def deliver(self, sweep_id: str, runs: RunSet, *, epoch: int = 0) -> None:
        """Put a delivery on the result queue."""
        text = "AAAA"
        part = Part(runs=runs, epoch=epoch, digest=text_digest(text))
        delivery = Delivery(sweep=sweep_id, delivery=self.new_id(), node="n1", parts=(part,))
        body = encode_delivery(delivery, [text])
        assert self.queues.send(layout.results_queue(sweep_id), [Entry(body)])[0].ok

    def keep(self, sweep_id: str, coverage: Mapping[tuple[int, Outcome], RunSet]) -> None:
        """Store a shard with its manifest."""
        number = next(self.shards)
        shard = f"shard-{number:04d}"
        data = b"rows of " + shard.encode()
        self.blobs.put(layout.shard(sweep_id, shard), data)
        manifest = Manifest(
            sweep=sweep_id,
            shard=shard,
            origin=Origin(flushed_at="2026-01-01T00:00:00.000000Z", aggregator="a1", number=number),
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            rows=sum(len(runs) for runs in coverage.values()),
            counts={outcome: len(runs) for (_, outcome), runs in coverage.items()},
            coverage=coverage,
        )
        self.blobs.put(layout.manifest(sweep_id, shard), encode_manifest(manifest))
