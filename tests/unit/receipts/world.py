"""A home in memory with a ledger and queues, and somebody who stores results in it."""

from __future__ import annotations

import bisect
import hashlib
import io
import itertools
import random
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from gapless.storage.node_reports import NodeReport
from gapless.storage.sweeps import SweepStore
from queueing.memory import MemoryQueues
from queueing.port import Entry, QueueFacts
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
            # The ledger's own database: what it does for other modules may be the last, too.
            return Dying(found, self._fate) if name == "database" else found

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


class CountedQueues:
    """Queues as a remote service shows them: nobody can look into them, and their counts are late.

    A count is the one of some moment within the last `late_s`; with `each_count_on_its_own`, that
    of another moment for each of the three. Creation times have whole seconds.
    """

    def __init__(
        self,
        queues: MemoryQueues | SqliteQueues,
        clock: Callable[[], float],
        *,
        late_s: float = 0.0,
        dice: random.Random | None = None,
        each_count_on_its_own: bool = False,
    ) -> None:
        self.inner = queues
        self.late_s = late_s
        self.facts_asked = 0
        self._clock = clock
        self._dice = dice or random.Random(0)
        self._each_on_its_own = each_count_on_its_own
        self._history: dict[str, list[tuple[float, QueueFacts]]] = {}

    def __getattr__(self, name: str) -> Any:
        if name in {"heads", "read_heads"} or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def facts(self, queue: str) -> QueueFacts:
        self.facts_asked += 1
        self.note(queue)
        known = self._history[queue]
        visible, leased, delayed = (
            (self._then(known) for _ in range(3))
            if self._each_on_its_own
            else [self._then(known)] * 3
        )
        return QueueFacts(
            created_at_s=known[-1][1].created_at_s,
            visible=visible.visible,
            leased=leased.leased,
            delayed=delayed.delayed,
        )

    def note(self, queue: str) -> None:
        """Remember what the queue holds now; to be called after whatever changes it."""
        facts = self.inner.facts(queue)
        now = QueueFacts(
            created_at_s=float(int(facts.created_at_s)),
            visible=facts.visible,
            leased=facts.leased,
            delayed=facts.delayed,
        )
        known = self._history.setdefault(queue, [])
        if known and known[-1][1].created_at_s != now.created_at_s:
            known.clear()
        if not known:
            known.append((0.0, QueueFacts(now.created_at_s, 0, 0, 0)))
        known.append((self._clock(), now))

    def _then(self, known: Sequence[tuple[float, QueueFacts]]) -> QueueFacts:
        at_s = known[-1][0] - self._dice.random() * self.late_s
        return known[bisect.bisect_right(known, at_s, key=lambda each: each[0]) - 1][1]


@dataclass
class World:
    """All the ports, and a clock that moves a second a look."""

    ledger: Ledger
    folder: Path | None = None
    """Where queues and blobs lie; None: in memory."""
    now_s: float = 1000.0
    tick_s: float = 1.0
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
        self.now_s += self.tick_s
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

    def counted(self, **options: Any) -> CountedQueues:
        """Show the queues as a remote service does."""
        return CountedQueues(self.queues, self.clock, **options)

    def purge(self, queue: str) -> RunSet:
        """Take everything off a queue, which stays the same one; give the runs of its jobs."""
        assert isinstance(self.queues, MemoryQueues)
        held = self.queues._queue(queue).messages
        runs = [decode_job(each.body).runs for each in held.values() if queue.endswith("-jobs")]
        held.clear()
        return RunSet.union(runs)

    def take_anything(self, queue: str) -> None:
        """Take every visible message off a queue, whatever it is."""
        messages = self.queues.receive([queue], most=10, wait_s=0.0, lease_s=900.0)
        self.queues.delete([message.lease for message in messages])

    def report_node(self, node: str, held: Mapping[str, Mapping[int, RunSet]]) -> None:
        """Write a node's report: the runs it has in hand, by sweep and epoch."""
        report = NodeReport(
            node=node,
            heard_at_s=self.now_s,
            sweeps={
                sweep: {str(epoch): runs.to_wire() for epoch, runs in by_epoch.items()}
                for sweep, by_epoch in held.items()
            },
        )
        self.blobs.put(layout.node(node), report.encode())

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
        counts: Counter[Outcome] = Counter()
        for (_, outcome), runs in coverage.items():
            counts[outcome] += len(runs)
        self.blobs.put(layout.shard(sweep_id, shard), data)
        manifest = Manifest(
            sweep=sweep_id,
            shard=shard,
            origin=Origin(flushed_at="2026-01-01T00:00:00.000000Z", aggregator="a1", number=number),
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            rows=sum(len(runs) for runs in coverage.values()),
            counts=dict(counts),
            coverage=coverage,
        )
        self.blobs.put(layout.manifest(sweep_id, shard), encode_manifest(manifest))
