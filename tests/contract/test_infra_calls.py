"""A whole system with the rights of the template's roles and no others, every call recorded.

The stand-in for Amazon's services enforces the policies (signatures too), and the proxy before it
records who called what. So what a program may do is judged twice: by the stand-in while the system
runs, and by the tests' own evaluator afterwards, which also tells what is allowed and never used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gapless.storage.home import HomeRecord
from gapless.wiring.address import S3Address
from queueing.sqs_calls import METHODS as SQS_OPERATIONS
from tests.acceptance.cloud_programs import SHORT_TIMES
from tests.acceptance.programs import wait_until
from tests.services.fixtures import started_or_skip
from tests.services.proxy import FaultProxy, Rule
from tests.services.proxy_calls import Call as RecordedCall
from tests.services.proxy_faults import ReplyDropped
from tests.services.servers import REGION, Service, started_ministack
from tests.unit.infra.needs import needed
from tests.unit.infra.policies import Call, Statement, allowing, is_allowed
from tests.unit.infra.role_programs import RoleKeys, RolePrograms, keys_of_roles
from tests.unit.infra.stacks import ROLES, Stack, client, deploy, policies_of

# The whole system takes more than a minute, and a busy machine several.
pytestmark = pytest.mark.timeout(600)

CODE = """
import time

import numpy


def steady(n):
    time.sleep(0.2)
    return {"square": n * n}


def large(n, *, seed):
    # More than one request holds, as a claim and in a shard.
    return {"noise": numpy.random.default_rng(seed).random(2_300_000)}


def broken(n):
    # More than a record holds: the whole of it becomes a file of the run.
    print("why it is broken;" * 100_000)
    # Not all at once: a sweep that is complete does not pause.
    time.sleep(3.0 * (n % 2))
    raise ValueError(n)
"""

SWEEP = """
name = "{function}"
function = "work:{function}"
{limits}

[space]
where = "n != 7"

[space.grid]
n = {{ range = [0, {runs}] }}
"""


@dataclass(frozen=True, slots=True)
class Recording:
    """What was called while the whole system ran, and how it went."""

    stack: Stack
    keys: dict[str, RoleKeys]
    calls: list[RecordedCall]
    steady: dict[str, Any]

    def by(self, role: str) -> list[RecordedCall]:
        """The calls of a role's programs."""
        mine = self.keys[role].access_key_id
        return [call for call in self.calls if call.access_key_id == mine]

    def needs(self, role: str) -> set[Call]:
        """What a role's calls needed."""
        account = self.stack.account
        return {each for call in self.by(role) for each in needed(call, account=account)}


@pytest.fixture(scope="module")
def enforcing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A stand-in that checks signatures and policies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTH", "true")
        yield from started_or_skip(started_ministack, tmp_path_factory.mktemp("enforcing"))


@pytest.fixture(scope="module")
def recording(enforcing: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    folder = tmp_path_factory.mktemp("recording")
    stack = deploy(enforcing.url, BucketName="gapless-recorded", HomePrefix="lab/home")
    # The stand-in speaks no TLS, which the bucket insists on.
    client("s3", stack.url).delete_bucket_policy(Bucket=stack.bucket)
    keys = keys_of_roles(stack)
    with FaultProxy(enforcing.url) as proxy:
        programs = RolePrograms(folder, home=stack.outputs["Home"], endpoint=proxy.url, keys=keys)
        for place in ("/claims/", "/quarantine/"):
            for role in ("Node", "Aggregator"):
                proxy.add(
                    Rule(
                        ReplyDropped(),
                        operations={"PutObject", "CompleteMultipartUpload"},
                        resource=place,
                        by={keys[role].access_key_id},
                        times=1,
                    )
                )
        try:
            steady = WholeSystem(stack, programs, proxy, keys).run()
        finally:
            programs.stop_everything()
        yield Recording(stack, keys, list(proxy.calls()), steady)


class WholeSystem:
    """Everything that a home on S3 sees in its life, in about a minute."""

    def __init__(
        self, stack: Stack, programs: RolePrograms, proxy: FaultProxy, keys: dict[str, RoleKeys]
    ) -> None:
        self._stack = stack
        self._programs = programs
        self._proxy = proxy
        self._keys = keys
        self._sqs = client("sqs", stack.url)
        self._prefix = S3Address(stack.bucket, "lab/home").queue_prefix

    def run(self) -> dict[str, Any]:
        """Live it; give what reconcile says of the sweep that lost its queues in the middle."""
        programs = self._programs
        programs.write("work.py", CODE)
        noise = programs.folder("person") / "noise.bin"
        noise.write_bytes(os.urandom(17 << 20))
        steady = self._submit("steady", runs=60)
        self._shorten_times()
        assert self._submit("steady", runs=60) == steady
        node = programs.start("node-1", "sweep-node", "--workers", "2", "--grace", "1s")
        self._wait_for_call("Node", "SendMessageBatch", "-results")
        self._delete_queues(steady)
        self._wait_for_call("Node", "CreateQueue", "-results")
        workers = [node, programs.aggregator()]
        large = self._submit("large", runs=2)
        broken = self._submit("broken", runs=40, limits="[limits]\nmax_failures = 1")
        for sweep in (steady, large):
            programs.until_complete(sweep, "--resubmit", "--force")
        _, found = programs.reconcile(steady)
        wait_until(lambda: self._is_paused(broken), within_s=90, what="the broken sweep pauses")
        self._strange_messages(large)
        # Of a complete sweep each queue has one reader left, which has to make it itself.
        self._delete_queues(large)
        self._wait_for_call("Node", "CreateQueue", f"{large}-jobs")
        self._wait_for_call("Aggregator", "CreateQueue", f"{large}-results")
        self._do("resubmit", steady, "--runs", "1")
        programs.until_complete(steady)
        programs.stop(*workers)
        self._read_and_end(steady, large, broken)
        return found

    def _read_and_end(self, steady: str, large: str, broken: str) -> None:
        self._do("status")
        self._do("results", steady, "--limit", "3")
        self._do("pause", steady)
        self._do("resume", steady)
        self._do("cancel", broken)
        for sweep in (broken, large, steady):
            self._do("remove", sweep, "--yes")
        self._write("steady", runs=4)
        self._do("run", "sweep.toml", "--workers", "1")

    def _strange_messages(self, sweep_id: str) -> None:
        """Let each reader set aside what it cannot read and give back what is of a later format."""
        for url, kind in zip(self._queue_urls(sweep_id), ("job", "delivery"), strict=True):
            self._sqs.send_message(QueueUrl=url, MessageBody=f"no {kind} that can be read")
            later = json.dumps({"format": f"gapless.{kind}/99", "sweep": sweep_id})
            self._sqs.send_message(QueueUrl=url, MessageBody=later)

        def is_over() -> bool:
            left = [
                self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
                for url in self._queue_urls(sweep_id)
            ]
            # What is given back with a delay is neither deleted nor visible.
            return [int(each["ApproximateNumberOfMessages"]) for each in left] == [0, 0] and (
                self._status(sweep_id)["quarantined"] == 2
            )

        wait_until(is_over, within_s=60, what="strange messages were set aside and given back")

    def _submit(self, function: str, *, runs: int, limits: str = "") -> str:
        self._write(function, runs=runs, limits=limits)
        answer = self._do("submit", "sweep.toml", "--job-size", "10", "--json")
        sweep_id: str = json.loads(answer)["sweep"]
        return sweep_id

    def _write(self, function: str, *, runs: int, limits: str = "") -> None:
        self._programs.write(
            "sweep.toml", SWEEP.format(function=function, runs=runs, limits=limits)
        )

    def _do(self, *arguments: str) -> str:
        answer = self._programs.do("sweep", *arguments)
        assert answer.returncode == 0, f"{arguments}: {answer.stderr}{self._programs.logs()}"
        return answer.stdout

    def _shorten_times(self) -> None:
        record = HomeRecord(queue_prefix=self._prefix, **SHORT_TIMES)
        client("s3", self._stack.url).put_object(
            Bucket=self._stack.bucket, Key="lab/home/home.json", Body=record.encode()
        )

    def _queue_urls(self, sweep_id: str) -> list[str]:
        names = [f"{self._prefix}-{sweep_id}-{kind}" for kind in ("jobs", "results")]
        return [self._sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in names]

    def _delete_queues(self, sweep_id: str) -> None:
        for url in self._queue_urls(sweep_id):
            self._sqs.delete_queue(QueueUrl=url)

    def _wait_for_call(self, role: str, operation: str, end: str) -> None:
        by = self._keys[role].access_key_id

        def is_made() -> bool:
            return any(
                (call.access_key_id, call.operation) == (by, operation)
                and call.resource.endswith(end)
                for call in self._proxy.calls()
            )

        wait_until(is_made, within_s=60, what=f"{operation} on …{end} by {role}")

    def _status(self, sweep_id: str) -> dict[str, Any]:
        (found,) = json.loads(self._do("status", sweep_id, "--json"))["sweeps"]
        return dict(found)

    def _is_paused(self, sweep_id: str) -> bool:
        return bool(self._status(sweep_id)["state"] == "paused")


def test_the_system_lived_with_the_rights_it_has(recording: Recording) -> None:
    assert recording.steady["complete"] is True
    assert all(recording.by(role) for role in ROLES)
    assert {call.access_key_id for call in recording.calls} == {
        each.access_key_id for each in recording.keys.values()
    }


def test_the_stand_in_did_enforce_the_rights(recording: Recording) -> None:
    keys, bucket = recording.keys["Node"], recording.stack.bucket
    node = client("s3", recording.stack.url, keys.access_key_id, keys.secret)
    assert node.get_object(Bucket=bucket, Key="lab/home/home.json")
    with pytest.raises(ClientError, match="AccessDenied"):
        node.delete_object(Bucket=bucket, Key="lab/home/home.json")
    with pytest.raises(ClientError, match="AccessDenied"):
        node.get_object(Bucket=bucket, Key="another/home/home.json")
    forged = client("s3", recording.stack.url, keys.access_key_id, "no secret")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        forged.get_object(Bucket=bucket, Key="lab/home/home.json")


@pytest.mark.parametrize("role", ROLES)
def test_every_call_is_allowed_to_its_role(recording: Recording, role: str) -> None:
    statements = recording.stack.statements(role)
    refused = [each for each in recording.needs(role) if not is_allowed(statements, each)]
    assert not refused, sorted(f"{each.action} on {each.resource}" for each in refused)


@pytest.mark.parametrize("role", ROLES)
def test_a_missing_queue_is_made_by_whoever_needs_it(recording: Recording, role: str) -> None:
    assert any(call.operation == "CreateQueue" for call in recording.by(role))


def test_a_removed_sweep_leaves_no_queue_and_no_object_of_its_own(recording: Recording) -> None:
    dropped = [each for each in recording.by("Submitter") if each.operation == "DeleteQueue"]
    deleted = [each for each in recording.by("Submitter") if each.operation == "DeleteObject"]
    assert {each.resource.rpartition("-")[2] for each in dropped} == {"jobs", "results"}
    assert {each.resource.split("/")[3] for each in deleted} == {"sweeps", "quarantine"}


def test_nobody_but_the_submitter_deletes_objects_or_queues(recording: Recording) -> None:
    deleting = {"DeleteObject", "DeleteObjects", "DeleteQueue", "PurgeQueue"}
    for role in ("Node", "Aggregator"):
        assert not [call for call in recording.by(role) if call.operation in deleting]


NEVER_USED = {
    ("NodePolicy", "s3:AbortMultipartUpload", "claims/*"): "only when a part of a claim failed",
    ("NodePolicy", "s3:AbortMultipartUpload", "sweeps/*/files/*"): "the same of a run's file",
    ("AggregatorPolicy", "s3:AbortMultipartUpload", "sweeps/*/shards/*"): "the same of a shard",
    ("SubmitterPolicy", "s3:AbortMultipartUpload", "objects/*"): "the same of a bundle",
    ("NodePolicy", "sqs:GetQueueAttributes", "jobs"): "the alarm of a queue empty for 5 minutes",
    ("AggregatorPolicy", "sqs:GetQueueAttributes", "results"): "the same",
    ("NodePolicy", "sqs:GetQueueAttributes", "results"): "a queue made with other attributes",
}
"""What is allowed and never called in the life recorded above, and when it is."""


def test_nothing_is_allowed_that_is_never_called(recording: Recording) -> None:
    unused = set()
    for role, policy in (
        ("Node", "NodePolicy"),
        ("Aggregator", "AggregatorPolicy"),
        ("Submitter", "SubmitterPolicy"),
    ):
        granted = policies_of(recording.stack, role)[policy]
        needs = recording.needs(role)
        unused |= {each for statement in granted for each in _unused(statement, needs)}
    assert unused == set(NEVER_USED)


def _unused(statement: Statement, needs: set[Call]) -> Iterator[tuple[str, str, str]]:
    for action in statement.actions:
        used = {
            pattern
            for call in needs
            if call.action == action
            for _, pattern in allowing([statement], call)
        }
        for pattern in set(statement.resources) - used:
            short = pattern.rpartition("-")[2] if ":sqs:" in pattern else pattern
            yield (
                statement.policy,
                action,
                short.removeprefix("arn:aws:s3:::gapless-recorded/lab/home/"),
            )


@pytest.mark.parametrize("operation", sorted(SQS_OPERATIONS))
def test_every_request_to_sqs_is_known_and_allowed_to_somebody(
    recording: Recording, operation: str
) -> None:
    granted = [each for role in ROLES for each in recording.stack.statements(role)]
    prefix = S3Address("gapless-recorded", "lab/home").queue_prefix
    for kind in ("jobs", "results"):
        call = RecordedCall("", "sqs", operation, f"{prefix}-walk-0123abcd-{kind}")
        (need,) = needed(call, account=recording.stack.account)
        assert need.resource.startswith(f"arn:aws:sqs:{REGION}:{recording.stack.account}:")
        assert is_allowed(granted, need)
