"""The loop of a node: performs what `NodeState` commands, and tells it what happened.

One thread decides (the one that calls `run_node`); others wait: for jobs, for answers of queue and
storage, for workers, for leases. They talk through one queue of events. A thread that ends with an
error ends the node, after its work was given back.
"""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compute_node import node_report
from compute_node.commands import (
    AssignChunk,
    Command,
    DeleteJob,
    Exit,
    ForgetBlocks,
    KillWorker,
    PrepareSweep,
    PutQuarantine,
    ReceiveJobs,
    RecordLost,
    ReleaseJob,
    ReplaceJob,
    RetireWorker,
    SendDelivery,
    StartWorker,
    StoreClaim,
    Warn,
    WithdrawChunks,
)
from compute_node.errands import Errands
from compute_node.events import (
    ControlsRead,
    DrainAsked,
    Event,
    LeaseLost,
    PartDied,
    StopAsked,
    SweepsCompleted,
    SweepState,
    Ticked,
)
from compute_node.frames import Begin, Leave, Withdraw, Work
from compute_node.lost_runs import lost_block
from compute_node.outbox import Outbox
from compute_node.pool import Pool
from compute_node.rules import NodeRules
from compute_node.state import NodeState
from compute_node.sweep_files import code_folder, sweep_folder
from compute_node.watches import CompletenessWatch, read_controls
from gapless.errors import GaplessError
from gapless.storage.blobs import Blobs
from gapless.storage.sweeps import SweepStore
from queueing.errors import QueueError
from queueing.leases import LeaseKeeper
from queueing.port import Queues

__all__ = ["NodeSettings", "run_node"]

_log = logging.getLogger("gapless.node")
_BUSY_TICK_S = 0.05
_IDLE_TICK_S = 0.2
_CLOSE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What a node is started with; durations in seconds.

    `sweep_ids` None: every sweep of the home. `receive_wait_s`: how long one receive waits for a
    job; on a remote queue 20, here short, so that a stop need not wait for it.
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
    report_s: float = 30.0
    completeness_s: float = 2.0
    linger_s: float = 1.0
    decrement_after_s: float = 60.0
    decrement_every_s: float = 60.0
    worker_start_s: float = 60.0
    clock: Callable[[], float] = time.time
    new_id: Callable[[], str] = field(default=lambda: uuid.uuid4().hex)


def run_node(settings: NodeSettings) -> int:
    """Work until stopped, or until there is nothing more to do; give the exit status.

    The first SIGTERM or SIGINT drains, the second ends at once (only when called in the main
    thread). Must be called in a thread that lives as long as the node.
    """
    agent = _Agent(settings)
    with _signals(agent.events):
        return agent.run()


class _Agent:
    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._state = NodeState(
            NodeRules(
                node=settings.node_id,
                id_prefix=f"{settings.node_id}-{settings.new_id()[:8]}",
                workers=settings.workers,
                only=tuple(settings.sweep_ids or ()),
                lease_s=settings.lease_s,
                grace_s=settings.grace_s,
                idle_exit_s=settings.idle_exit_s,
                linger_s=settings.linger_s,
                decrement_after_s=settings.decrement_after_s,
                decrement_every_s=settings.decrement_every_s,
            )
        )
        # A folder of this start's own: another node may share the work folder.
        self._folder = (
            settings.work_folder / "nodes" / f"{settings.node_id}-{settings.new_id()[:8]}"
        )
        self._store = SweepStore(settings.blobs)
        self._keeper = LeaseKeeper(
            settings.queues,
            lease_s=settings.lease_s,
            on_lost=lambda lease: self.events.put(LeaseLost(lease)),
        )
        self._outbox = Outbox(self._folder / "outbox")
        self._pool = Pool(
            folder=self._folder,
            outbox=self._outbox,
            post=self.events.put,
            start_s=settings.worker_start_s,
        )
        self._errands = Errands(
            blobs=settings.blobs,
            queues=settings.queues,
            keeper=self._keeper,
            outbox=self._outbox,
            work_folder=settings.work_folder,
            lease_s=settings.lease_s,
            wait_s=settings.receive_wait_s,
        )
        self._ended = threading.Event()
        self._idle = True
        self._report: bytes = b""
        self._threads: dict[str, threading.Thread] = {}
        self._receives: queue.SimpleQueue[ReceiveJobs] = queue.SimpleQueue()
        self._deliveries: queue.SimpleQueue[SendDelivery | StoreClaim] = queue.SimpleQueue()
        self._preparations: queue.SimpleQueue[PrepareSweep] = queue.SimpleQueue()
        self._changes: queue.SimpleQueue[DeleteJob | ReplaceJob | ReleaseJob | PutQuarantine] = (
            queue.SimpleQueue()
        )
        self._exit: Exit | None = None
        self._leases_end = False

    def run(self) -> int:
        """Turn until the state machine says to exit."""
        self._start_part("worker pool", self._pool.run)
        self._start_part("receiver", self._receive_jobs)
        self._start_part("sender", self._send_deliveries)
        self._start_part("second sender", self._send_deliveries)
        self._start_part("job changer", self._change_jobs)
        self._start_part("preparer", self._prepare_sweeps)
        self._start_part("control watch", self._watch_controls)
        if self.settings.until_complete:
            self._start_part("completeness watch", self._watch_completeness)
        self._start_part("reporter", self._report_often)
        try:
            return self._turn()
        finally:
            self._close()

    def _turn(self) -> int:
        ticked_at = reported_at = 0.0
        while self._exit is None:
            tick_s = _IDLE_TICK_S if self._idle else _BUSY_TICK_S
            try:
                event: Event | None = self.events.get(timeout=tick_s)
            except queue.Empty:
                event = None
            now = time.monotonic()
            self._beat()
            if event is not None:
                self._take(event, now)
            if now - ticked_at >= tick_s and self._exit is None:
                ticked_at = now
                self._take(Ticked(self._pool.progress(), room=self._outbox.room()), now)
                self._idle = node_report.idle(self._state)
            if now - reported_at >= min(self.settings.report_s, 5.0):
                reported_at = now
                self._report = self._written_report()
        return self._end(self._exit)

    def _end(self, ending: Exit) -> int:
        if ending.message:
            _log.error("%s", ending.message)
        self._report = self._written_report()
        return ending.status

    def _take(self, event: Event, now: float) -> None:
        for command in self._state.handle(event, now):
            self._perform(command)

    def _perform(self, command: Command) -> None:  # noqa: C901, PLR0912 - one line a command
        match command:
            case ReceiveJobs():
                self._receives.put(command)
            case PrepareSweep():
                self._preparations.put(command)
            case StartWorker():
                self._start_worker(command)
            case AssignChunk(worker=worker, chunk=chunk):
                self._pool.send(
                    worker,
                    Work(
                        chunk=chunk.chunk,
                        epoch=chunk.epoch,
                        runs=chunk.runs.to_wire(),
                        earlier=chunk.earlier,
                        attempts=chunk.attempts,
                        retry_failed=chunk.retry_failed,
                    ),
                )
            case WithdrawChunks(worker=worker):
                self._pool.send(worker, Withdraw())
            case RetireWorker(worker=worker):
                self._pool.send(worker, Leave())
            case KillWorker(worker=worker):
                self._pool.kill(worker)
            case SendDelivery() | StoreClaim():
                self._deliveries.put(command)
            case ForgetBlocks(blocks=blocks):
                self._outbox.forget(blocks)
            case DeleteJob() | ReplaceJob() | ReleaseJob() | PutQuarantine():
                self._changes.put(command)
            case RecordLost():
                output = self._pool.take_output(command.worker)
                self.events.put(
                    lost_block(command, output, node=self.settings.node_id, outbox=self._outbox)
                )
            case Warn(text=text):
                _log.warning("%s", text)
            case Exit():
                self._exit = command

    def _start_worker(self, command: StartWorker) -> None:
        deployment = command.deployment
        work = self.settings.work_folder
        begin = Begin(
            node=self.settings.node_id,
            code=deployment.code,
            sweep_folder=str(sweep_folder(work, deployment.sweep)),
            code_folder=code_folder(work, deployment.code),
            run_folder=str(self._folder / f"runs-{command.worker}"),
            memory_bytes=deployment.memory_bytes,
        )
        self._pool.start(command.worker, begin, deployment.sweep)

    def _beat(self) -> None:
        if self._leases_end:
            return
        try:
            self._keeper.beat()
        except QueueError as error:
            self._leases_end = True
            self.events.put(PartDied("lease keeper", str(error)))

    # The threads that wait ---------------------------------------------------------------------

    def _start_part(self, name: str, body: Callable[[], None]) -> None:
        def run() -> None:
            try:
                body()
            except BaseException as error:  # noqa: BLE001 - the boundary of a thread
                if not self._ended.is_set():
                    _log.exception("the node's %s ended", name)
                    self.events.put(PartDied(name, f"{type(error).__name__}: {error}"))

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def _receive_jobs(self) -> None:
        for command in self._taken(self._receives):
            self.events.put(self._errands.receive(command, self._ended.wait))

    def _send_deliveries(self) -> None:
        for command in self._taken(self._deliveries):
            self.events.put(self._errands.deliver(command))

    def _prepare_sweeps(self) -> None:
        for command in self._taken(self._preparations):
            self.events.put(self._errands.prepare(command))

    def _change_jobs(self) -> None:
        for first in self._taken(self._changes):
            commands = [first]
            while not self._changes.empty():
                commands.append(self._changes.get())
            deletes = [each for each in commands if isinstance(each, DeleteJob)]
            if deletes:
                for event in self._errands.delete(deletes):
                    self.events.put(event)
            for command in commands:
                match command:
                    case ReplaceJob():
                        self.events.put(self._errands.replace(command))
                    case ReleaseJob():
                        self.events.put(self._errands.release(command))
                    case PutQuarantine():
                        self.events.put(self._errands.quarantine(command))
                    case DeleteJob():
                        pass

    def _taken(self, commands: queue.SimpleQueue[Any]) -> Iterator[Any]:
        while not self._ended.is_set():
            try:
                yield commands.get(timeout=_CLOSE_S / 2)
            except queue.Empty:
                continue

    def _watch_controls(self) -> None:
        told = False
        while not self._ended.is_set():
            try:
                facts = read_controls(self._store, tuple(self.settings.sweep_ids or ()))
                self.events.put(ControlsRead(facts))
                told = False
            except (GaplessError, OSError) as error:
                if not told:
                    _log.warning("the home cannot be read for now: %s", error)
                told = True
            self._ended.wait(self.settings.control_s)

    def _watch_completeness(self) -> None:
        watch = CompletenessWatch(self._store, self.settings.blobs)
        while not self._ended.is_set():
            try:
                served = [
                    facts.sweep
                    for facts in read_controls(self._store, tuple(self.settings.sweep_ids or ()))
                    if facts.state is not SweepState.CANCELLED
                ]
                found = {sweep: watch.completed(sweep) for sweep in served}
            except (GaplessError, OSError) as error:
                _log.debug("completeness cannot be told for now: %s", error)
                found = {"": None}
            complete = tuple((sweep, *at) for sweep, at in found.items() if at is not None)
            if complete:
                self.events.put(SweepsCompleted(complete))
            if len(complete) == len(found):
                self.events.put(DrainAsked())
                return
            self._wait_for_idleness()

    def _wait_for_idleness(self) -> None:
        until = time.monotonic() + self.settings.completeness_s
        while not self._ended.wait(min(0.2, self.settings.completeness_s)):
            if self._idle or time.monotonic() >= until:
                return

    def _report_often(self) -> None:
        while not self._ended.wait(min(1.0, self.settings.report_s)):
            if self._report:
                self._store_report()
                self._ended.wait(self.settings.report_s)

    def _written_report(self) -> bytes:
        return node_report.encode(
            self._state,
            node=self.settings.node_id,
            heard_at_s=self.settings.clock(),
            waiting_bytes=self._outbox.waiting_bytes,
        )

    def _store_report(self) -> None:
        try:
            node_report.store(self.settings.blobs, self.settings.node_id, self._report)
        except (GaplessError, OSError) as error:
            _log.warning("the node's report cannot be stored for now: %s", error)

    def _close(self) -> None:
        self._ended.set()
        self._pool.close()
        self._threads["worker pool"].join(_CLOSE_S)
        self._pool.end_guardian()
        self._keeper.close()
        self._store_report()
        self._outbox.close()
        node_report.remove_folder(self._folder)


@contextmanager
def _signals(events: queue.SimpleQueue[Event]) -> Iterator[None]:
    """Turn SIGTERM and SIGINT into events: the first drains, the next ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = 0

    def ask(_number: int, _frame: object) -> None:
        nonlocal asked
        asked += 1
        events.put(DrainAsked() if asked == 1 else StopAsked())

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
