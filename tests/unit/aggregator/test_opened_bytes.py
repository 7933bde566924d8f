"""Small messages may unpack to very much: how much of it is in memory at once."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from aggregator.commands import Flush
from aggregator.decoding import MAX_OPENED_BYTES, open_blocks, read_message
from aggregator.events import Buffered, ShardStored
from aggregator.home_view import HomeView
from aggregator.own_coverage import OwnCoverage
from aggregator.store import DeliveryStore, Origins
from gapless.declaration.errors import DamagedMessage
from gapless.declaration.messages import Delivery, Part, encode_delivery, text_digest
from gapless.declaration.runset import RunSet
from gapless.results.block import block_bytes, encode_block
from gapless.results.block_builder import MOST_RUN_BYTES, BlockBuilder
from gapless.storage.memory import MemoryBlobs
from gapless.storage.sweeps import SweepStore
from queueing.port import Lease, Message
from tests.unit.aggregator.homes import store_sweep


def zeros_delivery(sweep: str, *runs: int, size_bytes: int) -> Buffered:
    """Make a delivery of one block a run, each of zeros that are packed to next to nothing."""
    texts, parts = [], []
    for run in runs:
        builder = BlockBuilder(epoch=0, node="n", code="c")
        builder.add_ok(run, 1.0, 0.5, {"zeros": np.zeros(size_bytes // 8)})
        text = base64.b64encode(encode_block(builder.build())).decode("ascii")
        texts.append(text)
        parts.append(Part(runs=RunSet.of(run), epoch=0, digest=text_digest(text)))
    delivery = Delivery(sweep=sweep, delivery=f"d-{runs[0]}", node="n", parts=tuple(parts))
    lease = Lease(f"{sweep}-results", f"t-{runs[0]}")
    read = read_message(Message(lease, encode_delivery(delivery, texts), 1))
    assert isinstance(read, Buffered)
    assert read.size_bytes < 10_000
    return read


def test_a_delivery_that_unpacks_to_more_than_any_node_sends_is_damaged() -> None:
    delivery = zeros_delivery("s", *range(10), size_bytes=2**20)
    assert len(open_blocks(delivery, MemoryBlobs())) == 10
    with pytest.raises(DamagedMessage, match="unpacks to more"):
        open_blocks(delivery, MemoryBlobs(), most_bytes=9 * 2**20)
    # Blocks of one run are within what a node may send.
    assert MAX_OPENED_BYTES > 2 * MOST_RUN_BYTES


def test_what_does_not_fit_in_memory_with_the_others_waits_for_another_shard() -> None:
    blobs = MemoryBlobs()
    sweep = store_sweep(blobs)
    batch = tuple(zeros_delivery(sweep, run, size_bytes=2**20) for run in range(5))
    store = DeliveryStore(
        blobs,
        HomeView(blobs, SweepStore(blobs)),
        Origins("agg-1", lambda: 1.7e9),
        OwnCoverage(blobs, "agg-1", lambda: 0.0),
        most_opened_bytes=int(1.5 * 2**20),
    )
    answer = store.flush(Flush(sweep_id=sweep, flush=1, batch=batch))
    assert isinstance(answer, ShardStored)
    assert answer.stored == batch[:2]
    assert answer.unopened == batch[2:]
    assert answer.newer == ()
    assert answer.rejected == ()


def test_the_bytes_of_a_block_are_those_of_its_columns() -> None:
    delivery = zeros_delivery("s", 3, size_bytes=8_000)
    (block,) = open_blocks(delivery, MemoryBlobs())
    facts = 8 + 1 + 1 + 2 + 8 + 8
    assert block_bytes(block) == 8_000 + facts
