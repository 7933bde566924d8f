"""Where the sweep lives while it is disturbed: a folder, or a bucket and queues of an emulator."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3

from gapless.storage.home import HomeRecord
from tests.acceptance.cloud_programs import PERSON, SHORT_TIMES, CloudPrograms, made_home
from tests.chaos.small_disk import NoSmallDisk, SmallDisk, small_disk
from tests.chaos.workload import COUNTS
from tests.services.proxy import FaultProxy
from tests.services.servers import aws_environment, started_ministack

__all__ = ["Change", "Cloud", "Folder", "Place", "cloud_place", "folder_place"]

Change = Callable[[bytes], bytes | None]
"""From what a file holds to what it is to hold; None: it goes."""

_FOLDER_LEASE_S = 4.0
_CLOUD_TIMES = {**SHORT_TIMES, "lease_s": 6.0, "long_poll_s": 1.0, "settle_s": 1.0}
_STORED = (".h5", ".json")
_AGGREGATORS = 2
_NODES = 3
_NODE_ON_DISK = "node-1"


@dataclass(slots=True, kw_only=True)
class Place:
    """What a place of either kind has; `disk` None: no file system can be mounted here."""

    programs: CloudPrograms
    folder: Path
    counts: Path
    lease_s: float
    disk: SmallDisk | None
    impossible: list[str] = field(default_factory=list)
    nodes: tuple[str, ...] = tuple(f"node-{number}" for number in range(1, _NODES + 1))
    aggregators: tuple[str, ...] = tuple(f"aggregator-{n}" for n in range(1, _AGGREGATORS + 1))

    def log(self, machine: str) -> Path:
        """Where a machine's programs say what they say."""
        return self.folder / "machines" / f"{machine}.log"

    def ledger(self) -> Path | None:
        """The ledger's file, if there is one now."""
        raise NotImplementedError

    def stored_files(self) -> list[str]:
        """The names of all shards and manifests there are now."""
        raise NotImplementedError

    def change_file(self, name: str, change: Change) -> None:
        """Put something else in the place of a shard or manifest; delete it for None."""
        raise NotImplementedError


@dataclass(slots=True, kw_only=True)
class Folder(Place):
    """A folder home."""

    home: Path

    def stored_files(self) -> list[str]:
        return [path.name for path in self._shards().iterdir() if path.suffix in _STORED]

    def change_file(self, name: str, change: Change) -> None:
        path = self._shards() / name
        data = change(path.read_bytes())
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)

    def _shards(self) -> Path:
        folder = self.shards()
        assert folder is not None
        return folder

    @property
    def queue_file(self) -> Path:
        return self.home / "queue.db"

    def ledger(self) -> Path | None:
        path = self.home / "ledger.db"
        return path if path.exists() else None

    def shards(self) -> Path | None:
        """The folder of the sweep's shards, once there is one."""
        return next(iter(self.home.glob("sweeps/*/shards")), None)


@dataclass(slots=True, kw_only=True)
class Cloud(Place):
    """A home in a bucket; its programs reach the services through the proxy only."""

    proxy: FaultProxy
    queue_prefix: str
    bucket: str

    def ledger(self) -> Path | None:
        return next(self.programs.state().rglob("ledger.db"), None)

    def stored_files(self) -> list[str]:
        return [key.rpartition("/")[2] for key in self._keys()]

    def change_file(self, name: str, change: Change) -> None:
        (key,) = [key for key in self._keys() if key.endswith(f"/{name}")]
        s3 = boto3.client("s3")
        data = change(s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        if data is None:
            s3.delete_object(Bucket=self.bucket, Key=key)
        else:
            s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def _keys(self) -> list[str]:
        pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [
            each["Key"]
            for page in pages
            for each in page.get("Contents", ())
            if "/shards/" in each["Key"] and each["Key"].endswith(_STORED)
        ]

    def queue_urls(self) -> list[str]:
        """The home's queues there are now, asked for beside the proxy."""
        found = boto3.client("sqs").list_queues(QueueNamePrefix=self.queue_prefix)
        return list(found.get("QueueUrls", ()))


@contextlib.contextmanager
def folder_place(folder: Path, *, disk_bytes: int) -> Iterator[Folder]:
    """Make a home in a folder, on a disk of its own where that can be."""
    with contextlib.ExitStack() as stack:
        disk, impossible = _disk(stack, folder, disk_bytes)
        home = folder / "disk" / "home"
        home.mkdir()
        record = HomeRecord(id=uuid.uuid4().hex, lease_s=_FOLDER_LEASE_S)
        (home / "home.json").write_bytes(record.encode())
        stack.enter_context(_environment({COUNTS: str(_counts(folder))}))
        programs = CloudPrograms(_machines(folder, disk), home=str(home), endpoint=None)
        stack.callback(programs.stop_everything)
        yield Folder(
            programs=programs,
            folder=folder,
            counts=folder / "counts",
            lease_s=_FOLDER_LEASE_S,
            disk=disk,
            impossible=impossible,
            home=home,
        )


@contextlib.contextmanager
def cloud_place(folder: Path, *, disk_bytes: int, seed: int) -> Iterator[Cloud]:
    """Start an emulator of Amazon's services and a proxy before it; make a home there.

    ServiceMissing when the emulator is not installed. The disk, where there is one, is a node's:
    what it cannot deliver it keeps there.
    """
    with contextlib.ExitStack() as stack:
        service_folder = folder / "ministack"
        service_folder.mkdir()
        service = stack.enter_context(started_ministack(service_folder))
        proxy = stack.enter_context(FaultProxy(service.url, seed=seed))
        disk, impossible = _disk(stack, folder, disk_bytes)
        stack.enter_context(
            _environment({**aws_environment(service.url), COUNTS: str(_counts(folder))})
        )
        address = made_home(**_CLOUD_TIMES)
        programs = CloudPrograms(_machines(folder, disk), home=address.url, endpoint=proxy.url)
        stack.callback(programs.stop_everything)
        yield Cloud(
            programs=programs,
            folder=folder,
            counts=folder / "counts",
            lease_s=_CLOUD_TIMES["lease_s"],
            disk=disk,
            impossible=impossible,
            proxy=proxy,
            queue_prefix=address.queue_prefix,
            bucket=address.bucket,
        )


def _disk(
    stack: contextlib.ExitStack, folder: Path, disk_bytes: int
) -> tuple[SmallDisk | None, list[str]]:
    mounted = small_disk(folder / "disk", size_bytes=disk_bytes, keep_in=folder / "disk-kept")
    try:
        return stack.enter_context(mounted), []
    except NoSmallDisk as error:
        return None, [f"a full disk, a read-only file system ({error})"]


def _machines(folder: Path, disk: SmallDisk | None) -> Path:
    """Make the folder of machines; the first node's own files lie on the small disk."""
    machines = folder / "machines"
    (machines / PERSON).mkdir(parents=True)
    if disk is not None:
        own = disk.folder / _NODE_ON_DISK
        own.mkdir()
        (machines / _NODE_ON_DISK).symlink_to(own, target_is_directory=True)
    return machines


def _counts(folder: Path) -> Path:
    counts = folder / "counts"
    counts.mkdir()
    return counts


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Have variables set for this process and those it starts, and as they were afterwards."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("AWS_", "GAPLESS_"))]:
        del os.environ[name]
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
