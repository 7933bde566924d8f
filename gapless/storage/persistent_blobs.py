"""Blobs for people's commands: what storage cannot do now is done when it can, and said meanwhile.

Programs that serve (node, aggregator) have state machines that wait. A person's command has none:
it waits here, verb by verb, until storage answers or the person ends it. What somebody has to mend
(`StorageRefused`) is not waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import stamina

from gapless.storage.blobs import Blob, Blobs
from gapless.storage.bulk_reads import read_many
from gapless.storage.errors import ArrivedDamaged, BlobMissing, StorageRefused, StorageUnavailable

__all__ = ["PersistentBlobs"]

_BATCH = 256
"""Objects read at once: so many are read again when one of them could not be."""
_MOST_DAMAGED = 3
"""So many times what arrives may be damaged before it is taken to lie there so."""
_Result = TypeVar("_Result")

# Without end; up to 5 s more by chance, so that many who wait do not come back at once.
_CALLER = stamina.RetryingCaller(
    attempts=None, timeout=None, wait_initial=0.5, wait_max=30.0, wait_jitter=5.0
)


class PersistentBlobs:
    """The blobs given, every verb repeated while it raises StorageUnavailable.

    `tell` gets one line when a wait begins, and one when it is over. Safe to use from several
    threads if `tell` is.
    """

    def __init__(self, blobs: Blobs, *, tell: Callable[[str], None]) -> None:
        self._blobs = blobs
        self._tell = tell

    def __repr__(self) -> str:
        return repr(self._blobs)

    def put(self, key: str, data: bytes) -> None:
        """Store, replacing what was there; durable and whole for every reader when it returns."""
        self._persistently(lambda: self._blobs.put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Store unless the key exists; tell whether this call stored it. Durable on return.

        After an attempt whose outcome is not known, these very bytes under the key are this call's.
        """
        may_be_ours = False

        def attempt() -> bool:
            nonlocal may_be_ours
            while True:
                try:
                    if self._blobs.put_if_absent(key, data):
                        return True
                    # "It exists" may be what an earlier attempt did, its answer lost.
                    return may_be_ours and self._blobs.get(key) == data
                except StorageUnavailable:
                    may_be_ours = True
                    raise
                except BlobMissing:
                    # Somebody removed it between the two: it is absent again.
                    continue

        return self._persistently(attempt)

    def get(self, key: str) -> bytes:
        """Read all of it; BlobMissing."""
        return self._persistently(lambda: self._blobs.get(key))

    def get_many(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Give each key with all its bytes, in this order; what is not there is left out."""
        for start in range(0, len(keys), _BATCH):
            yield from self._persistently(partial(self._read, keys[start : start + _BATCH]))

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Read bytes start <= position < stop (fewer at the end); BlobMissing."""
        return self._persistently(lambda: self._blobs.get_range(key, start, stop))

    def list(self, prefix: str) -> Iterator[Blob]:
        """Give every object whose key starts with `prefix`, by key ascending.

        All of it is listed before the first is given: a listing that broke off begins anew.
        """
        yield from self._persistently(lambda: [*self._blobs.list(prefix)])

    def folders(self, prefix: str) -> Iterator[str]:
        """Name each part that follows `prefix` (it ends with a slash) and leads on, ascending."""
        yield from self._persistently(lambda: [*self._blobs.folders(prefix)])

    def delete(self, key: str) -> None:
        """Remove; nothing there is no error."""
        self._persistently(lambda: self._blobs.delete(key))

    def _read(self, keys: Sequence[str]) -> tuple[tuple[str, bytes], ...]:
        return (*read_many(self._blobs, keys),)

    def _persistently(self, verb: Callable[[], _Result]) -> _Result:
        waits, damaged = False, 0

        def is_worth_waiting(error: Exception) -> bool:
            nonlocal waits, damaged
            if not isinstance(error, StorageUnavailable) or isinstance(error, StorageRefused):
                return False
            # What lies there damaged will not mend by waiting.
            damaged += isinstance(error, ArrivedDamaged)
            if damaged > _MOST_DAMAGED:
                return False
            if not waits:
                self._tell(f"{error}; trying again until it works (ctrl-C ends this)")
            waits = True
            return True

        result = _CALLER(is_worth_waiting, verb)
        if waits:
            self._tell("storage answers again")
        return result
