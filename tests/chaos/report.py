"""What a course of chaos did and what it cost, for machines and for people."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from queueing.sqlite_library import load

__all__ = ["Machine", "Report", "machine_of_now"]

_CHECKOUT = Path(__file__).parents[2]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran, without its name."""

    commit: str
    changed_since: bool
    """Whether the checkout held changes that are not in the commit."""
    cores: int
    memory_gib: float
    kernel: str
    architecture: str
    python: str
    sqlite: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one course; durations in seconds."""

    home: str
    seed: int
    machine: Machine
    submitted: int
    stored: int
    lost: int
    """Submitted runs without a result when the healing was over."""
    double_for_the_reader: int
    wrong: int
    """Runs whose values, parameters or seed are not their own."""
    not_ok: int
    differing: int
    executed: int
    """How often the function was called until all was stored."""
    repeated_percent: float
    disasters: int
    disasters_by_kind: dict[str, int]
    requests_hit: dict[str, int]
    killed: dict[str, int]
    ended_unasked: dict[str, int]
    """Programs that nobody had killed and that ended before the end, by role and status."""
    reconcile_statuses: dict[int, int]
    reconciles_forced: int
    """With --force: what silent nodes had in hand was sent before they were silent for long."""
    integrity_checks: dict[str, int]
    shards_spoilt: list[str]
    """How stored shards were spoilt when all was stored; `sweep verify` found each."""
    executed_for_spoilt_shards: int
    verified: str
    """What `sweep verify` said at the very end."""
    seconds_with_faults: float
    seconds_to_heal: float
    seconds: float
    impossible_here: list[str]
    problems: list[str]

    @property
    def good(self) -> bool:
        """Whether nothing was lost, doubled or wronged, and nothing else went wrong."""
        return not (
            self.lost
            or self.double_for_the_reader
            or self.wrong
            or self.not_ok
            or self.differing
            or self.problems
        )

    def text(self) -> str:
        """Write it for people."""
        machine = self.machine
        rows = [
            ("runs submitted", f"{self.submitted:,}"),
            ("stored", f"{self.stored:,}"),
            ("lost", f"{self.lost:,}"),
            ("double for the reader", f"{self.double_for_the_reader:,}"),
            ("wrong values", f"{self.wrong:,}"),
            ("not ok", f"{self.not_ok:,}"),
            ("results that differ", f"{self.differing:,}"),
            ("executions", f"{self.executed:,}"),
            ("repeated work", f"{self.repeated_percent:.2f} %"),
            *_counted("disasters", self.disasters_by_kind),
            *_counted("requests hit", self.requests_hit),
            *_counted("processes killed", self.killed),
            *_counted("programs that ended unasked", self.ended_unasked),
            ("reconcile, by exit status", _listed(self.reconcile_statuses)),
            ("reconciles with --force", f"{self.reconciles_forced:,}"),
            ("integrity checks", _listed(self.integrity_checks)),
            ("shards spoilt at the end", "; ".join(self.shards_spoilt) or "none"),
            ("executions for these", f"{self.executed_for_spoilt_shards:,}"),
            ("sweep verify", self.verified),
            ("time with faults", f"{self.seconds_with_faults:.0f} s"),
            ("time to heal", f"{self.seconds_to_heal:.0f} s"),
            ("time in all", f"{self.seconds:.0f} s"),
            ("commit", machine.commit + (" and changes" if machine.changed_since else "")),
            ("cores, memory", f"{machine.cores}, {machine.memory_gib:.0f} GiB"),
            ("kernel", f"Linux {machine.kernel} {machine.architecture}"),
            ("Python, SQLite", f"{machine.python}, {machine.sqlite}"),
            ("impossible here", "; ".join(self.impossible_here) or "nothing"),
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"chaos on a home of kind {self.home}, seed {self.seed}"]
        lines += [f"{name:<{width}}  {value}" for name, value in rows]
        lines += [f"PROBLEM: {problem}" for problem in self.problems]
        return "\n".join([*lines, "good" if self.good else "NOT GOOD"])


def _counted(what: str, numbers: dict[str, int]) -> list[tuple[str, str]]:
    return [
        (what, f"{sum(numbers.values()):,}"),
        *((f"  {kind}", f"{number:,}") for kind, number in numbers.items()),
    ]


def _listed(numbers: Mapping[Any, int]) -> str:
    return ", ".join(f"{key}: {number:,}" for key, number in numbers.items()) or "none"


def machine_of_now() -> Machine:
    """Say what this machine and this checkout are."""
    commit = _git("rev-parse", "HEAD")
    return Machine(
        commit=commit or "unknown",
        changed_since=bool(_git("status", "--porcelain", "--untracked-files=no")),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=platform.release(),
        architecture=platform.machine(),
        python=platform.python_version(),
        sqlite=load().sqlite_version,
    )


def _git(*words: str) -> str:
    try:
        answer = subprocess.run(
            ["git", *words],
            cwd=_CHECKOUT,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
        )
    except FileNotFoundError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
