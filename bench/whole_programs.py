"""Time whole programs in a home of their own and watch the memory of their processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SWEEP = str(Path(sys.executable).parent / "sweep")


@dataclass
class Finished:
    """What one command took: seconds, and the peak resident MB of each kind of process."""

    wall_s: float
    peak_mb: dict[str, float] = field(default_factory=dict)
    output: str = ""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder on the disk of the checkout (not a memory file system), removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="bench-home-", dir=Path(__file__).parent.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def timed(folder: Path, *arguments: str, watch: bool = False, status: int = 0) -> Finished:
    """Run `sweep ARGUMENTS` in a folder to its end."""
    environment = {**os.environ, "GAPLESS_CACHE": str(folder / "cache")}
    started = time.perf_counter()
    process = subprocess.Popen(
        [SWEEP, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    finished = Finished(0.0)
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, finished, stop))
    if watch:
        watcher.start()
    finished.output = process.communicate()[0]
    finished.wall_s = time.perf_counter() - started
    stop.set()
    if watch:
        watcher.join()
    if process.returncode != status:
        raise SystemExit(f"sweep {' '.join(arguments)}: {process.returncode}\n{finished.output}")
    return finished


def _watch(pid: int, finished: Finished, stop: threading.Event) -> None:
    while not stop.wait(0.1):
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(pid)
            for process in [parent, *parent.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    kind = _kind(process.cmdline())
                    size = process.memory_info().rss / 1e6
                    finished.peak_mb[kind] = max(finished.peak_mb.get(kind, 0.0), size)


def _kind(words: list[str]) -> str:
    if "compute_node.worker" in words:
        return "worker"
    for word, kind in (("node", "agent"), ("aggregate", "aggregator")):
        if word in words[1:6]:
            return kind
    return "command"
