"""A sweep of real declarations and shards, and ways to spoil what is stored of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gapless.declaration.control import Asked
from gapless.declaration.runset import RunSet
from gapless.declaration.space import Space
from gapless.declaration.sweep import Sweep
from gapless.results.block import Block
from gapless.results.findings import Mode, Verification
from gapless.results.manifest import Manifest, encode_manifest
from gapless.results.origin import Origin
from gapless.results.shard import EncodedShard, encode_shard
from gapless.results.shard_writing import RunLookup
from gapless.results.verification import verify_shards
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.memory import MemoryBlobs
from gapless.storage.sweeps import StoredSweep, SweepStore
from tests.unit.results.samples import block_of, failed_block

LATER_S = 10_000.0
"""When things are verified: what was written at 100 s has been there for long."""


@dataclass
class VerifiedHome:
    """A home with one sweep of `points` runs; shards are kept by numbers."""

    blobs: Blobs = field(default_factory=lambda: MemoryBlobs(clock=lambda: 100.0))
    points: int = 100
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        # Parameters of every kind: integers, floats, texts, and mixed ones that are kept as JSON.
        space = Space.grid(
            n=list(range(self.points // 4)), alpha=[0.5, 1.5], model=["a", None], label=["x"]
        )
        self.frozen = Sweep(name="walk", function="walk:walk", space=space).freeze()
        self.store = SweepStore(self.blobs)
        self.sweep_id = self.frozen.id
        self.store_sweep()

    def store_sweep(self) -> None:
        """Put the sweep into the home."""
        self.store.store(self.frozen, None, 0.0)

    @property
    def sweep(self) -> StoredSweep:
        return self.store.load(self.sweep_id)

    def shard(self, *blocks: Block, **changes: Any) -> EncodedShard:
        """Make a shard of blocks."""
        number = next(self.numbers)
        sweep = self.sweep
        runs: RunLookup = sweep.runs
        wanted: dict[str, Any] = {
            "sweep_id": self.sweep_id,
            "declaration_json": sweep.declaration.encode(),
            "runs": runs,
            "origin": Origin.at(1000.0 + number, "agg-1", number),
        }
        return encode_shard(blocks, **{**wanted, **changes})

    def keep(self, shard: EncodedShard) -> EncodedShard:
        """Store a shard and its manifest."""
        self.blobs.put(layout.shard(self.sweep_id, shard.shard_id), shard.data)
        self.blobs.put(
            layout.manifest(self.sweep_id, shard.shard_id), encode_manifest(shard.manifest)
        )
        return shard

    def keep_runs(self, start: int, stop: int, *, epoch: int = 0, **changes: Any) -> EncodedShard:
        """Store a shard of ok runs."""
        rows = {run: {"y": run / 2, "name": f"run {run}"} for run in range(start, stop)}
        return self.keep(self.shard(block_of(rows, epoch=epoch), **changes))

    def keep_failed(self, *runs: int) -> EncodedShard:
        """Store a shard of failed runs."""
        return self.keep(self.shard(failed_block(list(runs))))

    def ask(self, epoch: int, *runs: int) -> None:
        """Ask anew for runs."""
        self.store.ask(self.sweep_id, Asked(epoch=epoch, runs=RunSet.of(*runs), at_s=0.0))

    def verify(self, mode: Mode = Mode.MEND, **changes: Any) -> Verification:
        """Verify, long after all was written."""
        blobs = changes.pop("blobs", self.blobs)
        return verify_shards(
            blobs, self.sweep_id, **{"clock": lambda: LATER_S, "mode": mode, **changes}
        )

    def shard_key(self, shard: EncodedShard) -> str:
        return layout.shard(self.sweep_id, shard.shard_id)

    def manifest_key(self, shard: EncodedShard) -> str:
        return layout.manifest(self.sweep_id, shard.shard_id)

    def flip(self, key: str, position: int, mask: int = 1) -> bytes:
        """Flip bits of one byte of a stored object; give what it was."""
        before = self.blobs.get(key)
        changed = bytearray(before)
        changed[position] ^= mask
        self.blobs.put(key, bytes(changed))
        return before

    def change_manifest(self, shard: EncodedShard, **changes: Any) -> None:
        """Store another manifest of a shard."""
        self.store_manifest(shard, msgspec.structs.replace(shard.manifest, **changes))

    def store_manifest(self, shard: EncodedShard, manifest: Manifest) -> None:
        """Store this as the manifest of a shard."""
        self.blobs.put(self.manifest_key(shard), encode_manifest(manifest))

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every stored object below a prefix."""
        return {blob.key: self.blobs.get(blob.key) for blob in self.blobs.list(prefix)}

    def aside(self) -> dict[str, bytes]:
        """What was set aside, without the notes."""
        found = self.objects(layout.set_aside_prefix(self.sweep_id))
        return {key: data for key, data in found.items() if not key.endswith(".why.json")}


class Died(Exception):
    """The program was killed."""


class DyingBlobs:
    """Blobs whose owner is killed before its n-th write."""

    def __init__(self, blobs: Blobs, writes_left: int) -> None:
        self._blobs = blobs
        self._writes_left = writes_left

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._blobs, name)
        if name not in {"put", "put_if_absent", "delete"}:
            return found

        def call(*arguments: Any) -> Any:
            if self._writes_left == 0:
                raise Died
            self._writes_left -= 1
            return found(*arguments)

        return call


class OddReads:
    """Blobs of which `odd` may change what a read gives: it gets key, bytes and how manyth read."""

    def __init__(self, blobs: Blobs, odd: Callable[[str, bytes, int], bytes]) -> None:
        self._blobs = blobs
        self._odd = odd
        self.reads: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def get(self, key: str) -> bytes:
        self.reads[key] = self.reads.get(key, 0) + 1
        return self._odd(key, self._blobs.get(key), self.reads[key])
