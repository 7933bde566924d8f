"""A node of the world: the real state machine, errands and outbox; its workers are made up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from compute_node import node_report
from compute_node.commands import (
    AssignChunk,
    Chunk,
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
    JobDeleted,
    JobReplaced,
    LeaseExpiring,
    LeaseLost,
    PiecesSent,
    PreparationFailed,
    ReceiveEnded,
    SweepPrepared,
    SweepsCompleted,
    SweepState,
    Ticked,
    WorkerReady,
)
from compute_node.failure_watch import FailureWatch
from compute_node.jobs_in_hand import Intent
from compute_node.lost_runs import lost_block
from compute_node.outbox import Outbox
from compute_node.output import Output
from compute_node.rules import NodeRules
from compute_node.state import NodeState
from compute_node.watches import CompletenessWatch, CoverageWatch, read_controls
from gapless.errors import GaplessError
from gapless.storage.blobs import Blob
from gapless.storage.sweeps import SweepStore
from queueing.port import MAX_LEASE_S, Lease, Message
from tests.simulator.faults import Fault
from tests.simulator.in_hand import check_all_is_done, still_held
from tests.simulator.knowledge import Knowledge, Listed
from tests.simulator.plan import Plan
from tests.simulator.ports import AgedRenewals, FaultyBlobs, FaultyQueues
from tests.simulator.workers import Worker, Workers
from tests.simulator.world import Crash, Lane, Violation, World

__all__ = ["SimNode"]

_CRASH = 0.0005
_NO_ROOM_BYTES = 1_500
_LANES = (
    *("receive", "send", "send2", "change", "prepare", "look"),
    *("control", "watch", "failures", "report", "renew"),
)
_OF_SLOW_THREADS = ReceiveEnded | JobReplaced | JobDeleted | PiecesSent | CoverageRead
_NOWHERE = Path("/nonexistent/never-written")


class SimNode(Workers):
    """Starts at once, and again some time after each death."""

    def __init__(self, world: World, name: str, *, lease_s: float, plan: Plan) -> None:
        super().__init__(world, name, plan)
        self.lease_s = lease_s
        self.queues: FaultyQueues
        self.blobs: FaultyBlobs
        self.work = _NOWHERE

    def start(self) -> None:
        """Begin a life."""
        world = self.world
        world.log(f"{self.name} starts")
        self.alive = True
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
            barren_deaths=world.dice("rules").choice((2, 5)),
            split_above_s=world.random.choice((0.5, 600.0)),
            split_keep_s=0.5,
            rest_s=self.plan.rest_s,
            rest_after_s=self.plan.rest_after_s,
            most_message_bytes=world.random.choice((900, 2500, 1_000_000)),
            only=tuple(each.id for each in self.plan.sweeps) if self.plan.leave else (),
            idle_exit_s=self.plan.pace.reconcile if self.plan.leave else None,
        )
        self.state = NodeState(rules)
        self.knowledge = Knowledge(self.blobs.inner.truth)
        # As in production: a folder of this life's own, whatever earlier ones left beside it.
        self.folder = self.work / "nodes" / rules.id_prefix
        self.outbox = (
            Outbox(self.folder, memory_bytes=0, disk_bytes=_NO_ROOM_BYTES, free_bytes=0)
            if self.plan.on_disk
            else Outbox(_NOWHERE)
        )
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
            work_folder=self.work,
            lease_s=self.lease_s,
            wait_s=0.0,
        )
        self.files = SweepStore(self.blobs)
        self.coverage = CoverageWatch(self.blobs)
        self.completeness = CompletenessWatch(self.files, self.blobs)
        self.lanes["renew"].at(0.001, self._renew)
        self.lanes["control"].at(0.001, self._read_controls)
        self.lanes["watch"].at(self.plan.pace.look, self._watch_completeness)
        if self.plan.max_failures is not None:
            self.failures = FailureWatch(self.files, self.blobs, self.clock)
            self.lanes["failures"].at(self.plan.pace.control, self._watch_failures)
        if self.plan.remote:
            # Where queues can be looked into nobody reads what nodes say they have in hand.
            self.lanes["report"].at(self.plan.pace.report, self._report)
        self.main.at(0.001, self._tick)

    def died(self) -> None:
        """Start again after a while, with or without the disk of this life."""
        self.alive, self.frozen_until = False, 0.0
        if self.plan.on_disk:
            if self.world.fault(Fault.DISK_LOST, 0.5):
                self.world.log(f"the disk of {self.name} is lost")
                shutil.rmtree(self.work, ignore_errors=True)
            elif self.work.exists():
                self.world.happens(Fault.DISK_KEPT)
        self.start_later(1.0)

    def received(self, messages: Sequence[Message], at: float) -> None:
        """Note what a receive at that moment brought."""
        self.knowledge.received(messages, at)
        if self.plan.calm:
            for message in messages:
                self.knowledge.truth.job_received(message.lease.queue, message.body, at)

    def listed_controls(self, prefix: str, found: Sequence[Blob], at: float) -> None:
        """Note which control records of a sweep there were at that moment."""
        self.knowledge.listed_controls(prefix, found, at)

    def begins(self, chunk: Chunk, run: int, attempt: int) -> None:
        """Check that an attempt is no needless one."""
        if self.plan.calm:
            self.knowledge.truth.attempt_begins(
                chunk.sweep,
                epoch=chunk.epoch,
                run=run,
                attempt=attempt,
                at=self.world.now,
                kept_s=self.plan.kept_s,
            )

    def stop(self) -> None:
        """Ask it to drain, as SIGTERM does."""
        self.tell(DrainAsked())

    def tell(self, event: Event) -> None:
        """Let the state machine hear of an event soon."""
        if not self.alive:
            # Its process is gone: a signal, or an answer, reaches nobody.
            return
        act = self._heard(event)
        late = isinstance(event, _OF_SLOW_THREADS) and self.world.fault(
            Fault.HEARD_LATE,
            self.plan.rates.heard_late * (8.0 if isinstance(event, PiecesSent) else 1.0),
        )
        if late:
            delay_s = self.world.dice(Fault.HEARD_LATE).random() ** 2 * self.lease_s
            self.world.log(f"{self.name} hears {type(event).__name__} {delay_s:.1f} s late")
            self.main.at(delay_s, lambda: self.inbox.after_others(0.001, act))
        else:
            self.inbox.after_others(0.001, act)

    def _heard(self, event: Event) -> Callable[[], None]:
        if isinstance(event, ControlsRead | ReceiveEnded):
            listed = dict(self.knowledge.listed)
            return lambda: self._hear(event, listed)
        return lambda: self._handle(event)

    def _hear(self, event: ControlsRead | ReceiveEnded, listed: Listed) -> None:
        self.knowledge.now_told(event.sweeps, listed)
        self._handle(event)

    def _handle(self, event: Event) -> None:
        self.renewals.beat()
        for command in self.state.handle(event, self.world.now):
            if self.world.fault(Fault.CRASH_BETWEEN, _CRASH):
                raise Crash
            self.perform(command)

    def perform(self, command: Command) -> None:  # noqa: C901, PLR0912
        """Do a command, in its lane; a planted bug overrides this."""
        match command:
            case ReceiveJobs():
                self._do("receive", 0.5, lambda: self._receive(command))
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
                slow = self.world.fault(Fault.SLOW_TO_WORKER, self.plan.rates.slow_to_worker)
                start_s = 4.0 if slow else 0.2
                self.main.at(start_s, lambda: self.if_there(worker, WorkerReady(worker)))
                self.maybe_unfit(worker)
            case AssignChunk(worker=worker, chunk=chunk):
                self.knowledge.check(self.name, chunk)
                self.assign(worker, chunk)
            case WithdrawChunks(worker=worker):
                self._slowly(self.withdrawal(worker))
            case RetireWorker(worker=worker):
                self._slowly(lambda: self.end_worker(worker, "exit status 0"), 4.0)
            case KillWorker(worker=worker):
                self._slowly(lambda: self.end_worker(worker, "signal 9"), 4.0)
            case RecordLost():
                self.tell(lost_block(command, Output(), node=self.name, outbox=self.outbox))
            case Warn():
                pass
            case Exit():
                self.world.log(f"{self.name} leaves: status {command.status}")
                if self.plan.leave:
                    self.world.happens(Fault.LEAVES)
                self.outbox.close()
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

    def still_holds(self) -> str:
        """Say what it has not let go; empty: nothing, or it is not alive."""
        if not self.alive:
            return ""
        return still_held(self.state, self.renewals, waiting_bytes=self.outbox.waiting_bytes)

    def halves(self, sweep_id: str) -> bool:
        """Tell whether it has a job of a sweep in hand that is to be halved."""
        sweep = self.state.sweeps.get(sweep_id) if hasattr(self, "state") else None
        return sweep is not None and any(
            job.intent is Intent.HALVE
            for lane in sweep.lanes.values()
            for job in lane.jobs.values()
        )

    def _slowly(self, act: Callable[[], None], often: float = 1.0) -> None:
        """Let a word to a worker take a moment at times."""
        rate = often * self.plan.rates.slow_to_worker
        if not self.world.fault(Fault.SLOW_TO_WORKER, rate):
            act()
            return
        self.main.at(4.0 * self.world.dice(Fault.SLOW_TO_WORKER).random(), act)

    def _slow(self) -> float:
        """Give how long a change of a job may take; now and then longer than a lease."""
        return 1.5 * self.lease_s if self.world.fault(Fault.SLOW_CHANGE, 0.01) else 0.2

    def _do(self, lane: str, most_s: float, step: Callable[[], Iterable[Event]]) -> None:
        life = self.life

        def act() -> None:
            for event in step():
                # What a life began that ended meanwhile tells the next one nothing.
                if self.life == life:
                    self.tell(event)

        self.lanes[lane].after_others(self.world.random.random() * most_s, act)

    def _receive(self, command: ReceiveJobs) -> list[Event]:
        event = self.errands.receive(command, lambda _: None)
        assert isinstance(event, ReceiveEnded)
        if event.messages or event.problem:
            return [event]
        # Nothing came while the long poll lasted; a message sent meanwhile comes at the next.
        self.lanes["receive"].after_others(self.plan.pace.poll, lambda: self.tell(event))
        return []

    def _prepare(self, command: PrepareSweep) -> Event:
        try:
            runs = self.files.load(command.sweep).runs
            # As a node does: everything the runs need is here before a worker starts.
            self.seeds[command.sweep] = runs.seeds(runs.all.to_array()).tolist()
        except GaplessError as error:
            return PreparationFailed(command.sweep, str(error))
        if self.world.fault(Fault.UNFIT, self.plan.unfit / 2):
            return PreparationFailed(command.sweep, "the bundle cannot be unpacked", fatal=True)
        return SweepPrepared(command.sweep, command.code, runs.total)

    # What goes on by itself -----------------------------------------------------------------------

    def _tick(self) -> None:
        self.main.at(self.plan.pace.tick, self._tick)
        room = not self.plan.on_disk or self.outbox.room()
        if not room:
            self.world.happens(Fault.DISK_FULL)
        self._handle(Ticked(self.progress(), room=room))
        check_all_is_done(self.name, self.state)

    def _renew(self) -> None:
        self.lanes["renew"].at(self.renewals.turn(), self._renew)

    def _read_controls(self) -> None:
        self.lanes["control"].at(self.plan.pace.control, self._read_controls)
        try:
            self._tell_controls()
        except GaplessError:
            self.world.log(f"{self.name} cannot read the home")

    def _tell_controls(self) -> None:
        read_at, resting = self.world.now, self.state.resting(self.world.now)
        facts, rested = read_controls(self.files, (), resting=resting)
        self.tell(ControlsRead(facts, read_at, rested))

    def _watch_failures(self) -> None:
        self.lanes["failures"].at(self.plan.pace.control, self._watch_failures)
        for name, sweep in list(self.state.sweeps.items()):
            if sweep.facts.max_failures is None or sweep.facts.state is not SweepState.RUNNING:
                continue
            try:
                if self.failures.look(name):
                    self.world.happens(Fault.PAUSED_ITSELF)
                    self.world.log(f"{self.name}: {name} pauses itself")
                    # As a node does: it does not wait until the control watch comes round.
                    self._tell_controls()
            except GaplessError:
                self.world.log(f"{self.name} cannot count the failures of {name}")

    def _report(self) -> None:
        self.lanes["report"].at(self.plan.pace.report, self._report)
        report = node_report.encode(
            self.state,
            node=self.name,
            heard_at_s=self.clock(),
            waiting_bytes=self.outbox.waiting_bytes,
        )
        try:
            node_report.store(self.blobs, self.name, report)
        except GaplessError:
            self.world.log(f"{self.name} cannot store its report")

    def _watch_completeness(self) -> None:
        self.lanes["watch"].at(self.plan.pace.look, self._watch_completeness)
        looked_at = self.world.now
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
            self.tell(SweepsCompleted(complete, looked_at))
