"""One process that submits a sweep, does its runs and stores them: where a protection is left out.

Run as a program: PLACE WITHOUT, where WITHOUT names what is left out ("" for nothing). Each is a
class of the product with one method less, given to the product as it takes such classes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aggregator.commands import Flush
from aggregator.decoding import read_message
from aggregator.events import Buffered, ShardStored
from aggregator.home_view import HomeView
from aggregator.own_coverage import OwnCoverage
from aggregator.store import DeliveryStore, Origins
from gapless.declaration.messages import decode_job
from gapless.declaration.runset import RunSet
from gapless.declaration.space import Space
from gapless.declaration.sweep import Sweep
from gapless.storage import layout
from gapless.storage.disk import Disk
from gapless.storage.folder import FolderBlobs
from gapless.storage.home import HomeRecord, open_home_record
from gapless.storage.sweeps import SweepStore
from gapless.wiring.machine import clock, new_id
from queueing.sqlite import SqliteQueues
from queueing.sqlite_file import OpenFile
from queueing.sqlite_sessions import Sessions
from receipts.ledger import Ledger, open_ledger
from receipts.submit import submit
from tests.power_loss.recording import mark
from tests.unit.aggregator.homes import delivery_body, send

__all__ = ["HOME", "PROTECTIONS"]

HOME = "disk/home"
_RUNS = 6


class NoFileFlush(Disk):
    """Bytes are never flushed, names are."""

    def flush(self, descriptor: int) -> None:
        """Do nothing."""

    def flush_folder(self, path: Path) -> tuple[int, int]:
        """Flush with the plain disk."""
        return Disk().flush_folder(path)


class NoFolderFlush(Disk):
    """Names are never flushed, bytes are."""

    def flush_folder(self, path: Path) -> tuple[int, int]:
        """Only look."""
        status = path.stat()
        return status.st_dev, status.st_ino


class NothingAbove(FolderBlobs):
    """The folders above the one written to are not flushed: a new one may be gone."""

    def _flush_above(self, folder: Path) -> None:
        """Do nothing."""


class ManifestFirst(FolderBlobs):
    """The manifest gets its place before its shard has one."""

    _held: tuple[str, bytes] | None = None

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Keep a shard back until its manifest is there."""
        if key.endswith(".h5"):
            self._held = (key, data)
            return True
        stored = super().put_if_absent(key, data)
        if self._held is not None:
            super().put_if_absent(*self._held)
            self._held = None
        return stored


class HastySessions(Sessions):
    """SQLite flushes at a checkpoint, or never."""

    level = "NORMAL"

    def _opened(self) -> OpenFile:
        opened = super()._opened()
        opened.handle.execute(f"PRAGMA synchronous={self.level}")
        return opened


class CarelessSessions(HastySessions):
    """SQLite flushes nothing."""

    level = "OFF"


def _queues(path: Path, sessions: type[Sessions]) -> SqliteQueues:
    queues = SqliteQueues(path)
    queues._sessions = sessions(path)
    return queues


PROTECTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "flush-of-files": {"disk": NoFileFlush},
    "flush-of-folders": {"disk": NoFolderFlush},
    "flush-of-folders-above": {"blobs": NothingAbove},
    "shard-before-manifest": {"blobs": ManifestFirst},
    "full-synchronous": {"sessions": HastySessions},
    "any-synchronous": {"sessions": CarelessSessions},
    "flush-before-delete": {"delete_first": True},
}


def _walk(
    home: Path,
    *,
    disk: Callable[[], Disk] = Disk,
    blobs: type[FolderBlobs] = FolderBlobs,
    sessions: type[Sessions] = Sessions,
    delete_first: bool = False,
) -> None:
    home.mkdir()
    storage = blobs(home, disk=disk())
    open_home_record(storage, create=True, record=HomeRecord(id="h"))
    queues, ledger = _queues(home / "queue.db", sessions), open_ledger(home)
    store = SweepStore(storage)
    sweep_id = _submit(store, queues, ledger)
    mark("submitted")
    _do_the_jobs(queues, sweep_id)
    _store_deliveries(storage, store, queues, sweep_id, delete_first=delete_first)
    mark("complete")
    queues.close()
    ledger.close()


def _submit(store: SweepStore, queues: SqliteQueues, ledger: Ledger) -> str:
    sweep = Sweep(name="walk", space=Space.grid(x=list(range(_RUNS))), function="walk:walk")
    report = submit(
        sweep.freeze(), None, ledger=ledger, queues=queues, store=store, clock=clock,
        new_id=new_id, job_size=3,
    )  # fmt: skip
    return report.sweep_id


def _do_the_jobs(queues: SqliteQueues, sweep_id: str) -> None:
    jobs = layout.jobs_queue(sweep_id)
    for message in queues.receive([jobs], most=10, wait_s=0.0, lease_s=60.0):
        runs = decode_job(message.body).runs
        send(queues, sweep_id, delivery_body(sweep_id, min(runs), max(runs) + 1))
        queues.delete([message.lease])


def _store_deliveries(
    blobs: FolderBlobs,
    store: SweepStore,
    queues: SqliteQueues,
    sweep_id: str,
    *,
    delete_first: bool,
) -> None:
    own = OwnCoverage(blobs, "by-hand", time.monotonic)
    deliveries = DeliveryStore(blobs, HomeView(blobs, store), Origins("by-hand", clock), own)
    results = layout.results_queue(sweep_id)
    for number, message in enumerate(
        queues.receive([results], most=10, wait_s=0.0, lease_s=60.0), 1
    ):
        buffered = read_message(message)
        assert isinstance(buffered, Buffered)
        if delete_first:
            queues.delete([message.lease])
        stored = deliveries.flush(Flush(sweep_id, number, (buffered,)))
        assert isinstance(stored, ShardStored)
        queues.delete([message.lease])
    assert not RunSet.span(0, _RUNS) - HomeView(blobs, store).coverage(sweep_id).final()


if __name__ == "__main__":
    _walk(Path(sys.argv[1]) / HOME, **PROTECTIONS[sys.argv[2]])
