"""How a process ended, in words."""

from __future__ import annotations

import signal

__all__ = ["exit_text"]


def exit_text(status: int) -> str:
    """Say how a process ended, by its Popen status."""
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"killed by {name}"
