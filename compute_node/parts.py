"""The threads of a node that wait: for jobs, for answers of queue and storage, for the home.

What they come back with goes into the node's one queue of events. A thread that ends with an error
is told as `PartDied`: the node then gives its work back and ends.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from compute_node import node_report
from compute_node.commands import (
    DeleteJob,
    PrepareSweep,
    PutQuarantine,
    ReadCoverage,
    ReceiveJobs,
    ReleaseJob,
    ReplaceJob,
    SendDelivery,
    SendPieces,
    StoreClaim,
)
from compute_node.errands import Errands
from compute_node.events import (
    RECEIVER,
    ControlsRead,
    CoverageRead,
    DrainAsked,
    Event,
    PartDied,
    SweepsCompleted,
    SweepState,
)
from compute_node.failure_watch import FailureWatch
from compute_node.settings import NodeSettings
from compute_node.watches import CompletenessWatch, CoverageWatch, read_controls
from gapless.errors import GaplessError
from gapless.storage.sweeps import SweepStore
from gapless.troubles import Troubles

__all__ = ["Parts"]

_log = logging.getLogger("gapless.node")
_TAKE_S = 1.0
_READING = "reading the home"
_REPORTING = "storing the node's report"
_Change = DeleteJob | ReplaceJob | SendPieces | ReleaseJob | PutQuarantine


class Parts:
    """The waiting threads; `give` hands them commands, `post` gets their events.

    The agent keeps current: `report` (what is stored in the home), `idle` (nothing is in hand),
    `resting` (the sweeps whose control records need not be looked at).
    """

    def __init__(
        self,
        settings: NodeSettings,
        errands: Errands,
        *,
        post: Callable[[Event], None],
        troubles: Troubles,
    ) -> None:
        self._settings = settings
        self._errands = errands
        self._post = post
        self._troubles = troubles
        self._store = SweepStore(settings.blobs)
        self._served = tuple(settings.sweep_ids or ())
        self._ended = threading.Event()
        self.idle = True
        self.report = b""
        self.resting: frozenset[str] = frozenset()
        self._limited: tuple[str, ...] = ()
        self._threads: dict[str, threading.Thread] = {}
        self._receives: queue.SimpleQueue[ReceiveJobs] = queue.SimpleQueue()
        self._deliveries: queue.SimpleQueue[SendDelivery | StoreClaim] = queue.SimpleQueue()
        self._preparations: queue.SimpleQueue[PrepareSweep] = queue.SimpleQueue()
        self._looks: queue.SimpleQueue[ReadCoverage] = queue.SimpleQueue()
        self._changes: queue.SimpleQueue[_Change] = queue.SimpleQueue()

    def start(self) -> None:
        """Start them all."""
        self.start_part(RECEIVER, self._receive_jobs)
        self.start_part("sender", self._send_deliveries)
        self.start_part("second sender", self._send_deliveries)
        self.start_part("job changer", self._change_jobs)
        self.start_part("preparer", self._prepare_sweeps)
        self.start_part("coverage reader", self._read_coverage)
        self.start_part("control watch", self._watch_controls)
        self.start_part("failure watch", self._watch_failures)
        if self._settings.until_complete:
            self.start_part("completeness watch", self._watch_completeness)
        self.start_part("reporter", self._report_often)

    def start_part(self, name: str, body: Callable[[], None]) -> None:
        """Run a body in a thread of that name; its error is told by an event."""

        def run() -> None:
            try:
                body()
            except BaseException as error:  # noqa: BLE001 - the boundary of a thread
                if not self._ended.is_set():
                    _log.exception("the node's %s ended", name)
                    self._post(PartDied(name, f"{type(error).__name__}: {error}"))

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def give(
        self,
        command: ReceiveJobs | PrepareSweep | ReadCoverage | SendDelivery | StoreClaim | _Change,
    ) -> None:
        """Let a command be performed by the thread it is for."""
        match command:
            case ReceiveJobs():
                self._receives.put(command)
            case PrepareSweep():
                self._preparations.put(command)
            case ReadCoverage():
                self._looks.put(command)
            case SendDelivery() | StoreClaim():
                self._deliveries.put(command)
            case _:
                self._changes.put(command)

    def end(self) -> None:
        """Tell all of them to end."""
        self._ended.set()

    def join(self, name: str, seconds: float) -> None:
        """Wait for one of them to end."""
        self._threads[name].join(seconds)

    def store_last_report(self, within_s: float) -> None:
        """Put the report as it stands into the home; a home that does not answer is left alone."""
        last = threading.Thread(target=self._store_report, name="last report", daemon=True)
        last.start()
        last.join(within_s)

    def _store_report(self) -> None:
        try:
            node_report.store(self._settings.blobs, self._settings.node_id, self.report)
            self._troubles.well(_REPORTING)
        except (GaplessError, OSError) as error:
            self._troubles.trouble(
                _REPORTING, f"the node's report cannot be stored for now: {error}"
            )

    def _receive_jobs(self) -> None:
        for command in self._taken(self._receives):
            self._post(self._errands.receive(command, self._ended.wait))

    def _send_deliveries(self) -> None:
        for command in self._taken(self._deliveries):
            self._post(self._errands.deliver(command))

    def _prepare_sweeps(self) -> None:
        for command in self._taken(self._preparations):
            self._post(self._errands.prepare(command))

    def _read_coverage(self) -> None:
        watch = CoverageWatch(self._settings.blobs)
        for command in self._taken(self._looks):
            # The look begins after the command was given, so after its job was received.
            looked_at = time.monotonic()
            try:
                covered = watch.look(command.sweep)
            except (GaplessError, OSError) as error:
                _log.debug("what is stored cannot be told for now: %s", error)
                covered = ()
            self._post(CoverageRead(command.sweep, looked_at, covered))

    def _change_jobs(self) -> None:
        for first in self._taken(self._changes):
            commands = [first]
            while not self._changes.empty():
                commands.append(self._changes.get())
            deletes = [each for each in commands if isinstance(each, DeleteJob)]
            if deletes:
                for event in self._errands.delete(deletes):
                    self._post(event)
            for command in commands:
                if not isinstance(command, DeleteJob):
                    self._post(self._change_job(command))

    def _change_job(self, command: ReplaceJob | SendPieces | ReleaseJob | PutQuarantine) -> Event:
        match command:
            case ReplaceJob():
                return self._errands.replace(command)
            case SendPieces():
                return self._errands.send_pieces(command)
            case ReleaseJob():
                return self._errands.release(command)
            case PutQuarantine():
                return self._errands.quarantine(command)

    def _taken(self, commands: queue.SimpleQueue[Any]) -> Iterator[Any]:
        while not self._ended.is_set():
            try:
                yield commands.get(timeout=_TAKE_S)
            except queue.Empty:
                continue

    def _watch_controls(self) -> None:
        while not self._ended.is_set():
            try:
                self._read_controls()
                self._troubles.well(_READING)
            except (GaplessError, OSError) as error:
                self._troubles.trouble(_READING, f"the home cannot be read for now: {error}")
            self._ended.wait(self._settings.control_s)

    def _read_controls(self) -> None:
        read_at = time.monotonic()
        facts, resting = read_controls(self._store, self._served, resting=self.resting)
        self._limited = tuple(
            each.sweep
            for each in facts
            if each.max_failures is not None and each.state is SweepState.RUNNING
        )
        self._post(ControlsRead(facts, read_at, resting))

    def _watch_failures(self) -> None:
        settings = self._settings
        watch = FailureWatch(self._store, settings.blobs, settings.clock)
        while not self._ended.wait(settings.failures_s):
            for sweep in self._limited:
                try:
                    paused = watch.look(sweep)
                    if paused:
                        _log.warning("%s", paused)
                        # Not only when the control watch comes round: nodes shall begin no more.
                        self._read_controls()
                except (GaplessError, OSError) as error:
                    _log.debug("failures of %s cannot be counted for now: %s", sweep, error)

    def _watch_completeness(self) -> None:
        watch = CompletenessWatch(self._store, self._settings.blobs)
        while not self._ended.is_set():
            # Reading many sweeps takes a while: what comes meanwhile is not spoken of.
            looked_at = time.monotonic()
            try:
                served = [
                    facts.sweep
                    for facts in read_controls(self._store, self._served)[0]
                    if facts.state is not SweepState.CANCELLED
                ]
                found = {sweep: watch.completed(sweep) for sweep in served}
            except (GaplessError, OSError) as error:
                _log.debug("completeness cannot be told for now: %s", error)
                found = {"": None}
            complete = tuple((sweep, *at) for sweep, at in found.items() if at is not None)
            if complete:
                self._post(SweepsCompleted(complete, looked_at))
            if len(complete) == len(found):
                self._post(DrainAsked())
                return
            self._wait_for_idleness()

    def _wait_for_idleness(self) -> None:
        """Wait for the next look; one is due at once when the last work in hand was delivered."""
        until = time.monotonic() + self._settings.completeness_s
        was_idle = self.idle
        while not self._ended.wait(min(0.2, self._settings.completeness_s)):
            if (self.idle and not was_idle) or time.monotonic() >= until:
                return
            was_idle = self.idle

    def _report_often(self) -> None:
        while not self._ended.wait(min(1.0, self._settings.report_s)):
            if self.report:
                self._store_report()
                self._ended.wait(self._settings.report_s)
