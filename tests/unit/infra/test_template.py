"""The template as text: what the stand-ins for CloudFormation do not carry out is checked here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

import infra
from gapless.storage.home import HomeRecord
from gapless.wiring.address import S3Address

TEMPLATE: dict[str, Any] = cfn_yaml.loads(infra.cloudformation_template())
RESOURCES = TEMPLATE["Resources"]
BUCKET = RESOURCES["Bucket"]["Properties"]
POLICIES = ("NodePolicy", "AggregatorPolicy", "SubmitterPolicy")


def actions(policy: str) -> set[str]:
    statements = RESOURCES[policy]["Properties"]["PolicyDocument"]["Statement"]
    listed = (each["Action"] for each in statements)
    return {one for each in listed for one in ([each] if isinstance(each, str) else each)}


def test_cfn_lint_has_nothing_to_say(tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(infra.cloudformation_template())
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--include-checks", "I", "--"]
    done = subprocess.run(
        [*command, str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_results_outlive_the_stack() -> None:
    for name in ("Bucket", "BucketPolicy"):
        assert RESOURCES[name]["DeletionPolicy"] == "Retain"
        assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"


def test_the_bucket_is_encrypted_and_closed_to_the_public() -> None:
    (rule,) = BUCKET["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    closed = BUCKET["PublicAccessBlockConfiguration"]
    assert set(closed) == {
        "BlockPublicAcls",
        "BlockPublicPolicy",
        "IgnorePublicAcls",
        "RestrictPublicBuckets",
    }
    assert all(closed.values())


def test_uploads_in_part_are_given_up_after_a_week() -> None:
    rules = {each["Id"]: each for each in BUCKET["LifecycleConfiguration"]["Rules"]}
    rule = rules["abort-uploads-in-part"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert "Prefix" not in rule
    assert rule["Status"] == "Enabled"


def test_claims_and_nothing_else_expire_and_later_than_any_message_that_names_one() -> None:
    expiring = [
        each for each in BUCKET["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in each
    ]
    (rule,) = expiring
    assert rule["Prefix"] == {"Fn::Sub": "${HomePrefix}/claims/"}
    assert rule["ExpirationInDays"] == {"Ref": "ClaimDays"}
    days = TEMPLATE["Parameters"]["ClaimDays"]
    assert days["Default"] >= days["MinValue"] >= 30
    assert days["MinValue"] * 86_400 >= 2 * HomeRecord().retention_s


def test_only_the_submitter_deletes_objects_and_queues() -> None:
    deleting = {"s3:DeleteObject", "sqs:DeleteQueue"}
    assert actions("SubmitterPolicy") >= deleting
    for policy in ("NodePolicy", "AggregatorPolicy"):
        assert not actions(policy) & deleting


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_names_an_action_by_a_wildcard(policy: str) -> None:
    assert not [action for action in actions(policy) if "*" in action or "?" in action]


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_reaches_beyond_this_home_but_for_listing_its_bucket(policy: str) -> None:
    statements = RESOURCES[policy]["Properties"]["PolicyDocument"]["Statement"]
    for each in statements:
        resources = each["Resource"] if isinstance(each["Resource"], list) else [each["Resource"]]
        for resource in resources:
            if each["Action"] == "s3:ListBucket":
                # With a condition on a prefix S3 would answer 403 for a key that is missing.
                assert resource == {"Fn::GetAtt": ["Bucket", "Arn"]}
                assert "Condition" not in each
                continue
            named = resource["Fn::Sub"]
            is_object = named.startswith("${Bucket.Arn}/${HomePrefix}/")
            assert is_object or ":${QueuePrefix}*-" in named, named
            assert is_object or named.endswith(("-jobs", "-results")), named


def test_a_homes_usual_queue_names_begin_as_the_template_says() -> None:
    begin = TEMPLATE["Parameters"]["QueuePrefix"]["Default"]
    assert S3Address("bucket", "home").queue_prefix.startswith(begin)
