"""The shuffled order: a bijection for every size, computed per index, fixed for ever."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gapless.declaration.permutation import MAX_COUNT, permute

GOLDEN = json.loads((Path(__file__).parent / "golden" / "permutation.json").read_text())


@given(count=st.integers(1, 5_000), key=st.integers(0, 2**63 - 1))
@example(count=1, key=0)
@example(count=2, key=1)
@example(count=3, key=1)
@example(count=2**15 + 1, key=7)
@example(count=2**16, key=8)
def test_every_index_has_one_place_whatever_the_size(count: int, key: int) -> None:
    places = permute(np.arange(count), count=count, key=key)
    assert np.array_equal(np.sort(places), np.arange(count))


@given(
    count=st.integers(2**40, MAX_COUNT),
    key=st.integers(0, 2**63 - 1),
    indices=st.lists(st.integers(0, 2**40 - 1), min_size=1, max_size=50, unique=True),
)
def test_places_of_a_huge_order_lie_in_it_and_differ(
    count: int, key: int, indices: list[int]
) -> None:
    places = permute(np.array(indices), count=count, key=key).tolist()
    assert len(set(places)) == len(indices)
    assert all(0 <= place < count for place in places)


@given(st.lists(st.integers(0, 999_999), min_size=1, max_size=20))
def test_a_place_depends_on_its_index_alone(indices: list[int]) -> None:
    whole = permute(np.arange(1_000_000), count=1_000_000, key=3)
    assert permute(np.array(indices), count=1_000_000, key=3).tolist() == whole[indices].tolist()


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: str(case["count"]))
def test_the_order_is_fixed_for_ever(case: dict[str, object]) -> None:
    indices = np.array(case["indices"], dtype=np.int64)
    places = permute(indices, count=case["count"], key=case["key"])
    assert places.tolist() == case["places"]


def test_a_beginning_is_a_fair_sample_of_the_whole() -> None:
    count = 1_000_000
    first = permute(np.arange(10_000), count=count, key=11)
    hits = np.bincount(first * 100 // count, minlength=100)
    # Chi-square with 99 degrees of freedom exceeds 170 with a chance below 1e-5.
    assert float(((hits - 100) ** 2 / 100).sum()) < 170


def test_keys_give_every_order_of_four_elements_about_equally_often() -> None:
    orders = Counter(
        tuple(permute(np.arange(4), count=4, key=key).tolist()) for key in range(4_800)
    )
    assert len(orders) == 24
    assert max(orders.values()) < 2 * min(orders.values())


@pytest.mark.parametrize("count", [0, MAX_COUNT + 1])
def test_a_size_out_of_bounds_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to"):
        permute(np.array([0]), count=count, key=0)
