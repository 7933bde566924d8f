"""Deploy the template to a stand-in for Amazon's services and read back what came of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3

import infra
from tests.services.servers import REGION
from tests.unit.infra.policies import Statement, statements_of

__all__ = ["ROLES", "Stack", "client", "deploy", "policies_of"]

ROLES = ("Node", "Aggregator", "Submitter")


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack: its name, its outputs, and the service it lies on."""

    url: str
    name: str
    outputs: Mapping[str, str]

    @property
    def bucket(self) -> str:
        """The bucket's name, out of the home's URL."""
        return self.outputs["Home"].removeprefix("s3://").partition("/")[0]

    @property
    def account(self) -> str:
        """The account the stand-in made it in."""
        return self.outputs["NodeRole"].split(":")[4]

    def role(self, which: str) -> dict[str, Any]:
        """What IAM says of a role."""
        name = self.outputs[f"{which}Role"].rpartition("/")[2]
        found: dict[str, Any] = client("iam", self.url).get_role(RoleName=name)["Role"]
        return found

    def statements(self, which: str) -> list[Statement]:
        """What a role is allowed, of all its policies."""
        return [each for found in policies_of(self, which).values() for each in found]


def client(service: str, url: str, access_key_id: str = "test", secret: str = "test") -> Any:
    """Make a client of a service at a URL; without keys with the rights of the account's owner."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
    )


def deploy(url: str, **parameters: str) -> Stack:
    """Make a stack of the template under a name of its own; it ends with the stand-in."""
    formation = client("cloudformation", url)
    name = f"gapless-test-{secrets.token_hex(4)}"
    formation.create_stack(
        StackName=name,
        TemplateBody=infra.cloudformation_template(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
    )
    formation.get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    (found,) = formation.describe_stacks(StackName=name)["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}
    return Stack(url, name, outputs)


def policies_of(stack: Stack, which: str) -> dict[str, list[Statement]]:
    """Read the policies of a role, by the name each has in the template."""
    iam = client("iam", stack.url)
    role = stack.role(which)["RoleName"]
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == []
    found = {}
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        arn = attached["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        answer = iam.get_policy_version(PolicyArn=arn, VersionId=version)
        name = attached["PolicyName"].removeprefix(f"{stack.name}-").partition("-")[0]
        found[name] = statements_of(answer["PolicyVersion"]["Document"], name)
    return found
