"""The worker's end of its agent's pipe, read in a thread of its own."""

from __future__ import annotations

import os
import queue
import select
import signal
import threading
from collections.abc import Callable
from typing import Any

from compute_node.frames import Begin, Leave, Withdraw, Work, worker_frames
from compute_node.sessions import kill_members

__all__ = ["AgentPipe"]

_TURN_S = 1.0
_READ_BYTES = 1 << 20


class AgentPipe:
    """The thread that reads the agent's frames; without an agent there is no worker."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._frames = worker_frames()
        self.work: queue.SimpleQueue[Work | Leave] = queue.SimpleQueue()
        self.begin: queue.SimpleQueue[Begin] = queue.SimpleQueue()
        self.withdrawn_to = -1
        self._last_chunk = -1
        self._each_turn: Callable[[], None] | None = None

    def start(self) -> None:
        """Start reading."""
        threading.Thread(target=self._read, name="agent pipe", daemon=True).start()

    def attach(self, each_turn: Callable[[], None]) -> None:
        """Let the thread do this as well whenever it heard nothing for a second."""
        self._each_turn = each_turn

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        try:
            while True:
                if poll.poll(int(_TURN_S * 1000)):
                    data = os.read(self._fd, _READ_BYTES)
                    if not data:
                        return
                    for frame, _ in self._frames.feed(data):
                        self._take(frame)
                elif self._each_turn is not None:
                    self._each_turn()
        finally:
            # The agent is gone, or the pipe is unusable: nothing this worker does can count.
            end_own_session()

    def _take(self, frame: Any) -> None:
        match frame:
            case Begin():
                self.begin.put(frame)
            case Withdraw():
                self.withdrawn_to = self._last_chunk
            case Work(chunk=chunk):
                self._last_chunk = chunk
                self.work.put(frame)
            case Leave():
                self.work.put(frame)


def end_own_session() -> None:
    """Kill this process and every process it started that is of its session or below it."""
    if os.getsid(0) == os.getpid():
        kill_members([os.getpid()])
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
