"""Open what a power loss left with the product's own code, and say what it holds.

The three parts of a home (queue.db, ledger.db, the rest) are opened apart and what was found is
kept by their bytes: most states differ in one part only. Each is opened in a fresh folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from gapless.declaration.control import ControlState
from gapless.declaration.messages import decode_delivery
from gapless.declaration.runset import RunSet
from gapless.errors import GaplessError
from gapless.results.coverage import CoverageReader, missing
from gapless.results.reader import Results
from gapless.storage import layout
from gapless.storage.errors import BlobMissing
from gapless.storage.folder import FolderBlobs
from gapless.storage.home import HomeRecord
from gapless.storage.keys import TEMPORARY
from gapless.storage.sweeps import SweepStore
from queueing import sqlite_schema
from queueing.sqlite import SqliteQueues
from receipts.declared import Declared, declared_in
from receipts.in_flight import InFlight, look_in_flight
from receipts.ledger import Ledger, Submitted, open_ledger
from tests.power_loss.disk import Tree

__all__ = ["Found", "Home", "LedgerFound", "Opener", "QueueFound", "SweepFound", "fresh_folder"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class QueueFound:
    """What queue.db holds: all of its rows (""  when there is no file), and runs by sweep."""

    rows: str
    in_flight: dict[str, InFlight]
    delivered: dict[str, dict[int, RunSet]]
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LedgerFound:
    """What ledger.db holds: all of its rows ("" when there is no file), and receipts by sweep."""

    rows: str
    submitted: dict[str, Submitted | None]
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SweepFound:
    """One sweep of the home: stored runs by epoch, and those without a result."""

    declared: Declared
    stored: dict[int, RunSet]
    lacking: dict[int, RunSet]


@dataclass(frozen=True, slots=True)
class Home:
    """What the files of the home say; `exists` tells whether it has its home.json.

    `litter` counts the files below sweeps/ of no sweep.
    """

    exists: bool
    sweeps: dict[str, SweepFound] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()
    litter: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a state holds, and the key of its files."""

    queue: QueueFound
    ledger: LedgerFound
    home: Home
    key: str


class Opener:
    """Opens states below a folder, best in memory; keeps what it found by the bytes of the parts.

    `home`: where the home lies below the recorded root; `sweeps`: the ids to look for.
    """

    def __init__(self, folder: Path, *, home: str) -> None:
        self._folder = folder
        self.home = home
        self._queues: dict[str, QueueFound] = {}
        self._ledgers: dict[str, LedgerFound] = {}
        self._homes: dict[str, Home] = {}
        self.sweeps: tuple[str, ...] = ()

    @property
    def parts(self) -> int:
        """How many different parts were opened."""
        return len(self._queues) + len(self._ledgers) + len(self._homes)

    def open(self, tree: Tree) -> Found:
        """Say what a state holds."""
        prefix = f"{self.home}/"
        files = {
            path[len(prefix) :]: data
            for path, data in tree.items()
            if path.startswith(prefix) and path != prefix
        }
        parts: tuple[Tree, Tree, Tree] = ({}, {}, {})
        for path, data in files.items():
            if path.startswith("queue.db"):
                parts[0][path] = data
            elif path.startswith("ledger.db"):
                parts[1][path] = data
            elif not path.rpartition("/")[2].startswith(TEMPORARY):
                parts[2][path] = data
        keys = [_key(part) for part in parts]
        queue = self._kept(self._queues, keys[0], parts[0], self._open_queue)
        ledger = self._kept(self._ledgers, keys[1], parts[1], self._open_ledger)
        home = self._kept(self._homes, keys[2], parts[2], self._open_home)
        return Found(queue, ledger, home, "-".join(keys))

    @contextlib.contextmanager
    def laid_out(self, tree: Tree) -> Iterator[Path]:
        """Write a state into a fresh folder; give its root. It is removed afterwards."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            _write_tree(tree, folder)
            yield folder
        finally:
            shutil.rmtree(folder)

    def _kept(
        self, known: dict[str, _T], key: str, part: Tree, look: Callable[[Tree, Path], _T]
    ) -> _T:
        if key not in known:
            with self.laid_out(part) as folder:
                known[key] = look(part, folder)
        return known[key]

    def _open_queue(self, part: Tree, folder: Path) -> QueueFound:
        path = folder / "queue.db"
        if "queue.db" not in part:
            return QueueFound("", {}, {}, _new_queue_wrong(path))
        queues = SqliteQueues(path, patience_s=5.0)
        try:
            flights = {each: look_in_flight(each, queues) for each in self.sweeps}
            results = [layout.results_queue(each) for each in self.sweeps]
            heads = queues.heads(results)
        except GaplessError as error:
            return QueueFound("?", {}, {}, (f"the queue does not open: {error}",))
        finally:
            queues.close()
        wrong = _litter(folder, "queue.db.damaged-*")
        wrong += [f"{each}: {text}" for each in flights for text in flights[each].damaged]
        handle = sqlite_schema.connect(path)
        try:
            (verdict,) = handle.execute("PRAGMA integrity_check").fetchone()
            rows = [
                handle.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
                for table in ("queues", "messages", "tails")
            ]
        finally:
            handle.close()
        if verdict != "ok":
            wrong.append(f"queue.db: integrity_check says {verdict}")
        return QueueFound(
            _digest(rows),
            flights,
            {each: _delivered(heads[layout.results_queue(each)]) for each in self.sweeps},
            tuple(wrong),
        )

    def _open_ledger(self, part: Tree, folder: Path) -> LedgerFound:
        if "ledger.db" not in part:
            return LedgerFound("", dict.fromkeys(self.sweeps))
        try:
            ledger = open_ledger(folder)
        except GaplessError as error:
            return LedgerFound("?", {}, (f"the ledger does not open: {error}",))
        try:
            # integrity_check, and every receipt decoded.
            ledger.check_whole()
            submitted = {
                each: ledger.submitted(each) if ledger.sweep(each) is not None else None
                for each in self.sweeps
            }
            rows = _rows_of(ledger)
        except GaplessError as error:
            return LedgerFound("?", {}, (f"the ledger is not whole: {error}",))
        finally:
            ledger.close()
        return LedgerFound(_digest(rows), submitted)

    def _open_home(self, part: Tree, folder: Path) -> Home:
        blobs = FolderBlobs(folder)
        try:
            HomeRecord.decode(blobs.get(layout.HOME))
        except BlobMissing:
            return Home(exists=False)
        except GaplessError as error:
            return Home(exists=True, wrong=(f"home.json: {error}",))
        wrong = [*_wrong_objects(part)]
        sweeps: dict[str, SweepFound] = {}
        store = SweepStore(blobs)
        for sweep_id in store.ids():
            try:
                sweeps[sweep_id] = _sweep(blobs, store, sweep_id)
            except (GaplessError, OSError) as error:
                wrong.append(f"sweep {sweep_id} cannot be read: {error}")
        prefix = layout.sweeps_prefix()
        known = tuple(layout.sweep_prefix(each) for each in store.ids())
        litter = sum(
            each.startswith(prefix) and each != prefix and not each.startswith(known)
            for each in part
        )
        return Home(exists=True, sweeps=sweeps, wrong=tuple(wrong), litter=litter)


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """Give a folder to open states in: in memory where there is such a file system."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="power-loss-", dir=place) as folder:
        yield Path(folder)


def _write_tree(tree: Tree, folder: Path) -> None:
    """Write files below a folder; a path that ends with a slash is an empty folder."""
    for path, data in tree.items():
        goal = folder / path
        if path.endswith("/"):
            goal.mkdir(parents=True, exist_ok=True)
            continue
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.write_bytes(data)


def _new_queue_wrong(path: Path) -> tuple[str, ...]:
    """Make a queue where there is none, beside whatever was left: it must be new and empty."""
    with contextlib.closing(SqliteQueues(path, patience_s=5.0)) as queues:
        queues.create("a-queue")
        found = queues.heads(["a-queue"])
    return () if found == {"a-queue": []} else (f"a new queue holds {found}",)


def _sweep(blobs: FolderBlobs, store: SweepStore, sweep_id: str) -> SweepFound:
    stored = store.load(sweep_id)
    declared = declared_in(store, sweep_id)
    reader = CoverageReader(blobs, sweep_id)
    coverage = reader.refresh()
    if reader.problems:
        raise GaplessError(f"shards that do not count: {reader.problems}")
    results = Results(blobs, sweep_id)
    # Reads every shard that has a manifest and compares its bytes with the manifest's sha256.
    rows = set(results.runs.tolist())
    if rows != set(coverage.final()):
        raise GaplessError(f"the reader has the runs {sorted(rows)}, the coverage says otherwise")
    if stored.runs.all != declared.runs:
        raise GaplessError("the segments do not make the declared runs")
    code = declared.control.code
    if code is not None:
        store.get_object(code)
    return SweepFound(
        declared,
        {epoch: coverage.final(at_epoch=epoch) for epoch in coverage.epochs},
        {}
        if declared.control.state is ControlState.CANCELLED
        else missing(declared.runs, declared.asked, coverage),
    )


def _wrong_objects(part: Tree) -> Iterator[str]:
    for path, data in part.items():
        folder, _, name = path.rpartition("/")
        if folder == "objects" and name and hashlib.sha256(data).hexdigest() != name:
            yield f"{path} holds {len(data)} other bytes than its name says"


def _delivered(heads: list[str]) -> dict[int, RunSet]:
    found: dict[int, RunSet] = {}
    for head in heads:
        for each in decode_delivery(head).parts:
            found[each.epoch] = found.get(each.epoch, RunSet()) | each.runs
    return found


def _rows_of(ledger: Ledger) -> list[object]:
    def read(connection: sa.Connection) -> list[object]:
        names = sorted(sa.inspect(connection).get_table_names())
        return [
            [tuple(row) for row in connection.execute(sa.text(f"SELECT * FROM {name} ORDER BY 1"))]
            for name in names
        ]

    return ledger.database.read(read)


def _litter(folder: Path, pattern: str) -> list[str]:
    return [f"it was taken for damaged: {path.name}" for path in folder.glob(pattern)]


def _digest(rows: object) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def _key(part: Tree) -> str:
    found = hashlib.blake2b(digest_size=12)
    for path in sorted(part):
        if not path.endswith("-shm"):
            data = part[path]
            found.update(f"{path}\0{len(data)}\0".encode())
            found.update(data)
    return found.hexdigest()
