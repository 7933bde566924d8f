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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compute_node import node_report, trouble_notes
from compute_node.account import Account
from compute_node.commands import (
    UNFIT,
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
    DrainAsked,
    Event,
    LeaseExpiring,
    LeaseLost,
    PartDied,
    StopAsked,
    Ticked,
    WorkerDied,
)
from compute_node.frames import Begin, Leave, Withdraw, Work
from compute_node.lost_runs import lost_block
from compute_node.outbox import Outbox
from compute_node.parts import Parts
from compute_node.pool import Pool
from compute_node.rules import NodeRules
from compute_node.settings import NodeSettings
from compute_node.state import NodeState
from compute_node.sweep_files import code_folder, sweep_folder
from gapless.troubles import Troubles
from queueing.errors import QueueError
from queueing.leases import LeaseKeeper

__all__ = ["NodeSettings", "run_node"]

_log = logging.getLogger("gapless.node")
_BUSY_TICK_S = 0.05
_IDLE_TICK_S = 0.2
_CLOSE_S = 2.0
_HURRIED_S = 0.2
_POOL = "worker pool"


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
                remainders=settings.remainders,
                rest_s=settings.rest_s,
                rest_after_s=settings.rest_after_s,
            )
        )
        self._troubles = Troubles(warn=_log.warning, tell=_log.info)
        # A folder of this start's own: another node may share the work folder.
        self._folder = (
            settings.work_folder / "nodes" / f"{settings.node_id}-{settings.new_id()[:8]}"
        )
        self._keeper = LeaseKeeper(
            settings.queues,
            lease_s=settings.lease_s,
            on_lost=lambda lease: self.events.put(LeaseLost(lease)),
            on_expiring=lambda lease: self.events.put(LeaseExpiring(lease)),
        )
        self._outbox = Outbox(
            self._folder / "outbox",
            memory_bytes=settings.memory_bytes,
            disk_bytes=settings.disk_bytes,
        )
        self._pool = Pool(
            folder=self._folder,
            outbox=self._outbox,
            post=self.events.put,
            start_s=settings.worker_start_s,
        )
        self._parts = Parts(
            settings,
            Errands(
                blobs=settings.blobs,
                queues=settings.queues,
                keeper=self._keeper,
                outbox=self._outbox,
                work_folder=settings.work_folder,
                lease_s=settings.lease_s,
                wait_s=settings.receive_wait_s,
            ),
            post=self.events.put,
            troubles=self._troubles,
        )
        self._exit: Exit | None = None
        self._account = Account()
        self._leases_end = False
        self._hurried = False

    def run(self) -> int:
        """Turn until the state machine says to exit."""
        self._parts.start_part(_POOL, self._pool.run)
        self._parts.start()
        try:
            return self._turn()
        finally:
            self._close()

    def _turn(self) -> int:
        ticked_at = reported_at = 0.0
        while self._exit is None:
            tick_s = _IDLE_TICK_S if self._parts.idle else _BUSY_TICK_S
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
                self._parts.idle = node_report.idle(self._state)
                self._parts.resting = self._state.resting(now)
            if now - reported_at >= min(self.settings.report_s, 5.0):
                reported_at = now
                self._parts.report = self._written_report()
        return self._end(self._exit)

    def _end(self, ending: Exit) -> int:
        if ending.message and ending.status != UNFIT:
            # Why it is unfit was said when that was found.
            _log.error("%s", ending.message)
        _log.info("%s", self._account.text(ending))
        self._parts.report = self._written_report()
        return ending.status

    def _take(self, event: Event, now: float) -> None:
        self._account.note(event)
        trouble_notes.note(self._troubles, event)
        self._hurried = self._hurried or isinstance(event, StopAsked)
        if isinstance(event, DrainAsked):
            _log.info(
                "no more work is taken; runs under way may take up to %g s, a receive up to %g s",
                self.settings.grace_s,
                self.settings.receive_wait_s,
            )
        for command in self._state.handle(event, now):
            self._account.note(command)
            self._perform(command)
        if isinstance(event, WorkerDied):
            # Its run is tried again: what this attempt left has no row to go with.
            unwanted = self._pool.take_left(event.worker).full_output
            if unwanted is not None:
                Path(unwanted.path).unlink(missing_ok=True)

    def _perform(self, command: Command) -> None:  # noqa: C901 - one line a command
        match command:
            case ReceiveJobs() | PrepareSweep() | ReadCoverage() | SendDelivery() | StoreClaim():
                self._parts.give(command)
            case DeleteJob() | ReplaceJob() | SendPieces() | ReleaseJob() | PutQuarantine():
                self._parts.give(command)
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
                        retry_lost=chunk.retry_lost,
                    ),
                )
            case WithdrawChunks(worker=worker):
                self._pool.send(worker, Withdraw())
            case RetireWorker(worker=worker):
                self._pool.send(worker, Leave())
            case KillWorker(worker=worker):
                self._pool.kill(worker)
            case ForgetBlocks(blocks=blocks):
                self._outbox.forget(blocks)
            case LetGo(lease=lease):
                self._keeper.drop(lease)
            case RecordLost():
                left = self._pool.take_left(command.worker)
                self.events.put(
                    lost_block(
                        command,
                        left.output,
                        values=left.values,
                        full_output=left.full_output,
                        node=self.settings.node_id,
                        outbox=self._outbox,
                    )
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
            files_folder=str(self._folder / "files"),
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

    def _written_report(self) -> bytes:
        return node_report.encode(
            self._state,
            node=self.settings.node_id,
            heard_at_s=self.settings.clock(),
            waiting_bytes=self._outbox.waiting_bytes,
        )

    def _close(self) -> None:
        # Services may be away: whatever asks them gets a bounded time, less after a second signal.
        wait_s = _HURRIED_S if self._hurried else _CLOSE_S
        self._parts.end()
        self._pool.close()
        self._parts.join(_POOL, _CLOSE_S)
        self._pool.end_guardian()
        self._keeper.close(wait_s=wait_s)
        self._parts.store_last_report(wait_s)
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
