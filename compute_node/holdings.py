"""What a node holds while it decides, and the small steps its decisions are made of."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from compute_node.commands import (
    Command,
    Exit,
    ForgetBlocks,
    KillWorker,
    PutQuarantine,
    ReleaseJob,
    Warn,
    WithdrawChunks,
)
from compute_node.crew import Crew, WorkerInHand, WorkerStatus
from compute_node.deliveries import Deliveries
from compute_node.events import SweepFacts, SweepState
from compute_node.jobs_in_hand import ChunkInHand, JobInHand, Lane
from compute_node.rules import NodeRules
from compute_node.sweeps_in_hand import SweepInHand
from queueing.port import Lease, Message

__all__ = ["TRANSITIONS", "Holdings", "Mode"]

_LONGEST_UNFIT_S = 900.0


class Mode(enum.Enum):
    """Where the node is in its life."""

    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    ENDED = "ended"


TRANSITIONS: Mapping[Mode, frozenset[Mode]] = {
    # To ENDED at once: with nothing in hand.
    Mode.RUNNING: frozenset({Mode.DRAINING, Mode.STOPPING, Mode.ENDED}),
    Mode.DRAINING: frozenset({Mode.STOPPING, Mode.ENDED}),
    Mode.STOPPING: frozenset({Mode.STOPPING, Mode.ENDED}),
    Mode.ENDED: frozenset(),
}
"""What one event may make of a node."""


class Holdings:
    """Everything a node knows; `_out` gathers the commands of the event at hand."""

    def __init__(self, rules: NodeRules) -> None:
        self.rules = rules
        self.mode = Mode.RUNNING
        self.sweeps: dict[str, SweepInHand] = {}
        self.crew = Crew(rules.workers)
        self.deliveries = Deliveries(
            node=rules.node,
            new_id=self._new_id,
            most_bytes=rules.most_message_bytes,
            linger_s=rules.linger_s,
            most_in_flight=rules.most_in_flight,
        )
        self._out: list[Command] = []
        self._ids = 0
        self._next_key = 1
        self._receiving = False
        self._asked: tuple[str, ...] = ()
        self._receive_at = 0.0
        self._receive_tries = 0
        self._setting_aside = 0
        self._job_runs = 0.0
        self._room = True
        self._idle_since: float | None = None
        self._found_nothing = False
        self._end_at = 0.0
        self._ending = Exit(0)

    def _enter(self, mode: Mode) -> None:
        assert mode in TRANSITIONS[self.mode], (self.mode, mode)
        self.mode = mode

    def _drain(self, now: float, ending: Exit) -> None:
        self._enter(Mode.DRAINING)
        self._ending = ending
        self._end_at = now + self.rules.grace_s
        self.deliveries.hurry()
        for name in self.sweeps:
            self._withdraw(name)

    def _exit(self, ending: Exit) -> None:
        self._enter(Mode.ENDED)
        self._out.append(ending)

    def _withdraw(self, sweep: str) -> None:
        for worker in self.crew.serving(sweep):
            if worker.chunks:
                self._out.append(WithdrawChunks(worker.worker))

    def _kill(self, worker: WorkerInHand) -> None:
        worker.killed = True
        if worker.status is not WorkerStatus.LEAVING:
            worker.become(WorkerStatus.LEAVING)
        self._out.append(KillWorker(worker.worker))

    def _kill_all(self) -> None:
        for worker in self.crew.workers.values():
            if not worker.killed:
                self._kill(worker)

    def _learn(self, facts: SweepFacts) -> None:
        """Take in what is wanted of a sweep, unless something newer is known."""
        known = self.sweeps.get(facts.sweep)
        if known is None:
            self.sweeps[facts.sweep] = known = SweepInHand(facts)
        elif facts.version < known.facts.version:
            return
        elif known.facts != facts:
            left = known.facts.state is SweepState.RUNNING
            known.learn(facts)
            known.wake()
            if facts.state is SweepState.PAUSED and left:
                self._withdraw(facts.sweep)
        if facts.state is SweepState.CANCELLED:
            self._drop_sweep(known)

    def _drop_sweep(self, sweep: SweepInHand) -> None:
        for worker in self.crew.workers.values():
            if worker.deployment.sweep == sweep.facts.sweep:
                # Those that are leaving as well: what a worker has is in a lane too.
                worker.chunks.clear()
        for worker in self.crew.serving(sweep.facts.sweep):
            self._kill(worker)
        for lane in sweep.lanes.values():
            lane.forget()
        self._forget_deliveries(sweep.facts.sweep)

    def _forget_deliveries(self, sweep: str) -> None:
        dropped = self.deliveries.drop(sweep)
        if dropped:
            self._out.append(ForgetBlocks(dropped))

    def _unfit(self, sweep: SweepInHand, text: str, now: float) -> None:
        if now < sweep.unfit_until:
            return
        doubled_s = 2 * sweep.unfit_s or self.rules.unfit_delay_s
        sweep.unfit_s = min(_LONGEST_UNFIT_S, doubled_s)
        sweep.unfit_until = now + sweep.unfit_s
        sweep.unfit_text = f"this node cannot run sweep {sweep.facts.sweep}: {text}"
        self._out.append(Warn(sweep.unfit_text))
        self._withdraw(sweep.facts.sweep)

    def _release(self, lease: Lease, delay_s: float, why: str) -> None:
        self._setting_aside += 1
        self._out.extend((Warn(why), ReleaseJob(lease, delay_s)))

    def _quarantine(self, message: Message, sweep: str, why: str) -> None:
        self._setting_aside += 1
        self._out.extend(
            (
                Warn(f"a message of sweep {sweep} goes to quarantine: {why}"),
                PutQuarantine(message.lease, sweep, message.body, why),
            )
        )

    def _rests(self, sweep: SweepInHand) -> bool:
        return bool(self.rules.rest_s) and sweep.rests(self.rules.rest_after_s)

    def _by_priority(self) -> list[SweepInHand]:
        return sorted(self.sweeps.values(), key=lambda sweep: -sweep.facts.priority)

    def _jobs(self, sweep: SweepInHand) -> list[JobInHand]:
        return [job for lane in sweep.lanes.values() for job in lane.jobs.values()]

    def _job(self, key: int) -> tuple[Lane, JobInHand] | None:
        for sweep in self.sweeps.values():
            for lane in sweep.lanes.values():
                if key in lane.jobs:
                    return lane, lane.jobs[key]
        return None

    def _chunk_of(self, sweep: SweepInHand, key: int) -> tuple[Lane, ChunkInHand]:
        """Give a chunk that a worker of the sweep has, and its lane."""
        lane = next(each for each in sweep.lanes.values() if key in each.chunks)
        return lane, lane.chunks[key]

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self.rules.id_prefix}-{self._ids}"
