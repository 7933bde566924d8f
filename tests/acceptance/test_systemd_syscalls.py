"""What node, workers and aggregator call of the kernel is what their units let through."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.test_systemd import AGGREGATOR, NODE, Units, submit, units
from tests.unit.infra.units import settings

__all__ = ["units"]

TRACED = """
import os, sys
strace = ["strace", "-f", "-qq", "-c", "-U", "name", "-o", {out!r}]
os.execvp("strace", [*strace, sys.executable, *sys.argv[1:]])
"""


@pytest.fixture(autouse=True)
def _needs() -> None:
    for program in ("strace", "systemd-analyze"):
        if shutil.which(program) is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{program} is missing")
            pytest.skip(f"{program} is missing")


@functools.cache
def group(name: str) -> frozenset[str]:
    """The system calls of a group as systemd knows it."""
    said = subprocess.run(
        ["systemd-analyze", "syscall-filter", name],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    words = (line.strip() for line in said.stdout.splitlines()[1:])
    found: set[str] = set()
    for word in words:
        if word.startswith("@"):
            found |= group(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return frozenset(found)


def let_through(unit: str) -> set[str]:
    """The system calls that a unit's filters leave, one after the other."""
    found: set[str] = set()
    for each in settings(unit)["SystemCallFilter"]:
        if each.startswith("~"):
            found -= group(each.removeprefix("~"))
        else:
            found |= group(each)
    return found


def called(file: Path) -> set[str]:
    """The names in strace's table, without its head ("syscall") and foot ("total")."""
    names = {line.strip() for line in file.read_text().splitlines()}
    return {name for name in names if name.isidentifier()} - {"syscall", "total"}


def test_the_filters_let_through_what_the_programs_call(units: Units, tmp_path: Path) -> None:
    submit(units, runs=10, seconds_a_run=0.01)
    traces = {unit: tmp_path / f"{unit}.trace" for unit in (NODE, AGGREGATOR)}
    programs = [
        units.start_unit(machine, "--until-complete", ("-c", TRACED.format(out=str(traces[unit]))))
        for machine, unit in (("node", NODE), ("aggregator", AGGREGATOR))
    ]
    for each in programs:
        assert each.wait(timeout=120) == 0, units.logs()
    for unit, trace in traces.items():
        names = called(trace)
        assert {"openat", "futex", "write"} <= names
        assert names - let_through(unit) == set(), unit


def test_the_filters_stop_what_no_program_of_ours_needs() -> None:
    for unit in (NODE, AGGREGATOR):
        stopped = {"mount", "ptrace", "reboot", "settimeofday", "init_module", "bpf"}
        assert not stopped & let_through(unit)
