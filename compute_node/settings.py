"""What a node is started with."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compute_node.rules import Remainders
from gapless.storage.blobs import Blobs
from queueing.port import Queues

__all__ = ["NodeSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What a node is started with; durations in seconds.

    `sweep_ids` None: every sweep of the home. `receive_wait_s`: how long one receive waits for a
    job; on a remote queue 20, here short, so that a stop need not wait for it. `rest_s`: how often
    a sweep is looked at of which there is nothing to do, where each look is billed (0: as often as
    the others); such is a sweep whose queue was found empty for `rest_after_s`. `memory_bytes` and
    `disk_bytes`: how much of what waits for delivery is kept in memory, and then on disk.
    """

    node_id: str
    blobs: Blobs
    queues: Queues
    work_folder: Path
    sweep_ids: Sequence[str] | None = None
    workers: int = 1
    grace_s: float = 60.0
    idle_exit_s: float | None = None
    until_complete: bool = False
    lease_s: float = 900.0
    receive_wait_s: float = 0.25
    control_s: float = 5.0
    rest_s: float = 0.0
    rest_after_s: float = 600.0
    report_s: float = 30.0
    completeness_s: float = 0.5
    failures_s: float = 2.0
    linger_s: float = 1.0
    decrement_after_s: float = 60.0
    decrement_every_s: float = 60.0
    remainders: Remainders = Remainders.LEASED
    worker_start_s: float = 60.0
    memory_bytes: int = 64 * 2**20
    disk_bytes: int = 2 * 2**30
    clock: Callable[[], float] = time.time
    new_id: Callable[[], str] = field(default=lambda: uuid.uuid4().hex)
