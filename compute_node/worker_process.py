"""One worker process as its agent sees it: starting, feeding, reading and killing it.

The process leads a session of its own, so that killing its group reaches what user code started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from compute_node import peak_memory
from compute_node.errors import WorkerStartError
from compute_node.frames import Begin, ToWorker, agent_frames, encode_frame
from compute_node.output import Output, read_output
from compute_node.output_bound import bound_output
from compute_node.progress_page import PageReader, make_page

__all__ = ["WorkerProcess", "exit_text", "kill_group"]

_PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031
"""F_SETPIPE_SZ (fcntl(2), Linux); the constant is missing from fcntl on other systems."""


class WorkerProcess:
    """A started worker. Only the pool's thread reads and writes its pipes."""

    def __init__(self, worker: int, begin: Begin, folder: Path) -> None:
        self.worker = worker
        self.begin = begin
        self.started_at = time.monotonic()
        self.ready = False
        self.unfit = ""
        self.killed = False
        self.leave_by: float | None = None
        self.peak_memory_bytes = 0
        # A program's ru_maxrss begins with what its parent had: up to that it says nothing.
        self._parents_peak_bytes = peak_memory.of_this_process()
        self.frames = agent_frames()
        self._folder = folder
        self._output_path = folder / f"worker-{worker}.output"
        self._page_path = folder / f"worker-{worker}.page"
        self._unsent = bytearray()
        self.process, self.control_fd, self.result_fd = self._start()
        self.page = PageReader(self._page_path)
        self.queue(begin)

    def _start(self) -> tuple[subprocess.Popen[bytes], int, int]:
        fds: list[int] = []
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            make_page(self._page_path)
            # Appending: what user code's own children print survives the emptying after each run.
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
            output = os.open(self._output_path, flags, 0o600)
            fds.append(output)
            control_read, control_write = os.pipe()
            fds += [control_read, control_write]
            result_read, result_write = os.pipe()
            fds += [result_read, result_write]
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "compute_node.worker",
                    str(control_read),
                    str(result_write),
                    str(self._page_path),
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(control_read, result_write),
                start_new_session=True,
            )
        except OSError as error:
            for fd in fds:
                os.close(fd)
            raise WorkerStartError(f"a worker process cannot be started: {error}") from error
        for fd in (output, control_read, result_write):
            os.close(fd)
        for fd in (control_write, result_read):
            os.set_blocking(fd, False)
        _widen(result_read)
        return process, control_write, result_read

    def queue(self, frame: ToWorker) -> None:
        """Let a frame wait for the pipe."""
        self._unsent += encode_frame(frame)

    def send(self) -> bool:
        """Write what the pipe takes now; tell whether something is left."""
        while self._unsent:
            try:
                written = os.write(self.control_fd, self._unsent)
            except BlockingIOError:
                return True
            except OSError:
                # It ended: what it should have got is assigned again when its death is noticed.
                self._unsent.clear()
                return False
            del self._unsent[:written]
        return False

    def read(self) -> bytes | None:
        """Read what is there; None when nothing is, b"" at the end."""
        try:
            return os.read(self.result_fd, _PIPE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def kill(self) -> None:
        """Kill the process group, also when its leader is dead already."""
        self.killed = True
        kill_group(self.process.pid)

    def look_after(self) -> None:
        """Note its memory, and keep what its run prints from filling the disk."""
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory.of_child(self.process.pid))
        bound_output(self._output_path)

    def reap(self) -> None:
        """Wait for its end, and note the memory it had at most."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        peak_bytes = peak_memory.of_usage(usage)
        if peak_bytes > self._parents_peak_bytes:
            self.peak_memory_bytes = max(self.peak_memory_bytes, peak_bytes)

    def output(self) -> Output:
        """Give what it printed in its last run."""
        return read_output(self._output_path)

    def close(self) -> None:
        """Give back what it held on this machine."""
        for fd in (self.control_fd, self.result_fd):
            with contextlib.suppress(OSError):
                os.close(fd)
        self.page.close()
        for path in (self._output_path, self._page_path):
            path.unlink(missing_ok=True)


def kill_group(group: int) -> None:
    """Kill every process of a group; none left is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def exit_text(status: int) -> str:
    """Say how a process ended, by its Popen status."""
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"killed by {name}"


def _widen(fd: int) -> None:
    """Let a whole block fit into the pipe, so that a worker does not wait for its agent."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, _SET_PIPE_SIZE, _PIPE_BYTES)
