"""How the user's function is called: the same values arrive, whichever way is cheaper."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from compute_node.calls import plan_calls
from compute_node.user_target import UserFunction, load_function
from gapless.declaration.target import FunctionTarget

CODE = """
import functools
def plain(a, b, seed): return (a, b, seed)
def apart(a, b, *, seed): return (a, b, seed)
def turned(seed, b, a): return (a, b, seed)
def fixed_first(scale, a, b, seed): return (a, b, seed, scale)
def fixed_apart(a, b, *, scale, seed): return (a, b, seed, scale)
def gap(a, other=None, b=None, seed=None): return (a, b, seed, other)
def anything(**given): return given
def only_positional_in_part(a, *rest, b, seed): return (a, b, seed, rest)
@functools.wraps(plain)
def wrapped(**given): return plain(**given)
class Callable:
    def __call__(self, a, b, seed): return (a, b, seed)
instance = Callable()
"""
LISTS = {"a": [1, 2], "b": [3, 4], "seed": [5, 6]}


@pytest.fixture
def load(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], UserFunction]:
    (tmp_path / "called_code.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))

    def given(name: str) -> UserFunction:
        target = FunctionTarget(function=f"called_code:{name}")
        names = {"a", "b", "seed", *(["scale"] if "fixed" in name else [])}
        return load_function(target, code_folder=str(tmp_path), names=names)

    return given


def results(function: UserFunction, fixed: dict[str, Any], *, named: bool) -> tuple[bool, Any]:
    calls = plan_calls(function, LISTS, fixed, count=2, named=named)
    found = []
    for row, seed in zip(calls.rows, LISTS["seed"], strict=True):
        if not calls.by_position:
            found.append(calls.call(**calls.fixed, **dict(zip(calls.names, row, strict=True))))
        elif calls.seed_apart:
            found.append(calls.call(*row, seed=seed))
        else:
            found.append(calls.call(*row))
    return calls.by_position, found


@pytest.mark.parametrize(
    ("name", "by_position"),
    [
        ("plain", True),
        ("apart", True),
        ("turned", True),
        ("fixed_first", True),
        ("fixed_apart", True),
        ("gap", False),
        ("anything", False),
        ("only_positional_in_part", False),
        ("wrapped", False),
        ("instance", False),
    ],
)
def test_a_function_gets_the_same_values_by_position_as_by_name(
    load: Callable[[str], UserFunction], name: str, *, by_position: bool
) -> None:
    function = load(name)
    fixed = {"scale": 7} if "fixed" in name else {}
    assert results(function, fixed, named=True)[0] is False
    cheaper, found = results(function, fixed, named=False)
    assert cheaper is by_position
    assert found == results(function, fixed, named=True)[1]


_NOTHING = UserFunction(functools.partial(int), wants_seed=False, wants_run=False)


def test_a_function_without_arguments_is_called_once_a_run() -> None:
    calls = plan_calls(_NOTHING, {}, {}, count=3, named=False)
    assert [calls.call(*row) for row in calls.rows] == [0, 0, 0]
