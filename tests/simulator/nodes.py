"""A node of the world: the real state machine, errands and outbox; its workers are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from compute_node.commands import (
    AssignChunk,
    Command,
    DeleteJob,
    Exit,
    ForgetBlocks,
    KillWorker,
    LetGo,
    PrepareSweep,
    PutQuarantine,
    ReadCoverage,
    ReceiveJobs,
    RecordLost,
    ReleaseJob,
    ReplaceJob,
    RetireWorker,
    SendDelivery,
    SendPieces,
    StartWorker,
    StoreClaim,
    Warn,
    WithdrawChunks,
)
from compute_node.errands import Errands
from compute_node.events import (
    ControlsRead,
    CoverageRead,
    DrainAsked,
    Event,
    LeaseExpiring,
    LeaseLost,
    PreparationFailed,
    SweepPrepared,
    SweepsCompleted,
    SweepState,
    Ticked,
    WorkerReady,
)
from compute_node.lost_runs import lost_block
from compute_node.outbox import Outbox
from compute_node.output import Output
from compute_node.rules import NodeRules
from compute_node.state import NodeState
from compute_node.watches import CompletenessWatch, CoverageWatch, read_controls
from gapless.errors import GaplessError
from gapless.storage.sweeps import SweepStore
from queueing.port import MAX_LEASE_S, Lease
from tests.simulator.plan import Plan
from tests.simulator.ports import AgedRenewals, FaultyBlobs, FaultyQueues
from tests.simulator.workers import Worker, Workers
from tests.simulator.world import Crash, Lane, Violation, World

__all__ = ["SimNode"]

_CRASH = 0.0005
_TICK_S = 1.0
_CONTROL_S = 5.0
_COMPLETENESS_S = 7.0
_LANES = ("receive", "send", "send2", "change", "prepare", "control", "watch", "renew", "look")
_NOWHERE = Path("/nonexistent/never-written")


class SimNode(Workers):
    """Starts at once, and again some time after each death."""

    def __init__(self, world: World, name: str, *, lease_s: float, plan: Plan) -> None:
        super().__init__(world, name, plan)
        self.lease_s = lease_s
        self.queues: FaultyQueues
        self.blobs: FaultyBlobs

    def start(self) -> None:
        """Begin a life."""
        world = self.world
        world.log(f"{self.name} starts")
        self.main = self.inbox = Lane(self)
        self.lanes = {name: Lane(self) for name in _LANES}
        self.workers, self.seeds = {}, {}
        rules = NodeRules(
            node=self.name,
            id_prefix=f"{self.name}-{world.new_id()}",
            workers=world.random.randrange(1, 4),
            lease_s=self.lease_s,
            grace_s=10.0,
            farewell_s=10.0,
            decrement_after_s=self.lease_s / 4,
            decrement_every_s=self.lease_s / 4,
            remainders=self.plan.remainders,
            split_above_s=world.random.choice((0.5, 600.0)),
            split_keep_s=0.5,
            rest_s=self.plan.rest_s,
            rest_after_s=self.plan.rest_after_s,
            most_message_bytes=world.random.choice((900, 2500, 1_000_000)),
        )
        self.state = NodeState(rules)
        self.outbox = Outbox(_NOWHERE)
        self.renewals = AgedRenewals(
            self.queues,
            lease_s=self.lease_s,
            on_lost=self.lost,
            on_expiring=self.expiring,
            monotonic=world.clock,
            aged_s=self.plan.aged_s,
        )
        self.errands = Errands(
            blobs=self.blobs,
            queues=self.queues,
            keeper=self.renewals,  # type: ignore[arg-type] # hold and drop are all it needs
            outbox=self.outbox,
            work_folder=_NOWHERE,
            lease_s=self.lease_s,
            wait_s=0.0,
        )
        self.files = SweepStore(self.blobs)
        self.coverage = CoverageWatch(self.blobs)
        self.completeness = CompletenessWatch(self.files, self.blobs)
        self.lanes["renew"].at(0.001, self._renew)
        self.lanes["control"].at(0.001, self._read_controls)
        self.lanes["watch"].at(_COMPLETENESS_S, self._watch_completeness)
        self.main.at(0.001, self._tick)

    def died(self) -> None:
        """Start again after a while."""
        self.frozen_until = 0.0
        self.start_later(1.0)

    def stop(self) -> None:
        """Ask it to drain, as SIGTERM does."""
        self.tell(DrainAsked())

    def tell(self, event: Event) -> None:
        """Let the state machine hear of an event soon."""
        self.inbox.after_others(0.001, lambda: self._handle(event))

    def _handle(self, event: Event) -> None:
        self.renewals.beat()
        for command in self.state.handle(event, self.world.now):
            if self.world.chance(_CRASH):
                raise Crash
            self.perform(command)

    def perform(self, command: Command) -> None:  # noqa: C901, PLR0912
        """Do a command, in its lane; a planted bug overrides this."""
        match command:
            case ReceiveJobs():
                self._do("receive", 0.5, lambda: [self.errands.receive(command, lambda _: None)])
            case PrepareSweep():
                self._do("prepare", 1.0, lambda: [self._prepare(command)])
            case SendDelivery() | StoreClaim():
                lane = self.world.random.choice(("send", "send2"))
                self._do(lane, 0.3, lambda: [self.deliver(command)])
            case ReadCoverage():
                self._do("look", 1.0, lambda: [self.look(command)])
            case DeleteJob():
                self._do("change", self._slow(), lambda: self.errands.delete([command]))
            case ReplaceJob():
                self._do("change", self._slow(), lambda: [self.errands.replace(command)])
            case SendPieces():
                self._do("change", self._slow(), lambda: [self.errands.send_pieces(command)])
            case ReleaseJob():
                self._do("change", 0.2, lambda: [self.errands.release(command)])
            case PutQuarantine():
                self._do("change", 0.2, lambda: [self.errands.quarantine(command)])
            case ForgetBlocks(blocks=blocks):
                self.outbox.forget(blocks)
            case LetGo(lease=lease):
                self.renewals.drop(lease)
            case StartWorker(worker=worker, deployment=deployment):
                self.workers[worker] = Worker(deployment.sweep, deployment.code)
                self.main.at(0.2, lambda: self.if_there(worker, WorkerReady(worker)))
                self.maybe_unfit(worker)
            case AssignChunk(worker=worker, chunk=chunk):
                self.assign(worker, chunk)
            case WithdrawChunks(worker=worker):
                if worker in self.workers:
                    self.workers[worker].withdrawn = True
            case RetireWorker(worker=worker):
                self.end_worker(worker, "exit status 0")
            case KillWorker(worker=worker):
                self.end_worker(worker, "signal 9")
            case RecordLost():
                self.tell(lost_block(command, Output(), node=self.name, outbox=self.outbox))
            case Warn():
                pass
            case Exit():
                self.world.log(f"{self.name} leaves: status {command.status}")
                self.life += 1
                self.died()

    def deliver(self, command: SendDelivery | StoreClaim) -> Event:
        """Send a delivery; a planted bug overrides this."""
        return self.errands.deliver(command)

    def look(self, command: ReadCoverage) -> Event:
        """Look what is stored; a planted bug overrides this."""
        looked_at = self.world.now
        try:
            return CoverageRead(command.sweep, looked_at, self.coverage.look(command.sweep))
        except GaplessError:
            return CoverageRead(command.sweep, looked_at)

    def lost(self, lease: Lease) -> None:
        """Say that a lease was lost; in a world without faults none may be held to its end."""
        held_s = self.world.now - self.renewals.begun_at[lease]
        if self.world.healed_for_s > held_s >= MAX_LEASE_S - self.plan.aged_s - self.lease_s:
            raise Violation(f"{self.name} held a job of {lease.queue} to the end of its lease")
        self.tell(LeaseLost(lease))

    def expiring(self, lease: Lease) -> None:
        """Say that a lease cannot be renewed much longer; a planted bug overrides this."""
        self.world.log(f"{self.name}: a lease nears its end")
        self.tell(LeaseExpiring(lease))

    def _slow(self) -> float:
        """Give how long a change of a job may take; now and then longer than a lease."""
        return 1.5 * self.lease_s if self.world.chance(0.01) else 0.2

    def _do(self, lane: str, most_s: float, step: Callable[[], Iterable[Event]]) -> None:
        def act() -> None:
            for event in step():
                self.tell(event)

        self.lanes[lane].after_others(self.world.random.random() * most_s, act)

    def _prepare(self, command: PrepareSweep) -> Event:
        try:
            runs = self.files.load(command.sweep).runs
            # As a node does: everything the runs need is here before a worker starts.
            self.seeds[command.sweep] = runs.seeds(runs.all.to_array()).tolist()
        except GaplessError as error:
            return PreparationFailed(command.sweep, str(error))
        return SweepPrepared(command.sweep, command.code, runs.total)

    # What goes on by itself -----------------------------------------------------------------------

    def _tick(self) -> None:
        self.main.at(_TICK_S, self._tick)
        self._handle(Ticked(self.progress()))

    def _renew(self) -> None:
        self.lanes["renew"].at(self.renewals.turn(), self._renew)

    def _read_controls(self) -> None:
        self.lanes["control"].at(_CONTROL_S, self._read_controls)
        try:
            read_at, resting = self.world.now, self.state.resting(self.world.now)
            facts, rested = read_controls(self.files, (), resting=resting)
            self.tell(ControlsRead(facts, read_at, rested))
        except GaplessError:
            self.world.log(f"{self.name} cannot read the home")

    def _watch_completeness(self) -> None:
        self.lanes["watch"].at(_COMPLETENESS_S, self._watch_completeness)
        try:
            served = [
                facts.sweep
                for facts in read_controls(self.files, ())[0]
                if facts.state is not SweepState.CANCELLED
            ]
            found = {sweep: self.completeness.completed(sweep) for sweep in served}
        except GaplessError:
            return
        complete = tuple((sweep, *at) for sweep, at in found.items() if at is not None)
        if complete:
            self.tell(SweepsCompleted(complete))
