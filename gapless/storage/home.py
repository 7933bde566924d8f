"""The record that makes a place a home: what everybody who works in it must agree on."""

from __future__ import annotations

import msgspec

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.formats import decode_record, encode_record
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing, HomeError, StorageError

__all__ = ["HomeRecord", "open_home_record"]

_MAJOR = 1


class HomeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """home.json: how long a lease lasts and for how long queues keep messages, in seconds.

    A lease is long enough for a renewal to be missed several times, and short enough that a dead
    node does not hide a job for hours. Retention: Amazon SQS API Reference, MessageRetentionPeriod,
    at most 14 days.
    """

    lease_s: float = 900.0
    retention_s: float = 1_209_600.0

    def __post_init__(self) -> None:
        if not 0 < self.lease_s <= 43_200:
            raise ValueError(f"lease_s is {self.lease_s}, expected more than 0 and at most 43200")
        if not 60 <= self.retention_s <= 1_209_600:
            raise ValueError(f"retention_s is {self.retention_s}, expected 60 to 1209600")

    def encode(self) -> bytes:
        """Write home.json."""
        return encode_record(self, kind="home", major=_MAJOR)

    @classmethod
    def decode(cls, data: bytes) -> HomeRecord:
        """Read home.json; DamagedMessage or NewerFormat."""
        return decode_record(data, cls, kind="home", known=_MAJOR)


def open_home_record(blobs: Blobs, *, create: bool, record: HomeRecord | None = None) -> HomeRecord:
    """Read the home's record; when it has none and `create` is set, write `record` first.

    HomeError when there is no home (and none is to be made), when it cannot be read or written, and
    when it is of a newer format.
    """
    wanted = HomeRecord() if record is None else record
    try:
        try:
            data = blobs.get(layout.HOME)
        except BlobMissing as error:
            if not create:
                raise HomeError(
                    f"there is no home in {blobs!r}: it has no {layout.HOME}; name another one "
                    "with --home, or make it with `sweep submit` or `sweep run`"
                ) from error
            blobs.put_if_absent(layout.HOME, wanted.encode())
            data = blobs.get(layout.HOME)
    except HomeError:
        raise
    except StorageError as error:
        raise HomeError(
            f"the home cannot be used: {error}; name another one with --home"
        ) from error
    try:
        return HomeRecord.decode(data)
    except NewerFormat as error:
        raise HomeError(
            f"the home is of format {error.found}, this program knows up to {error.known}: "
            "update gapless here"
        ) from error
    except DamagedMessage as error:
        raise HomeError(f"{layout.HOME} of the home is damaged: {error}") from error
