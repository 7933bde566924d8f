"""A folder with a sweep file and code, and the commands given in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FILE = """
name = "tiny"
function = "work:work"
[space.grid]
a = [1, 2, 3]
b = [0.5, 1.5]
"""
WORK = """
def work(a, b, *, seed):
    if a == 3:
        raise ValueError("three is too much")
    return {"sum": a + b}
"""
GAPLESS_VARIABLES = ("GAPLESS_HOME", "GAPLESS_STATE", "GAPLESS_LEDGER", "GAPLESS_IN_WORKER")


class Place:
    """A folder to stand in; no home is named by the environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "place"
        self.folder.mkdir()
        self.home = self.folder / "sweeps"
        (self.folder / "sweep.toml").write_text(FILE)
        (self.folder / "work.py").write_text(WORK)
        self.environment = {
            **{key: each for key, each in os.environ.items() if key not in GAPLESS_VARIABLES},
            "GAPLESS_CACHE": str(folder / "cache"),
            "XDG_DATA_HOME": str(folder / "data"),
            "COLUMNS": "200",
        }

    def do(self, *arguments: str, program: str = "sweep") -> subprocess.CompletedProcess[str]:
        """Give a command, as if it were typed."""
        return self._run([str(Path(sys.executable).parent / program), *arguments])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Give a command and do not wait for its end."""
        return subprocess.Popen(
            [str(Path(sys.executable).parent / "sweep"), *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def modules_of(self, *arguments: str) -> set[str]:
        """Give a command and name the modules it loaded."""
        answer = self._run([sys.executable, "-c", _TELLING_ITS_MODULES, *arguments])
        assert answer.returncode == 0, answer.stderr
        return set(answer.stdout.splitlines()[-1].split())

    def python(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the folder."""
        return self._run([sys.executable, script])

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """Paste a line into a shell."""
        path = f"{Path(sys.executable).parent}:{self.environment['PATH']}"
        return self._run(["sh", "-c", line], PATH=path)

    def json(self, *arguments: str, status: int = 0) -> Any:
        """Give a command with --json and read its document strictly."""
        answer = self.do(*arguments, "--json")
        assert answer.returncode == status, answer.stderr
        return json.loads(answer.stdout, parse_constant=_no_constant)

    def _run(self, words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


_TELLING_ITS_MODULES = """
import atexit, sys
atexit.register(lambda: print(*sorted(sys.modules)))
from gapless.cli import main
main()
"""


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")
