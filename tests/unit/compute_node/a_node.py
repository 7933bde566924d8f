"""A node's state machine with one sweep, fed by hand."""

from __future__ import annotations

from typing import Any

from compute_node.commands import (
    AssignChunk,
    SendDelivery,
    StartWorker,
)
from compute_node.events import (
    BlockMade,
    ChunkEnded,
    ControlsRead,
    DeliveryAcknowledged,
    ReceiveEnded,
    SweepFacts,
    SweepPrepared,
    WorkerReady,
)
from compute_node.rules import NodeRules
from compute_node.state import NodeState
from gapless.declaration.messages import Job, encode_job
from gapless.declaration.runset import RunSet
from queueing.port import Lease, Message

__all__ = ["Node", "S", "span"]

S = "s-00000000"


class Node:
    """A node with one prepared sweep and ready workers; gathers what it commands."""

    def __init__(
        self,
        *,
        workers: int = 1,
        total: int = 10_000,
        rules: dict[str, Any] | None = None,
        **facts: Any,
    ) -> None:
        given = {"node": "n", "id_prefix": "n-1", "workers": workers, "only": (S,)}
        self.state = NodeState(NodeRules(**{**given, **(rules or {})}))
        self.now = 0.0
        self.commands: list[Any] = []
        self.tokens = 0
        self.blocks = 0
        self.facts = {"sweep": S, **facts}
        self.tell(ControlsRead((SweepFacts(**self.facts),)))
        self.tell(SweepPrepared(S, "", total))
        for command in self.all(StartWorker):
            self.tell(WorkerReady(command.worker))
        self.commands.clear()

    def tell(self, event: Any, *, after: float = 0.0) -> list[Any]:
        self.now += after
        got = self.state.handle(event, self.now)
        self.commands += got
        return got

    def all(self, kind: type) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]

    def receive(
        self, *runs: RunSet, deaths: int = 0, count: int = 1, epoch: int = 0
    ) -> list[Lease]:
        messages = []
        for each in runs:
            self.tokens += 1
            job = Job(sweep=S, job=f"j{self.tokens}", runs=each, deaths=deaths, epoch=epoch)
            lease = Lease(f"{S}-jobs", str(self.tokens))
            messages.append(Message(lease, encode_job(job), count))
        self.tell(ReceiveEnded(tuple(messages)))
        return [message.lease for message in messages]

    def make(self, chunk: AssignChunk, runs: RunSet | None = None, busy_s: float = 0.01) -> None:
        """Let a worker report runs of a chunk; the whole chunk ends it."""
        self.blocks += 1
        done = chunk.chunk.runs if runs is None else runs
        self.tell(
            BlockMade(
                sweep=S,
                epoch=chunk.chunk.epoch,
                block=self.blocks,
                runs=done,
                digest="d" * 32,
                size_bytes=100,
                worker=chunk.worker,
                chunk=chunk.chunk.chunk,
                busy_s=busy_s,
            )
        )
        if runs is None:
            self.tell(ChunkEnded(chunk.worker, chunk.chunk.chunk))

    def ready(self) -> None:
        """Let every worker that starts be ready."""
        for started in self.all(StartWorker):
            self.commands.remove(started)
            self.tell(WorkerReady(started.worker))

    def finish(self, *, busy_s: float = 0.01) -> None:
        """Do every chunk that is assigned, until there is none."""
        while chunks := self.all(AssignChunk):
            self.commands.remove(chunks[0])
            self.make(chunks[0], busy_s=busy_s)

    def acknowledge(self) -> None:
        for sent in self.all(SendDelivery):
            self.commands.remove(sent)
            self.tell(DeliveryAcknowledged(sent.delivery.delivery))


def span(start: int, stop: int) -> RunSet:
    return RunSet.span(start, stop)
