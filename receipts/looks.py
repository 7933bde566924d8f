"""What the ledger remembers for queues that cannot be seen whole: first looks, and what was sent.

Every function is one transaction. A run is in one look at most: the earliest since which it has
been nowhere at every look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from gapless.declaration.errors import DamagedMessage
from gapless.declaration.runset import RunSet
from receipts.errors import LedgerDamaged
from receipts.ledger import Ledger, State
from receipts.tables import looks, receipts

__all__ = [
    "Look",
    "MayBeQueued",
    "forget_looks",
    "last_sent_at_s",
    "may_be_queued",
    "read_looks",
    "replace_looks",
]

_READ_AT_ONCE = 2_000

# Written once: SQLAlchemy takes longer to build and to recognise one of these than to execute it.
_OF_SWEEP = receipts.c.sweep == sa.bindparam("of_sweep")
_LOOKS_OF_SWEEP = looks.c.sweep == sa.bindparam("of_sweep")
_LOOKS = sa.select(looks).where(_LOOKS_OF_SWEEP).order_by(looks.c.at_s)
_FORGET_LOOKS = sa.delete(looks).where(_LOOKS_OF_SWEEP)
_LAST_SENT = sa.select(sa.func.max(receipts.c.sent_at_s)).where(_OF_SWEEP)
_MAYBE_SENT = sa.select(receipts.c.epoch, receipts.c.runs).where(
    _OF_SWEEP,
    receipts.c.state == State.SENT.value,
    receipts.c.queue_created_at_s == sa.bindparam("created"),
    receipts.c.sent_at_s > sa.bindparam("since"),
)
_MAYBE_UNKNOWN = sa.select(receipts.c.epoch, receipts.c.runs).where(
    _OF_SWEEP,
    receipts.c.state == State.UNKNOWN.value,
    receipts.c.created_at_s > sa.bindparam("since"),
)


@dataclass(frozen=True, slots=True)
class Look:
    """Runs of an epoch without a result and in nobody's hands while both queues counted nothing.

    Times in Unix seconds; the queues are known by when they were created.
    """

    epoch: int
    runs: RunSet
    at_s: float
    jobs_created_at_s: float
    results_created_at_s: float


@dataclass(frozen=True, slots=True)
class MayBeQueued:
    """Runs by epoch whose jobs the work queue of now may still hold, by what the receipts say."""

    sent: Mapping[int, RunSet]
    """Sent to this very queue, and not so long ago that it has thrown them away."""
    unknown: Mapping[int, RunSet]
    """Of receipts made anew: to which queue they were sent nobody knows."""

    def runs(self, epoch: int) -> RunSet:
        """Give both together."""
        return self.sent.get(epoch, RunSet()) | self.unknown.get(epoch, RunSet())


def read_looks(ledger: Ledger, sweep_id: str) -> list[Look]:
    """Give the first looks of a sweep, earliest first."""
    wanted = {"of_sweep": sweep_id}
    return [
        Look(
            epoch=row.epoch,
            runs=_runs(ledger, row.runs),
            at_s=row.at_s,
            jobs_created_at_s=row.jobs_created_at_s,
            results_created_at_s=row.results_created_at_s,
        )
        for row in ledger.database.read(lambda connection: connection.execute(_LOOKS, wanted).all())
    ]


def replace_looks(ledger: Ledger, sweep_id: str, new: Sequence[Look]) -> None:
    """Remember these first looks of a sweep and no others. Safe to repeat."""
    rows = [
        {
            "sweep": sweep_id,
            "epoch": each.epoch,
            "at_s": each.at_s,
            "runs": each.runs.serialize(),
            "jobs_created_at_s": each.jobs_created_at_s,
            "results_created_at_s": each.results_created_at_s,
        }
        for each in new
    ]

    def replace(connection: sa.Connection) -> None:
        connection.execute(_FORGET_LOOKS, {"of_sweep": sweep_id})
        if rows:
            connection.execute(sa.insert(looks), rows)

    ledger.database.write(replace)


def forget_looks(ledger: Ledger, sweep_id: str) -> None:
    """Let the next look be the first. Safe to repeat."""
    replace_looks(ledger, sweep_id, ())


def may_be_queued(
    ledger: Ledger, sweep_id: str, *, queue_created_at_s: float, since_s: float
) -> MayBeQueued:
    """Join the runs whose jobs may be on the queue created then; older than `since_s`: expired.

    A receipt made anew tells when it was made, which is after its job was sent.
    """
    wanted = {"of_sweep": sweep_id, "since": since_s}
    return MayBeQueued(
        sent=_joined(ledger, _MAYBE_SENT, {**wanted, "created": queue_created_at_s}),
        unknown=_joined(ledger, _MAYBE_UNKNOWN, wanted),
    )


def last_sent_at_s(ledger: Ledger, sweep_id: str) -> float | None:
    """Give when a job of the sweep was sent last, None when the ledger knows of none."""
    wanted = {"of_sweep": sweep_id}
    found: float | None = ledger.database.read(
        lambda connection: connection.execute(_LAST_SENT, wanted).scalar_one()
    )
    return found


def _joined(
    ledger: Ledger, query: sa.Select[int, bytes], wanted: Mapping[str, Any]
) -> dict[int, RunSet]:
    def join(connection: sa.Connection) -> dict[int, RunSet]:
        joined: dict[int, RunSet] = {}
        options = {"yield_per": _READ_AT_ONCE}
        with connection.execute(query, wanted, execution_options=options) as found:
            for page in found.partitions():
                sets: dict[int, list[RunSet]] = {}
                for epoch, runs in page:
                    sets.setdefault(epoch, []).append(_runs(ledger, runs))
                for epoch, parts in sets.items():
                    joined[epoch] = RunSet.union([joined.get(epoch, RunSet()), *parts])
        return joined

    return ledger.database.read(join)


def _runs(ledger: Ledger, data: Any) -> RunSet:
    try:
        return RunSet.deserialize(data)
    except DamagedMessage as error:
        raise LedgerDamaged(ledger.location, reason=f"a set of runs: {error}") from error
