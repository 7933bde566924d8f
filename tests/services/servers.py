"""Servers that stand in for Amazon's, as processes of their own on a free port of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "ACCOUNT_SETTINGS",
    "MINISTACK_PYTHON",
    "REGION",
    "Service",
    "ServiceMissing",
    "aws_environment",
    "free_port",
    "started_ministack",
    "started_moto",
]

CHECKOUT = Path(__file__).parents[2]
MINISTACK_PYTHON = CHECKOUT / ".venv-ministack" / "bin" / "python"
REGION = "eu-central-1"

ACCOUNT_SETTINGS = {
    # No file and no machine role of the person who runs the tests.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What keeps boto3 away from a real account, whatever else is set."""

_START_S = 60
_ATTEMPTS = 3


class ServiceMissing(Exception):
    """The program of a service is not installed here."""


@dataclass(frozen=True, slots=True)
class Service:
    """A server that tests may use: its URL, its process, and where to ask for an empty state."""

    url: str
    pid: int
    reset_path: str

    def reset(self) -> None:
        """Forget every queue, bucket and stack."""
        request = urllib.request.Request(self.url + self.reset_path, method="POST")
        with urllib.request.urlopen(request, timeout=30):
            pass


def aws_environment(url: str, *, access_key_id: str = "test-key") -> dict[str, str]:
    """Give what a process needs to reach a stand-in at a URL and nothing else of Amazon.

    The stand-ins check no signature: an access key id of its own tells a proxy who asks. Twelve
    digits would choose an account, so they are refused.
    """
    if access_key_id.isdigit():
        raise ValueError(f"{access_key_id} would choose an account of the stand-in")
    return {
        **ACCOUNT_SETTINGS,
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def free_port() -> int:
    """Give a port of the loopback interface that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def started_ministack(folder: Path) -> Iterator[Service]:
    """Run ministack with all its data in memory; ServiceMissing when it is not installed."""
    if not MINISTACK_PYTHON.exists():
        raise ServiceMissing(
            f"{MINISTACK_PYTHON} is missing: `make {MINISTACK_PYTHON.parents[1].name}/.installed`"
        )

    def environment(port: int) -> dict[str, str]:
        return {
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "LOG_LEVEL": "ERROR",
            # Not its listeners for other services, no containers, no files but in our folder.
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "DOCKER_HOST": f"unix://{folder}/none",
            "TMPDIR": str(folder),
            "S3_DATA_DIR": str(folder / "s3"),
            "STATE_DIR": str(folder / "state"),
        }

    with _started(
        lambda port: [str(MINISTACK_PYTHON), "ministack"],
        environment,
        log=folder / "ministack.log",
        ready_path="/_ministack/ready",
        reset_path="/_ministack/reset",
    ) as service:
        yield service


@contextmanager
def started_moto(folder: Path) -> Iterator[Service]:
    """Run moto's server; ServiceMissing when it is not installed."""
    try:
        import moto.server  # noqa: F401
    except ImportError as error:
        raise ServiceMissing(f"moto's server is not installed ({error})") from error
    with _started(
        lambda port: [sys.executable, "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        lambda port: {},
        log=folder / "moto.log",
        ready_path="/moto-api/",
        reset_path="/moto-api/reset",
    ) as service:
        yield service


@contextmanager
def _started(
    command: Callable[[int], Sequence[str]],
    environment: Callable[[int], Mapping[str, str]],
    *,
    log: Path,
    ready_path: str,
    reset_path: str,
) -> Iterator[Service]:
    process, port = _start(command, environment, log=log, ready_path=ready_path)
    try:
        yield Service(f"http://127.0.0.1:{port}", process.pid, reset_path)
    finally:
        _end(process)


def _start(
    command: Callable[[int], Sequence[str]],
    environment: Callable[[int], Mapping[str, str]],
    *,
    log: Path,
    ready_path: str,
) -> tuple[subprocess.Popen[bytes], int]:
    for _attempt in range(_ATTEMPTS):
        # Somebody may take the port before the server does: then it ends, and another is tried.
        port = free_port()
        python, *rest = command(port)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [python, str(Path(__file__).with_name("tethered.py")), *rest],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env={**_plain_environment(), **environment(port)},
                # A ctrl-C for the tests is not for the server: it ends with their fixture.
                start_new_session=True,
            )
        if _is_ready(process, f"http://127.0.0.1:{port}{ready_path}"):
            return process, port
        _end(process)
    raise AssertionError(f"{rest} did not start: {log.read_text()[-2000:]}")


def _is_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with opener.open(url, timeout=5) as answer:
                return process.poll() is None and answer.status == 200
        except OSError:
            time.sleep(0.02)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _plain_environment() -> dict[str, str]:
    dropped = ("AWS_", "GAPLESS_", "PYTHON", "COV_", "MINISTACK_", "LOCALSTACK_", "MOTO_")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
