"""The one way a value is written."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.declaration.canonical import canonical_json, digest_of
from gapless.declaration.errors import DeclarationError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_written_reads_back_as_it_was(value: object) -> None:
    written = canonical_json(value)
    assert written.isascii()
    assert repr(json.loads(written)) == repr(json.loads(json.dumps(value, sort_keys=True)))


def test_keys_are_sorted_and_nothing_is_padded() -> None:
    assert canonical_json({"b": [1, 2.0, None], "a": "ü"}) == b'{"a":"\\u00fc","b":[1,2.0,null]}'


def test_an_integer_a_float_and_a_truth_of_equal_worth_differ() -> None:
    assert len({canonical_json(value) for value in (1, 1.0, True, "1")}) == 4


def test_the_digest_is_fixed_for_ever() -> None:
    assert (
        digest_of({"n": [1, 0.1, None, "x"]})
        == "e9cc57aeba054cbbbeeb83b12f877820c8dc712cac06d2895046f3e910c287b2"
    )


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (math.nan, "finite"),
        (-math.inf, "finite"),
        (2**63, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        ([{"deep": b"bytes"}], "bytes"),
        ({1: 2}, "key"),
        ("\ud800", "surrogate"),
        (np.float64(1.0), "float64"),
        ({1, 2}, "set"),
    ],
)
def test_what_json_lacks_is_refused_with_its_reason(value: object, word: str) -> None:
    with pytest.raises(DeclarationError, match=word):
        canonical_json(value)


def test_a_bottomless_value_is_refused() -> None:
    bottomless: list[object] = []
    bottomless.append(bottomless)
    with pytest.raises(DeclarationError, match="deeper"):
        canonical_json(bottomless)
