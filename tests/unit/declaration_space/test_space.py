"""Spaces: what they hold, in which order, and what freezing keeps."""

from __future__ import annotations

import hashlib
import itertools
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.declaration.canonical import canonical_json
from gapless.declaration.errors import DamagedMessage, DeclarationError
from gapless.declaration.frozen import points_in
from gapless.declaration.space import FrozenSpace, Space, geomspace, linspace, logspace, range_


def reread(frozen: FrozenSpace) -> FrozenSpace:
    """Read the space back from its JSON, as a node does."""
    return FrozenSpace.from_json(
        json.loads(canonical_json(frozen.to_json())), frozen.objects.__getitem__
    )


def every(space: Space | FrozenSpace) -> list[dict[str, Any]]:
    return [space[point] for point in range(len(space))]


def canonical(points: list[dict[str, Any]]) -> list[bytes]:
    return [canonical_json(point) for point in points]


# What it holds


def test_a_grid_combines_every_value_the_last_axis_fastest() -> None:
    space = Space.grid(n=[1, 2], m=["a", "b", "c"])
    assert len(space) == 6
    assert every(space) == [{"n": n, "m": m} for n in (1, 2) for m in "abc"]
    assert list(space) == every(space) == every(space.freeze())


def test_values_are_plain_python_values() -> None:
    space = Space.grid(
        n=np.arange(2), x=np.linspace(0, 1, 2), m=[np.str_("a")], v=[(1, np.float64(2.5)), None]
    )
    for point in (space[0], space.freeze()[0], reread(space.freeze())[0]):
        assert point == {"n": 0, "x": 0.0, "m": "a", "v": [1, 2.5]}
        assert [type(value) for value in point.values()] == [int, float, str, list]
        assert [type(value) for value in point["v"]] == [int, float]


def test_an_axis_may_mix_types_and_nest() -> None:
    given = ["scale", 0.1, 1, True, {"none": True}, [[1, 2], [3, [4]]], {"deep": {"none": True}}]
    found = [point["gamma"] for point in every(reread(Space.grid(gamma=given).freeze()))]
    expected = ["scale", 0.1, 1, True, None, [[1, 2], [3, [4]]], {"deep": None}]
    assert list(map(repr, found)) == list(map(repr, expected))


def test_lists_of_equal_length_on_an_axis_stay_lists() -> None:
    assert every(Space.grid(w=[[1, 2], [3, 4]]).freeze()) == [{"w": [1, 2]}, {"w": [3, 4]}]


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (linspace(0, 1, 5), np.linspace(0, 1, 5).tolist()),
        (logspace(-2, 0, 3), np.logspace(-2, 0, 3).tolist()),
        (geomspace(1e-3, 1, 4), np.geomspace(1e-3, 1, 4).tolist()),
        (range_(3), [0, 1, 2]),
        (range_(2, 9, 3), [2, 5, 8]),
        (range_(5, 0, -2), [5, 3, 1]),
        (range_(0, 1, 0.25), [0.0, 0.25, 0.5, 0.75]),
        (range_(1.0, 1.3, 0.1), [1.0, 1.1, 1.2]),
        ({"linspace": [0.0, 1.0, 2]}, [0.0, 1.0]),
        ({"range": [0, 4, 2]}, [0, 2]),
        (range(3), [0, 1, 2]),
        (linspace(1, 1, 3), [1.0]),
    ],
)
def test_a_formula_gives_the_values_numpy_gives(formula: Any, expected: list[Any]) -> None:
    space = Space.grid(a=formula)
    found = [point["a"] for point in every(space.freeze())]
    assert found == pytest.approx(expected, abs=1e-15)
    assert [type(value) for value in found] == [type(value) for value in expected]
    assert [point["a"] for point in every(space)] == found


def test_a_point_of_a_huge_grid_is_found_without_the_grid() -> None:
    space = Space.grid({name: range_(0, 1000) for name in "abcd"})
    frozen = space.freeze()
    assert len(space) == len(frozen) == 10**12
    assert space.estimate() == (10**12, True)
    tracemalloc.start()
    for point in (10**12 - 1, 123_456_789_012, -1):
        digits = f"{point % 10**12:012d}"
        expected = {name: int(digits[3 * i : 3 * i + 3]) for i, name in enumerate("abcd")}
        assert space[point] == frozen[point] == expected
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    with pytest.raises(IndexError):
        space[10**12]


def test_an_axis_too_long_to_store_is_counted_and_looked_into_but_not_frozen() -> None:
    space = Space.grid(n=range_(0, 10**12), m=[1, 2])
    assert len(space) == 2 * 10**12
    assert space[2 * 10**12 - 1] == {"n": 10**12 - 1, "m": 2}
    assert space.where("n % 2 == 0").estimate()[0] == pytest.approx(10**12, rel=0.02)
    with pytest.raises(DeclarationError, match="10,000,000"):
        space.freeze()


def test_zip_takes_values_together_and_multiplies_with_a_grid() -> None:
    space = Space.zip_(model=["a", "b"], weights=["a.npz", "b.npz"]) * Space.grid(n=[1, 2])
    assert [tuple(point.values()) for point in every(space)] == [
        ("a", "a.npz", 1),
        ("a", "a.npz", 2),
        ("b", "b.npz", 1),
        ("b", "b.npz", 2),
    ]


def test_points_and_tables_hold_their_rows() -> None:
    rows = [{"a": 1, "b": None}, {"b": 2.5, "a": 7}]
    assert every(Space.points(rows)) == rows
    assert every(Space.table(["a", "b"], [[1, 7], [None, 2.5]])) == rows


def test_the_space_without_parameters_is_one_point() -> None:
    space = Space.single()
    assert len(space) == 1
    assert space[0] == {} == reread(space.freeze())[0]
    assert list(space * Space.grid(a=[1])) == [{"a": 1}]


def test_what_repeats_stands_once_where_it_stood_first() -> None:
    assert [point["a"] for point in every(Space.grid(a=[3, 1, 3, 1.0, True, 1]))] == [
        3,
        1,
        1.0,
        True,
    ]
    rows = Space.zip_(a=["x", "y", "x", "x"], b=[1.0, 2.0, 1.0, 3.0])
    assert [tuple(p.values()) for p in every(rows)] == [("x", 1.0), ("y", 2.0), ("x", 3.0)]


def test_names_that_are_arguments_of_ours_can_be_given_in_a_mapping() -> None:
    space = Space.sample({"n": {"integers": [1, 9]}, "method": {"choice": ["x"]}}, n=4, seed=1)
    assert space.names == ("n", "method")
    assert Space.grid({"cls": [1], "axes": [2]}, self=[3])[0] == {"cls": 1, "axes": 2, "self": 3}


# Unions and conditions


def test_a_union_is_one_block_after_the_other_without_what_was_there() -> None:
    space = Space.grid(n=[1, 2], a=[0.0, 0.5]) + Space.grid(a=[0.5, 1.0], n=[2, 3])
    assert [tuple(point.values()) for point in every(space)] == [
        (1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5), (3, 0.5), (2, 1.0), (3, 1.0),
    ]  # fmt: skip


def test_a_product_with_a_union_is_multiplied_block_by_block() -> None:
    space = Space.grid(n=[1]) * (Space.grid(a=[1]) + Space.grid(a=[2])) * Space.grid(z=[0, 1])
    assert [tuple(point.values()) for point in space] == [
        (1, 1, 0),
        (1, 1, 1),
        (1, 2, 0),
        (1, 2, 1),
    ]


def test_a_condition_belongs_to_the_blocks_it_was_written_for() -> None:
    space = Space.grid(n=[1, 2, 3]).where("n > 1") + Space.grid(n=[1, 2, 5])
    assert [point["n"] for point in every(space)] == [2, 3, 1, 5]
    product = Space.grid(n=[1, 2]).where("n > 1") * Space.grid(m=[1, 2]).where("m < 2")
    assert every(product) == [{"n": 2, "m": 1}]


def test_later_conditions_are_not_looked_at_where_earlier_ones_fail() -> None:
    space = Space.grid(n=[0, 1, 2]).where("n != 0").where("1 / n < 1")
    assert every(space) == [{"n": 2}]


def test_equal_numbers_of_two_types_are_two_values() -> None:
    union = Space.grid(n=[1]) + Space.grid(n=[1.0]) + Space.grid(n=[True, 1])
    assert [repr(point["n"]) for point in every(union)] == ["1", "1.0", "True"]
    assert union.freeze().kinds == {"n": "json"}
    assert len(Space.grid(x=[0.0]) + Space.grid(x=[-0.0])) == 2


VALUES = st.sampled_from([0, 1, 2, 3, 0.0, 1.0, -0.0, "a", None, [1], True])


@st.composite
def blocks(draw: st.DrawFn) -> Space:
    values = st.lists(VALUES, min_size=1, max_size=4)
    typed = st.lists(st.integers(0, 4), min_size=1, max_size=4)
    match draw(st.sampled_from(["grid", "zip", "points"])):
        case "grid":
            space = Space.grid(a=draw(typed)) * Space.grid(b=draw(values), c=draw(typed))
        case "zip":
            rows = draw(st.lists(st.tuples(st.integers(0, 4), VALUES), min_size=1, max_size=6))
            space = Space.grid(c=draw(typed)) * Space.zip_(
                a=[row[0] for row in rows], b=[row[1] for row in rows]
            )
        case _:
            space = Space.points(
                [
                    {"c": c, "b": b, "a": a}
                    for a, b, c in draw(
                        st.lists(
                            st.tuples(st.integers(0, 4), VALUES, st.integers(0, 4)),
                            min_size=1,
                            max_size=8,
                        )
                    )
                ]
            )
    if draw(st.booleans()):
        space = space.where("a <= c or b == 1")
    return space


def by_hand(space: Space) -> list[dict[str, Any]]:
    """List a block without where or union by plain loops over its declared values."""
    (block,) = space._blocks
    rows = [
        [
            dict(zip(recipe.names, row, strict=True))
            for row in zip(*(c.tolist() for c in recipe.factor.columns), strict=True)
        ]
        for recipe in block.recipes
    ]
    points = [
        {k: v for row in chosen for k, v in row.items()} for chosen in itertools.product(*rows)
    ]
    return [p for p in points if not block.wheres or p["a"] <= p["c"] or p["b"] == 1]


@settings(max_examples=150, deadline=None)
@given(st.lists(blocks(), min_size=1, max_size=4))
def test_a_union_keeps_each_point_once_in_order(parts: list[Space]) -> None:
    union = parts[0]
    for part in parts[1:]:
        union = union + part
    expected = {
        canonical_json(point): point
        for part in reversed(parts)
        for point in reversed(by_hand(part))
    }
    ordered = list(
        dict.fromkeys(canonical_json(point) for part in parts for point in by_hand(part))
    )
    if not expected:
        with pytest.raises(DeclarationError, match="keeps none"):
            union.freeze()
        return
    frozen = union.freeze()
    again = reread(frozen)
    assert canonical(every(frozen)) == ordered
    assert canonical(every(again)) == ordered
    assert again.to_json() == frozen.to_json()
    assert points_in(frozen.to_json()) == len(frozen) == len(union) == len(ordered)
    columns = again.columns(np.arange(len(again))[::-1])
    rows = [
        dict(zip(columns, row, strict=True))
        for row in zip(*(c.tolist() for c in columns.values()), strict=True)
    ]
    assert canonical(rows) == ordered[::-1]
    assert {name: column.kind for name, column in columns.items()} == again.kinds


def test_a_large_condition_is_frozen_in_blocks_of_bounded_memory() -> None:
    space = Space.grid(a=range_(0, 3000), b=range_(0, 1000)).where("(a * 1000 + b) % 3 != 1")
    tracemalloc.start()
    frozen = space.freeze()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(frozen) == 2_000_000
    assert peak < 40_000_000
    points = np.array([0, 1, 2, 1_999_999, 777_777])
    kept = [number for number in range(3_000_000) if number % 3 != 1]
    columns = frozen.columns(points)
    found = columns["a"].values * 1000 + columns["b"].values
    assert found.tolist() == [kept[point] for point in points.tolist()]


# Objects


def test_what_is_large_is_an_object_named_by_its_hash() -> None:
    values = [number / 7 for number in range(20_000)]
    frozen = (Space.grid(n=[1, 2]) * Space.table(["x"], [values])).where("n * x < 100").freeze()
    assert len(canonical_json(frozen.to_json())) < 1_000
    assert len(frozen.objects) == 2
    for name, data in frozen.objects.items():
        assert hashlib.sha256(data).hexdigest() == name
    assert every(reread(frozen))[-1] == {"n": 2, "x": 349 / 7}


def test_small_tables_lie_in_the_space_itself() -> None:
    assert Space.grid(n=[1, 2], x=linspace(0, 1, 100)).freeze().objects == {}


def test_the_same_space_has_the_same_bytes() -> None:
    def made() -> FrozenSpace:
        space = Space.grid(n=range_(100), x=linspace(0, 1, 100)) + Space.grid(x=[0.0, 3.0], n=[5])
        return space.where("n * x < 40").freeze()

    assert canonical_json(made().to_json()) == canonical_json(made().to_json())
    assert made().objects == made().objects


def test_a_damaged_object_is_told_when_its_values_are_needed() -> None:
    frozen = Space.grid(n=[1, 2, 3]).where("n != 2").freeze()
    damaged = FrozenSpace.from_json(frozen.to_json(), lambda name: b"damaged")
    assert len(damaged) == 2
    with pytest.raises(DamagedMessage, match="SHA-256"):
        damaged[0]


@pytest.mark.parametrize(
    "written",
    [None, {}, {"names": ["a"], "blocks": []}, {"names": ["a"], "blocks": [{"factors": []}]}],
)
def test_what_is_no_space_is_told(written: Any) -> None:
    with pytest.raises(DamagedMessage, match="not a space"):
        FrozenSpace.from_json(written, lambda name: b"")


# Mistakes


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Space.grid, ["grid", "empty"]),
        (lambda: Space.grid(a=[]), ["'a'", "empty"]),
        (lambda: Space.grid(a=range_(3, 3)), ["'a'", "empty"]),
        (lambda: Space.grid(a=5), ["'a'", "list", "5"]),
        (lambda: Space.grid(a="abc"), ["'a'", "list", "abc"]),
        (lambda: Space.grid(a=[float("nan")]), ["'a'", "nan", "finite"]),
        (lambda: Space.grid(a=[1, 2**63]), ["'a'", "64 bits"]),
        (lambda: Space.grid(a=[1, "x", b"y"]), ["'a'", "bytes"]),
        (
            lambda: Space.grid(a={"linspce": [0, 1, 2]}),
            ["'a'", "linspce", "did you mean 'linspace'"],
        ),
        (lambda: Space.grid(a={"linspace": [0, 1]}), ["'a'", "[start, stop, count]"]),
        (lambda: Space.grid(a={"linspace": [0, "x", 2]}), ["'a'", "number", "'x'"]),
        (lambda: Space.grid(a={"linspace": [0, 1, 2.5]}), ["'a'", "count", "2.5"]),
        (lambda: Space.grid(a={"range": [0, 1, 0]}), ["'a'", "step"]),
        (lambda: Space.grid(a={"geomspace": [-1, 1, 3]}), ["'a'", "one sign"]),
        (lambda: Space.grid(a={"logspace": [0, 400, 3]}).freeze(), ["infinite"]),
        (lambda: Space.grid(seed=[1]), ["'seed'", "reserved"]),
        (lambda: Space.zip_(run_dir=[1]), ["'run_dir'", "reserved"]),
        (lambda: Space.grid({"a b": [1]}), ["'a b'", "Python name"]),
        (lambda: Space.points([{"lambda": 1}]), ["'lambda'", "keyword"]),
        (lambda: Space.grid({"ﬁt": [1]}), ["'fit'"]),
        (lambda: Space.zip_(a=[1, 2, 3], b=[1, 2]), ["zip", "row 3", "lacks b"]),
        (lambda: Space.table(["a", "b"], [[1, 2], [1]]), ["table", "row 2", "lacks b"]),
        (lambda: Space.table(["a", "b"], [[1, 2]]), ["table", "2 names", "found 1"]),
        (lambda: Space.table(["a", "a"], [[1], [1]]), ["table", "'a'", "twice"]),
        (lambda: Space.points([]), ["points", "empty"]),
        (lambda: Space.points([{"a": 1}, {"b": 1}]), ["points", "row 2", "lacks a"]),
        (lambda: Space.points([{"a": 1}, {"a": 1, "b": 1}]), ["points", "row 2", "b"]),
        (lambda: Space.points([{"a": 1}, 7]), ["points", "row 2", "7"]),
        (lambda: Space.grid(a=[1]) * Space.zip_(a=[1]), ["'a'", "both sides"]),
        (lambda: Space.grid(a=[1], b=[1]) + Space.grid(a=[1]), ["without b"]),
        (lambda: Space.grid(a=[1]) + Space.grid(a=[1], c=[1]), ["without c"]),
        (lambda: Space.grid(a=[1]).where("b > 1"), ["'b'", "no parameter"]),
        (
            lambda: len(Space.grid(a=[1, 2]).where("a > 5")),
            ["where", "a > 5", "none of the 2 points"],
        ),
        (lambda: len(Space.grid({c: range_(10**6) for c in "abcd"})), ["2**62"]),
        (
            lambda: Space.grid(a=range_(10**6), b=range_(10**4)).where("a > b").freeze(),
            ["10,000,000,000", "1,000,000,000", "--dry-run"],
        ),
    ],
)
def test_a_mistake_is_told_in_words(make: Any, words: list[str]) -> None:
    with pytest.raises(DeclarationError) as caught:
        make()
    for word in words:
        assert word in str(caught.value)


# Estimates


def test_a_small_space_is_counted_exactly_before_it_is_frozen() -> None:
    space = Space.grid(a=range_(100), b=range_(100)).where("a < b")
    assert space.estimate() == (4_950, True)


def test_a_large_condition_is_estimated_and_said_to_be() -> None:
    space = Space.grid(a=range_(10_000), b=range_(10_000), c=range_(10_000)).where("a < b")
    points, exact = space.estimate(samples=100_000)
    assert not exact
    assert points == pytest.approx(10**12 / 2, rel=0.02)


def test_the_overlap_of_a_large_union_is_estimated() -> None:
    space = Space.grid(a=range_(4_000), b=range_(4_000)) + Space.grid(
        b=range_(4_000), a=range_(2_000, 6_000)
    )
    points, exact = space.estimate(samples=100_000)
    assert not exact
    assert points == pytest.approx(24_000_000, rel=0.02)
