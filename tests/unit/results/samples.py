"""Blocks, shards and stand-ins that the tests of results share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gapless.results.block import Block, ErrorRecord
from gapless.results.block_builder import BlockBuilder
from gapless.results.manifest import encode_manifest
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome
from gapless.results.shard import EncodedShard, encode_shard
from gapless.storage import layout

SWEEP = "walk-0123abcd"
DECLARATION = b'{"format":"gapless.sweep/1","name":"walk"}'


@dataclass(frozen=True)
class PlainColumn:
    values: np.ndarray
    kind: str

    def tolist(self) -> list[Any]:
        return self.values.tolist()


def mixed(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


class NumberedRuns:
    """Run k: n = k, alpha = k / 4, model by turns, gamma mixed; replicate k % 10, seed k + 1000."""

    def __init__(self, total: int = 1000) -> None:
        self.total = total

    def parameters(self, numbers: np.ndarray) -> dict[str, PlainColumn]:
        count = numbers.astype(np.int64)
        listed = count.tolist()
        return {
            "n": PlainColumn(count, "int"),
            "alpha": PlainColumn(count / 4, "float"),
            "model": PlainColumn(mixed([("a", "b")[k % 2] for k in listed]), "str"),
            "gamma": PlainColumn(mixed([("scale", 0.1, None)[k % 3] for k in listed]), "json"),
        }

    def replicates(self, numbers: np.ndarray) -> np.ndarray:
        return (numbers % np.uint64(10)).astype(np.int64)

    def seeds(self, numbers: np.ndarray) -> np.ndarray:
        return numbers.astype(np.int64) + 1000


def block_of(
    rows: dict[int, dict[str, Any]],
    *,
    epoch: int = 0,
    node: str = "node-1",
    started_s: float = 1000.0,
    duration_s: float = 0.5,
) -> Block:
    """A block of ok rows: run -> values."""
    builder = BlockBuilder(epoch, node, "c0de")
    for run, values in rows.items():
        builder.add_ok(run, started_s, duration_s, values)
    return builder.build()


def failed_block(
    runs: list[int],
    *,
    message: str = "it broke",
    outcome: Outcome = Outcome.FAILED,
    epoch: int = 0,
    started_s: float = 1000.0,
    duration_s: float = 0.5,
) -> Block:
    builder = BlockBuilder(epoch, "node-1", "c0de")
    for run in runs:
        builder.add(
            run,
            outcome=outcome,
            complete=False,
            started_s=started_s,
            duration_s=duration_s,
            error=ErrorRecord(run=run, kind="exception", type="ValueError", message=message),
        )
    return builder.build()


def shard_of(*blocks: Block, number: int = 1, flushed_at_s: float = 2000.0) -> EncodedShard:
    return encode_shard(
        blocks,
        sweep_id=SWEEP,
        declaration_json=DECLARATION,
        runs=NumberedRuns(),
        origin=Origin.at(flushed_at_s, "agg-1", number),
    )


def put_shard(blobs: Any, shard: EncodedShard, sweep_id: str = SWEEP) -> None:
    blobs.put(layout.shard(sweep_id, shard.shard_id), shard.data)
    blobs.put(layout.manifest(sweep_id, shard.shard_id), encode_manifest(shard.manifest))
