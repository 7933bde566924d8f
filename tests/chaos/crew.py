"""The programs at work, and the supervisor that starts again whatever has ended."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import psutil

from tests.acceptance.cloud_programs import PERSON
from tests.chaos.places import Place

__all__ = ["Crew", "Post", "Role", "workers_of"]

_PAUSE_S = 0.3
"""Between the end of a program and its next start."""

_RECONCILE_PAUSE_S = 0.7
_STOP_S = 60
_YOUNG_S = 20
_WORKER = "compute_node.worker"
_REBUILD = "--rebuild"
_FORCE = "--force"


class Role(Enum):
    NODE = "node"
    AGGREGATOR = "aggregator"
    RECONCILE = "reconcile"


@dataclass(slots=True)
class Post:
    """A place in the crew: a machine, what runs there, and when it is to be started next."""

    machine: str
    role: Role
    command: tuple[str, ...]
    program: subprocess.Popen[bytes] | None = None
    due_at: float = 0.0
    started_at: float = 0.0
    killed: bool = False

    @property
    def living(self) -> subprocess.Popen[bytes] | None:
        """The program, while it runs."""
        if self.program is None or self.program.poll() is not None:
            return None
        return self.program


@dataclass(slots=True)
class Crew:
    """All posts; `tend` is called again and again."""

    place: Place
    posts: list[Post] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    """How often a program ended that nobody had killed, by role and exit status."""
    reconciled: Counter[int] = field(default_factory=Counter)
    complete_at: float = 0.0
    """When the last reconcile began that found all complete."""
    problems: list[str] = field(default_factory=list)
    force: bool = False
    """Have reconcile believe that a silent node is gone, as a person does who knows it is.

    Without, what a node on SQS had in hand whose queue was lost is in flight until nothing was
    heard of it for ten minutes (`gapless.storage.node_reports.HEARD_S`)."""
    forced: int = 0
    _needs_rebuild: bool = False
    _log_at: int = 0

    def __post_init__(self) -> None:
        for machine in self.place.nodes:
            self.posts.append(Post(machine, Role.NODE, ("sweep-node", "--workers", "1")))
        for machine in self.place.aggregators:
            self.posts.append(Post(machine, Role.AGGREGATOR, ("sweep-aggregator",)))
        self.posts.append(Post(PERSON, Role.RECONCILE, ("sweep-reconcile", "--resubmit", "--json")))

    def tend(self) -> None:
        """Note what has ended and start what is due."""
        now = time.monotonic()
        for post in self.posts:
            if post.program is not None and post.program.poll() is not None:
                self._note_end(post, post.program.returncode)
                pause = _RECONCILE_PAUSE_S if post.role is Role.RECONCILE else _PAUSE_S
                post.program, post.killed, post.due_at = None, False, now + pause
            if post.program is None and now >= post.due_at:
                self._start(post)

    def of(self, role: Role) -> list[Post]:
        """The posts of a role whose program runs."""
        return [post for post in self.posts if post.role is role and post.living is not None]

    def stop(self) -> None:
        """End all as a person does, and hold them to it: each gives back what it has."""
        living = [(post, post.living) for post in self.posts]
        for post, program in living:
            if program is not None:
                post.killed = post.role is Role.RECONCILE
                program.send_signal(signal.SIGTERM)
        for post, program in living:
            if program is None:
                continue
            try:
                status = program.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                self.problems.append(f"{post.machine} did not end within {_STOP_S} s of SIGTERM")
                continue
            # One that has only just begun does not know yet what the signal is to it.
            young = time.monotonic() - post.started_at < _YOUNG_S and status == -signal.SIGTERM
            if status != 0 and not post.killed and not young:
                self.problems.append(f"{post.machine} ended with status {status} after SIGTERM")
            post.program = None

    def _start(self, post: Post) -> None:
        command: Sequence[str] = post.command
        if post.role is Role.RECONCILE:
            self._log_at = _size(self.place, PERSON)
            if self._needs_rebuild:
                command = (*command, _REBUILD)
            if self.force:
                command = (*command, _FORCE)
                self.forced += 1
        post.started_at = time.monotonic()
        try:
            post.program = self.place.programs.start(post.machine, *command)
        except OSError:
            # Its own disk is full or read-only: later.
            post.due_at = time.monotonic() + _PAUSE_S

    def _note_end(self, post: Post, status: int) -> None:
        if post.killed:
            return
        if post.role is not Role.RECONCILE:
            self.ended[f"{post.role.value}, status {status}"] += 1
            return
        self.reconciled[status] += 1
        words = _since(self.place, PERSON, self._log_at)
        # What a person reads there and does.
        self._needs_rebuild = status == 1 and _REBUILD in words
        if status == 0:
            self.complete_at = post.started_at
        elif status not in {1, 3, 4}:
            self.problems.append(f"reconcile ended with status {status}: {words[-300:]}")


def workers_of(program: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The worker processes of a node."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(program.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if _WORKER in child.cmdline():
                    found.append(child)
    return found


def _size(place: Place, machine: str) -> int:
    log = place.log(machine)
    return log.stat().st_size if log.exists() else 0


def _since(place: Place, machine: str, start: int) -> str:
    with place.log(machine).open("rb") as log:
        log.seek(start)
        return log.read().decode("utf-8", "replace")
