"""AwsClients: one a thread, renewed, closed, none across fork; what people's settings do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Literal

import pytest
from botocore.stub import Stubber

from gapless.aws import AwsClients
from gapless.errors import UserMistake
from tests.services.servers import aws_environment


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens there: these tests send nothing.
    for name, value in aws_environment("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def clients() -> Any:
    made = AwsClients("sqs")
    yield made
    made.close()


def in_thread(clients: AwsClients, found: list[Any]) -> None:
    thread = threading.Thread(target=lambda: found.append(clients.client()))
    thread.start()
    thread.join(60.0)


def test_a_thread_keeps_its_client(clients: AwsClients) -> None:
    assert clients.client() is clients.client()


def test_every_thread_has_its_own(clients: AwsClients) -> None:
    found = [clients.client()]
    in_thread(clients, found)
    assert len({id(each) for each in found}) == 2


def test_after_a_renewal_every_thread_gets_a_client_with_credentials_read_anew(
    clients: AwsClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clients.client()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "new-key")
    clients.renew()
    after = clients.client()
    assert before is not after
    keys = [each._request_signer._credentials.access_key for each in (before, after)]
    assert keys == ["test-key", "new-key"]


def test_threads_that_fail_together_renew_once(clients: AwsClients) -> None:
    clients.client()
    renewed, go_on = threading.Event(), threading.Event()
    found: list[Any] = []

    def late() -> None:
        clients.client()
        renewed.set()
        assert go_on.wait(60.0)
        clients.renew()
        found.append(clients.client())

    thread = threading.Thread(target=late)
    thread.start()
    assert renewed.wait(60.0)
    clients.renew()
    mine = clients.client()
    go_on.set()
    thread.join(60.0)
    assert found
    assert clients.client() is mine


def test_closed_clients_are_replaced_when_needed(clients: AwsClients) -> None:
    before = clients.client()
    clients.close()
    clients.close()
    assert clients.client() is not before


@pytest.mark.parametrize(("service", "read_timeout"), [("sqs", 30), ("s3", 20)])
def test_timeouts_and_retries_are_pinned(service: Literal["sqs", "s3"], read_timeout: int) -> None:
    made = AwsClients(service)
    config = made.client().meta.config
    assert (config.connect_timeout, config.read_timeout) == (5, read_timeout)
    assert config.retries["mode"] == "standard"
    assert config.retries["total_max_attempts"] == 4
    assert "gapless" in config.user_agent
    made.close()


def test_a_thread_may_have_a_client_that_sends_once_beside_its_other_one(
    clients: AwsClients,
) -> None:
    once, usual = clients.client(attempts=1), clients.client()
    assert once is clients.client(attempts=1)
    assert once.meta.config.retries["total_max_attempts"] == 1
    assert usual.meta.config.retries["total_max_attempts"] == 4
    clients.renew()
    assert clients.client(attempts=1) is not once


def test_requests_are_counted_by_operation(clients: AwsClients) -> None:
    client = clients.client()
    client.meta.events.emit("before-send.sqs.SendMessageBatch", request=None)
    with Stubber(client) as stubber:
        stubber.add_response("list_queues", {})
        client.list_queues()
    assert clients.requests["SendMessageBatch"] == 1


def test_a_region_in_aws_region_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    made = AwsClients("sqs")
    assert made.client().meta.region_name == os.environ["AWS_REGION"]
    made.close()


def test_the_region_is_that_of_the_settings_or_the_one_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    for named, expected in ((None, "eu-north-1"), ("sa-east-1", "sa-east-1")):
        made = AwsClients("sqs", region=named)
        assert made.region == made.client().meta.region_name == expected
        made.close()
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION")
    made = AwsClients("sqs", region="sa-east-1")
    assert made.region == "sa-east-1"
    made.close()


def test_no_region_is_a_mistake_that_says_what_to_set(
    clients: AwsClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(UserMistake, match="set AWS_REGION"):
        clients.client()


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_PROFILE", "no-such-profile"), ("AWS_ENDPOINT_URL", "not an address")]
)
def test_settings_that_cannot_work_are_a_mistake_in_words(
    clients: AwsClients, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserMistake, match=f"boto3 cannot work with its settings: .*{value}"):
        clients.client()


def test_a_settings_file_that_cannot_be_read_is_a_mistake_in_words(
    clients: AwsClients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    file.write_text("[default\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    with pytest.raises(UserMistake, match="boto3 cannot work"):
        clients.client()


def _python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_forked_process_makes_its_own_client() -> None:
    ran = _python(
        "import os\n"
        "from gapless.aws import AwsClients\n"
        "clients = AwsClients('sqs')\n"
        "mine = clients.client()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    own = clients.client()\n"
        "    os._exit(7 if own is not mine else 1)\n"
        "_, status = os.waitpid(child, 0)\n"
        "assert clients.client() is mine\n"
        "clients.close()\n"
        "raise SystemExit(os.waitstatus_to_exitcode(status))\n"
    )
    assert ran.returncode == 7, ran.stderr


@pytest.mark.parametrize("module", ["gapless.aws", "queueing.sqs"])
def test_without_boto3_the_extra_is_named(module: str) -> None:
    ran = _python(
        "import sys\n"
        "sys.modules['boto3'] = None\n"
        "from gapless.errors import MissingExtra\n"
        "try:\n"
        f"    import {module}\n"
        "except MissingExtra as missing:\n"
        "    print(missing)\n"
    )
    assert "pip install 'gapless[aws]'" in ran.stdout, ran.stderr


def test_attributes_are_known_without_boto3() -> None:
    ran = _python(
        "import sys, queueing.sqs_attributes, queueing.persistent\n"
        "assert not {'boto3', 'botocore'} & set(sys.modules)\n"
    )
    assert ran.returncode == 0, ran.stderr
