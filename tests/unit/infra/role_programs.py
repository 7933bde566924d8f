"""Programs that have the rights of the template's roles, on a stand-in that enforces them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.cloud_programs import PERSON, CloudPrograms
from tests.unit.infra.policies import Statement
from tests.unit.infra.stacks import ROLES, Stack, client

__all__ = ["RoleKeys", "RolePrograms", "keys_of_roles"]

_BATCHES = {
    "sqs:SendMessage": "sqs:SendMessageBatch",
    "sqs:DeleteMessage": "sqs:DeleteMessageBatch",
    "sqs:ChangeMessageVisibility": "sqs:ChangeMessageVisibilityBatch",
}
"""The stand-in asks for permissions of batch calls, which Amazon SQS does not have: there a batch
needs the permission of the single call."""


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """The access key of somebody who has exactly the policies of a role."""

    access_key_id: str
    secret: str


def keys_of_roles(stack: Stack) -> dict[str, RoleKeys]:
    """Make a user for each role, with the role's policies and an access key of its own."""
    return {role: _keys(stack, role) for role in ROLES}


def _keys(stack: Stack, role: str) -> RoleKeys:
    iam, user = client("iam", stack.url), f"{stack.name}-{role}"
    iam.create_user(UserName=user)
    attached = iam.list_attached_role_policies(RoleName=stack.role(role)["RoleName"])
    for each in attached["AttachedPolicies"]:
        iam.attach_user_policy(UserName=user, PolicyArn=each["PolicyArn"])
    iam.put_user_policy(
        UserName=user,
        PolicyName="batches",
        PolicyDocument=json.dumps(_batch_policy(stack.statements(role))),
    )
    key = iam.create_access_key(UserName=user)["AccessKey"]
    return RoleKeys(key["AccessKeyId"], key["SecretAccessKey"])


def _batch_policy(statements: list[Statement]) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [_BATCHES[action] for action in each.actions if action in _BATCHES],
                "Resource": list(each.resources),
            }
            for each in statements
            if set(each.actions) & set(_BATCHES)
        ],
    }


class RolePrograms(CloudPrograms):
    """The programs of one home, each with the keys of the role of its machine."""

    def __init__(
        self, folder: Path, *, home: str, endpoint: str, keys: Mapping[str, RoleKeys]
    ) -> None:
        super().__init__(folder, home=home, endpoint=endpoint)
        self._keys = keys

    def environment(self, machine: str) -> dict[str, str]:
        role = {PERSON: "Submitter", "aggregator": "Aggregator"}.get(machine, "Node")
        keys = self._keys[role]
        return {
            **super().environment(machine),
            "AWS_ACCESS_KEY_ID": keys.access_key_id,
            "AWS_SECRET_ACCESS_KEY": keys.secret,
        }
