"""Start, watch and kill the real programs of a folder home."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

BIN = Path(sys.executable).parent

ROLES = {
    "run": ("gapless", "run"),
    "node": ("gapless", "node"),
    "aggregator": ("gapless", "aggregate"),
    "worker": ("compute_node.worker",),
}


def wait_until(true: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Wait for an event with a deadline."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.02)


class Programs:
    """The commands of one home, run as a person would in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.home = self.folder / "home"
        self._logs_folder = folder
        self.environment = {
            **os.environ,
            "GAPLESS_HOME": str(self.home),
            "GAPLESS_CACHE": str(folder / "cache"),
            "COLUMNS": "200",
        }
        self._started: list[subprocess.Popen[bytes]] = []
        self._logs = 0

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def do(self, *arguments: str, within_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [str(BIN / "sweep"), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command in the background, its output in a file."""
        return self._start([str(BIN / "sweep"), *arguments])

    def start_python(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a Python program in the background, its output in a file."""
        return self._start([sys.executable, *arguments])

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        self._logs += 1
        with (self._logs_folder / f"program-{self._logs:03d}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def logs(self) -> str:
        """Everything the background programs have said (for a failing test)."""
        found = [
            *sorted(self._logs_folder.glob("program-*.log")),
            *sorted(self.home.rglob("*.log")),
        ]
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in found)

    def processes(self, role: str) -> list[psutil.Process]:
        """The living processes of this home in a role."""
        return [process for process, found in self._living() if found == role]

    def _living(self) -> Iterator[tuple[psutil.Process, str]]:
        for process in psutil.process_iter(["cmdline", "environ", "status"]):
            if process.info["status"] == psutil.STATUS_ZOMBIE:
                continue
            if (process.info["environ"] or {}).get("GAPLESS_HOME") != str(self.home):
                continue
            words = process.info["cmdline"] or []
            if "compute_node.worker" in words:
                yield process, "worker"
                continue
            for role, word in (("node", "node"), ("aggregator", "aggregate"), ("run", "run")):
                if word in words[1:6]:
                    yield process, role
                    break

    def kill(self, role: str, *, pick: Callable[[list[int]], int]) -> bool:
        """Kill -9 one process of a role; tell whether there was one."""
        living = sorted(process.pid for process in self.processes(role))
        if not living:
            return False
        try:
            os.kill(pick(living), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def stop_everything(self) -> None:
        """Kill what the test started and whatever that started."""
        for process, _role in list(self._living()):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()

    def json(self, *arguments: str) -> Any:
        answer = self.do(*arguments, "--json")
        assert answer.stdout, answer.stderr
        return json.loads(answer.stdout)

    def finish(self, file: str = "sweep.toml", *, within_s: float = 180) -> None:
        """Give the same command once more and expect it to complete."""
        answer = self.do("run", file, "--workers", "2", within_s=within_s)
        assert answer.returncode in (0, 5), answer.stderr + self.logs()
        after = self.do("reconcile")
        assert after.returncode == 0, after.stdout + after.stderr
