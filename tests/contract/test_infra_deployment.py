"""The template deployed to both stand-ins for CloudFormation, and what came of it read back."""

from __future__ import annotations

import json

import pytest

from tests.services.servers import REGION, Service
from tests.unit.infra.policies import Call, is_allowed, statements_of
from tests.unit.infra.stacks import ROLES, Stack, client, deploy, policies_of

NAMED = {"BucketName": "gapless-deployed", "HomePrefix": "lab/home"}


@pytest.fixture(scope="module", params=["moto_server", "ministack"])
def stack(request: pytest.FixtureRequest) -> Stack:
    service: Service = request.getfixturevalue(request.param)
    return deploy(service.url, **NAMED)


@pytest.fixture(scope="module")
def on_ministack_only(ministack: Service) -> Stack:
    """moto makes no bucket policy and closes no bucket to the public from a template."""
    return deploy(ministack.url, BucketName="gapless-deployed-2")


def test_the_outputs_name_the_home_and_its_region(stack: Stack) -> None:
    assert stack.outputs["Home"] == "s3://gapless-deployed/lab/home"
    assert stack.outputs["Region"] == REGION
    assert client("s3", stack.url).head_bucket(Bucket=stack.bucket)


def test_the_bucket_is_encrypted(stack: Stack) -> None:
    answer = client("s3", stack.url).get_bucket_encryption(Bucket=stack.bucket)
    (rule,) = answer["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_the_bucket_is_closed_to_the_public(on_ministack_only: Stack) -> None:
    s3, bucket = client("s3", on_ministack_only.url), on_ministack_only.bucket
    closed = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert closed == dict.fromkeys(closed, True)
    assert len(closed) == 4
    controls = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]
    assert controls["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]


def test_the_bucket_refuses_who_comes_without_tls(on_ministack_only: Stack) -> None:
    bucket = on_ministack_only.bucket
    policy = client("s3", on_ministack_only.url).get_bucket_policy(Bucket=bucket)["Policy"]
    statements = [
        *statements_of(json.loads(policy), "bucket"),
        *on_ministack_only.statements("Node"),
    ]
    for key in ("home/home.json", "home/sweeps/a-1/sweep.json"):
        plain = Call(
            "s3:GetObject", f"arn:aws:s3:::{bucket}/{key}", {"aws:SecureTransport": "false"}
        )
        assert is_allowed(statements, Call("s3:GetObject", plain.resource))
        assert not is_allowed(statements, plain)


def test_each_role_has_the_policies_of_what_it_runs(stack: Stack) -> None:
    assert {role: set(policies_of(stack, role)) for role in ROLES} == {
        "Node": {"NodePolicy"},
        "Aggregator": {"AggregatorPolicy"},
        # `sweep run` starts a node and an aggregator as whoever calls it.
        "Submitter": {"NodePolicy", "AggregatorPolicy", "SubmitterPolicy"},
    }


@pytest.mark.parametrize("role", ROLES)
def test_a_machine_can_have_each_role(stack: Stack, role: str) -> None:
    name = stack.outputs[f"{role}Profile"].rpartition("/")[2]
    profile = client("iam", stack.url).get_instance_profile(InstanceProfileName=name)
    (found,) = profile["InstanceProfile"]["Roles"]
    assert found["Arn"] == stack.outputs[f"{role}Role"]
    principals = _principals(stack, role)
    assert {"Service": "ec2.amazonaws.com"} in principals
    assert len(principals) == (2 if role == "Submitter" else 1)


def test_people_of_the_account_take_the_submitter_role(stack: Stack) -> None:
    assert {"AWS": f"arn:aws:iam::{stack.account}:root"} in _principals(stack, "Submitter")


@pytest.mark.parametrize("service", ["moto_server", "ministack"])
def test_named_people_take_the_submitter_role_and_nobody_else(
    service: str, request: pytest.FixtureRequest
) -> None:
    people = ["arn:aws:iam::123456789012:user/ada", "arn:aws:iam::123456789012:role/lab"]
    url = request.getfixturevalue(service).url
    stack = deploy(url, BucketName="gapless-deployed-people", SubmitterArns=",".join(people))
    named = [each["AWS"] for each in _principals(stack, "Submitter") if "AWS" in each]
    assert named == [people]


@pytest.mark.parametrize("service", ["moto_server", "ministack"])
def test_the_aggregators_machine_may_run_a_node_when_asked_for(
    service: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(service).url
    stack = deploy(url, BucketName="gapless-deployed-both", AggregatorRunsNode="yes")
    assert set(policies_of(stack, "Aggregator")) == {"AggregatorPolicy", "NodePolicy"}


def test_a_bucket_without_a_name_gets_one(ministack: Service) -> None:
    stack = deploy(ministack.url)
    assert stack.outputs["Home"] == f"s3://{stack.bucket}/home"
    assert client("s3", stack.url).head_bucket(Bucket=stack.bucket)


def test_no_role_reaches_another_home_of_the_bucket_or_other_queues(stack: Stack) -> None:
    other = f"arn:aws:s3:::{stack.bucket}/another/home.json"
    queue = f"arn:aws:sqs:{REGION}:{stack.account}:billing-jobs"
    for role in ROLES:
        statements = stack.statements(role)
        assert not is_allowed(statements, Call("s3:GetObject", other))
        assert not is_allowed(statements, Call("sqs:SendMessage", queue))


def _principals(stack: Stack, role: str) -> list[dict[str, object]]:
    return [each["Principal"] for each in stack.role(role)["AssumeRolePolicyDocument"]["Statement"]]
