"""The servers that the tests stand on: they answer, forget when told, and never outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import boto3
import psutil
import pytest

from tests.acceptance.programs import wait_until
from tests.services.servers import CHECKOUT, Service, aws_environment, started_ministack

HOLDER = """
import sys, time
from pathlib import Path
from tests.services.servers import started_ministack
with started_ministack(Path(sys.argv[1])) as service:
    print(service.pid, flush=True)
    time.sleep(600)
"""


def has_ended(pid: int) -> bool:
    try:
        # Where nobody waits for orphans, an ended one stays listed.
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("kind", ["on_ministack", "on_moto"])
def test_a_client_without_settings_of_its_own_reaches_the_server(
    kind: str, request: pytest.FixtureRequest
) -> None:
    service: Service = request.getfixturevalue(kind)
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="seen-through-the-environment")["QueueUrl"]
    sent = sqs.send_message(QueueUrl=url, MessageBody="hello")
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert message["MessageId"] == sent["MessageId"]
    assert sqs.meta.endpoint_url == service.url


def test_a_reset_server_has_forgotten_every_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started_ministack(tmp_path) as service:
        for name, value in aws_environment(service.url).items():
            monkeypatch.setenv(name, value)
        sqs = boto3.client("sqs")
        sqs.create_queue(QueueName="forgotten")
        assert sqs.list_queues()["QueueUrls"]
        service.reset()
        assert not sqs.list_queues().get("QueueUrls")
    assert has_ended(service.pid)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_with_the_tests_however_they_end(tmp_path: Path, how: signal.Signals) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert holder.stdout is not None
    with holder.stdout:
        pid = int(holder.stdout.readline())
    assert not has_ended(pid)
    holder.send_signal(how)
    holder.wait(timeout=20)
    wait_until(lambda: has_ended(pid), within_s=20, what="the server has ended")
