"""Decide as IAM does whether statements allow a call; anything it does not know is an error.

IAM User Guide, "Policy evaluation logic": a matching Deny beats every Allow, no match is a refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Call", "Statement", "allowing", "is_allowed", "statements_of"]

_KNOWN = {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}


@dataclass(frozen=True, slots=True)
class Call:
    """One action on one resource, with what conditions may ask about it."""

    action: str
    resource: str
    context: Mapping[str, str] = field(
        default_factory=lambda: {"aws:SecureTransport": "true"}, compare=False
    )


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a policy; `policy` names the policy for people."""

    policy: str
    sid: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[tuple[str, str, str], ...] = ()

    def matches(self, call: Call) -> bool:
        """Tell whether it speaks of this call."""
        return (
            any(_matches(each, call.action, flags=re.IGNORECASE) for each in self.actions)
            and any(_matches(each, call.resource) for each in self.resources)
            and all(_holds(each, call.context) for each in self.conditions)
        )


def statements_of(document: Mapping[str, Any], policy: str) -> list[Statement]:
    """Read a policy document; ValueError for what this evaluator cannot judge."""
    found = []
    for each in _listed(document["Statement"]):
        unknown = set(each) - _KNOWN
        if unknown:
            raise ValueError(f"{policy}: statements with {sorted(unknown)} are not known here")
        conditions = tuple(
            (operator, key, value)
            for operator, tests in each.get("Condition", {}).items()
            for key, value in tests.items()
        )
        if any(
            operator != "Bool" or not isinstance(value, str) for operator, _, value in conditions
        ):
            raise ValueError(f"{policy}: the conditions {conditions} are not known here")
        found.append(
            Statement(
                policy=policy,
                sid=each.get("Sid", ""),
                effect=each["Effect"],
                actions=tuple(_listed(each["Action"])),
                resources=tuple(_listed(each["Resource"])),
                conditions=conditions,
            )
        )
    return found


def is_allowed(statements: Iterable[Statement], call: Call) -> bool:
    """Tell whether a call is allowed by some statement and denied by none."""
    matching = [each for each in statements if each.matches(call)]
    effects = {each.effect for each in matching}
    if not effects <= {"Allow", "Deny"}:
        raise ValueError(f"effects {effects} are not known here")
    return effects == {"Allow"}


def allowing(statements: Iterable[Statement], call: Call) -> list[tuple[Statement, str]]:
    """Give the statements that allow a call, each with the resource pattern it matched by."""
    return [
        (each, pattern)
        for each in statements
        if each.effect == "Allow" and each.matches(call)
        for pattern in each.resources
        if _matches(pattern, call.resource)
    ]


def _holds(condition: tuple[str, str, str], context: Mapping[str, str]) -> bool:
    _, key, value = condition
    # A key that the call does not carry fails a Bool.
    return context.get(key, "").lower() == value.lower()


def _matches(pattern: str, text: str, flags: int = 0) -> bool:
    if "${" in pattern:
        raise ValueError(f"policy variables are not known here: {pattern}")
    parts = (".*" if each == "*" else "." if each == "?" else re.escape(each) for each in pattern)
    return re.fullmatch("".join(parts), text, flags | re.DOTALL) is not None


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]
