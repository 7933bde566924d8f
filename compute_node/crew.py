"""The workers of a node: what each is for and does, and whom to start or let go.

    STARTING -> READY -> LEAVING (asked to exit, or killed) -> gone
        |         |                                             ^
        +---------+------------------ died ---------------------+

A worker keeps its slot until its process is known to be gone.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compute_node.commands import Deployment, RetireWorker, StartWorker

__all__ = ["TRANSITIONS", "Crew", "Demand", "WorkerInHand", "WorkerStatus"]


class WorkerStatus(enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"


TRANSITIONS: Mapping[WorkerStatus, frozenset[WorkerStatus]] = {
    WorkerStatus.STARTING: frozenset({WorkerStatus.READY, WorkerStatus.LEAVING}),
    WorkerStatus.READY: frozenset({WorkerStatus.LEAVING}),
    WorkerStatus.LEAVING: frozenset(),
}
"""What may become of a worker; it may be gone from any of them."""


@dataclass(slots=True)
class WorkerInHand:
    """A worker process; `chunks` are the keys of its chunks in the order it does them.

    `killed`: by this node; `overran` is then the run and attempt that took too long, if one did.
    `held_up`: it is in a long run, so nothing shall wait behind it.
    """

    worker: int
    deployment: Deployment
    status: WorkerStatus = WorkerStatus.STARTING
    chunks: list[int] = field(default_factory=list)
    killed: bool = False
    overran: tuple[int, int] | None = None
    held_up: bool = False

    def become(self, status: WorkerStatus) -> None:
        """Change its status."""
        assert status in TRANSITIONS[self.status], (self.status, status)
        self.status = status

    @property
    def idle(self) -> bool:
        """Tell whether it is ready and has no chunk."""
        return self.status is WorkerStatus.READY and not self.chunks


@dataclass(frozen=True, slots=True)
class Demand:
    """How many more workers a sweep could use now, besides those that are busy."""

    deployment: Deployment
    workers: int


class Crew:
    """The workers of a node, at most `slots` at a time."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.workers: dict[int, WorkerInHand] = {}
        self._next = 1

    @property
    def idle_count(self) -> int:
        """Count slots that do nothing: free ones and idle workers."""
        busy = sum(
            1
            for each in self.workers.values()
            if each.chunks or each.status is WorkerStatus.LEAVING
        )
        return max(0, self.slots - busy)

    def serving(self, sweep: str) -> list[WorkerInHand]:
        """Give the workers of a sweep that are not leaving."""
        return [
            each
            for each in self.workers.values()
            if each.deployment.sweep == sweep and each.status is not WorkerStatus.LEAVING
        ]

    def retire_idle(self, current: Sequence[Deployment]) -> list[RetireWorker]:
        """Let idle workers go that were started for what is outdated."""
        commands = []
        for each in self.workers.values():
            if each.idle and each.deployment not in current:
                each.become(WorkerStatus.LEAVING)
                commands.append(RetireWorker(each.worker))
        return commands

    def staff(self, demands: Sequence[Demand]) -> list[StartWorker | RetireWorker]:
        """Start workers for the demands, the first demand first; idle ones of others make room."""
        commands: list[StartWorker | RetireWorker] = []
        wanted = {demand.deployment for demand in demands if demand.workers > 0}
        for demand in demands:
            spare = sum(
                1
                for each in self.workers.values()
                if each.deployment == demand.deployment
                and (each.idle or (each.status is WorkerStatus.STARTING and not each.chunks))
            )
            lacking = demand.workers - spare
            leaving = sum(
                1 for each in self.workers.values() if each.status is WorkerStatus.LEAVING
            )
            while lacking > 0 and len(self.workers) < self.slots:
                worker = WorkerInHand(self._next, demand.deployment)
                self._next += 1
                self.workers[worker.worker] = worker
                commands.append(StartWorker(worker.worker, demand.deployment))
                lacking -= 1
            lacking -= leaving
            for each in self.workers.values():
                if lacking <= 0:
                    break
                if each.idle and each.deployment not in wanted:
                    each.become(WorkerStatus.LEAVING)
                    commands.append(RetireWorker(each.worker))
                    lacking -= 1
        return commands
