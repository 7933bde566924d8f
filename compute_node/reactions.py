"""What each event changes in what a node holds.

Nothing here decides about work: that follows for all events alike, in `state`. Events of jobs and
of workers have modules of their own; here is what concerns sweeps, deliveries and the node itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from compute_node.commands import Exit, ForgetBlocks, PutQuarantine, Warn
from compute_node.events import (
    RECEIVER,
    BlockMade,
    ChunkEnded,
    ControlsRead,
    CoverageRead,
    DeliveryAcknowledged,
    DeliveryRefused,
    DrainAsked,
    Event,
    JobDeleted,
    JobReplaced,
    LeaseExpiring,
    LeaseLost,
    MessageSetAside,
    PartDied,
    PiecesSent,
    PreparationFailed,
    ReceiveEnded,
    StopAsked,
    SweepFacts,
    SweepPrepared,
    SweepsCompleted,
    SweepState,
    Ticked,
    WorkerDied,
    WorkerReady,
    WorkerUnfit,
)
from compute_node.holdings import Mode
from compute_node.job_reactions import JobReactions
from compute_node.rules import NodeRules
from compute_node.sweeps_in_hand import SweepInHand
from compute_node.worker_reactions import WorkerReactions
from gapless.declaration.messages import encode_job
from gapless.pauses import pause_s

__all__ = ["Reactions"]


class Reactions(JobReactions, WorkerReactions):
    """One method an event."""

    def __init__(self, rules: NodeRules) -> None:
        super().__init__(rules)
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            ControlsRead: self._controls_read,
            SweepPrepared: self._sweep_prepared,
            PreparationFailed: self._preparation_failed,
            ReceiveEnded: self._receive_ended,
            MessageSetAside: self._message_set_aside,
            WorkerReady: self._worker_ready,
            WorkerUnfit: self._worker_unfit,
            BlockMade: self._block_made,
            ChunkEnded: self._chunk_ended,
            WorkerDied: self._worker_died,
            DeliveryAcknowledged: self._delivery_acknowledged,
            DeliveryRefused: self._delivery_refused,
            JobDeleted: self._job_deleted,
            JobReplaced: self._job_replaced,
            PiecesSent: self._pieces_sent,
            LeaseLost: self._lease_lost,
            LeaseExpiring: self._lease_expiring,
            CoverageRead: self._coverage_read,
            Ticked: self._ticked,
            SweepsCompleted: self._sweeps_completed,
            DrainAsked: self._drain_asked,
            StopAsked: self._stop_asked,
            PartDied: self._part_died,
        }

    def react(self, event: Event, now: float) -> None:
        """Take one event in."""
        self._handlers[type(event)](event, now)

    def _controls_read(self, event: ControlsRead, now: float) -> None:
        listed = {facts.sweep for facts in event.sweeps} | event.resting
        for facts in event.sweeps:
            self._learn(facts)
            self.sweeps[facts.sweep].looked_at = now
            self._begin_waiting(facts.sweep, known_at=event.read_at)
        for name, sweep in self.sweeps.items():
            if name not in listed and sweep.facts.state is SweepState.RUNNING:
                sweep.learn(_paused(sweep))
                self._withdraw(name)

    def _sweep_prepared(self, event: SweepPrepared, _now: float) -> None:
        sweep = self.sweeps[event.sweep]
        sweep.preparing = False
        sweep.prepare_tries = 0
        sweep.total = event.total
        sweep.prepared_code = event.code
        for job in self._jobs(sweep):
            # A job that came while the files were fetched may be of runs added since: the sweep is
            # then fetched again before it is judged.
            beyond = job.greatest >= event.total and job.key in sweep.doubted
            if beyond and not job.changing:
                self._out.append(
                    PutQuarantine(
                        job.lease,
                        event.sweep,
                        encode_job(job.job),
                        f"run {job.greatest} of a sweep of {event.total} runs",
                    )
                )
                self._setting_aside += 1
                sweep.lanes[job.job.epoch].remove(job.key)

    def _preparation_failed(self, event: PreparationFailed, now: float) -> None:
        sweep = self.sweeps[event.sweep]
        sweep.preparing = False
        sweep.prepare_tries += 1
        sweep.prepare_at = now + pause_s(sweep.prepare_tries, who=self.rules.id_prefix, first_s=1.0)
        if event.fatal:
            self._unfit(sweep, event.reason, now)

    def _delivery_acknowledged(self, event: DeliveryAcknowledged, _now: float) -> None:
        name, blocks = self.deliveries.acknowledged(event.delivery)
        for lane in self.sweeps[name].lanes.values():
            lane.acknowledge(blocks)
        self._out.append(ForgetBlocks(blocks))

    def _delivery_refused(self, event: DeliveryRefused, now: float) -> None:
        name = self.deliveries.refused(event.delivery, away=event.away, now=now)
        if self.sweeps[name].facts.state is SweepState.CANCELLED:
            # It was on its way when the sweep was cancelled: sending it again would make the
            # sweep's queue anew.
            self._forget_deliveries(name)

    def _drain_asked(self, event: DrainAsked, now: float) -> None:
        if self.mode is not Mode.RUNNING:
            return
        self._drain(now, Exit(event.status, event.message))

    def _part_died(self, event: PartDied, now: float) -> None:
        text = f"the node's {event.part} ended with an error: {event.reason}"
        self._out.append(Warn(text))
        if event.part == RECEIVER:
            self._receiving = False
        if self.mode is Mode.RUNNING:
            self._drain(now, Exit(1, text))
        else:
            self._ending = Exit(1, text)

    def _stop_asked(self, _event: StopAsked, now: float) -> None:
        self._enter(Mode.STOPPING)
        self._end_at = now + self.rules.stop_s
        self._kill_all()
        for sweep in self.sweeps.values():
            for job in self._jobs(sweep):
                job.try_at = 0.0


def _paused(sweep: SweepInHand) -> SweepFacts:
    # It is not in the home now; should it come back, its versions may begin anew.
    return dataclasses.replace(sweep.facts, state=SweepState.PAUSED, version=-1)
