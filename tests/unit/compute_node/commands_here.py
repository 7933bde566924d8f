"""Shell programs as targets, and the processes that they leave."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

__all__ = ["OWN_GROUP", "TREE", "processes_of", "submit_program"]

OWN_GROUP = (
    f'{sys.executable} -c \'import os; os.setpgid(0, 0); os.execvp("sleep", ["sleep", "1000"])\''
)
"""Sleeps in a process group of its own."""

TREE = f"""
    #!/bin/sh
    sleep 1000 &
    sh -c 'sleep 1000 & sleep 1000' &
    {OWN_GROUP} &
    sh -c 'echo > "$1"; sleep 1000' sh "$1" &
"""
"""Children and grandchildren, in the command's group and in others of its session."""


def submit_program(
    place: Any, text: str, *, runs: int, words: Sequence[str] = ("./program", "{x}"), **sweep: Any
) -> None:
    """Store a sweep whose command is a script of the code folder."""
    program = place.folder / "source" / "program"
    program.parent.mkdir(exist_ok=True)
    program.write_text(textwrap.dedent(text).lstrip())
    program.chmod(0o755)
    place.submit("", runs=runs, function=None, command=tuple(words), **sweep)


def processes_of(folder: Path) -> list[str]:
    """Name what runs in or for this folder, the test itself left out."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ", "status"]):
        environment = process.info["environ"] or {}
        if process.info["status"] != psutil.STATUS_ZOMBIE and environment.get(
            "GAPLESS_RUN_DIR", ""
        ).startswith(str(folder)):
            found.append(" ".join(process.info["cmdline"] or []))
    return found
