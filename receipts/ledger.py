"""The ledger: which runs were submitted, when, in which job, why and at which epoch.

A receipt is written `pending` and durable before its job is sent, and marked `sent` after the queue
answered OK. So a crash leaves a job without a mark (it is sent twice: harmless), never a job
without a receipt. `unknown` receipts were made anew after a loss of the ledger.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from gapless.declaration.errors import DamagedMessage
from gapless.declaration.runset import RunSet
from queueing.errors import QueueError
from queueing.network_file_system import refuse_network_file_system
from receipts import database as databases
from receipts.database import Database
from receipts.errors import LedgerDamaged, UnsupportedLedger
from receipts.locks import FileLocks, MemoryLocks, SweepLocks
from receipts.tables import receipts, sweeps

__all__ = [
    "FILE_NAME",
    "Ledger",
    "NewReceipt",
    "PendingReceipt",
    "SentReceipt",
    "State",
    "Submitted",
    "SweepRow",
    "Why",
    "file_of",
    "open_ledger",
]

FILE_NAME = "ledger.db"

_WRITTEN_AT_ONCE = 20_000
_READ_AT_ONCE = 2_000


class Why(enum.Enum):
    """What made a receipt."""

    SUBMIT = "submit"
    RECONCILE = "reconcile"
    RESUBMIT = "resubmit"
    REBUILD = "rebuild"


class State(enum.Enum):
    """What is known of a receipt's job: PENDING -> SENT; UNKNOWN stays."""

    PENDING = "pending"
    SENT = "sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SweepRow:
    """A sweep the ledger knows; times in Unix seconds."""

    id: str
    digest: str
    name: str
    submitted_at_s: float


@dataclass(frozen=True, slots=True)
class NewReceipt:
    """A receipt to write. `generation`: which round of sending this sweep it belongs to."""

    sweep: str
    epoch: int
    runs: RunSet
    job: str
    why: Why
    generation: int
    created_at_s: float
    state: State = State.PENDING


@dataclass(frozen=True, slots=True)
class PendingReceipt:
    """A receipt whose job was not acknowledged by the queue."""

    id: int
    epoch: int
    runs: RunSet
    job: str


@dataclass(frozen=True, slots=True)
class SentReceipt:
    """A receipt whose job was acknowledged by a queue created at `queue_created_at_s`."""

    runs: RunSet
    sent_at_s: float
    queue_created_at_s: float


@dataclass(frozen=True, slots=True)
class Submitted:
    """The runs of a sweep's receipts by epoch: `sent` (or unknown), and `pending`."""

    sent: Mapping[int, RunSet]
    pending: Mapping[int, RunSet]

    def runs(self, epoch: int) -> RunSet:
        """Give the runs that have a receipt at an epoch."""
        return self.sent_runs(epoch) | self.pending_runs(epoch)

    def sent_runs(self, epoch: int) -> RunSet:
        """Give the runs whose job went out at an epoch, as far as the ledger knows."""
        return self.sent.get(epoch, RunSet())

    def pending_runs(self, epoch: int) -> RunSet:
        """Give the runs of pending receipts at an epoch."""
        return self.pending.get(epoch, RunSet())


class Ledger:
    """The ledger's rows. Every method is one transaction, or says how many."""

    def __init__(self, database: Database, locks: SweepLocks) -> None:
        """Take over `database`."""
        self._database = database
        self._locks = locks

    @property
    def location(self) -> str:
        """Where it lies, for messages."""
        return self._database.location

    def lock(self, sweep_id: str) -> AbstractContextManager[None]:
        """Hold the sweep's lock: submit, reconcile, resubmit and rebuild work under it."""
        return self._locks.held(sweep_id)

    def check_whole(self) -> None:
        """Read all of it; LedgerDamaged unless all is well."""
        self._database.check_whole()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def sweep(self, sweep_id: str) -> SweepRow | None:
        """Give the row of a sweep, None when the ledger knows nothing of it."""
        with self._database.snapshot() as connection:
            row = connection.execute(sa.select(sweeps).where(sweeps.c.id == sweep_id)).one_or_none()
        if row is None:
            return None
        return SweepRow(
            id=row.id, digest=row.digest, name=row.name, submitted_at_s=row.submitted_at_s
        )

    def record_sweep(self, row: SweepRow) -> None:
        """Write a sweep's row; one that is there stays as it is. Safe to repeat."""
        values = {
            "id": row.id,
            "digest": row.digest,
            "name": row.name,
            "submitted_at_s": row.submitted_at_s,
        }
        with self._database.transaction() as connection:
            connection.execute(sqlite.insert(sweeps).on_conflict_do_nothing(), values)

    def forget_sweep(self, sweep_id: str) -> None:
        """Remove a sweep's row and receipts. Safe to repeat."""
        with self._database.transaction() as connection:
            connection.execute(sa.delete(receipts).where(receipts.c.sweep == sweep_id))
            connection.execute(sa.delete(sweeps).where(sweeps.c.id == sweep_id))

    def next_generation(self, sweep_id: str) -> int:
        """Give the number of a new round of sending, >= 1: round 0 is what submit sends."""
        query = sa.select(sa.func.max(receipts.c.generation)).where(receipts.c.sweep == sweep_id)
        with self._database.snapshot() as connection:
            last: int | None = connection.execute(query).scalar_one()
        return 1 if last is None else last + 1

    def write(self, new: Iterable[NewReceipt]) -> int:
        """Write receipts, 20,000 a transaction; give how many rows were added.

        A receipt whose sweep, block and generation exist already is left out: another submitter
        wrote it. Safe to repeat after a crash, which leaves whole transactions.
        """
        statement = sqlite.insert(receipts).on_conflict_do_nothing()
        added = 0
        rows = (_values(receipt) for receipt in new)
        while batch := list(itertools.islice(rows, _WRITTEN_AT_ONCE)):
            with self._database.transaction() as connection:
                added += connection.execute(statement, batch).rowcount
        return added

    def pending(self, sweep_id: str, *, after: int, most: int) -> list[PendingReceipt]:
        """Give up to `most` pending receipts with an id above `after`, by id."""
        query = (
            sa.select(receipts.c.id, receipts.c.epoch, receipts.c.runs, receipts.c.job)
            .where(
                receipts.c.sweep == sweep_id,
                receipts.c.state == State.PENDING.value,
                receipts.c.id > after,
            )
            .order_by(receipts.c.id)
            .limit(most)
        )
        with self._database.snapshot() as connection:
            rows = connection.execute(query).all()
        return [
            PendingReceipt(id=row.id, epoch=row.epoch, runs=self._runs(row.runs), job=row.job)
            for row in rows
        ]

    def mark_sent(self, ids: Sequence[int], *, queue_created_at_s: float, sent_at_s: float) -> None:
        """Mark receipts, at most some thousands, as sent. Safe to repeat."""
        if not ids:
            return
        statement = (
            sa.update(receipts)
            .where(receipts.c.id.in_(ids))
            .values(
                state=State.SENT.value, queue_created_at_s=queue_created_at_s, sent_at_s=sent_at_s
            )
        )
        with self._database.transaction() as connection:
            connection.execute(statement)

    def count(self, sweep_id: str, state: State) -> int:
        """Count a sweep's receipts in a state."""
        query = (
            sa.select(sa.func.count())
            .select_from(receipts)
            .where(receipts.c.sweep == sweep_id, receipts.c.state == state.value)
        )
        with self._database.snapshot() as connection:
            return int(connection.execute(query).scalar_one())

    def submitted(self, sweep_id: str) -> Submitted:
        """Join the runs of all receipts of a sweep, by epoch and state."""
        query = sa.select(receipts.c.epoch, receipts.c.state, receipts.c.runs).where(
            receipts.c.sweep == sweep_id
        )
        sent: dict[int, RunSet] = {}
        pending: dict[int, RunSet] = {}
        with self._database.snapshot() as connection:
            found = connection.execution_options(yield_per=_READ_AT_ONCE).execute(query)
            for page in found.partitions():
                parts: dict[tuple[int, bool], list[RunSet]] = {}
                for epoch, state, runs in page:
                    key = (epoch, state == State.PENDING.value)
                    parts.setdefault(key, []).append(self._runs(runs))
                for (epoch, waiting), sets in parts.items():
                    into = pending if waiting else sent
                    into[epoch] = RunSet.union([into.get(epoch, RunSet()), *sets])
        return Submitted(sent=sent, pending=pending)

    def sent_to(
        self, sweep_id: str, *, epoch: int, queue_created_at_s: float
    ) -> Iterator[SentReceipt]:
        """Give the sent receipts of an epoch whose queue is the one created then, oldest first."""
        query = (
            sa.select(receipts.c.runs, receipts.c.sent_at_s, receipts.c.queue_created_at_s)
            .where(
                receipts.c.sweep == sweep_id,
                receipts.c.epoch == epoch,
                receipts.c.state == State.SENT.value,
                receipts.c.queue_created_at_s == queue_created_at_s,
            )
            .order_by(receipts.c.sent_at_s)
        )
        with self._database.snapshot() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            yield SentReceipt(
                runs=self._runs(row.runs),
                sent_at_s=row.sent_at_s,
                queue_created_at_s=row.queue_created_at_s,
            )

    def _runs(self, data: bytes) -> RunSet:
        try:
            return RunSet.deserialize(data)
        except DamagedMessage as error:
            raise LedgerDamaged(self.location, reason=f"a receipt: {error}") from error


def open_ledger(location: str | Path) -> Ledger:
    """Open a ledger: a folder (its ledger.db), `sqlite:///path`, or `sqlite://` (in memory).

    Made when missing, migrated when older. LedgerDamaged, ForeignLedger, UnsupportedLedger.
    """
    path = file_of(location)
    if path is None:
        return Ledger(databases.open_memory(), MemoryLocks())
    try:
        refuse_network_file_system(path)
    except QueueError as error:
        raise UnsupportedLedger(str(error)) from error
    return Ledger(databases.open_file(path), FileLocks(path.with_suffix(".locks")))


def file_of(location: str | Path) -> Path | None:
    """Give the file a location names, None for one in memory; UnsupportedLedger."""
    text = str(location)
    if "://" not in text:
        return Path(text) / FILE_NAME
    if text in {"sqlite://", "sqlite:///:memory:"}:
        return None
    if not text.startswith("sqlite:///"):
        raise UnsupportedLedger(
            f"the ledger's address names {text.partition(':')[0]}; this version keeps its ledger "
            "in SQLite only: name a folder or sqlite:///path"
        )
    # Taken as it stands: a path may hold ? and %, which an address would read as something else.
    return Path(text.removeprefix("sqlite:///"))


def _values(receipt: NewReceipt) -> dict[str, Any]:
    return {
        "sweep": receipt.sweep,
        "epoch": receipt.epoch,
        "runs": receipt.runs.serialize(),
        "count": len(receipt.runs),
        "job": receipt.job,
        "why": receipt.why.value,
        "state": receipt.state.value,
        "block": receipt.runs.least,
        "generation": receipt.generation,
        "created_at_s": receipt.created_at_s,
    }
