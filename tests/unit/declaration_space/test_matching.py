"""Points of one product found among those of another, however each is cut into factors."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.declaration.canonical import canonical_json
from gapless.declaration.columns import column_of
from gapless.declaration.factors import Block, Factor
from gapless.declaration.matching import Finder

VALUES = st.sampled_from([0, 1, 2, 3, 1.0, -0.0, 0.0, "a", None, True, [1], {"k": 1}])
TYPED = st.sampled_from(
    [
        st.integers(-2, 2),
        st.sampled_from([0.0, -0.0, 0.5, 1.0]),
        st.sampled_from(["a", "b"]),
        VALUES,
    ]
)
NAMES = ["a", "b", "c"]


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    order = draw(st.permutations(NAMES))
    cut = draw(st.sampled_from([(1, 1, 1), (1, 2), (2, 1), (3,)]))
    factors = []
    for width in cut:
        names, order = order[:width], order[width:]
        count = draw(st.integers(1, 4))
        columns = []
        for _ in names:
            values = draw(TYPED)
            columns.append(column_of(draw(st.lists(values, min_size=count, max_size=count))))
        factors.append(Factor.of(names, columns))
    return Block(tuple(factors))


def points(block: Block) -> list[bytes]:
    candidates = np.arange(block.candidates)
    values: dict[str, list[Any]] = {}
    for factor, rows in zip(block.factors, block.rows_of(candidates), strict=True):
        for name, column in zip(factor.names, factor.columns, strict=True):
            values[name] = column.take(rows).tolist()
    return [canonical_json({name: values[name][place] for name in NAMES}) for place in candidates]


@settings(max_examples=200, deadline=None)
@given(source=blocks(), target=blocks())
def test_a_point_is_found_where_it_stands_and_nowhere_else(source: Block, target: Block) -> None:
    finder = Finder(source=source.factors, target=target.factors)
    candidates = np.arange(source.candidates)
    found = finder.find(source.rows_of(candidates), len(candidates)).tolist()
    places = {point: place for place, point in enumerate(points(target))}
    assert len(places) == target.candidates
    assert found == [places.get(point, -1) for point in points(source)]
    if finder.disjoint:
        assert set(found) == {-1}


def test_two_large_numbers_that_differ_by_one_are_two_values() -> None:
    source = Factor.of(["a"], [column_of([2**62, 2**62 + 1])])
    target = Factor.of(["a"], [column_of([2**62 + 1, 2**62 + 2])])
    finder = Finder(source=[source], target=[target])
    assert finder.find([np.array([0, 1])], 2).tolist() == [-1, 0]
