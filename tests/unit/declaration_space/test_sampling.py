"""Samples: drawn once, the same for a seed, spread as their distributions say."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from gapless.declaration.errors import DeclarationError
from gapless.declaration.space import Space, choice, integers, loguniform, uniform
from gapless.errors import MissingExtra

GOLDEN = [{"a": 0.21195775570919761, "b": 60}, {"a": 0.9858117096079898, "b": 42}]

METHODS = ["random", "sobol", "lhs", "halton"]


def drawn(method: str, n: int, seed: int = 3) -> Space:
    return Space.sample(
        method=method,
        n=n,
        seed=seed,
        x=uniform(-1, 3),
        rate=loguniform(1e-4, 1),
        k=integers(1, 9),
        mode=choice("scale", 0.1, None),
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_has_the_points_asked_for_within_its_distributions(method: str) -> None:
    space = drawn(method, 500)
    assert len(space) == 500
    columns = space.freeze().columns(np.arange(500))
    assert {name: column.kind for name, column in columns.items()} == {
        "x": "float",
        "rate": "float",
        "k": "int",
        "mode": "json",
    }
    x, rate, k = (columns[name].values for name in ("x", "rate", "k"))
    assert x.min() >= -1
    assert x.max() <= 3
    assert x.mean() == pytest.approx(1, abs=0.2)
    assert np.log10(rate).mean() == pytest.approx(-2, abs=0.2)
    assert set(k.tolist()) == set(range(1, 10))
    assert {repr(value) for value in columns["mode"].tolist()} == {"'scale'", "0.1", "None"}


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_draws_the_same_points_each_time(method: str) -> None:
    assert drawn(method, 20).freeze().to_json() == drawn(method, 20).freeze().to_json()
    assert drawn(method, 20).freeze().to_json() != drawn(method, 20, seed=4).freeze().to_json()


def test_random_points_are_fixed_for_ever() -> None:
    space = Space.sample(n=2, seed=2009, a={"uniform": [0, 1]}, b={"integers": [0, 99]})
    assert list(space) == GOLDEN


def test_a_latin_hypercube_has_one_value_in_each_stratum() -> None:
    values = [point["x"] for point in Space.sample(method="lhs", n=50, x=uniform(0, 50))]
    assert sorted(map(int, values)) == list(range(50))


def test_a_sample_multiplies_with_a_grid() -> None:
    space = Space.sample(n=3, x=uniform(0, 1)) * Space.grid(n=[1, 2])
    assert len(space) == 6
    assert space[0]["x"] == space[1]["x"] != space[2]["x"]


@pytest.mark.parametrize("method", ["sobol", "lhs", "halton"])
def test_without_scipy_the_extra_is_named(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    space = drawn(method, 4)
    with pytest.raises(MissingExtra, match=r"pip install 'gapless\[sampling\]'"):
        space.freeze()
    assert len(drawn("random", 4)) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "sobl"}, ["sobl", "did you mean 'sobol'"]),
        ({"n": 0}, ["n from 1", "0"]),
        ({"n": 10**9}, ["10,000,000"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"x": [1, 2]}, ["'x'", "choice"]),
        ({"x": {"unifrm": [0, 1]}}, ["'x'", "did you mean 'uniform'"]),
        ({"x": {"uniform": [0]}}, ["'x'", "[low, high]"]),
        ({"x": {"uniform": [1, 0]}}, ["'x'", "low < high"]),
        ({"x": {"uniform": ["a", 1]}}, ["'x'", "two numbers"]),
        ({"x": {"loguniform": [0, 1]}}, ["'x'", "above zero"]),
        ({"x": {"integers": [0.5, 2]}}, ["'x'", "whole numbers"]),
        ({"x": {"choice": []}}, ["'x'", "at least one"]),
        ({"run": {"uniform": [0, 1]}}, ["'run'", "reserved"]),
    ],
)
def test_a_mistake_in_a_sample_is_told_in_words(
    arguments: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(DeclarationError) as caught:
        Space.sample(**{"n": 4, "y": {"uniform": [0, 1]}, **arguments})
    for word in words:
        assert word in str(caught.value)


def test_a_sample_without_parameters_is_refused() -> None:
    with pytest.raises(DeclarationError, match="empty"):
        Space.sample(n=3)
