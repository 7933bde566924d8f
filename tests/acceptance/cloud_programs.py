"""Start, watch and kill real programs, each as on a machine of its own, of a home in a bucket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import psutil

import gapless
from gapless.storage.home import HomeRecord
from gapless.wiring import S3Address
from tests.acceptance.programs import BIN, wait_until
from tests.services.servers import REGION, aws_environment

__all__ = ["SHORT_TIMES", "CloudPrograms", "made_home"]

PERSON = "person"
"""The machine whose commands keep the ledger: submit, reconcile, resubmit."""

_TEST_FOLDER = "GAPLESS_TEST_FOLDER"
"""The variable by which the processes of one test are known."""

SHORT_TIMES = {"lease_s": 12.0, "long_poll_s": 2.0, "settle_s": 2.0, "rest_s": 1.0}
"""A home's times in proportion to sweeps of seconds."""


def made_home(**times: float) -> S3Address:
    """Make a bucket and a home in it with times of its own; ask the environment for the service."""
    address = S3Address(f"sweeps-{uuid.uuid4().hex[:10]}", "lab/2026")
    s3 = boto3.client("s3")
    s3.create_bucket(
        Bucket=address.bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    record = HomeRecord(queue_prefix=address.queue_prefix, **(times or SHORT_TIMES))
    s3.put_object(Bucket=address.bucket, Key=f"{address.prefix}/home.json", Body=record.encode())
    return address


class CloudPrograms:
    """The programs of one home. Each is asked for by the machine it runs on.

    A machine has folders and an access key id of its own, and nothing of the sweep but the home's
    URL. `endpoint` None: a folder home, and no service.
    """

    def __init__(self, folder: Path, *, home: str, endpoint: str | None) -> None:
        self.home = home
        self._endpoint = endpoint
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def folder(self, machine: str) -> Path:
        found = self._folder / machine / "work"
        found.mkdir(parents=True, exist_ok=True)
        return found

    def state(self) -> Path:
        """Where the person's machine keeps what it alone knows: the ledger."""
        return self._folder / PERSON / "data"

    def write(self, name: str, text: str) -> None:
        (self.folder(PERSON) / name).write_text(text)

    def environment(self, machine: str) -> dict[str, str]:
        own = self._folder / machine
        settings = (
            {} if self._endpoint is None else aws_environment(self._endpoint, access_key_id=machine)
        )
        return {
            **os.environ,
            **settings,
            _TEST_FOLDER: str(self._folder),
            "GAPLESS_HOME": self.home,
            "GAPLESS_CACHE": str(own / "cache"),
            "XDG_DATA_HOME": str(own / "data"),
            "COLUMNS": "200",
        }

    def do(
        self, command: str, *arguments: str, within_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a person's command to its end."""
        answer = subprocess.run(
            [str(BIN / command), *arguments],
            cwd=self.folder(PERSON),
            env=self.environment(PERSON),
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        with (self._folder / "person.log").open("a") as log:
            log.write(f"$ {command} {arguments}: {answer.returncode}\n")
            log.write(answer.stdout[-2000:] + answer.stderr[-2000:])
        assert "Traceback" not in answer.stderr, answer.stderr
        return answer

    def submit(self, *arguments: str) -> None:
        answer = self.do("sweep-submit", "sweep.toml", *arguments)
        assert answer.returncode == 0, answer.stdout + answer.stderr

    def start(
        self, machine: str, command: str, *arguments: str, python: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a program in the background, its output in a file."""
        work = self.folder(machine)
        with (self._folder / f"{machine}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *python, str(BIN / command), *arguments],
                cwd=work,
                env=self.environment(machine),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def node(self, number: int, *, python: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        return self.start(f"node-{number}", "sweep-node", "--workers", "1", python=python)

    def aggregator(self, *, python: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        return self.start("aggregator", "sweep-aggregator", python=python)

    def stored(self) -> int:
        """How many runs have a final result."""
        try:
            return len(gapless.open(self.home).coverage.final())
        except gapless.GaplessError:
            return 0

    def wait_for_stored(self, enough: int, *, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        while self.stored() < enough:
            living = [process for process in self._started if process.poll() is None]
            assert living, self.logs()
            assert time.monotonic() < deadline, f"{self.stored()} of {enough}" + self.logs()
            time.sleep(0.1)

    def reconcile(self, *options: str) -> tuple[int, Any]:
        """Compare; give the exit status and what was found."""
        answer = self.do("sweep-reconcile", "--json", *options)
        assert answer.returncode in {0, 3, 4}, answer.stdout + answer.stderr + self.logs()
        return answer.returncode, json.loads(answer.stdout)

    def until_complete(self, *options: str, within_s: float = 90) -> list[Any]:
        """Reconcile again and again until it says complete; give all it found."""
        deadline = time.monotonic() + within_s
        status, found = self.reconcile(*options)
        all_found = [found]
        while status != 0:
            assert time.monotonic() < deadline, f"{found}\n{self.logs()}"
            time.sleep(0.5)
            status, found = self.reconcile(*options)
            all_found.append(found)
        return all_found

    def stop(self, *programs: subprocess.Popen[bytes]) -> None:
        """End programs as systemd does, and expect each to give back what it has."""
        for program in programs:
            program.send_signal(signal.SIGTERM)
        for program in programs:
            assert program.wait(timeout=60) == 0, self.logs()

    def processes(self) -> list[psutil.Process]:
        """Every living process of these machines, workers too.

        Told apart by their folder: other tests, on services of their own, may have a home of the
        same URL at the same time.
        """
        own = str(self._folder)
        return [
            process
            for process in psutil.process_iter(["environ", "status"])
            if process.info["status"] != psutil.STATUS_ZOMBIE
            and (process.info["environ"] or {}).get(_TEST_FOLDER) == own
        ]

    def log(self, machine: str) -> str:
        return (self._folder / f"{machine}.log").read_text()

    def logs(self) -> str:
        """What every program has said (for a failing test)."""
        return "\n".join(
            f"== {path.name}\n{path.read_text()[-4000:]}"
            for path in sorted(self._folder.glob("*.log"))
        )

    def stop_everything(self) -> None:
        """Kill what the test started and whatever that started."""
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        for program in self._started:
            program.wait(timeout=20)
        wait_until(lambda: not self.processes(), within_s=20, what="every program has ended")
