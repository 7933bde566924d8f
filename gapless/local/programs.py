"""Programs that `sweep run` starts beside itself: a node and an aggregator.

Each runs in a session of its own, so that Ctrl-C at the terminal reaches only the parent, which
passes one SIGTERM on. Each holds the reading end of a pipe whose writing end only the parent has:
when the parent ends, however it ends, the pipe ends and the program leaves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gapless.errors import GaplessError

__all__ = ["MAX_RESTARTS", "Program", "ProgramFailed"]

MAX_RESTARTS = 5
"""How often in a row a program that ended by itself is started anew before `sweep run` gives up."""

_PAUSE_S = 0.25
_HEALTHY_S = 60.0
_TAIL_BYTES = 4000
_LOG_BYTES = 4 << 20


class ProgramFailed(GaplessError):
    """A node or an aggregator ended again and again."""


class Program:
    """One program, started anew when it ends by itself, a bounded number of times."""

    def __init__(self, kind: str, arguments: Sequence[str], *, log: Path) -> None:
        self.kind = kind
        self.restarts = 0
        self._in_a_row = 0
        self._arguments = tuple(arguments)
        self._log = log
        self._log_start = 0
        self._started_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def start(self) -> None:
        """Start the program; what it prints goes to its log."""
        self._started_s = time.monotonic()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._turn_log()
        reading, writing = os.pipe()
        try:
            with self._log.open("ab") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-P", "-m", "gapless.cli", *self._arguments),
                        *("--parent-pipe", str(reading)),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(reading,),
                    env=_environment(),
                    start_new_session=True,
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self._close_pipe()
        self._pipe = writing

    @property
    def exit_status(self) -> int | None:
        """How it ended (negative: by that signal), None while it runs."""
        return self._process.poll() if self._process is not None else None

    @property
    def running(self) -> bool:
        """Tell whether it runs."""
        return self._process is not None and self._process.poll() is None

    def restart(self) -> bool:
        """Start it anew after it ended, unless it is too early after its last start; tell which.

        ProgramFailed, with the end of its log, when it ended too often in a row.
        """
        ran_s = time.monotonic() - self._started_s
        if ran_s >= _HEALTHY_S:
            self._in_a_row = 0
        if self._in_a_row >= MAX_RESTARTS:
            raise ProgramFailed(self.report())
        if ran_s < _PAUSE_S * 2**self._in_a_row - _PAUSE_S:
            return False
        self._in_a_row += 1
        self.restarts += 1
        self.start()
        return True

    def report(self) -> str:
        """Say how it ended and what it said last."""
        status = self.exit_status
        how = "it runs" if status is None else _ending(status)
        tail = self.tail()
        said = f"its last words:\n{tail}" if tail else "it said nothing"
        return (
            f"the {self.kind} ended ({how}) after {self.restarts} restarts; {said}\n"
            f"(its log is {self._log})"
        )

    def tail(self) -> str:
        """Read the end of what it said since its last start."""
        try:
            with self._log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - _TAIL_BYTES))
                return log.read().decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return ""

    def ask_to_leave(self) -> None:
        """Send SIGTERM: it ends in good order. Nothing when it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; tell whether it has ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it and its process group at once: what it had in hand is done again later."""
        if self._process is None:
            return
        if self._process.poll() is None:
            # The group's leader is our unreaped child: its number cannot belong to anybody else.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._close_pipe()

    def close(self) -> None:
        """Kill it if it still runs and let go of its pipe."""
        self.kill()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _turn_log(self) -> None:
        try:
            if self._log.stat().st_size > _LOG_BYTES:
                self._log.replace(self._log.with_suffix(".old.log"))
        except FileNotFoundError:
            pass


def _environment() -> dict[str, str]:
    # Neither program opens the ledger, and the code of users need not see its password.
    return {name: each for name, each in os.environ.items() if name != "GAPLESS_LEDGER"}


def _ending(status: int) -> str:
    if status < 0:
        return f"by signal {signal.Signals(-status).name}"
    return f"exit status {status}"
