"""What the node is told: events of the state machine, past tense. Values only."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass

from compute_node.attempts import Attempt
from gapless.declaration.runset import RunSet
from queueing.port import AnswerStatus, Lease, Message

__all__ = [
    "RECEIVER",
    "BlockMade",
    "ChunkEnded",
    "ControlsRead",
    "CoverageRead",
    "DeliveryAcknowledged",
    "DeliveryRefused",
    "DrainAsked",
    "Event",
    "JobDeleted",
    "JobReplaced",
    "LeaseExpiring",
    "LeaseLost",
    "MessageSetAside",
    "PartDied",
    "PiecesSent",
    "PreparationFailed",
    "Progress",
    "ReceiveEnded",
    "StopAsked",
    "SweepFacts",
    "SweepPrepared",
    "SweepState",
    "SweepsCompleted",
    "Ticked",
    "WorkerDied",
    "WorkerReady",
    "WorkerUnfit",
]

RECEIVER = "receiver"


class SweepState(enum.Enum):
    """The desired state of a sweep."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"


SWEEP_TRANSITIONS: Mapping[SweepState, frozenset[SweepState]] = {
    # A person may take anything back, and of two changes the second alone may be heard of.
    SweepState.RUNNING: frozenset({SweepState.PAUSED, SweepState.CANCELLED}),
    SweepState.PAUSED: frozenset({SweepState.RUNNING, SweepState.CANCELLED}),
    SweepState.CANCELLED: frozenset({SweepState.RUNNING, SweepState.PAUSED}),
}
"""What may become of a sweep as a node knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFacts:
    """What a sweep's control record of this `version` says.

    `code` is the bundle's sha256, "" for none. What an older version says is old news: two threads
    read control records, so it may come later.
    """

    sweep: str
    version: int = 0
    state: SweepState = SweepState.RUNNING
    priority: int = 0
    code: str = ""
    time_s: float | None = None
    memory_bytes: int | None = None
    attempts: int = 3
    retry_on: tuple[str, ...] = ("lost", "timeout")
    run_time_s: float | None = None
    max_failures: str | int | None = None


@dataclass(frozen=True, slots=True)
class ControlsRead:
    """The sweeps this node serves, as their control records stood when they were read.

    The read began at `read_at` (the monotonic clock of `now`; by default it is as good as new).
    `resting` are in the home too; their records were not looked at this time.
    """

    sweeps: tuple[SweepFacts, ...]
    read_at: float = math.inf
    resting: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SweepPrepared:
    """A sweep's declaration and code lie unpacked on this machine; it has `total` runs."""

    sweep: str
    code: str
    total: int


@dataclass(frozen=True, slots=True)
class PreparationFailed:
    """A sweep's declaration or code could not be had; `fatal`: trying again will not help."""

    sweep: str
    reason: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class ReceiveEnded:
    """The receive that was asked for came back; `problem` is "" or why it failed.

    `sweeps` are the sweeps of the messages as their control records stood after the receive;
    `unread` are those whose record could not be read then.
    """

    messages: tuple[Message, ...] = ()
    problem: str = ""
    sweeps: tuple[SweepFacts, ...] = ()
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MessageSetAside:
    """A message was released or put in quarantine; `problem` is "" or why it failed."""

    lease: Lease
    problem: str = ""


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker imported its target and waits for work."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkerUnfit:
    """A worker could not start, or its target cannot be imported or called; it is gone."""

    worker: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMade:
    """Final results of `runs` lie in the outbox under `block`.

    `chunk` is None for what the agent recorded itself. `size_bytes` is the length of the text,
    `opened_bytes` what the block takes in memory where it is read, `busy_s` the time the worker
    took for these runs. `retries` ended without a final result.
    """

    sweep: str
    epoch: int
    block: int
    runs: RunSet
    digest: str
    size_bytes: int
    worker: int | None = None
    chunk: int | None = None
    busy_s: float = 0.0
    opened_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ChunkEnded:
    """A worker is through with a chunk; runs it did not report were not started, or `retries`."""

    worker: int
    chunk: int
    retries: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDied:
    """A worker process ended. `run` is what it was in (None: between runs), `exit` how it ended."""

    worker: int
    exit: str
    run: int | None = None
    attempt: int = 1
    started_s: float = 0.0
    duration_s: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DeliveryAcknowledged:
    """The result queue holds the delivery durably."""

    delivery: str


@dataclass(frozen=True, slots=True)
class DeliveryRefused:
    """The delivery was not taken. `away`: queue or storage cannot be reached for now."""

    delivery: str
    reason: str
    away: bool


@dataclass(frozen=True, slots=True)
class JobDeleted:
    """A delete was answered."""

    job: int
    status: AnswerStatus
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobReplaced:
    """A replace was answered; `leases` as in the port, one a replacement."""

    job: int
    status: AnswerStatus
    leases: tuple[Lease | None, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PiecesSent:
    """What was cut off a job was sent (OK: every piece), or not."""

    job: int
    status: AnswerStatus
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """A lease could not be renewed: others may have the job."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class LeaseExpiring:
    """A lease nears the end of what a receive is good for: it can be renewed only a little longer.

    What is left of the job must be put in its place before.
    """

    lease: Lease


@dataclass(frozen=True, slots=True)
class CoverageRead:
    """The stored results of a sweep were looked at, or could not be (then nothing is `covered`).

    `covered`: epoch and runs with a final result at that epoch in a shard with a manifest. The look
    began at `looked_at` (the monotonic clock of `now`).
    """

    sweep: str
    looked_at: float
    covered: tuple[tuple[int, RunSet], ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """Which run a worker is in, and for how long."""

    worker: int
    run: int
    attempt: int
    running_s: float


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed. `room`: the outbox takes more results."""

    progress: tuple[Progress, ...] = ()
    room: bool = True


@dataclass(frozen=True, slots=True)
class SweepsCompleted:
    """Every run of these sweeps has a final result: sweep, highest asked epoch, number of runs.

    True of what was asked for when it was read (`looked_at`: monotonic seconds when that began):
    later a run may be appended, or a shard lost and its runs sent again.
    """

    sweeps: tuple[tuple[str, int, int], ...]
    looked_at: float


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """Stop receiving, finish what runs within the grace, deliver, give the rest back, end.

    `status` and `message` are what the node ends with.
    """

    status: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Give back what can be at once and end now."""


@dataclass(frozen=True, slots=True)
class PartDied:
    """A thread of the agent ended with an error: the node gives its work back and ends.

    What the `RECEIVER` was asked for is not answered any more.
    """

    part: str
    reason: str


Event = (
    ControlsRead
    | SweepPrepared
    | PreparationFailed
    | ReceiveEnded
    | MessageSetAside
    | WorkerReady
    | WorkerUnfit
    | BlockMade
    | ChunkEnded
    | WorkerDied
    | DeliveryAcknowledged
    | DeliveryRefused
    | JobDeleted
    | JobReplaced
    | PiecesSent
    | LeaseLost
    | LeaseExpiring
    | CoverageRead
    | Ticked
    | SweepsCompleted
    | DrainAsked
    | StopAsked
    | PartDied
)
