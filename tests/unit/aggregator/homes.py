"""Makes a home with one sweep, and real deliveries of its runs."""

from __future__ import annotations

import base64
import hashlib
import threading
from pathlib import Path

from aggregator.service import Aggregator, AggregatorSettings
from gapless.declaration.messages import Claim, Delivery, Part, encode_delivery, text_digest
from gapless.declaration.runset import RunSet
from gapless.declaration.space import Space
from gapless.declaration.sweep import Sweep
from gapless.results.block import encode_block
from gapless.results.block_builder import BlockBuilder
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.sweeps import SweepStore
from queueing.port import Entry, Queues

WAIT_S = 30.0


def store_sweep(blobs: Blobs, *, points: int = 20, name: str = "demo") -> str:
    """Store a sweep of so many runs; give its id."""
    sweep = Sweep(name=name, space=Space.grid(x=list(range(points))), function="module:function")
    frozen = sweep.freeze()
    SweepStore(blobs).store(frozen, None, 0.0)
    return frozen.id


def block_text(start: int, stop: int, *, epoch: int = 0, scale: float = 1.0) -> str:
    """Encode the results of the runs start <= run < stop: y = run * scale."""
    builder = BlockBuilder(epoch=epoch, node="node-1", code="c")
    for run in range(start, stop):
        builder.add_ok(run, 1.7e9, 0.001, {"y": run * scale})
    return base64.b64encode(encode_block(builder.build())).decode("ascii")


def delivery_body(
    sweep_id: str,
    start: int,
    stop: int,
    *,
    epoch: int = 0,
    name: str | None = None,
    blobs: Blobs | None = None,
    scale: float = 1.0,
) -> str:
    """Write a delivery of these runs; with `blobs` as a claim on an object stored there."""
    text = block_text(start, stop, epoch=epoch, scale=scale)
    part = Part(runs=RunSet.span(start, stop), epoch=epoch, digest=text_digest(text))
    name = name or f"delivery-{start}-{stop}-{epoch}"
    claim = None
    if blobs is not None:
        data = text.encode()
        claim = Claim(
            key=layout.claim(name),
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
        )
        blobs.put(claim.key, data)
    delivery = Delivery(sweep=sweep_id, delivery=name, node="node-1", parts=(part,), claim=claim)
    return encode_delivery(delivery, [] if claim else [text])


def send(queues: Queues, sweep_id: str, *bodies: str) -> None:
    answers = queues.send(layout.results_queue(sweep_id), [Entry(body) for body in bodies])
    assert all(each.ok for each in answers)


class Running:
    """An aggregator in a thread of this process."""

    def __init__(self, blobs: Blobs, queues: Queues, **settings: object) -> None:
        settings.setdefault("aggregator_id", "agg-1")
        settings.setdefault("receive_wait_s", 0.02)
        settings.setdefault("poll_s", 0.05)
        self.aggregator = Aggregator(
            AggregatorSettings(blobs=blobs, queues=queues, **settings)  # type: ignore[arg-type]
        )
        self.status: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @staticmethod
    def here(blobs: Blobs, queues: Queues) -> int:
        """Run one in this very thread."""
        return Aggregator(AggregatorSettings(blobs=blobs, queues=queues)).run()

    def _run(self) -> None:
        self.status = self.aggregator.run()

    def join(self) -> int | None:
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the aggregator did not leave"
        return self.status

    def stop(self) -> int | None:
        self.aggregator.stop()
        return self.join()


def queued(queues: Queues, sweep_id: str) -> int:
    facts = queues.facts(layout.results_queue(sweep_id))
    return facts.visible + facts.leased + facts.delayed


def quarantined(blobs: Blobs, sweep_id: str) -> list[bytes]:
    return [blobs.get(each.key) for each in blobs.list(layout.quarantine_prefix(sweep_id))]


def shard_files(folder: Path, sweep_id: str) -> list[Path]:
    return sorted((folder / layout.shards_prefix(sweep_id)).glob("*.h5"))
