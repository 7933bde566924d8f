"""Disasters of programs: killed at any instruction, stopped for longer than their leases."""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
from functools import partial

import psutil

from tests.chaos.crew import Post, Role, workers_of
from tests.chaos.places import Place
from tests.chaos.scene import Disaster, Scene

__all__ = ["PROGRAMS"]

_FILE_LIMIT_BYTES = 16_384
_LEASES_STOPPED = 1.5

Program = subprocess.Popen[bytes]


def _any_of(scene: Scene[Place], *roles: Role) -> tuple[Post, Program] | None:
    """Choose one of the programs that run, with its post; None when there is none."""
    posts = [post for role in roles for post in scene.crew.of(role)]
    if not posts:
        return None
    post = scene.dice.choice(posts)
    # It may have ended by itself since.
    program = post.living
    return None if program is None else (post, program)


def _kill(scene: Scene[Place], role: Role) -> bool:
    if not (chosen := _any_of(scene, role)):
        return False
    post, program = chosen
    post.killed = True
    program.kill()
    program.wait()
    scene.killed[role.value] += 1
    scene.look_at_databases()
    return True


def _kill_worker(scene: Scene[Place]) -> bool:
    workers = [
        worker
        for post in scene.crew.of(Role.NODE)
        if post.program is not None
        for worker in workers_of(post.program)
    ]
    if not workers:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        # psutil compares the time of its start: never another process of the same number.
        scene.dice.choice(workers).kill()
        scene.killed["worker"] += 1
        scene.look_at_databases()
        return True
    return False


def _kill_all(scene: Scene[Place]) -> bool:
    """Kill every program at once, as a machine that goes down does."""
    posts = [post for post in scene.crew.posts if post.living is not None]
    for post in posts:
        program = post.living
        if program is not None:
            post.killed = True
            program.kill()
    for post in posts:
        if post.program is not None:
            post.program.wait()
        scene.killed[post.role.value] += 1
    scene.look_at_databases()
    return bool(posts)


def _stop(scene: Scene[Place]) -> bool:
    """SIGSTOP a program for longer than a lease; a node's workers with it, or not."""
    if not (chosen := _any_of(scene, *Role)):
        return False
    post, program = chosen
    stopped: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        stopped.append(psutil.Process(program.pid))
        if post.role is Role.NODE and scene.dice.random() < 0.5:
            stopped += workers_of(program)
    for process in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    scene.later(_LEASES_STOPPED * scene.place.lease_s, partial(_go_on, stopped))
    return True


def _go_on(stopped: list[psutil.Process]) -> None:
    for process in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def _limit_files(scene: Scene[Place]) -> bool:
    """Let a program write no file beyond some KiB for a while: a quota that is used up."""
    if not (chosen := _any_of(scene, *Role)):
        return False
    _, program = chosen
    # A child of ours that is not waited for yet keeps its number.
    before = resource.prlimit(program.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (_FILE_LIMIT_BYTES, before[1]))
    scene.later(scene.dice.uniform(1, 3), partial(_unlimited, program, before))
    return True


def _unlimited(program: Program, before: tuple[int, int]) -> None:
    if program.poll() is None:
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, before)


def _tell_to_end(scene: Scene[Place]) -> bool:
    """SIGTERM, as from a supervisor that makes room; killed if a second disaster says so."""
    if not (chosen := _any_of(scene, Role.NODE, Role.AGGREGATOR)):
        return False
    post, program = chosen
    post.killed = True
    program.send_signal(signal.SIGTERM)
    return True


PROGRAMS: tuple[Disaster, ...] = (
    Disaster("kill -9 of a node", 8, partial(_kill, role=Role.NODE)),
    Disaster("kill -9 of a worker", 8, _kill_worker),
    Disaster("kill -9 of an aggregator", 7, partial(_kill, role=Role.AGGREGATOR)),
    Disaster("kill -9 of a reconcile", 5, partial(_kill, role=Role.RECONCILE)),
    Disaster("kill -9 of all programs", 2, _kill_all),
    Disaster("SIGTERM of a program", 2, _tell_to_end),
    Disaster("SIGSTOP longer than a lease", 4, _stop),
    Disaster("file size limit reached", 2, _limit_files),
)
