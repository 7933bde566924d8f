"""What the node is to do: commands of the state machine, imperative. Values only.

Each is safe to repeat after a crash right before or after it: what a command did and the node did
not live to note costs repeated work, never a run.
"""

from __future__ import annotations

from dataclasses import dataclass

from compute_node.attempts import Attempt
from gapless.declaration.messages import Delivery
from gapless.declaration.runset import RunSet
from queueing.port import Entry, Lease, Replacement

__all__ = [
    "UNFIT",
    "AssignChunk",
    "Chunk",
    "Command",
    "DeleteJob",
    "Deployment",
    "Exit",
    "ForgetBlocks",
    "KillWorker",
    "LetGo",
    "PrepareSweep",
    "PutQuarantine",
    "ReadCoverage",
    "ReceiveJobs",
    "RecordLost",
    "ReleaseJob",
    "ReplaceJob",
    "RetireWorker",
    "SendDelivery",
    "SendPieces",
    "StartWorker",
    "StoreClaim",
    "Warn",
    "WithdrawChunks",
]


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a worker was started for; a worker whose deployment is outdated is retired."""

    sweep: str
    code: str
    total: int
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Runs of one epoch for one worker, done in ascending order.

    `earlier` holds what became of earlier attempts of these runs. A failed attempt below
    `attempts` is not final when `retry_failed`, nor one whose command was killed when `retry_lost`.
    """

    chunk: int
    sweep: str
    epoch: int
    runs: RunSet
    earlier: tuple[Attempt, ...] = ()
    attempts: int = 1
    retry_failed: bool = False
    retry_lost: bool = False


@dataclass(frozen=True, slots=True)
class PrepareSweep:
    """Bring the declaration and the code bundle to this machine."""

    sweep: str
    code: str


@dataclass(frozen=True, slots=True)
class ReceiveJobs:
    """Receive up to `most` messages of these queues, the preferred first.

    `wait_s`: how long to wait for the first; None: as long as the node always does.
    """

    queues: tuple[str, ...]
    most: int
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class ReadCoverage:
    """Look which runs of a sweep have a final result in the home now."""

    sweep: str


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start a worker process."""

    worker: int
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class AssignChunk:
    """Hand a chunk to a worker."""

    worker: int
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class WithdrawChunks:
    """Ask a worker to end its chunks after the run it is in."""

    worker: int


@dataclass(frozen=True, slots=True)
class RetireWorker:
    """Ask a worker without work to exit."""

    worker: int


@dataclass(frozen=True, slots=True)
class KillWorker:
    """Kill a worker's process group."""

    worker: int


@dataclass(frozen=True, slots=True)
class SendDelivery:
    """Send a delivery of these blocks of the outbox."""

    delivery: Delivery
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StoreClaim:
    """Store these blocks in the home first, then send a delivery that claims them."""

    delivery: Delivery
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ForgetBlocks:
    """Remove blocks from the outbox: their delivery was acknowledged, or nobody wants them."""

    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete a job that has nothing left."""

    job: int
    lease: Lease


@dataclass(frozen=True, slots=True)
class ReplaceJob:
    """Put what is left of a job (or its pieces) in its place."""

    job: int
    lease: Lease
    replacements: tuple[Replacement, ...]


@dataclass(frozen=True, slots=True)
class SendPieces:
    """Send what is cut off a job as jobs of their own; the job's message stays as it is."""

    job: int
    queue: str
    pieces: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class ReleaseJob:
    """Give a message back unread."""

    lease: Lease
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LetGo:
    """Renew a lease no longer, and leave its message as it is."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class PutQuarantine:
    """Store a message nobody can decode, durably, then delete it."""

    lease: Lease
    sweep: str
    body: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLost:
    """Build the final result (`lost` or `timeout`) of a run that no worker can report."""

    sweep: str
    epoch: int
    code: str
    attempts: tuple[Attempt, ...]
    worker: int | None = None


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the person."""

    text: str


UNFIT = 6
"""The exit status of a node that can do the runs of none of its sweeps; its report says why."""


@dataclass(frozen=True, slots=True)
class Exit:
    """End the node with this status; `message` is for the person when not empty."""

    status: int
    message: str = ""


Command = (
    PrepareSweep
    | ReceiveJobs
    | ReadCoverage
    | StartWorker
    | AssignChunk
    | WithdrawChunks
    | RetireWorker
    | KillWorker
    | SendDelivery
    | StoreClaim
    | ForgetBlocks
    | DeleteJob
    | ReplaceJob
    | SendPieces
    | ReleaseJob
    | LetGo
    | PutQuarantine
    | RecordLost
    | Warn
    | Exit
)
