"""Errors of storage."""

from gapless.errors import DiskFull, GaplessError

__all__ = [
    "ArrivedDamaged",
    "BlobMissing",
    "HomeError",
    "StorageDiskFull",
    "StorageError",
    "StorageRefused",
    "StorageUnavailable",
]


class StorageError(GaplessError):
    """Storage cannot do what was asked."""


class BlobMissing(StorageError):
    """There is nothing under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"nothing is stored under {key}")
        self.key = key


class StorageUnavailable(StorageError):
    """Storage cannot be reached, is full or refuses writes for now: keep the work and try again."""


class StorageDiskFull(StorageUnavailable, DiskFull):
    """The disk of the home's folder is full: nothing was stored."""


class ArrivedDamaged(StorageUnavailable):
    """What arrives has another checksum than it was stored with, each time it was read.

    Parts of it are not compared (`get_range`): they tell what lies there.
    """


class StorageRefused(StorageUnavailable):
    """Storage answered and refuses: a permission, credentials or the bucket is missing.

    Somebody has to mend it. A program keeps its work and tries again, as for any
    `StorageUnavailable`; a person's command says it at once.
    """


class HomeError(StorageError):
    """A home cannot be used: it is of a newer format, cannot be written, or is something else."""
