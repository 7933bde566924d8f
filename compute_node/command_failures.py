"""How the command of a run failed, as a record that groups with its like."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import PurePath

from compute_node.command_process import Ended
from compute_node.exit_status import exit_text
from compute_node.full_output import RunFile
from compute_node.output import Output
from gapless.results.block import ErrorRecord

__all__ = ["CommandFailure", "TargetUnfit", "ended_badly", "not_started"]

_MOST_MESSAGE = 4 * 1024
_LAST_LINES = 3


class TargetUnfit(Exception):
    """This machine cannot run the target, so another node shall do the runs."""


@dataclass
class CommandFailure(Exception):
    """A run of a command that is not ok; `outcome` is "failed" or "lost"."""

    kind: str
    exit: str
    message: str
    fingerprint: str
    output: Output
    transient: bool = False
    outcome: str = "failed"
    peak_memory_bytes: int = 0
    full_output: RunFile | None = None

    def record(self, run: int) -> ErrorRecord:
        """Give it as it is stored."""
        return ErrorRecord(
            run=run,
            kind=self.kind,
            type=self.exit,
            message=self.message[-_MOST_MESSAGE:],
            fingerprint=self.fingerprint,
            transient=self.transient,
            output_head=self.output.head,
            output_tail=self.output.tail,
        )


def ended_badly(
    program: str, ended: Ended, *, said: str, refused: str, output: Output
) -> CommandFailure:
    """Describe an exit status that is not 0, the end by a signal, or values that were `refused`.

    `said` is the end of what it wrote to its standard error.
    """
    name, exit_ = PurePath(program).name, exit_text(ended.status)
    if ended.status == 0:
        return CommandFailure(
            kind="value",
            exit=exit_,
            message=refused,
            fingerprint=f"{name}: value: {refused[:80]}",
            output=output,
            peak_memory_bytes=ended.peak_memory_bytes,
        )
    killed = ended.status == -signal.SIGKILL
    message = _last_lines(said) or f"{name} ended with {exit_} and said nothing"
    if killed:
        message = f"by somebody else, or for want of memory; {message}"
    return CommandFailure(
        kind="exit" if ended.status > 0 else "signal",
        exit=exit_,
        message=f"{message}\n(also: {refused})" if refused else message,
        fingerprint=f"{name}: {exit_}",
        output=output,
        transient=killed or ended.status == os.EX_TEMPFAIL,
        # A program does not do this to itself: it was taken from it, as a worker's death is.
        outcome="lost" if killed else "failed",
        peak_memory_bytes=ended.peak_memory_bytes,
    )


def not_started(program: str, reason: str, *, code: str) -> CommandFailure:
    """Describe a command that could not be started with the values of this run."""
    return CommandFailure(
        kind="start",
        exit="not started",
        message=reason,
        fingerprint=f"{PurePath(program).name}: not started: {code}",
        output=Output(),
    )


def _last_lines(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-_LAST_LINES:])
