"""What an aggregator's state machine may ask for; `aggregator.service` does it.

Each command but HoldLeases, DropLeases, ReleaseMessages and Exit is answered by exactly one event;
a receive by DeliveriesReceived or ReceiveFailed, after the events of what is no delivery.
"""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.events import Buffered
from aggregator.proof import Proof
from queueing.port import Lease

__all__ = [
    "AdoptOrphans",
    "Command",
    "DeleteMessages",
    "DropLeases",
    "Exit",
    "Flush",
    "HoldLeases",
    "PollSweeps",
    "QuarantineMessage",
    "ReadCoverage",
    "ReceiveDeliveries",
    "ReleaseMessages",
]


@dataclass(frozen=True, slots=True)
class ReceiveDeliveries:
    """Lease up to `most` messages of these queues.

    `wait_s`: how long to wait for the first; None: as long as the aggregator always does.
    """

    queues: tuple[str, ...]
    most: int
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class HoldLeases:
    """Renew these leases from now on."""

    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class DropLeases:
    """Renew these leases no longer."""

    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class Flush:
    """Make one shard of these deliveries; the same `flush` again is the same shard."""

    sweep_id: str
    flush: int
    batch: tuple[Buffered, ...]


@dataclass(frozen=True, slots=True)
class DeleteMessages:
    """Delete messages whose content `proof` shows to be durable."""

    leases: tuple[Lease, ...]
    proof: Proof


@dataclass(frozen=True, slots=True)
class QuarantineMessage:
    """Store a message nobody can use under its queue's sweep, with the reason."""

    lease: Lease
    body: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReleaseMessages:
    """Give messages back, to be seen again after `delay_s`; its failure costs a lease's length."""

    leases: tuple[Lease, ...]
    delay_s: float


@dataclass(frozen=True, slots=True)
class PollSweeps:
    """Read which sweeps the home has and the state wanted of each but those that are resting."""

    resting: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ReadCoverage:
    """Read a sweep's runs and the manifests not seen before."""

    sweep_id: str


@dataclass(frozen=True, slots=True)
class AdoptOrphans:
    """Write the manifest of complete shards older than `older_than_s` that have none."""

    sweep_id: str
    older_than_s: float


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave with this exit status; `reason` is for people."""

    status: int
    reason: str


Command = (
    AdoptOrphans
    | DeleteMessages
    | DropLeases
    | Exit
    | Flush
    | HoldLeases
    | PollSweeps
    | QuarantineMessage
    | ReadCoverage
    | ReceiveDeliveries
    | ReleaseMessages
)
