"""Killing whole sessions: a worker leads one, and whatever it started is of it.

A command has a process group of its own, and user code may open more of them; the session is what
they have in common. Who opened a session of their own is found as a descendant, while the worker
lives. On systems without /proc only the leader's own group is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

__all__ = ["kill_members", "kill_sessions", "living_members"]

_PROC = Path("/proc")
_ROUNDS = 40
_PAUSE_S = 0.002
_ENDED = ("Z", "X", "x")
"""States of processes that have ended (proc(5))."""


class _Process(NamedTuple):
    pid: int
    state: str
    parent: int
    session: int


def kill_sessions(leaders: Collection[int]) -> None:
    """Kill the leaders, all of their sessions and all of their descendants; none left is no error.

    A leader is stopped first: else it would take the death of what it started for an end of its
    own accord, report that, and start the next.
    """
    for leader in leaders:
        _signal(leader, signal.SIGSTOP)
    kill_members(leaders)
    for leader in leaders:
        _signal(leader, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def kill_members(leaders: Collection[int]) -> None:
    """Kill all of these sessions and all descendants of their leaders, not the leaders."""
    for turn in range(_ROUNDS):
        # Again until nobody is found: a process may start another while it is looked for.
        found = living_members(leaders)
        if not found:
            return
        for pid in found:
            _signal(pid, signal.SIGKILL)
        time.sleep(min(0.05, _PAUSE_S * turn))


def living_members(leaders: Collection[int]) -> list[int]:
    """Name the living processes of these sessions and the leaders' descendants; no leaders."""
    processes = _processes()
    wanted = set(leaders)
    children: dict[int, list[int]] = {}
    for each in processes:
        children.setdefault(each.parent, []).append(each.pid)
    below: set[int] = set()
    open_ = list(wanted)
    while open_:
        for child in children.get(open_.pop(), ()):
            if child not in below:
                below.add(child)
                open_.append(child)
    return [
        each.pid
        for each in processes
        if each.pid not in wanted
        and each.state not in _ENDED
        and (each.session in wanted or each.pid in below)
    ]


def _processes() -> list[_Process]:
    try:
        names = [path.name for path in _PROC.iterdir()]
    except OSError:
        return []
    found = []
    for name in names:
        if name.isdecimal():
            # It may end while it is looked at.
            with contextlib.suppress(OSError, ValueError, IndexError):
                found.append(_read(int(name)))
    return found


def _read(pid: int) -> _Process:
    text = Path(f"/proc/{pid}/stat").read_bytes()
    # The name in parentheses may hold anything, so the fields are counted from its end.
    fields = text[text.rindex(b")") + 2 :].split()
    return _Process(pid, fields[0].decode("ascii"), int(fields[1]), int(fields[3]))


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
