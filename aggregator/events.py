"""What happened: the only things an aggregator's state machine ever hears of."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.proof import DurableShard, DurableWaste, Proof
from gapless.declaration.messages import Delivery
from gapless.declaration.runset import RunSet
from queueing.port import Lease

__all__ = [
    "Buffered",
    "CoverageRead",
    "CoverageUnread",
    "DeleteFailed",
    "DeliveriesReceived",
    "Event",
    "FlushFailed",
    "LeaseLost",
    "MessageQuarantined",
    "MessageUndecodable",
    "MessagesDeleted",
    "NewerFormatReceived",
    "OrphansAdopted",
    "QuarantineFailed",
    "ReceiveFailed",
    "ShardStored",
    "StopRequested",
    "SweepState",
    "SweepsPolled",
    "SweepsUnread",
    "Ticked",
]


class SweepState(enum.Enum):
    """What a person wants of a sweep; GONE: the home has no such sweep (any more)."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    GONE = "gone"


SWEEP_TRANSITIONS: Mapping[SweepState, frozenset[SweepState]] = {
    # A person may take anything back, and of two changes the second alone may be heard of.
    state: frozenset(SweepState) - {state}
    for state in SweepState
}
"""What may become of a sweep as an aggregator knows it."""


@dataclass(frozen=True, slots=True)
class Buffered:
    """A delivery in hand: its lease, its decoded header, its whole body, still encoded.

    `size_bytes` is what it costs in memory at the flush: the body, or the claimed object.
    """

    lease: Lease
    delivery: Delivery
    body: str
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DeliveriesReceived:
    """A receive ended; `deliveries` may be empty."""

    deliveries: tuple[Buffered, ...]


@dataclass(frozen=True, slots=True)
class ReceiveFailed:
    """The queue service did not answer a receive."""

    reason: str


@dataclass(frozen=True, slots=True)
class MessageUndecodable:
    """A message was received that nobody can decode."""

    lease: Lease
    body: str
    reason: str


@dataclass(frozen=True, slots=True)
class NewerFormatReceived:
    """A message was received that a newer program wrote."""

    lease: Lease
    reason: str


@dataclass(frozen=True, slots=True)
class ShardStored:
    """A flush ended: what became of each delivery of its batch.

    `stored` lists the deliveries whose rows the shard holds (with `proof`; empty without a shard),
    `final` those that needed no storing, `rejected` those that cannot be used, with the reason,
    `newer` those that hold a block of a newer format, `unopened` those that did not fit in memory
    with the others: they wait for the next shard.
    """

    sweep_id: str
    flush: int
    proof: DurableShard | None
    stored: tuple[Buffered, ...] = ()
    final: tuple[tuple[Buffered, Proof], ...] = ()
    rejected: tuple[tuple[Buffered, str], ...] = ()
    newer: tuple[Buffered, ...] = ()
    unopened: tuple[Buffered, ...] = ()


@dataclass(frozen=True, slots=True)
class FlushFailed:
    """Storage did not take a shard; nothing is known to be stored, nothing may be deleted."""

    sweep_id: str
    flush: int
    reason: str


@dataclass(frozen=True, slots=True)
class MessagesDeleted:
    """The queue answered OK for these leases."""

    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class DeleteFailed:
    """The queue did not delete `leases` (it did delete `deleted`); the proof stays good."""

    leases: tuple[Lease, ...]
    proof: Proof
    reason: str
    deleted: tuple[Lease, ...] = ()


@dataclass(frozen=True, slots=True)
class MessageQuarantined:
    """A message lies durably in quarantine."""

    lease: Lease
    proof: DurableWaste


@dataclass(frozen=True, slots=True)
class QuarantineFailed:
    """Storage did not take a message for quarantine."""

    lease: Lease
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """A lease ran out or was taken: the message may be in other hands. Its rows are still good."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class SweepsPolled:
    """The home was read: every sweep served and the state wanted of it.

    `resting` are in the home too; what is wanted of them was not looked at this time.
    """

    sweeps: Mapping[str, SweepState]
    resting: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SweepsUnread:
    """The home could not be read."""

    reason: str


@dataclass(frozen=True, slots=True)
class CoverageRead:
    """A sweep's runs and manifests were read, after every flush reported before this event.

    `missing` maps an epoch to the runs asked for at it, and not later, that have no final result.
    """

    sweep_id: str
    runs: RunSet
    missing: Mapping[int, RunSet]


@dataclass(frozen=True, slots=True)
class CoverageUnread:
    """A sweep's runs or manifests could not be read."""

    sweep_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class OrphansAdopted:
    """Shards without manifest got theirs (or none was found, or the look failed)."""

    sweep_id: str
    count: int


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A person or the system wants the aggregator to store what it has and leave."""


Event = (
    CoverageRead
    | CoverageUnread
    | DeleteFailed
    | DeliveriesReceived
    | FlushFailed
    | LeaseLost
    | MessageQuarantined
    | MessageUndecodable
    | MessagesDeleted
    | NewerFormatReceived
    | OrphansAdopted
    | QuarantineFailed
    | ReceiveFailed
    | ShardStored
    | StopRequested
    | SweepsPolled
    | SweepsUnread
    | Ticked
)
