"""Nodes that keep what they should let go, for `test_bites`: the simulator must find every one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from compute_node import job_changes
from compute_node.commands import Command, DeleteJob, ForgetBlocks
from compute_node.events import Event, JobReplaced, PiecesSent, ReceiveEnded, SweepsCompleted
from compute_node.jobs_in_hand import Intent
from compute_node.state import NodeState
from gapless.storage import layout
from queueing.port import AnswerStatus, Entry, Message
from tests.simulator.nodes import SimNode
from tests.simulator.plan import Plan
from tests.simulator.truth import since
from tests.simulator.world import World

__all__ = [
    "ForgetsWhatWasCutOff",
    "KeepsItsJobs",
    "KeepsWhatWasDelivered",
    "OverlooksWhatIsStored",
    "ReceivesTwice",
]


class _CutOffIsDone(NodeState):
    """Takes what was cut off a job for done in every other job that names it too."""

    def _pieces_sent(self, event: PiecesSent, now: float) -> None:
        _, job = self._job(event.job)
        if job is not None and event.status is AnswerStatus.OK:
            job_changes.cut_off(job, now)
        else:
            super()._pieces_sent(event, now)

    def _job_replaced(self, event: JobReplaced, now: float) -> None:
        _, job = self._job(event.job)
        held = event.leases[0] if event.leases else None
        worked_on = job is not None and job.intent is Intent.WORK
        if job is not None and worked_on and event.status is AnswerStatus.OK and held is not None:
            job_changes.held_again(job, held, now)
        else:
            super()._job_replaced(event, now)


class ReceivesTwice(SimNode):
    """No bug: while there are faults its queue delivers each job at once a second time."""

    def __init__(self, world: World, name: str, *, lease_s: float, plan: Plan) -> None:
        super().__init__(world, name, lease_s=lease_s, plan=plan)
        self.doubled: set[str] = set()

    def received(self, messages: Sequence[Message], at: float) -> None:
        super().received(messages, at)
        for message in messages:
            body = message.body
            known = self.doubled
            if (
                self.world.faults
                and self.queues.inner.has(message.lease.queue)
                and body not in known
            ):
                known.add(body)
                self.queues.inner.send(message.lease.queue, [Entry(body)])


class ForgetsWhatWasCutOff(ReceivesTwice):
    """Has two jobs of the same runs, cuts one up, and never does the other's."""

    def start(self) -> None:
        super().start()
        self.state = _CutOffIsDone(self.state.rules)


class KeepsItsJobs(SimNode):
    """Never deletes a job, whatever is done or stored of it, and renews its lease."""

    def perform(self, command: Command) -> None:
        if not isinstance(command, DeleteJob):
            super().perform(command)

    def tell(self, event: Event) -> None:
        if not isinstance(event, SweepsCompleted):
            super().tell(event)


class OverlooksWhatIsStored(SimNode):
    """Passes over a job whose runs are all stored, and renews its lease."""

    def tell(self, event: Event) -> None:
        if isinstance(event, ReceiveEnded):
            left = tuple(each for each in event.messages if not self._stored(each))
            event = dataclasses.replace(event, messages=left)
        super().tell(event)

    def _stored(self, message: Message) -> bool:
        truth, queue = self.knowledge.truth, message.lease.queue
        stored = truth.sweeps[layout.sweep_id_of(queue)].stored()
        held = truth.held_by(queue, message.body)
        return all(not runs & ~since(stored, epoch) for epoch, runs in held.items())


class KeepsWhatWasDelivered(SimNode):
    """Never takes from its disk what was delivered."""

    def perform(self, command: Command) -> None:
        if not isinstance(command, ForgetBlocks):
            super().perform(command)
