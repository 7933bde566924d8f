"""The record that makes a place a home: what everybody who works in it must agree on."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.formats import decode_record, encode_record
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing, HomeError, StorageError, StorageRefused

__all__ = ["HomeRecord", "holds_home", "open_home_record"]

_MAJOR = 1
_QUEUE_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,20}", re.ASCII)
"""A queue's name is at most 80 of these signs (Amazon SQS API Reference, CreateQueue); the sweep's
id and what the queue is for need the other 60."""
_REGION = re.compile(r"[a-z0-9-]{0,64}", re.ASCII)


class HomeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """home.json: what everybody who works in a home must agree on; durations in seconds.

    `id` is random, made with the home, and tells it from others wherever it lies ("" in homes made
    before there were any).

    A lease is long enough for a renewal to be missed several times, and short enough that a dead
    node does not hide a job for hours. Queues keep messages for `retention_s` (Amazon SQS API
    Reference, MessageRetentionPeriod: 1 minute to 14 days).

    The rest is about remote queues. `queue_prefix` begins the names of the home's queues: two homes
    of one account share none ("" for a folder home, whose queues lie in it). `queue_region` is
    where they are, whatever the region of a program's own settings: queues of one name in two
    regions are two ("" in homes made before it was kept: that of the settings). A receive waits up
    to `long_poll_s` (ReceiveMessageWaitTimeSeconds: at most 20). `encryption` is what a queue does
    with its messages at rest: "sqs" (keys of the service's own) or "none". The counts of a queue
    may lie for `settle_s`: so long apart are the two looks that tell a gap. A sweep that is
    complete or has had nothing queued for long is looked at every `rest_s` (0: like any other).
    """

    id: str = ""
    lease_s: float = 900.0
    retention_s: float = 1_209_600.0
    queue_prefix: str = ""
    queue_region: str = ""
    long_poll_s: float = 20.0
    encryption: Literal["sqs", "none"] = "sqs"
    settle_s: float = 120.0
    rest_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.lease_s <= 43_200:
            raise ValueError(f"lease_s is {self.lease_s}, expected more than 0 and at most 43200")
        if not 60 <= self.retention_s <= 1_209_600:
            raise ValueError(f"retention_s is {self.retention_s}, expected 60 to 1209600")
        if not _QUEUE_PREFIX.fullmatch(self.queue_prefix):
            raise ValueError(
                f"queue_prefix is {self.queue_prefix[:80]!r}, expected up to 20 letters, digits, "
                "hyphens and underscores"
            )
        if not _REGION.fullmatch(self.queue_region):
            raise ValueError(
                f"queue_region is {self.queue_region[:80]!r}, expected the name of a region, such "
                "as 'eu-central-1', or ''"
            )
        if not 0 <= self.long_poll_s <= 20:
            raise ValueError(f"long_poll_s is {self.long_poll_s}, expected 0 to 20")
        if self.encryption not in {"sqs", "none"}:
            raise ValueError(f"encryption is {self.encryption!r}, expected 'sqs' or 'none'")
        if not 0 <= self.settle_s <= 86_400:
            raise ValueError(f"settle_s is {self.settle_s}, expected 0 to 86400")
        if not 0 <= self.rest_s <= 3_600:
            raise ValueError(f"rest_s is {self.rest_s}, expected 0 to 3600")

    def encode(self) -> bytes:
        """Write home.json."""
        return encode_record(self, kind="home", major=_MAJOR)

    @classmethod
    def decode(cls, data: bytes) -> HomeRecord:
        """Read home.json; DamagedMessage or NewerFormat."""
        return decode_record(data, cls, kind="home", known=_MAJOR)


def holds_home(blobs: Blobs) -> bool:
    """Tell whether a home lies there, of whichever format; what cannot be read is taken for none.

    StorageUnavailable while the storage is away.
    """
    try:
        HomeRecord.decode(blobs.get(layout.HOME))
    except NewerFormat:
        return True
    except (DamagedMessage, BlobMissing, StorageRefused):
        return False
    return True


def open_home_record(
    blobs: Blobs, *, create: bool, record: HomeRecord | None = None, place: str | None = None
) -> HomeRecord:
    """Read the home's record; when it has none and `create` is set, write `record` first.

    `place`: where the home lies, for messages. HomeError when there is no home (and none is to be
    made), when it cannot be read or written, and when it is of a newer format.
    """
    wanted = HomeRecord() if record is None else record
    shown = repr(blobs) if place is None else place
    try:
        try:
            data = blobs.get(layout.HOME)
        except BlobMissing as error:
            if not create:
                raise HomeError(
                    f"there is no home in {shown}: it has no {layout.HOME}; name another one "
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
            f"the home {shown} is of format {error.found}, this program knows up to {error.known}: "
            "update gapless here"
        ) from error
    except DamagedMessage as error:
        raise HomeError(
            f"home {shown}: its {layout.HOME} is no record of a home ({error}): another program's "
            "file lies there under this name, or it is damaged. Name another place with --home; "
            "or, if sweeps are stored there, put the file back from a copy"
        ) from error
