"""Killing sessions whole, whatever groups their processes made."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compute_node.sessions import kill_members, kill_sessions, living_members
from tests.unit.compute_node.commands_here import OWN_GROUP

Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(script: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sh", "-c", script], cwd=tmp_path, start_new_session=True))
        return started[-1]

    yield begin
    for each in started:
        kill_sessions([each.pid])
        each.wait()


def test_members_of_other_groups_and_descendants_in_other_sessions_are_found_and_killed(
    start: Start, tmp_path: Path, until: Callable[..., None]
) -> None:
    leader = start(f"{OWN_GROUP} & (sleep 1000 & sleep 1000) & setsid sleep 1000 & wait")
    other = start("sleep 1000 & wait")

    def groups_of(pids: list[int]) -> set[tuple[bool, bool]]:
        return {(os.getpgid(pid) == leader.pid, os.getsid(pid) == leader.pid) for pid in pids}

    until(
        lambda: (
            groups_of(living_members([leader.pid])) == {(True, True), (False, True), (False, False)}
        )
    )
    members = living_members([leader.pid])
    assert leader.pid not in members
    kill_sessions([leader.pid])
    assert leader.wait() == -signal.SIGKILL
    assert living_members([leader.pid]) == []
    until(lambda: len(living_members([other.pid])) == 1)
    assert other.poll() is None


def test_members_of_a_session_whose_leader_has_ended_are_killed(
    start: Start, until: Callable[..., None]
) -> None:
    leader = start("sleep 1000 & exit 0")
    os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
    until(lambda: len(living_members([leader.pid])) == 1)
    kill_sessions([leader.pid])
    assert living_members([leader.pid]) == []


def test_the_leader_is_spared_when_only_members_are_meant(
    start: Start, until: Callable[..., None]
) -> None:
    leader = start("sleep 1000 & sleep 1000 & wait; wait; read none; sleep 1000 & wait")
    until(lambda: len(living_members([leader.pid])) >= 2)
    kill_members([leader.pid])
    os.kill(leader.pid, 0)


def test_several_sessions_are_killed_at_once(start: Start, until: Callable[..., None]) -> None:
    leaders = [start("sleep 1000 & wait") for _ in range(4)]
    until(lambda: len(living_members([each.pid for each in leaders])) == 4)
    kill_sessions([each.pid for each in leaders])
    assert [each.wait() for each in leaders] == [-signal.SIGKILL] * 4
    assert living_members([each.pid for each in leaders]) == []


def test_sessions_that_are_gone_are_no_error(start: Start) -> None:
    leader = start("exit 0")
    leader.wait()
    assert living_members([leader.pid]) == []
