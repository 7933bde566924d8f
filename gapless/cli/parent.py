"""Leave when the program that started this one is gone (the end of its pipe)."""

from __future__ import annotations

import os
import signal
import threading
import time

__all__ = ["leave_with_parent"]

_ORDERLY_S = 10.0
_AT_ONCE_S = 10.0


def leave_with_parent(pipe: int | None) -> None:
    """Watch the pipe `pipe` (a file descriptor) in a thread; nothing when it is None.

    At its end: SIGTERM to this process (an orderly end), again after 10 s (leave at once), SIGKILL
    after 10 s more. A crash of the parent costs repeated work, never a result.
    """
    if pipe is None:
        return
    os.set_inheritable(pipe, False)
    threading.Thread(target=_watch, args=(pipe,), name="parent-pipe", daemon=True).start()


def _watch(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    for signal_number, patience_s in (
        (signal.SIGTERM, _ORDERLY_S),
        (signal.SIGTERM, _AT_ONCE_S),
        (signal.SIGKILL, 0.0),
    ):
        os.kill(os.getpid(), signal_number)
        time.sleep(patience_s)
