"""Make deliveries durable, and only then give the proof by which their messages are deleted (I3).

One flush, step by step, and what a crash right after each leaves:

1. encode the shard in memory: nothing; the messages come again when their leases end
2. put the shard, if absent: a complete shard without manifest, which counts for no reader. It is
   adopted (`HomeView.adopt`); the messages come again too and are stored twice, which is harmless
3. put the manifest, if absent: the rows count; the messages come again and are stored twice
4. the messages are deleted with the proof made here: nothing is left over

The key of a shard is unique to the aggregator and the flush, so a put whose answer was lost is
repeated: the key that holds the very same bytes is success; other bytes (another aggregator of the
same id) are left alone and the shard gets a new number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aggregator.commands import Flush, QuarantineMessage
from aggregator.decoding import MAX_OPENED_BYTES, ClaimGone, open_blocks
from aggregator.errors import AggregatorError
from aggregator.events import (
    Buffered,
    FlushFailed,
    MessageQuarantined,
    QuarantineFailed,
    ShardStored,
)
from aggregator.home_view import HomeView
from aggregator.own_coverage import OwnCoverage
from aggregator.proof import AlreadyFinal, DurableShard, DurableWaste, Proof
from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.errors import GaplessError
from gapless.patience import patiently
from gapless.results.block import Block, block_bytes
from gapless.results.manifest import decode_manifest, encode_manifest
from gapless.results.origin import Origin
from gapless.results.shard import EncodedShard, encode_shard
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import StorageError, StorageUnavailable
from gapless.storage.quarantine import keep_message
from gapless.storage.sweeps import StoredSweep

__all__ = ["DeliveryStore", "Origins"]

_UNENCODABLE = (ValueError, TypeError, KeyError, IndexError, OverflowError)


class Origins:
    """The origins of one aggregator's shards: flush times that only ever increase, and numbers."""

    def __init__(self, aggregator_id: str, clock: Callable[[], float]) -> None:
        self._aggregator_id = aggregator_id
        self._clock = clock
        self._last_us = 0
        self._number = 0

    def next(self) -> Origin:
        """Make an origin later than every one before, also when the clock went back."""
        self._last_us = max(int(self._clock() * 1e6), self._last_us + 1)
        self._number += 1
        return Origin.at(self._last_us / 1e6, self._aggregator_id, self._number)


@dataclass(slots=True)
class _Prepared:
    """A flush with its batch sorted; `shard` keeps its bytes until storage has taken them."""

    shard: EncodedShard | None = None
    stored: list[Buffered] = field(default_factory=list)
    final: list[tuple[Buffered, Proof]] = field(default_factory=list)
    rejected: list[tuple[Buffered, str]] = field(default_factory=list)
    newer: list[Buffered] = field(default_factory=list)
    unopened: list[Buffered] = field(default_factory=list)


class DeliveryStore:
    """Stores the deliveries of one aggregator. Used by one thread at a time.

    `most_opened_bytes`: what the deliveries of one shard may take in memory; once they do, the rest
    of the batch waits for the next shard.
    """

    def __init__(
        self,
        blobs: Blobs,
        home: HomeView,
        origins: Origins,
        own: OwnCoverage,
        *,
        most_opened_bytes: int = MAX_OPENED_BYTES,
    ) -> None:
        self._blobs = blobs
        self._home = home
        self._origins = origins
        self._own = own
        self._most_opened_bytes = most_opened_bytes
        self._open: dict[tuple[str, int], _Prepared] = {}

    def flush(self, command: Flush) -> ShardStored | FlushFailed:
        """Store a batch as one shard; safe to repeat after FlushFailed, as the same shard."""
        key = (command.sweep_id, command.flush)
        try:
            prepared = self._open.get(key)
            if prepared is None:
                prepared = self._prepare(command)
                self._open[key] = prepared
            proof = None
            if prepared.shard is not None:
                proof = patiently(
                    lambda: self._store(command.sweep_id, prepared), on=StorageUnavailable
                )
        except GaplessError as error:
            return FlushFailed(command.sweep_id, command.flush, str(error))
        del self._open[key]
        return ShardStored(
            command.sweep_id,
            command.flush,
            proof,
            stored=tuple(prepared.stored),
            final=tuple(prepared.final),
            rejected=tuple(prepared.rejected),
            newer=tuple(prepared.newer),
            unopened=tuple(prepared.unopened),
        )

    def quarantine(self, command: QuarantineMessage) -> MessageQuarantined | QuarantineFailed:
        """Keep a message nobody can use, under the hash of its body: safe to repeat."""
        try:
            # A crash after this: the message comes again and is stored under the same key.
            key = patiently(
                lambda: keep_message(
                    self._blobs,
                    queue=command.lease.queue,
                    body=command.body,
                    reason=command.reason,
                ),
                on=StorageUnavailable,
            )
        except GaplessError as error:
            return QuarantineFailed(command.lease, str(error))
        return MessageQuarantined(command.lease, DurableWaste(key))

    def _prepare(self, command: Flush) -> _Prepared:
        prepared = _Prepared()
        sweep = self._home.sweep(command.sweep_id)
        if sweep is None:
            reason = f"the home has no sweep {command.sweep_id}"
            prepared.rejected = [(each, reason) for each in command.batch]
            return prepared
        opened: list[tuple[Buffered, list[Block]]] = []
        opened_bytes = 0
        for each in command.batch:
            if opened_bytes > self._most_opened_bytes:
                # Small messages may unpack to very much: these wait for another shard.
                prepared.unopened.append(each)
                continue
            try:
                blocks = open_blocks(each, self._blobs)
                opened.append((each, blocks))
                opened_bytes += sum(map(block_bytes, blocks))
            except ClaimGone as error:
                self._judge_gone_claim(each, str(error), prepared)
            except NewerFormat:
                prepared.newer.append(each)
            except DamagedMessage as error:
                prepared.rejected.append((each, str(error)))
        self._encode(sweep, opened, prepared)
        return prepared

    def _judge_gone_claim(self, each: Buffered, reason: str, prepared: _Prepared) -> None:
        sweep_id = each.delivery.sweep
        coverage = self._home.coverage(sweep_id)
        if all(
            part.runs.issubset(coverage.final_since(part.epoch)) for part in each.delivery.parts
        ):
            proof = AlreadyFinal(sweep_id, self._home.manifests(sweep_id))
            prepared.final.append((each, proof))
        else:
            prepared.rejected.append((each, reason))

    def _encode(
        self, sweep: StoredSweep, opened: list[tuple[Buffered, list[Block]]], prepared: _Prepared
    ) -> None:
        if not opened:
            return
        origin = self._origins.next()
        try:
            blocks = [block for _, each in opened for block in each]
            prepared.shard = _shard(sweep, blocks, origin)
        except _UNENCODABLE as error:
            if len(opened) == 1:
                prepared.rejected.append((opened[0][0], f"no shard can hold it: {error!r}"))
                return
            # One delivery that no shard can hold must not stop the others: find it.
            good = [each for each in opened if _fits(sweep, each, origin, prepared)]
            if len(good) == len(opened):
                raise AggregatorError(
                    f"no shard can hold {len(good)} deliveries of sweep {sweep.declaration.id} "
                    f"together, though each of them alone: {error!r}; they stay on the queue"
                ) from error
            self._encode(sweep, good, prepared)
            return
        prepared.stored = [each for each, _ in opened]

    def _store(self, sweep_id: str, prepared: _Prepared) -> DurableShard:
        shard = prepared.shard
        assert shard is not None
        if not self._put_same(layout.shard(sweep_id, shard.shard_id), shard.data):
            self._renumber(sweep_id, prepared)
            raise StorageError(f"shard {shard.shard_id} exists with other bytes: taking a new name")
        # A crash here: a complete shard without manifest, to be adopted.
        key = layout.manifest(sweep_id, shard.shard_id)
        if not self._blobs.put_if_absent(key, encode_manifest(shard.manifest)):
            # Written before by us, or by somebody who adopted the shard: it must be of this shard.
            found = decode_manifest(self._blobs.get(key))
            if found.sha256 != shard.manifest.sha256:
                self._renumber(sweep_id, prepared)
                raise StorageError(f"manifest {key} is of another shard: taking a new name")
        # A crash here: stored; the messages come again and are stored twice.
        self._own.stored(shard.manifest)
        return DurableShard(shard.shard_id, shard.manifest.sha256, key)

    def _put_same(self, key: str, data: bytes) -> bool:
        if self._blobs.put_if_absent(key, data):
            return True
        return hashlib.sha256(self._blobs.get(key)).digest() == hashlib.sha256(data).digest()

    def _renumber(self, sweep_id: str, prepared: _Prepared) -> None:
        sweep = self._home.sweep(sweep_id)
        if sweep is None:
            raise StorageError(f"the home has no sweep {sweep_id} any more")
        blocks = [block for each in prepared.stored for block in open_blocks(each, self._blobs)]
        prepared.shard = _shard(sweep, blocks, self._origins.next())


def _shard(sweep: StoredSweep, blocks: Sequence[Block], origin: Origin) -> EncodedShard:
    return encode_shard(
        blocks,
        sweep_id=sweep.declaration.id,
        declaration_json=sweep.declaration.encode(),
        runs=sweep.runs,
        origin=origin,
    )


def _fits(
    sweep: StoredSweep, each: tuple[Buffered, list[Block]], origin: Origin, prepared: _Prepared
) -> bool:
    try:
        _shard(sweep, each[1], origin)
    except _UNENCODABLE as error:
        prepared.rejected.append((each[0], f"no shard can hold it: {error!r}"))
        return False
    return True
