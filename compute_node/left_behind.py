"""What the last run of a worker that is gone left on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compute_node.full_output import RunFile, keep_full_output
from compute_node.output import Output, join_outputs, read_open
from compute_node.values_file import STDOUT
from compute_node.values_reader import values_left

__all__ = ["LeftBehind", "find_left_behind"]


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What it had printed and recorded; `full_output` when that is more than `output` shows."""

    output: Output = field(default_factory=Output)
    values: Mapping[str, Any] = field(default_factory=dict)
    full_output: RunFile | None = None


def find_left_behind(
    output: Path, run_folder: Path, *, run: int, attempt: int, files: Path
) -> LeftBehind:
    """Look for it: `output` is the worker's output file, `run_folder` its folder of runs.

    May take as long as reading a values file may; whatever is not there is left out.
    """
    found: list[tuple[str, int]] = []
    shown = Output()
    kept: RunFile | None = None
    with ExitStack() as stack:
        for title, path in (("standard output", run_folder / STDOUT), ("standard error", output)):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            stack.callback(os.close, fd)
            if os.fstat(fd).st_size:
                found.append((title, fd))
        outputs = [read_open(fd) for _, fd in found]
        shown = join_outputs(*outputs) if len(outputs) == 2 else outputs[0] if outputs else shown
        name = f"{output.stem}-{run}-{attempt}.gz"
        kept = keep_full_output(found, shown, run=run, attempt=attempt, folder=files, name=name)
    return LeftBehind(shown, values_left(run_folder).values, kept)
