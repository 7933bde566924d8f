"""The Blobs port: named bytes, durable when a put returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Blob", "Blobs"]


@dataclass(frozen=True, slots=True)
class Blob:
    """One listed object: key, size, and when it was written (Unix seconds)."""

    key: str
    size_bytes: int
    written_at_s: float


class Blobs(Protocol):
    """Named bytes under keys like `sweeps/<id>/sweep.json`. Safe to use from several threads.

    `StorageUnavailable` means that it may work later; a put that raised it may have happened or
    not.
    """

    def put(self, key: str, data: bytes) -> None:
        """Store, replacing what was there; durable and whole for every reader when it returns."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Store unless the key exists; tell whether this call stored it. Durable on return."""

    def get(self, key: str) -> bytes:
        """Read all of it; BlobMissing."""

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Read bytes start <= position < stop (fewer at the end); BlobMissing."""

    def list(self, prefix: str) -> Iterator[Blob]:
        """Give every object whose key starts with `prefix`, by key ascending."""

    def folders(self, prefix: str) -> Iterator[str]:
        """Name each part that follows `prefix` (it ends with a slash) and leads on, ascending."""

    def delete(self, key: str) -> None:
        """Remove; nothing there is no error."""
