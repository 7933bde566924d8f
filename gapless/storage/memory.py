"""Blobs in memory: for simulators and tests of programs, with the folder's meaning."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from gapless.storage.blobs import Blob
from gapless.storage.errors import BlobMissing
from gapless.storage.keys import checked_key, checked_prefix

__all__ = ["MemoryBlobs"]

_LAST = "\U0010ffff"
"""Comes after whatever may follow in a key: it is not printable."""


class MemoryBlobs:
    """Blobs in a dictionary; `clock` gives Unix seconds. Safe to use from several threads."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._blobs: dict[str, tuple[bytes, Blob]] = {}
        self._keys: list[str] = []
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes) -> None:
        """Store, replacing what was there."""
        checked_key(key)
        with self._lock:
            self._keep(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Store unless the key exists; tell whether this call stored it."""
        checked_key(key)
        with self._lock:
            if key in self._blobs:
                return False
            self._keep(key, data)
            return True

    def get(self, key: str) -> bytes:
        """Read all of it; BlobMissing."""
        checked_key(key)
        with self._lock:
            if key not in self._blobs:
                raise BlobMissing(key)
            return self._blobs[key][0]

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Read bytes start <= position < stop (fewer at the end); BlobMissing."""
        return self.get(key)[start : max(start, stop)]

    def list(self, prefix: str) -> Iterator[Blob]:
        """Give every object whose key starts with `prefix`, by key ascending."""
        checked_prefix(prefix)
        with self._lock:
            found = [self._blobs[key][1] for key in self._beginning_with(prefix)]
        yield from found

    def folders(self, prefix: str) -> Iterator[str]:
        """Name each part that follows `prefix` (it ends with a slash) and leads on, ascending."""
        checked_prefix(prefix)
        with self._lock:
            rests = [key[len(prefix) :] for key in self._beginning_with(prefix)]
        yield from sorted({rest.partition("/")[0] for rest in rests if "/" in rest})

    def delete(self, key: str) -> None:
        """Remove; nothing there is no error."""
        checked_key(key)
        with self._lock:
            self._drop(key)

    def _keep(self, key: str, data: bytes) -> None:
        if key not in self._blobs:
            bisect.insort(self._keys, key)
        blob = Blob(key=key, size_bytes=len(data), written_at_s=self._clock())
        self._blobs[key] = (bytes(data), blob)

    def _drop(self, key: str) -> None:
        if self._blobs.pop(key, None) is not None:
            del self._keys[bisect.bisect_left(self._keys, key)]

    def _beginning_with(self, prefix: str) -> Sequence[str]:
        first = bisect.bisect_left(self._keys, prefix)
        return self._keys[first : bisect.bisect_left(self._keys, prefix + _LAST, lo=first)]
