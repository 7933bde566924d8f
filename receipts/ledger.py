"""The ledger: which runs were submitted, when, in which job, why and at which epoch.

A receipt is written `pending` and durable before its job is sent, and marked `sent` after the queue
answered OK. So a crash leaves a job without a mark (it is sent twice: harmless), never a job
without a receipt. `unknown` receipts were made anew after a loss of the ledger.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gapless.declaration.errors import DamagedMessage
from gapless.declaration.runset import RunSet
from queueing.errors import QueueError
from queueing.network_file_system import refuse_network_file_system
from receipts import sqlite_file
from receipts.database import Database
from receipts.errors import LedgerDamaged, LedgerUnavailable, UnsupportedLedger
from receipts.insertion import insert_or_ignore
from receipts.locks import FileLocks, MemoryLocks, SweepLocks
from receipts.postgresql_address import names_postgresql, read_address
from receipts.tables import looks, receipts, sweeps

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
    "identity_of",
    "open_ledger",
    "open_ledger_to_read",
    "set_aside",
]

FILE_NAME = "ledger.db"

_WRITTEN_AT_ONCE = 20_000
_WRITTEN_AT_ONCE_BYTES = 64_000_000
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


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.SENT}),
    State.SENT: frozenset(),
    State.UNKNOWN: frozenset(),
}
"""What may become of a receipt's state."""
_BEFORE_SENT = [each.value for each, after in TRANSITIONS.items() if State.SENT in after]

# Written once: SQLAlchemy takes longer to build and to recognise one of these than to execute it.
_OF_SWEEP = receipts.c.sweep == sa.bindparam("of_sweep")
_SWEEP_ROW = sa.select(sweeps).where(sweeps.c.id == sa.bindparam("of_sweep"))
_LAST_GENERATION = sa.select(sa.func.max(receipts.c.generation)).where(_OF_SWEEP)
_COUNT = (
    sa.select(sa.func.count())
    .select_from(receipts)
    .where(_OF_SWEEP, receipts.c.state == sa.bindparam("of_state"))
)
_RUNS = sa.select(receipts.c.epoch, receipts.c.state, receipts.c.runs).where(_OF_SWEEP)
_PENDING = (
    sa.select(receipts.c.id, receipts.c.epoch, receipts.c.runs, receipts.c.job)
    .where(
        _OF_SWEEP,
        receipts.c.state == State.PENDING.value,
        receipts.c.id > sa.bindparam("after"),
    )
    .order_by(receipts.c.id)
    .limit(sa.bindparam("most"))
)
_MARK_SENT = (
    sa.update(receipts)
    .where(
        receipts.c.id.in_(sa.bindparam("ids", expanding=True)),
        receipts.c.state.in_(_BEFORE_SENT),
    )
    .values(
        state=State.SENT.value,
        queue_created_at_s=sa.bindparam("created"),
        sent_at_s=sa.bindparam("sent"),
    )
)
_SENT_TO = (
    sa.select(receipts.c.runs, receipts.c.sent_at_s, receipts.c.queue_created_at_s)
    .where(
        _OF_SWEEP,
        receipts.c.epoch == sa.bindparam("of_epoch"),
        receipts.c.state == State.SENT.value,
        receipts.c.queue_created_at_s == sa.bindparam("created"),
    )
    .order_by(receipts.c.sent_at_s)
)


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

    @property
    def database(self) -> Database:
        """What it is kept in, for other tables of the ledger."""
        return self._database

    def lock(self, sweep_id: str) -> AbstractContextManager[None]:
        """Hold the sweep's lock: submit, reconcile, resubmit and rebuild work under it."""
        return self._locks.held(sweep_id)

    def check_whole(self) -> None:
        """Read and decode all of it; LedgerDamaged unless all is well (some us a receipt)."""
        self._database.check_whole()

        def decode(connection: sa.Connection) -> None:
            query = sa.select(receipts.c.id, receipts.c.runs, receipts.c.count, receipts.c.block)
            with _paged(connection, query) as found:
                for number, data, count, block in found:
                    runs = self._runs(data)
                    if len(runs) != count or runs.least != block:
                        raise LedgerDamaged(self.location, reason=f"receipt {number}: other runs")

        self._database.read(decode)

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def sweep(self, sweep_id: str) -> SweepRow | None:
        """Give the row of a sweep, None when the ledger knows nothing of it."""
        wanted = {"of_sweep": sweep_id}
        row = self._database.read(
            lambda connection: connection.execute(_SWEEP_ROW, wanted).one_or_none()
        )
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
        self._database.write(lambda connection: insert_or_ignore(connection, sweeps, [values]))

    def forget_sweep(self, sweep_id: str) -> None:
        """Remove a sweep's row, receipts and looks. Safe to repeat."""

        def forget(connection: sa.Connection) -> None:
            connection.execute(sa.delete(receipts).where(receipts.c.sweep == sweep_id))
            connection.execute(sa.delete(looks).where(looks.c.sweep == sweep_id))
            connection.execute(sa.delete(sweeps).where(sweeps.c.id == sweep_id))

        self._database.write(forget)

    def next_generation(self, sweep_id: str) -> int:
        """Give the number of a new round of sending, >= 1: round 0 is what submit sends."""
        wanted = {"of_sweep": sweep_id}
        last: int | None = self._database.read(
            lambda connection: connection.execute(_LAST_GENERATION, wanted).scalar_one()
        )
        return 1 if last is None else last + 1

    def write(self, new: Iterable[NewReceipt]) -> int:
        """Write receipts, up to 20,000 a transaction; give how many rows were added.

        A receipt whose sweep, block and generation exist already is left out: another submitter
        wrote it. Safe to repeat after a crash, which leaves whole transactions.
        """
        return sum(
            self._database.write(partial(insert_or_ignore, table=receipts, rows=batch))
            for batch in _batches(_values(receipt) for receipt in new)
        )

    def pending(self, sweep_id: str, *, after: int, most: int) -> list[PendingReceipt]:
        """Give up to `most` pending receipts with an id above `after`, by id."""
        wanted = {"of_sweep": sweep_id, "after": after, "most": most}
        rows = self._database.read(lambda connection: connection.execute(_PENDING, wanted).all())
        return [
            PendingReceipt(id=row.id, epoch=row.epoch, runs=self._runs(row.runs), job=row.job)
            for row in rows
        ]

    def mark_sent(self, ids: Sequence[int], *, queue_created_at_s: float, sent_at_s: float) -> None:
        """Mark receipts, at most some thousands, as sent. Safe to repeat."""
        if not ids:
            return
        values = {"ids": ids, "created": queue_created_at_s, "sent": sent_at_s}
        self._database.write(lambda connection: connection.execute(_MARK_SENT, values))

    def count(self, sweep_id: str, state: State) -> int:
        """Count a sweep's receipts in a state."""
        wanted = {"of_sweep": sweep_id, "of_state": state.value}
        return self._database.read(
            lambda connection: int(connection.execute(_COUNT, wanted).scalar_one())
        )

    def submitted(self, sweep_id: str) -> Submitted:
        """Join the runs of all receipts of a sweep, by epoch and state."""

        def join(connection: sa.Connection) -> Submitted:
            sent: dict[int, RunSet] = {}
            pending: dict[int, RunSet] = {}
            with _paged(connection, _RUNS, {"of_sweep": sweep_id}) as found:
                for page in found.partitions():
                    parts: dict[tuple[int, bool], list[RunSet]] = {}
                    for epoch, state, runs in page:
                        key = (epoch, state == State.PENDING.value)
                        parts.setdefault(key, []).append(self._runs(runs))
                    for (epoch, waiting), sets in parts.items():
                        into = pending if waiting else sent
                        into[epoch] = RunSet.union([into.get(epoch, RunSet()), *sets])
            return Submitted(sent=sent, pending=pending)

        return self._database.read(join)

    def sent_to(
        self, sweep_id: str, *, epoch: int, queue_created_at_s: float
    ) -> Iterator[SentReceipt]:
        """Give the sent receipts of an epoch whose queue is the one created then, oldest first."""
        wanted = {"of_sweep": sweep_id, "of_epoch": epoch, "created": queue_created_at_s}
        rows = self._database.read(lambda connection: connection.execute(_SENT_TO, wanted).all())
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


def open_ledger(location: str | Path, *, home: str | None = None) -> Ledger:
    """Open a ledger: in a folder (its ledger.db), at an address, or in memory (`sqlite://`).

    An address is `sqlite:///path` or `postgresql+psycopg://[user@]host[:port]/database`. The ledger
    is made when missing, migrated when older; the folder of a file at an address must be there.
    `home` names whose it is (a word of its own, then where it lies): a ledger is held to the first
    one. LedgerDamaged, ForeignLedger, UnsupportedLedger, LedgerUnavailable, LedgerRefused.
    """
    if names_postgresql(str(location)):
        # Here, and below: the driver is an extra, and takes a while to load.
        from receipts.postgresql_opening import open_postgresql  # noqa: PLC0415

        database = open_postgresql(read_address(str(location)), home=home)
        return Ledger(database, database)
    path = file_of(location)
    if path is None:
        return Ledger(sqlite_file.open_memory(), MemoryLocks())
    try:
        refuse_network_file_system(path)
    except QueueError as error:
        raise UnsupportedLedger(str(error)) from error
    if "://" in str(location):
        _need_folder(path)
    database_file = sqlite_file.open_file(path, home=home)
    return Ledger(database_file, FileLocks(path.with_suffix(".locks")))


def open_ledger_to_read(path: Path, *, home: str | None = None) -> Ledger:
    """Open the ledger in a file that is there, in a folder where nothing can be written.

    What writes or takes a lock is LedgerUnavailable. LedgerDamaged, ForeignLedger.
    """
    database = sqlite_file.open_file_to_read(path, home=home)
    return Ledger(database, FileLocks(path.with_suffix(".locks")))


def identity_of(location: str | Path) -> tuple[int, int]:
    """Tell the ledger at a location from others that may come to be there; (0, 0) for none."""
    if names_postgresql(str(location)):
        from receipts.postgresql_opening import schema_identity  # noqa: PLC0415

        return 0, schema_identity(read_address(str(location)))
    path = file_of(location)
    return (0, 0) if path is None else sqlite_file.file_identity(path)


def set_aside(location: str | Path, *, seen: tuple[int, int], now_s: float) -> Path | str | None:
    """Move a damaged ledger out of the way; give the new path of its file, or name of its schema.

    None when the one of the identity `seen`, which was found damaged, is not there any more. Safe
    to repeat; nothing is deleted.
    """
    if names_postgresql(str(location)):
        from receipts.postgresql_opening import set_schema_aside  # noqa: PLC0415

        return set_schema_aside(read_address(str(location)), seen=seen[1], now_s=now_s)
    path = file_of(location)
    return None if path is None else sqlite_file.set_file_aside(path, seen=seen, now_s=now_s)


def file_of(location: str | Path) -> Path | None:
    """Give the file an SQLite location names, None for one in memory; UnsupportedLedger."""
    text = str(location)
    if "://" not in text:
        return Path(text) / FILE_NAME
    if text in {"sqlite://", "sqlite:///:memory:"}:
        return None
    if not text.startswith("sqlite:///"):
        raise UnsupportedLedger(
            f"the ledger's address names {text.partition(':')[0]}; a ledger is kept in SQLite or "
            "PostgreSQL: name a folder, sqlite:///path or postgresql+psycopg://USER@HOST/DATABASE"
        )
    # Taken as it stands: a path may hold ? and %, which an address would read as something else.
    return Path(text.removeprefix("sqlite:///"))


def _need_folder(path: Path) -> None:
    """Make no folder for an address: one that is missing was misspelt, or its disk is away."""
    if path.parent.is_dir():
        return
    advice = "make it, or name another file in --ledger"
    if not path.is_absolute():
        advice += (
            f". Three slashes begin at the current folder: write sqlite:////{path}, with four, for "
            f"the file /{path}"
        )
    raise LedgerUnavailable(
        f"the ledger {path} cannot be opened: its folder {path.parent.absolute()} is missing; "
        f"{advice}"
    )


def _paged(
    connection: sa.Connection,
    query: sa.Select[*tuple[Any, ...]],
    wanted: Mapping[str, Any] | None = None,
) -> sa.CursorResult[*tuple[Any, ...]]:
    """Give the rows of a query of which there may be millions; to be closed in any case."""
    return connection.execute(query, wanted, execution_options={"yield_per": _READ_AT_ONCE})


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Cut into what one transaction takes: a job of scattered runs is some hundred KB large."""
    batch: list[dict[str, Any]] = []
    size_bytes = 0
    for row in rows:
        batch.append(row)
        size_bytes += len(row["runs"])
        if len(batch) == _WRITTEN_AT_ONCE or size_bytes >= _WRITTEN_AT_ONCE_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


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
