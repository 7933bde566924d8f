"""The worker processes of an agent.

One thread reads and writes all their pipes, one each waits for their end.

Processes are started in the thread that calls `start`, which must live as long as the agent: on
Linux a worker dies when the *thread* that started it ends.
"""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import threading
import time
from collections.abc import Callable
from pathlib import Path

from compute_node.attempts import Attempt
from compute_node.errors import FrameError, WorkerStartError
from compute_node.events import (
    BlockMade,
    ChunkEnded,
    Event,
    Progress,
    WorkerDied,
    WorkerReady,
    WorkerUnfit,
)
from compute_node.exit_status import exit_text
from compute_node.frames import Begin, ChunkDone, Leave, Made, Ready, ToWorker, Unfit
from compute_node.guardian import Guardian
from compute_node.left_behind import LeftBehind
from compute_node.outbox import Outbox
from compute_node.sessions import kill_sessions
from compute_node.worker_process import WorkerProcess
from gapless.declaration.errors import DamagedMessage
from gapless.declaration.messages import text_digest
from gapless.declaration.runset import RunSet

__all__ = ["Pool"]

_TURN_S = 0.5
_LEAVE_S = 5.0
_LOOK_S = 1.0
_DRAIN_READS = 256


class Pool:
    """Starts, feeds and ends workers; what they say becomes events given to `post`."""

    def __init__(
        self,
        *,
        folder: Path,
        outbox: Outbox,
        post: Callable[[Event], None],
        start_s: float = 60.0,
    ) -> None:
        self._folder = folder
        self._outbox = outbox
        self._post = post
        self._start_s = start_s
        self._workers: dict[int, WorkerProcess] = {}
        self._sweeps: dict[int, str] = {}
        self._left: dict[int, LeftBehind] = {}
        self._selector = selectors.DefaultSelector()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._guardian = Guardian()
        self._closing = False
        self._looked_at = 0.0
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Read the workers' pipes until closed (the body of the pool's thread)."""
        while not (self._closing and not self._workers):
            for key, events in self._selector.select(_TURN_S):
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                elif key.data.worker in self._workers:
                    if events & selectors.EVENT_WRITE:
                        self._send(key.data)
                    if events & selectors.EVENT_READ:
                        self._read(key.data)
            while not self._calls.empty():
                self._calls.get()()
            self._end_overdue()
            self._look_after()

    def start(self, worker: int, begin: Begin, sweep: str) -> None:
        """Start a worker for a sweep; what becomes of it is told by events."""
        try:
            process = WorkerProcess(worker, begin, self._folder)
        except WorkerStartError as error:
            self._post(WorkerUnfit(worker, str(error)))
            return
        self._guardian.watch(process.process.pid)
        self._call(lambda: self._enter(process, sweep))
        threading.Thread(
            target=self._wait, args=(process,), name=f"wait for worker {worker}", daemon=True
        ).start()

    def send(self, worker: int, frame: ToWorker) -> None:
        """Send a frame to a worker; one that is gone gets nothing."""

        def queue_frame() -> None:
            process = self._workers.get(worker)
            if process is not None:
                if isinstance(frame, Leave):
                    process.leave_by = time.monotonic() + _LEAVE_S
                process.queue(frame)
                self._send(process)

        self._call(queue_frame)

    def kill(self, worker: int) -> None:
        """Kill a worker with all it started."""

        def kill() -> None:
            process = self._workers.get(worker)
            if process is not None:
                process.kill()

        self._call(kill)

    def progress(self) -> tuple[Progress, ...]:
        """Tell which run each worker is in."""
        now = time.monotonic()
        found = []
        for process in list(self._workers.values()):
            # A page is unmapped when its worker is gone, which may be just now.
            with contextlib.suppress(ValueError):
                current = process.page.read()
                if current is not None:
                    run, attempt, started = current
                    found.append(Progress(process.worker, run, attempt, now - started))
        return tuple(found)

    def take_left(self, worker: int | None) -> LeftBehind:
        """Give (once) what the last run of a dead worker left."""
        return self._left.pop(worker, LeftBehind()) if worker is not None else LeftBehind()

    def close(self) -> None:
        """Kill every worker, all at once; the pool's thread ends when they are gone."""

        def end() -> None:
            self._closing = True
            for process in self._workers.values():
                process.killed = True
                process.wanted = False
            kill_sessions([each.process.pid for each in self._workers.values() if each.there])

        self._call(end)

    def end_guardian(self) -> None:
        """End the guardian (after the pool's thread)."""
        self._guardian.close()

    def _call(self, call: Callable[[], None]) -> None:
        self._calls.put(call)
        # A full pipe wakes the thread as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _enter(self, process: WorkerProcess, sweep: str) -> None:
        self._workers[process.worker] = process
        self._sweeps[process.worker] = sweep
        self._selector.register(process.result_fd, selectors.EVENT_READ, process)
        self._send(process)
        if self._closing:
            process.kill()

    def _send(self, process: WorkerProcess) -> None:
        left = process.send()
        registered = process.control_fd in self._selector.get_map()
        if left and not registered:
            self._selector.register(process.control_fd, selectors.EVENT_WRITE, process)
        elif registered and not left:
            self._selector.unregister(process.control_fd)

    def _read(self, process: WorkerProcess) -> bool:
        """Take what a worker said; tell whether there may be more."""
        data = process.read()
        if data is None:
            return False
        if not data:
            # Its end of the pipe is closed; that it is gone is told by the thread that waits.
            with contextlib.suppress(KeyError):
                self._selector.unregister(process.result_fd)
            return False
        try:
            for frame, body in process.frames.feed(data):
                self._take(process, frame, body)
        except (FrameError, DamagedMessage):
            # User code wrote into our pipe: nothing more of this process is trusted.
            process.kill()
            with contextlib.suppress(KeyError):
                self._selector.unregister(process.result_fd)
            return False
        return True

    def _take(
        self, process: WorkerProcess, frame: Ready | Unfit | Made | ChunkDone, body: bytes
    ) -> None:
        match frame:
            case Ready():
                process.ready = True
                process.look_after()
                self._post(WorkerReady(process.worker))
            case Unfit(text=text):
                process.unfit = text
            case Made():
                if not body.isascii() or text_digest(body.decode("ascii")) != frame.digest:
                    raise FrameError("a block is not what its frame says")
                runs = RunSet.from_wire(frame.runs)
                if not runs:
                    raise FrameError("a block of no runs")
                self._post(
                    BlockMade(
                        sweep=self._sweeps[process.worker],
                        epoch=frame.epoch,
                        block=self._outbox.add(body, frame.files),
                        runs=runs,
                        digest=frame.digest,
                        size_bytes=len(body),
                        worker=process.worker,
                        chunk=frame.chunk,
                        busy_s=frame.busy_s,
                        opened_bytes=frame.opened_bytes,
                    )
                )
            case ChunkDone():
                retries: tuple[Attempt, ...] = frame.retries
                self._post(ChunkEnded(process.worker, frame.chunk, retries))

    def _wait(self, process: WorkerProcess) -> None:
        """Notice the end of one process at once (the body of its thread)."""
        # Not reaped yet, so its number is nobody else's.
        os.waitid(os.P_PID, process.process.pid, os.WEXITED | os.WNOWAIT)
        # Its session first: what user code started may hold the pipe open, or write into it.
        kill_sessions([process.process.pid])
        self._guardian.forget(process.process.pid)
        left = _left_behind(process)
        process.reap()
        self._call(lambda: self._gone(process, left))

    def _gone(self, process: WorkerProcess, left: LeftBehind) -> None:
        reads = 0
        while self._read(process) and reads < _DRAIN_READS:
            reads += 1
        for fd in (process.result_fd, process.control_fd):
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
        current = process.page.read()
        del self._workers[process.worker]
        del self._sweeps[process.worker]
        how = exit_text(process.process.returncode)
        if process.unfit or not (process.ready or process.killed):
            text = process.unfit
            if process.killed or not text:
                output = process.output()
                text = f"{text or how}\n{output.head}\n{output.tail}".strip()
            self._post(WorkerUnfit(process.worker, text))
        else:
            run, attempt, started = (None, 1, 0.0) if current is None else current
            duration_s = time.monotonic() - started if run is not None else 0.0
            if run is not None:
                self._left[process.worker] = left
            self._post(
                WorkerDied(
                    worker=process.worker,
                    exit=how,
                    run=run,
                    attempt=attempt,
                    started_s=time.time() - duration_s,
                    duration_s=duration_s,
                    peak_memory_bytes=process.peak_memory_bytes,
                )
            )
        process.close()

    def _look_after(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            for process in self._workers.values():
                process.look_after()

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for process in self._workers.values():
            late = not process.ready and now > process.started_at + self._start_s
            if late and not process.killed:
                process.unfit = process.unfit or f"it was not ready after {self._start_s:g} s"
                process.kill()
            elif process.leave_by is not None and now > process.leave_by and not process.killed:
                process.kill()


def _left_behind(process: WorkerProcess) -> LeftBehind:
    try:
        return process.left_behind()
    except (OSError, MemoryError):
        # Evidence is worth less than to notice that the worker is gone.
        return LeftBehind()
