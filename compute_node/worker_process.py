"""One worker process as its agent sees it: starting, feeding, reading and killing it.

The process leads a session of its own, so that killing the session reaches what user code started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from compute_node import peak_memory
from compute_node.errors import WorkerStartError
from compute_node.frames import Begin, ToWorker, agent_frames, encode_frame
from compute_node.left_behind import LeftBehind, find_left_behind
from compute_node.output import Output, read_output
from compute_node.output_bound import bound_output
from compute_node.progress_page import PageReader, make_page
from compute_node.sessions import kill_sessions
from compute_node.values_file import STDOUT

__all__ = ["WorkerProcess"]

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
        self.wanted = True
        self._reaping = threading.Lock()
        self.leave_by: float | None = None
        self.peak_memory_bytes = 0
        # A program's ru_maxrss begins with what its parent had: up to that it says nothing.
        self._parents_peak_bytes = peak_memory.of_this_process()
        self.frames = agent_frames()
        self._folder = folder
        self._output_path = folder / f"worker-{worker}.output"
        self._page_path = folder / f"worker-{worker}.page"
        self._stdout_path = Path(begin.run_folder) / STDOUT
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
        """Kill the session, also when its leader is dead already."""
        self.killed = True
        with self._reaping:
            if self.there:
                kill_sessions([self.process.pid])

    @property
    def there(self) -> bool:
        """Tell whether its process id is its own still: it was not reaped."""
        return self.process.returncode is None

    def look_after(self) -> None:
        """Note its memory, and keep what its run prints from filling the disk."""
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory.of_child(self.process.pid))
        command = self.page.command()
        if command:
            self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory.of_child(command))
        bound_output(self._output_path)
        bound_output(self._stdout_path)

    def reap(self) -> None:
        """Wait for its end, and note the memory it had at most."""
        with self._reaping:
            _, status, usage = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
        peak_bytes = peak_memory.of_usage(usage)
        if peak_bytes > self._parents_peak_bytes:
            self.peak_memory_bytes = max(self.peak_memory_bytes, peak_bytes)

    def output(self) -> Output:
        """Give what it printed before it did its first run, or in its last one."""
        return read_output(self._output_path)

    def left_behind(self) -> LeftBehind:
        """Find what the run it was in left, after its end; nothing when it was between runs."""
        current = self.page.read()
        if current is None or not self.wanted:
            return LeftBehind()
        return find_left_behind(
            self._output_path,
            Path(self.begin.run_folder),
            run=current[0],
            attempt=current[1],
            files=Path(self.begin.files_folder),
        )

    def close(self) -> None:
        """Give back what it held on this machine."""
        for fd in (self.control_fd, self.result_fd):
            with contextlib.suppress(OSError):
                os.close(fd)
        self.page.close()
        for path in (self._output_path, self._page_path):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.begin.run_folder, ignore_errors=True)


def _widen(fd: int) -> None:
    """Let a whole block fit into the pipe, so that a worker does not wait for its agent."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, _SET_PIPE_SIZE, _PIPE_BYTES)
