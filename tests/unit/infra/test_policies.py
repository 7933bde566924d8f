from __future__ import annotations

from typing import Any

import pytest

from tests.unit.infra.policies import Call, allowing, is_allowed, statements_of

READ = {
    "Effect": "Allow",
    "Action": "s3:GetObject",
    "Resource": ["arn:aws:s3:::b/home/home.json", "arn:aws:s3:::b/home/sweeps/*"],
}


def decide(call: Call, *statements: dict[str, Any]) -> bool:
    return is_allowed(statements_of({"Statement": list(statements)}, "p"), call)


def test_what_no_statement_names_is_refused() -> None:
    assert not decide(Call("s3:PutObject", "arn:aws:s3:::b/home/home.json"), READ)
    assert not decide(Call("s3:GetObject", "arn:aws:s3:::b/home/objects/1"), READ)


def test_a_star_stands_for_any_characters_slashes_too() -> None:
    assert decide(Call("s3:GetObject", "arn:aws:s3:::b/home/sweeps/walk-1/shards/1.h5"), READ)
    assert not decide(Call("s3:GetObject", "arn:aws:s3:::b/home/sweeps"), READ)


def test_a_star_in_the_middle_needs_what_follows_it() -> None:
    jobs = {"Effect": "Allow", "Action": "sqs:*", "Resource": "arn:aws:sqs:r:1:gapless-*-jobs"}
    assert decide(Call("sqs:SendMessage", "arn:aws:sqs:r:1:gapless-ab-walk-1-jobs"), jobs)
    assert not decide(Call("sqs:SendMessage", "arn:aws:sqs:r:1:gapless-ab-walk-1-results"), jobs)


def test_a_question_mark_stands_for_one_character_and_a_dot_for_itself() -> None:
    one = {"Effect": "Allow", "Action": "s3:Get?bject", "Resource": "a.b"}
    assert decide(Call("s3:GetObject", "a.b"), one)
    assert not decide(Call("s3:GetObject", "axb"), one)
    assert not decide(Call("s3:Getbject", "a.b"), one)


def test_actions_are_compared_without_case_and_resources_with_it() -> None:
    assert decide(Call("S3:getobject", "arn:aws:s3:::b/home/home.json"), READ)
    assert not decide(Call("s3:GetObject", "arn:aws:s3:::B/home/home.json"), READ)


def test_a_deny_beats_every_allow() -> None:
    deny = {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}
    assert not decide(Call("s3:GetObject", "arn:aws:s3:::b/home/home.json"), READ, deny)


def test_a_deny_with_a_condition_counts_only_where_the_condition_holds() -> None:
    deny = {
        "Effect": "Deny",
        "Action": "s3:*",
        "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    home = "arn:aws:s3:::b/home/home.json"
    assert decide(Call("s3:GetObject", home), READ, deny)
    assert not decide(Call("s3:GetObject", home, {"aws:SecureTransport": "false"}), READ, deny)


@pytest.mark.parametrize(
    "strange",
    [
        {"NotAction": "s3:*"},
        {"NotResource": "*"},
        {"Condition": {"StringLike": {"s3:prefix": "home/*"}}},
    ],
)
def test_what_cannot_be_judged_is_an_error_not_a_guess(strange: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not known here"):
        statements_of({"Statement": [{**READ, **strange}]}, "p")


def test_a_policy_variable_is_an_error_not_a_guess() -> None:
    named = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "b/${aws:username}/*"}
    with pytest.raises(ValueError, match="not known here"):
        decide(Call("s3:GetObject", "b/me/1"), named)


def test_the_statements_that_allow_a_call_are_named_with_their_pattern() -> None:
    statements = statements_of({"Statement": [{**READ, "Sid": "Read"}]}, "p")
    (found,) = allowing(statements, Call("s3:GetObject", "arn:aws:s3:::b/home/sweeps/x"))
    assert (found[0].sid, found[1]) == ("Read", "arn:aws:s3:::b/home/sweeps/*")
