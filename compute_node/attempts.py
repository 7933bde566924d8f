"""What became of one try at a run: a value of the state machine and of the pipes."""

from __future__ import annotations

import msgspec

__all__ = ["Attempt"]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One ended try at `run`, the `number`-th (from 1), that did not end well.

    `outcome` is "failed", "timeout" or "lost"; `exit` names the exception, exit status or signal;
    `started_s` is Unix time, `peak_memory_bytes` 0 when unknown.
    """

    run: int
    number: int
    outcome: str
    exit: str
    started_s: float
    duration_s: float
    peak_memory_bytes: int = 0
