"""A home in a bucket of Amazon S3: its queues are SQS, its ledger is elsewhere.

The ledger is a server's (--ledger), or SQLite in a state folder of the machine that submits: what
is lost with that folder is made anew from the home.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gapless.aws import AwsClients, code_of
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing, HomeError, StorageRefused, StorageUnavailable
from gapless.storage.home import HomeRecord, holds_home, open_home_record
from gapless.storage.persistent_blobs import PersistentBlobs
from gapless.storage.s3 import S3Blobs
from gapless.storage.sweeps import SweepStore
from gapless.wiring.address import S3Address
from gapless.wiring.home import Home
from gapless.wiring.machine import new_id
from gapless.wiring.pace import ALONE_ON_S3, UNDER_RUN_ON_S3, Pace
from gapless.wiring.state_folder import make_writable, taken_state, work_folder

if TYPE_CHECKING:
    from queueing.port import Queues

__all__ = ["S3Home", "open_s3_home"]

_SHOWN_OPERATIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Home(Home):
    """An open home in a bucket. `tell` set: its queues wait for their service."""

    address: S3Address
    s3: AwsClients
    sqs: AwsClients

    def is_there(self) -> bool:
        """Tell whether the bucket answers and holds the home."""
        try:
            _bare(self.address, self.s3).get_range(layout.HOME, 0, 1)
        except (BlobMissing, StorageUnavailable):
            return False
        return True

    @property
    def is_remote(self) -> bool:
        """Yes: each request is billed."""
        return True

    @property
    def pace(self) -> Pace:
        """How often programs look that run on their own."""
        wait_s = min(self.record.long_poll_s, ALONE_ON_S3.receive_wait_s)
        return replace(ALONE_ON_S3, receive_wait_s=wait_s, rest_s=self.record.rest_s)

    @property
    def pace_under_run(self) -> Pace:
        """How often programs look under `sweep run`."""
        wait_s = min(self.record.long_poll_s, UNDER_RUN_ON_S3.receive_wait_s)
        return replace(UNDER_RUN_ON_S3, receive_wait_s=wait_s)

    def has_queues(self) -> bool:
        """Yes: they are reached from anywhere."""
        return True

    def queues(self) -> Queues:
        """Open the home's queues; UserMistake when boto3 knows no region."""
        from queueing.sqs import SqsQueues  # noqa: PLC0415
        from queueing.sqs_attributes import QueueAttributes  # noqa: PLC0415

        # Here, not in the first thread that sends: what a person has to mend is said at once.
        self.sqs.client()
        record = self.record
        queues = SqsQueues(
            QueueAttributes(
                retention_s=record.retention_s,
                lease_s=record.lease_s,
                long_poll_s=record.long_poll_s,
                encryption=record.encryption,
            ),
            # A home.json that was copied from a folder home names none.
            prefix=record.queue_prefix or self.address.queue_prefix,
            clients=self.sqs,
        )
        if self.tell is None:
            return queues
        from queueing.persistent import PersistentQueues  # noqa: PLC0415

        return PersistentQueues(queues, tell=self.tell)

    def for_readers(self, tell: Callable[[str], None]) -> Self:
        """Give the home as a command wants it that reads it: storage is awaited, queues are not."""
        blobs = PersistentBlobs(_bare(self.address, self.s3), tell=tell)
        return replace(self, blobs=blobs, store=SweepStore(blobs))

    def told_requests(self) -> str:
        """Say how many requests this process made, retries included."""
        return (
            f"{_told('SQS', self.sqs.requests)}; {_told('S3', self.s3.requests)} (retries included)"
        )

    def make_state_folder(self) -> None:
        """Make the state folder if it is missing: only who keeps the ledger here needs it."""
        if self.ledger_url is None:
            make_writable(self.state_folder, "state folder", "choose another with --state")


def open_s3_home(
    address: S3Address,
    *,
    state: Path | None,
    ledger: str | None,
    create: bool,
    tell: Callable[[str], None] | None = None,
    before_making: Callable[[], None] | None = None,
) -> S3Home:
    """Open the home in a bucket, making it when `create`; HomeError, UserMistake.

    With `tell`, a service that cannot be reached is waited for; `tell` takes what for.
    `before_making` is called when the home is to be made, before anything is written.
    """
    s3 = AwsClients("s3")
    bare = _bare(address, s3)
    asked: Blobs = bare if tell is None else PersistentBlobs(bare, tell=tell)
    try:
        is_new = not _is_home(asked)
        if is_new and not create:
            raise _no_home(address)
        if is_new:
            _refuse_within_home(address, s3, tell)
            if before_making is not None:
                before_making()
        wanted = _new_record(address) if is_new else None
        record = open_home_record(asked, create=is_new, record=wanted, place=address.url)
    except StorageRefused as error:
        raise _refusal(address, error) from error
    except StorageUnavailable as error:
        raise HomeError(f"home {address.url}: {error}; try again later") from error
    except HomeError as error:
        if isinstance(error.__cause__, StorageRefused):
            raise _refusal(address, error.__cause__) from error
        raise
    taken = None if state is None else taken_state(state, address.url)
    return S3Home(
        location=address.url,
        address=address,
        s3=s3,
        # The home's region, not that of this program's settings: there the queues of the same
        # names are others.
        sqs=AwsClients("sqs", region=record.queue_region or None),
        blobs=bare,
        store=SweepStore(bare),
        record=record,
        state_folder=_default_state(address) if taken is None else taken,
        given_state=taken,
        node_work_folder=work_folder(taken),
        ledger_url=ledger,
        is_new=is_new,
    )


def _new_record(address: S3Address) -> HomeRecord:
    """Say what is to be agreed on: the queues are where this program's settings put them now."""
    region = AwsClients("sqs").client().meta.region_name
    return HomeRecord(id=new_id(), queue_prefix=address.queue_prefix, queue_region=region)


def _bare(address: S3Address, clients: AwsClients) -> S3Blobs:
    return S3Blobs(address.bucket, address.prefix, clients=clients)


def _is_home(blobs: Blobs) -> bool:
    try:
        blobs.get_range(layout.HOME, 0, 1)
    except BlobMissing:
        return False
    return True


def _refuse_within_home(
    address: S3Address, clients: AwsClients, tell: Callable[[str], None] | None
) -> None:
    """Make no home below another one's prefix; a request for each part of the prefix."""
    parts = address.prefix.split("/") if address.prefix else []
    for length in range(len(parts)):
        around = S3Address(address.bucket, "/".join(parts[:length]))
        bare = _bare(around, clients)
        asked: Blobs = bare if tell is None else PersistentBlobs(bare, tell=tell)
        # Listed first: the roles of a home may list its bucket, and read nothing beside it.
        if any(each.key == layout.HOME for each in asked.list(layout.HOME)) and holds_home(asked):
            raise HomeError(
                f"home {address.url}: it would lie within the home {around.url}, and go when a "
                "sweep of that one is removed; choose another place with --home"
            )


def _no_home(address: S3Address) -> HomeError:
    return HomeError(
        f"home {address.url}: no home is there; `sweep submit FILE` makes one, --home (or "
        "GAPLESS_HOME) names another place"
    )


def _refusal(address: S3Address, error: StorageRefused) -> HomeError:
    """Say what a person has to mend."""
    url, bucket, cause = address.url, address.bucket, error.__cause__
    if cause is not None and code_of(cause) == "NoSuchBucket":
        return HomeError(
            f"home {url}: there is no bucket {bucket}: make it with the CloudFormation template of "
            f"infra/, or by `aws s3 mb s3://{bucket}`; or name another one with --home"
        )
    return HomeError(f"home {url}: {error}")


def _default_state(address: S3Address) -> Path:
    from platformdirs import user_data_path  # noqa: PLC0415

    return user_data_path("gapless") / "homes" / address.slug


def _told(service: str, requests: Counter[str]) -> str:
    said = f"{sum(requests.values()):,} requests to {service}"
    most = requests.most_common(_SHOWN_OPERATIONS)
    named = ", ".join(f"{operation} {count:,}" for operation, count in most)
    return f"{said}: {named}" if named else said
