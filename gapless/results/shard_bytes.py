"""The bytes of a shard and of its manifest as storage gives them, and whether it always does.

One bad read proves nothing: a disk, a network or a memory may err once. So nothing is said of a
shard that is not found sound before two reads, one after the other, gave the same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

from gapless.daemon_pool import DaemonPool
from gapless.patience import patiently
from gapless.results.shard_seal import SealedBytes, look_at_seal
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import (
    ArrivedDamaged,
    BlobMissing,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)

__all__ = ["ShardBytes", "read_shard_bytes", "read_shards"]

_PART_BYTES = 8 * 2**20
_AHEAD_BYTES = 256 * 2**20
"""Shards read ahead take this much memory at most (one alone may be larger)."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardBytes:
    """A shard's bytes and its manifest's, each None when it is not there.

    `is_doubtful`: storage knows that the shard's bytes are not those it was given, which may be the
    way's fault: they are read without its checksum.
    """

    data: bytes | None
    seal: SealedBytes | None
    manifest: bytes | None
    is_doubtful: bool = False

    @property
    def is_nothing(self) -> bool:
        """Tell whether neither is there."""
        return self.data is None and self.manifest is None

    @property
    def size_bytes(self) -> int:
        """How large the shard is."""
        return 0 if self.data is None else len(self.data)

    def is_as(self, other: ShardBytes) -> bool:
        """Tell whether two reads gave the same."""
        return self.seal == other.seal and self.manifest == other.manifest

    def forgetting_data(self) -> ShardBytes:
        """Keep what `is_as` compares: a shard may be large."""
        return replace(self, data=None)


def read_shard_bytes(blobs: Blobs, sweep_id: str, shard_id: str) -> ShardBytes:
    """Read manifest and shard, in this order; StorageUnavailable when storage has no answer.

    A shard that is set aside or replaced meanwhile thus looks like one that is gone, and at the
    next read like nothing at all.
    """
    manifest, _ = _get(blobs, layout.manifest(sweep_id, shard_id))
    data, is_doubtful = _get(blobs, layout.shard(sweep_id, shard_id))
    seal = None if data is None else look_at_seal(data)
    return ShardBytes(data, seal, manifest, is_doubtful)


def _get(blobs: Blobs, key: str) -> tuple[bytes | None, bool]:
    """Give the bytes, and whether they are doubtful."""
    try:
        return patiently(lambda: blobs.get(key), on=StorageUnavailable), False
    except BlobMissing:
        return None, False
    except ArrivedDamaged:
        return _get_in_parts(blobs, key), True


def _get_in_parts(blobs: Blobs, key: str) -> bytes | None:
    parts: list[bytes] = []
    while True:
        start = len(parts) * _PART_BYTES
        stop = start + _PART_BYTES
        try:
            part = patiently(partial(blobs.get_range, key, start, stop), on=StorageUnavailable)
        except BlobMissing:
            return None
        parts.append(part)
        if len(part) < _PART_BYTES:
            return b"".join(parts)


def read_shards(
    blobs: Blobs, sweep_id: str, sizes: Mapping[str, int], *, readers: int
) -> Generator[tuple[str, ShardBytes | StorageError]]:
    """Read shards (name and size in bytes), given in order; an error instead where one cannot be.

    Several at once when `readers` > 1; what waits here is bounded. StorageRefused.
    """
    if readers == 1:
        for name in sizes:
            yield name, _try_to_read(blobs, sweep_id, name)
        return
    pool = DaemonPool(readers, "gapless-verify")
    waiting: deque[tuple[str, Future[ShardBytes | StorageError]]] = deque()
    ahead_bytes = 0
    try:
        for name, size_bytes in sizes.items():
            while waiting and (len(waiting) > readers or ahead_bytes + size_bytes > _AHEAD_BYTES):
                first, future = waiting.popleft()
                yield first, future.result()
                ahead_bytes -= sizes[first]
            waiting.append((name, pool.submit(_try_to_read, blobs, sweep_id, name)))
            ahead_bytes += size_bytes
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        # Who wants no more does not wait for what is under way.
        pool.shutdown(wait=False, cancel_futures=True)


def _try_to_read(blobs: Blobs, sweep_id: str, name: str) -> ShardBytes | StorageError:
    try:
        return read_shard_bytes(blobs, sweep_id, name)
    except StorageRefused:
        raise
    except StorageError as error:
        return error
