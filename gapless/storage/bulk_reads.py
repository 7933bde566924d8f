"""Many small objects read at once, where each one alone would wait for a far service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing

__all__ = ["BulkReads", "read_many"]


@runtime_checkable
class BulkReads(Protocol):
    """Blobs that are faster when they are asked for many at once."""

    def get_many(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Give each key with all its bytes, in this order; what is not there is left out."""


def read_many(blobs: Blobs, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Give each key with all its bytes, in this order; what is not there is left out.

    What was given before an error was raised need not be read again.
    """
    if not keys:
        # Most of the time there is nothing new, and asking what the blobs can do takes a while.
        return
    if isinstance(blobs, BulkReads):
        yield from blobs.get_many(keys)
        return
    for key in keys:
        try:
            data = blobs.get(key)
        except BlobMissing:
            continue
        yield key, data
