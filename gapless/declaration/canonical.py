"""The one way a value is written: what digests, seeds and equality of values rest on."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from gapless.declaration.errors import DeclarationError

__all__ = ["INT_MAX", "INT_MIN", "canonical_json", "check_text", "check_value", "digest_of"]

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
_DEEPEST = 64


def canonical_json(value: object) -> bytes:
    """Write a value as ASCII JSON: sorted keys, no spaces, floats by repr (1 and 1.0 differ).

    DeclarationError for NaN and infinities, integers beyond 64 bits and types JSON lacks. A tuple
    is written as a list.
    """
    check_value(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def check_value(value: object) -> None:
    """DeclarationError when `canonical_json` cannot write a value, which this does not do."""
    _check(value, depth=0)


def digest_of(value: object) -> str:
    """Give the SHA-256 of a value's canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def check_text(text: str) -> None:
    """DeclarationError when a string holds half a surrogate pair: it cannot be stored as UTF-8."""
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DeclarationError(
                f"the text {text[:40]!r} holds half a character (a lone surrogate): remove it"
            ) from error


def _check(value: Any, *, depth: int) -> None:  # noqa: C901 - one answer a type
    kind = type(value)
    if kind is float:
        if not math.isfinite(value):
            raise DeclarationError(
                f"{value!r} cannot be a value: expected a finite number (None for a missing one)"
            )
    elif kind is int:
        if not INT_MIN <= value <= INT_MAX:
            raise DeclarationError(
                f"the integer {str(value)[:40]} is beyond 64 bits: write it as text or as a float"
            )
    elif kind is str:
        check_text(value)
    elif kind is list or kind is tuple:
        _check_depth(depth)
        for each in value:
            _check(each, depth=depth + 1)
    elif kind is dict:
        _check_depth(depth)
        for key, each in value.items():
            if type(key) is not str:
                raise DeclarationError(f"the key {key!r} of a table is not text")
            check_text(key)
            _check(each, depth=depth + 1)
    elif value is not None and kind is not bool:
        raise DeclarationError(
            f"{str(value)[:40]!r} of type {kind.__name__} cannot be a value: expected text, a "
            "number, true or false, none, a list or a table"
        )


def _check_depth(depth: int) -> None:
    if depth >= _DEEPEST:
        raise DeclarationError(f"a value is nested deeper than {_DEEPEST} lists or tables")
