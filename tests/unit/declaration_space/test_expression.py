"""Conditions: what they may say, and that columns give what Python gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.declaration.columns import column_of
from gapless.declaration.errors import DeclarationError
from gapless.declaration.expression import Expression
from gapless.declaration.expression_blocks import _Block, holds

NAMES = ("i", "j", "x", "y", "b", "s", "v")


def held(text: str, **values: list[Any]) -> list[bool]:
    count = len(next(iter(values.values())))
    columns = {name: column_of(each) for name, each in values.items()}
    return holds(Expression(text, tuple(values)), columns, count).tolist()


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("a.__class__", "attribute access is not allowed in an expression: 'a.__class__'"),
        ("a.real > 1", "attribute access"),
        ("(1).bit_length()", "attribute access"),
        ("open('x')", "'open'"),
        ("__import__('os')", "'__import__'"),
        ("sqr(a)", "did you mean 'sqrt'"),
        ("alpah > 1", r"did you mean 'alpha'\?\)"),
        ("[x for x in a]", "a comprehension"),
        ("lambda: 1", "a lambda"),
        ("(a := 3)", "an assignment"),
        ("f'{a}'", "an f-string"),
        ("a[0:2]", "a slice"),
        ("a << 2", "this operator"),
        ("~a", "this operator"),
        ("a is 3", "'is' with anything but None"),
        ("1j < 2", "this constant"),
        ("b'x' == a", "this constant"),
        ("max(a)", "max with other than 2 to 99"),
        ("round(a, ndigits=2)", "round with other than"),
        ("max(*a, 1)", "a star"),
        ("a >", "cannot be read"),
        ("a; a", "cannot be read"),
        ("", "expected an expression"),
        ("(" * 500 + "a" + ")" * 500, "cannot be read|nested"),
        ("-" * 100 + "a", "nested deeper"),
        ("a + " * 900 + "a", "longer|nested"),
        ("a" * 3_000, "longer than 2,000"),
    ],
)
def test_what_is_not_allowed_is_told_with_its_piece(text: str, piece: str) -> None:
    with pytest.raises(DeclarationError, match=piece):
        Expression(text, ("a", "alpha"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9 ** 9 ** 9 ** 9 > a", "more than 4096 bits"),
        ("a ** 10 ** 12 > 1", "more than 4096 bits"),
        ("2 ** -(10 ** 9) > a", "more than 4096 bits"),
        ("'x' * 10 ** 10 == a", "expected a number"),
        ("[a] * 10 ** 10 == a", "expected a number"),
        ("'%1000000000d' % a == a", "expected a number"),
        ("round(a, -(10 ** 9)) > 1", "expected -30 to 30"),
    ],
)
def test_nothing_can_take_for_ever(text: str, reason: str) -> None:
    with pytest.raises(DeclarationError, match=reason):
        held(text, a=[7, 8])


def test_a_failure_names_the_piece_the_point_and_the_way_out() -> None:
    with pytest.raises(DeclarationError) as caught:
        held("x > 0 and 1 / (n - 2) < x", x=[0.5, 0.5, -1.0], n=[1, 2, 2])
    assert "'1 / (n - 2)' fails at x = 0.5, n = 2: division by zero" in str(caught.value)
    assert "guard it" in str(caught.value)


def test_the_right_side_is_looked_at_only_where_it_must_be() -> None:
    assert held("n != 0 and 1 / n < 0.5", n=[0, 1, 4]) == [False, False, True]
    assert held("n == 0 or 1 // n == 1", n=[0, 1, 4]) == [True, True, False]
    assert held("(1 / n if n else 9) > 0.5", n=[0, 1, 4]) == [True, True, False]
    assert held("0 < n < 3 > 1 / n", n=[0, 1, 4]) == [False, True, False]


def test_values_of_every_type_can_be_compared() -> None:
    kinds = [1, "scale", None, [1, [2]], {"k": 3}, True, 0.5]
    assert held("v == 'scale'", v=kinds) == [False, True, False, False, False, False, False]
    assert held("v is None", v=kinds) == [False, False, True, False, False, False, False]
    assert held("v in [1, 'scale', None]", v=kinds) == [True, True, True, False, False, True, False]
    assert held("m in ('a', 'b') and 'x' not in m", m=["a", "x", "b"]) == [True, False, True]
    assert held("len(w) == 2 and w[1] > 1", w=[[1, 2], [1, 1], [3]]) == [True, False, False]
    assert held("t['k'] + 1 == 4", t=[{"k": 3}, {"k": 4}]) == [True, False]
    assert held("m + 'x' == 'ax'", m=["a", "b"]) == [True, False]


def test_integers_do_not_overflow_and_compare_exactly_with_floats() -> None:
    large = 2**63 - 1
    assert held("n + n > n", n=[large, 1]) == [True, True]
    assert held("n * n == 85070591730234615847396907784232501249", n=[large, 3]) == [True, False]
    assert held("n == 9223372036854775808.0", n=[large, 1]) == [False, False]
    assert held("-n - 2 < 0", n=[-(2**63), 1]) == [False, True]
    assert held("abs(n) > 0", n=[-(2**63), 0]) == [True, False]
    assert held("n / 3 == 3074457345618258602.3", n=[large, 1]) == [large / 3 == large / 3, False]


def expressions() -> st.SearchStrategy[str]:
    numbers = st.sampled_from(["i", "j", "x", "y", "b", "0", "1", "2", "3", "0.5", "-1.5"])
    binary = st.sampled_from(["+", "-", "*", "/", "//", "%"])
    compare = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    calls = st.sampled_from(
        ["abs", "ceil", "floor", "sqrt", "exp", "log", "sin", "round", "log2", "cos"]
    )

    def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return (
            st.builds("({} {} {})".format, inner, binary, inner)
            | st.builds("{}({})".format, calls, inner)
            | st.builds("(-{})".format, inner)
            | st.builds("max({}, {})".format, inner, inner)
            | st.builds("({} if {} else {})".format, inner, inner, inner)
            | st.builds("({} {} {})".format, inner, compare, inner)
        )

    number = st.recursive(numbers, grown, max_leaves=6)
    text = st.builds(
        "({} {} s)".format, st.sampled_from(["'a'", "'b'"]), st.sampled_from(["==", "<"])
    )
    listed = st.builds("({} in [{}, {}, 'a'])".format, number | st.just("s"), number, number)
    chain = st.builds("({} {} {} {} {})".format, number, compare, number, compare, number)
    truth = st.builds("({} {} {})".format, number, compare, number) | text | listed | chain
    truth |= st.builds(
        "(v {} {})".format, st.sampled_from(["==", "!=", "in"]), st.just("[1, None]")
    )
    return st.recursive(
        truth,
        lambda inner: (
            st.builds("({} and {})".format, inner, inner)
            | st.builds("({} or {} or {})".format, inner, inner, number)
            | st.builds("(not {})".format, inner)
        ),
        max_leaves=4,
    )


INTEGERS = st.integers(-4, 4) | st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(-4, 4) | st.floats(allow_nan=False, allow_infinity=False)
POINT = st.tuples(
    INTEGERS,
    st.integers(-3, 5),
    FLOATS,
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 3.0]),
    st.booleans(),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([1, 2.5, None, [1], "a"]),
)
PYTHON = {
    name: getattr(math, name)
    for name in ("ceil", "floor", "sqrt", "exp", "log", "sin", "log2", "cos")
}


def by_python(text: str, point: dict[str, Any]) -> bool | None:
    """What Python itself says; None where it fails (or gives what no column can hold)."""
    try:
        return bool(
            eval(
                text, {"__builtins__": {}, "abs": abs, "round": round, "max": max, **PYTHON}, point
            )
        )
    except (ArithmeticError, ValueError, TypeError):
        return None


@settings(max_examples=400, deadline=None)
@given(text=expressions(), points=st.lists(POINT, min_size=1, max_size=6))
def test_columns_give_what_python_gives(text: str, points: list[tuple[Any, ...]]) -> None:
    rows = [dict(zip(NAMES, point, strict=True)) for point in points]
    columns = {name: column_of([row[name] for row in rows]) for name in NAMES}
    expression = Expression(text, NAMES)
    try:
        found = holds(expression, columns, len(rows)).tolist()
    except DeclarationError:
        # A failure must be Python's own at one of the points.
        assert None in [by_python(text, row) for row in rows]
        return
    assert found == [by_python(text, row) for row in rows]


@given(
    base=st.lists(st.integers(-20, 20) | st.integers(-(2**62), 2**62), min_size=1, max_size=5),
    exponent=st.integers(0, 40),
    floating=st.booleans(),
)
def test_powers_are_those_of_python(base: list[int], exponent: int, floating: bool) -> None:
    power: float = exponent / 4 if floating else exponent
    text = f"abs(n) ** {power!r} % 1000 < 500"
    assert held(text, n=base) == [abs(each) ** power % 1000 < 500 for each in base]


@settings(max_examples=60, deadline=None)
@given(
    x=st.lists(st.floats(-50, 50), min_size=1, max_size=40),
    text=st.sampled_from(
        [
            "exp(x) > 1.5 * x + 1",
            "x ** 2 <= 3 * x",
            "sqrt(abs(x)) < 2",
            "x // 0.3 % 2 == 1",
            "x % 0.7 < 0.2",
        ]
    ),
)
def test_blocks_and_points_agree_to_the_last_bit(x: list[float], text: str) -> None:
    expression = Expression(text, ("x",))
    assert held(text, x=x) == [expression.at({"x": each}) for each in x]


def test_typed_columns_are_done_as_columns_not_point_by_point() -> None:
    count = 1_000
    columns = {
        "n": column_of(list(range(count))),
        "x": column_of(np.linspace(0, 1, count).tolist()),
        "m": column_of(["a", "b"] * (count // 2)),
    }
    text = "(n * x < 12 or n ** 2 % 7 in [1, 2]) and m != 'b' and not exp(x) / (n + 1) > 2"
    # `_Block` raises where `holds` would go on point by point.
    found = _Block(columns, count).truth(Expression(text, tuple(columns)).body)
    assert 0 < np.count_nonzero(found) < count
