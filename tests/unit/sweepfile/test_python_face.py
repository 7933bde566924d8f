"""gapless.Sweep and its like: equal to the file, and as clear about mistakes."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gapless
from gapless.declaration.sweepfile import parse_sweep_file
from gapless.errors import UserMistake


def rms_error(n: int, alpha: float) -> float:
    return n * alpha


class Walk:
    def rms_error(self, n: int) -> int:
        return n


def declared(**changes: Any) -> gapless.Sweep:
    given: dict[str, Any] = {
        "name": "walk",
        "function": "walk:rms_error",
        "space": gapless.grid(n=[1, 2]),
    }
    return gapless.Sweep(**{**given, **changes})


def mistakes(**changes: Any) -> list[str]:
    with pytest.raises(UserMistake) as caught:
        declared(**changes)
    lines = str(caught.value).splitlines()
    assert all(line.startswith("gapless.Sweep: ") for line in lines)
    return [line.removeprefix("gapless.Sweep: ") for line in lines]


def test_a_sweep_in_python_is_the_same_as_in_a_file() -> None:
    text = b"""
        name = "walk"
        function = "walk:rms_error"
        replicates = 10
        seed = 3
        order = "declared"
        seed_mode = "common"
        [fixed]
        states = 19
        [[space]]
        where = "n * alpha < 2"
        zip = [{ m = ["a", "b"], w = [1, 2] }]
        points = [{ p = 1 }]
        grid = { n = { range = [1, 4] }, alpha = { linspace = [0.0, 1.0, 3] } }
        [[space]]
        points = [{ n = 9, alpha = 9.0, m = "c", w = 3, p = 2 }]
    """
    in_file = parse_sweep_file(text, filename="sweep.toml", read=lambda name: name.encode())
    space = (
        gapless.grid(n=gapless.range(1, 4), alpha=gapless.linspace(0.0, 1.0, 3))
        * gapless.zip(m=["a", "b"], w=[1, 2])
        * gapless.points([{"p": 1}])
    ).where("n * alpha < 2")
    space += gapless.points([{"n": 9, "alpha": 9.0, "m": "c", "w": 3, "p": 2}])
    in_python = gapless.Sweep(
        name="walk",
        function="walk:rms_error",
        space=space,
        replicates=10,
        seed=3,
        order="declared",
        seed_mode="common",
        fixed={"states": 19},
    )
    assert in_python.freeze().declaration == in_file.freeze().declaration


def test_a_function_of_a_module_is_named_by_it() -> None:
    assert declared(function=json.dumps).function == "json:dumps"
    assert declared(function=rms_error).function == f"{__name__}:rms_error"


def test_a_function_of_the_running_program_is_refused_with_advice() -> None:
    code = (
        "import gapless\n"
        "def rms(n): return n\n"
        "try:\n"
        "    gapless.Sweep(name='w', function=rms, space=gapless.grid(n=[1]))\n"
        "except gapless.UserMistake as error:\n"
        "    print(error)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "rms of the program or notebook that is running" in answer.stdout
    assert '"work:rms"' in answer.stdout


def inside() -> Any:
    def nested(n: int) -> int:
        return n

    return nested


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda n: n, ["a lambda", "def"]),
        (inside(), ["nested", "move it out"]),
        (Walk().rms_error, ["top level"]),
        (Walk.rms_error, ["top level"]),
        (functools.partial(rms_error, 1), ["top level", "def"]),
        (3, ["found 3", "top level"]),
    ],
)
def test_what_a_node_cannot_import_is_refused_with_advice(function: Any, words: list[str]) -> None:
    (told,) = mistakes(function=function)
    assert told.startswith("function: found ")
    for word in words:
        assert word in told


def test_every_mistake_is_reported_at_once() -> None:
    found = mistakes(
        name="My Walk",
        replicates=0,
        seed=2**63,
        priority="high",
        order="random",
        seed_mode="none",
        run_time_s=-1,
        fixed={"n": 1, "run": 2, "x": float("nan"), "y": object()},
        limits=3,
        command=["ls"],
    )
    assert [line.partition(": ")[0] for line in found] == [
        "name",
        "replicates",
        "seed",
        "priority",
        "seed_mode",
        "order",
        "run_time",
        "fixed.n",
        "fixed.run",
        "fixed.x",
        "fixed.y",
        "function, command",
        "limits",
    ]


@pytest.mark.parametrize("command", [[], "ls", [3]])
def test_a_command_that_is_no_list_of_words_is_refused(command: Any) -> None:
    (told,) = mistakes(function=None, command=command)
    assert told.startswith("command: found ")


def test_something_that_is_no_space_is_refused() -> None:
    (told,) = mistakes(space={"n": [1]})
    assert "gapless.grid" in told


def test_a_mistake_found_when_freezing_names_the_space() -> None:
    with pytest.raises(UserMistake, match=r"gapless\.Sweep: space: .*n > 5"):
        declared(space=gapless.grid(n=[1]).where("n > 5")).freeze()


def test_a_sweep_does_not_follow_later_changes_of_what_it_was_given() -> None:
    fixed = {"states": [1, 2]}
    sweep = declared(fixed=fixed)
    fixed["states"].append(3)
    assert sweep.fixed == {"states": [1, 2]}


def test_importing_gapless_loads_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import gapless; "
        "new = set(sys.modules) - before; "
        "print(sorted(name for name in new if name.partition('.')[0] in "
        "{'numpy', 'msgspec', 'h5py', 'sqlalchemy', 'pyroaring', 'typing_extensions'}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_every_public_name_can_be_reached_and_is_listed() -> None:
    for name in gapless.__all__:
        assert getattr(gapless, name) is not None
        assert name in dir(gapless)
    assert gapless.__version__.count(".") == 2


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'gapless' has no attribute 'swep'"):
        gapless.swep  # noqa: B018


def test_limits_that_cannot_be_are_a_mistake_with_their_place() -> None:
    with pytest.raises(UserMistake, match=r"gapless\.Limits: time_s is '10 min', expected seconds"):
        gapless.Limits(time_s="10 min")  # type: ignore[arg-type]


def test_numbers_of_numpy_are_taken_as_plain_ones() -> None:
    sweep = declared(seed=np.int64(3), replicates=np.uint8(2), run_time_s=np.float64(0.5))
    assert sweep == declared(seed=3, replicates=2, run_time_s=0.5, space=sweep.space)
    assert type(sweep.seed) is int
    assert sweep.freeze().segment.count == 4


def test_columns_of_a_data_frame_are_axes() -> None:
    frame = pd.DataFrame({"n": [1, 2], "model": ["a", "b"]})
    rows = [{"n": 1, "model": "a"}, {"n": 2, "model": "b"}]
    assert list(gapless.zip(frame)) == rows
    assert list(gapless.grid(n=frame["n"])) == [{"n": 1}, {"n": 2}]
    assert list(gapless.points(frame.to_dict("records"))) == rows


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gapless.grid(n={1, 2}), "a set has no order: write sorted"),
        (lambda: gapless.grid(n=(each for each in [1])), r"\(generator\); write list"),
        (lambda: gapless.grid(n=3), "for one value write a list of one"),
        (lambda: gapless.grid(n="abc"), "for one value write a list of one"),
        (lambda: gapless.grid(n=np.array(3)), "for one value write a list of one"),
        (lambda: gapless.grid([1, 2]), r"grid: expected parameters by name, such as n=\[1, 2\]"),
        (lambda: gapless.zip([1, 2]), r"zip: expected parameters by name"),
        (lambda: gapless.points({"n": [1]}), "found a dict; columns go into zip"),
        (lambda: gapless.points(3), "found a int; columns go into zip"),
        (lambda: gapless.points(pd.DataFrame({"n": [1]})), "columns go into zip"),
        (lambda: gapless.grid(n=[1]).where(lambda n: n > 1), "expected an expression as text"),
    ],
)
def test_a_space_given_otherwise_than_expected_is_a_mistake_with_advice(
    make: Callable[[], object], words: str
) -> None:
    with pytest.raises(UserMistake, match=words):
        make()


def test_formulas_and_distributions_show_as_they_are_written() -> None:
    assert repr(gapless.linspace(0, 1, 3)) == "linspace(0.0, 1.0, 3)"
    assert repr(gapless.range(1, 9, 2)) == "range(1, 9, 2)"
    assert repr(gapless.uniform(0, 1)) == "uniform(0.0, 1.0)"
    assert repr(gapless.choice("a", None, 1)) == "choice('a', None, 1)"
    assert repr(gapless.grid(n=[1, 2], m=[3])) == "Space(n, m)"
    assert repr(gapless.grid(n=[1, 2], m=[3]).freeze()) == "FrozenSpace(n, m: 2 points)"
