"""One process of a command: started without a shell, waited for, and ended with all it started.

It has a process group of its own within the worker's session. The worker adopts what loses its
parent (PR_SET_CHILD_SUBREAPER), so that after a run nothing of it is left: not in its group, not
in a group or session of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from compute_node import peak_memory

__all__ = ["Ended", "adopt_orphans", "run_process"]

_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2), Linux."""
_LOOK_S = 0.25
_LONGEST_PAUSE_S = 0.02
_START_AGAIN_S = 5.0
_PASSING = (errno.EAGAIN, errno.ENOMEM, errno.ETXTBSY)
"""Too many processes or too little memory in this moment; the file is just being unpacked."""
_STRAYS_S = 5.0
_WITH_LESS_MEMORY = b'ulimit -v "$1" || exit 126; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit status, or minus the signal; the most memory it had, if known.

    `peak_memory_bytes` is 0 when it cannot be told.
    """

    status: int
    peak_memory_bytes: int


def adopt_orphans() -> None:
    """Become the parent of every process below this one that loses its own (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_process(
    program: str,
    words: Sequence[bytes],
    *,
    environment: Mapping[bytes, bytes],
    stdout: int,
    memory_bytes: int | None,
    started: Callable[[int], None],
    look: Callable[[], None],
) -> Ended:
    """Run a program to its end, and end what it left behind; OSError when it cannot be started.

    `started` is told its process id, which is its group's too; `look` is called now and then while
    it runs. The caller has no other children.
    """
    own_peak_bytes = peak_memory.of_usage(resource.getrusage(resource.RUSAGE_SELF))
    process = _start(program, words, environment, stdout, memory_bytes)
    pid = process.pid
    started(pid)
    peak_bytes = 0
    with _Exit(pid) as exit_:
        while not exit_.within(_LOOK_S):
            peak_bytes = max(peak_bytes, peak_memory.of_child(pid))
            look()
    # Not reaped yet, so its number is nobody else's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    _end_strays()
    used_bytes = peak_memory.of_usage(usage)
    # A program's ru_maxrss begins with what its parent had: up to that it says nothing.
    return Ended(
        process.returncode, max(peak_bytes, used_bytes if used_bytes > own_peak_bytes else 0)
    )


def _start(
    program: str,
    words: Sequence[bytes],
    environment: Mapping[bytes, bytes],
    stdout: int,
    memory_bytes: int | None,
) -> subprocess.Popen[bytes]:
    if memory_bytes is not None:
        # The limit must hold before the program is loaded: arrays of fixed size are taken then.
        most = b"%d" % max(1, _lowered(memory_bytes) // 1024)
        sh = (b"sh", b"-c", _WITH_LESS_MEMORY, b"sh", most)
        words = [*sh, os.fsencode(program), *words[1:]]
        program = "/bin/sh"
    until = time.monotonic() + _START_AGAIN_S
    while True:
        try:
            return subprocess.Popen(
                words,
                executable=program,
                env=environment,
                stdout=stdout,
                process_group=0,
            )
        except OSError as error:
            if error.errno not in _PASSING or time.monotonic() > until:
                raise
            time.sleep(_LONGEST_PAUSE_S)


def _lowered(memory_bytes: int) -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    return memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)


class _Exit:
    """Waits for the end of a child without reaping it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._fd = -1
        # Linux 5.3 and later.
        with contextlib.suppress(OSError, AttributeError):
            self._fd = os.pidfd_open(pid)
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def within(self, seconds: float) -> bool:
        """Wait so long at most; tell whether it has ended."""
        if self._fd >= 0:
            return bool(self._poll.poll(seconds * 1000))
        until = time.monotonic() + seconds
        pause_s = 0.0005
        while os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > until:
                return False
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return True


def _end_strays() -> None:
    """Kill and reap what became this process's own, until nothing is left."""
    until = time.monotonic() + _STRAYS_S
    pause_s = 0.0
    while time.monotonic() < until:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return
        if ended is None:
            for pid in _children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(pause_s)
            pause_s = min(max(2 * pause_s, 0.0005), _LONGEST_PAUSE_S)
    # What SIGKILL does not end hangs in the kernel: it is killed with this worker's session.


def _children() -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path("/proc/self/task").iterdir():
            found += map(int, (thread / "children").read_bytes().split())
    return found
