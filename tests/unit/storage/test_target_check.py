"""What can be told about a target without importing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.declaration.sweep import CommandTarget, FunctionTarget
from gapless.storage.bundle import pack
from gapless.storage.target_check import check_target

WALK = "def rms(n, alpha, *, states=19): ...\n"


def told(
    source: str,
    *parameters: str,
    function: str = "walk:rms",
    path: str = "walk.py",
    more: tuple[str, ...] = (),
) -> list[str]:
    files = {path: source.encode(), **dict.fromkeys(more, b"")}
    mistake = check_target(
        files, FunctionTarget(function=function), parameters, source="sweep.toml"
    )
    if mistake is None:
        return []
    lines = str(mistake).splitlines()
    assert all(line.startswith("sweep.toml: function: ") for line in lines)
    return [line.removeprefix("sweep.toml: function: ") for line in lines]


@pytest.mark.parametrize(
    ("source", "parameters"),
    [
        (WALK, ("n", "alpha")),
        (WALK, ("n", "alpha", "states")),
        ("def rms(n, seed, run): ...", ("n",)),
        ("def rms(n, *, seed): ...", ("n",)),
        ("def rms(**parameters): ...", ("n", "alpha")),
        ("def rms(n, **rest): ...", ("n", "alpha")),
        ("def rms(n, *rest): ...", ("n",)),
        ("def rms(): ...", ()),
        ("if True:\n    def rms(n): ...\nelse:\n    def rms(n): ...\n", ("n",)),
        ("try:\n    import fast\nexcept ImportError:\n    def rms(n): ...\n", ("n",)),
        ("@cached\ndef rms(anything): ...", ("n",)),
        ("from other import rms", ("n",)),
        ("import other as rms", ("n",)),
        ("from other import inner\nrms = wrap(inner)", ("n",)),
        ("from other import *", ("n",)),
        ("def __getattr__(name): ...", ("n",)),
        ("class rms:\n    def __init__(self, n): ...", ("n",)),
        ("def rms(x): ...\nrms = wrap(rms)", ("n",)),
        ("pattern = '\\d'\ndef rms(n): ...", ("n",)),
    ],
)
def test_a_function_that_takes_what_the_sweep_gives_is_fine(
    source: str, parameters: tuple[str, ...]
) -> None:
    assert told(source, *parameters) == []


def test_a_parameter_that_the_space_lacks_is_told_with_the_nearest() -> None:
    (line,) = told("def rms(n, gamma, **rest): ...", "n", "gama")
    assert line.startswith("walk.py, line 1: rms needs gamma, which the space lacks")
    assert "gama is given" in line


def test_a_parameter_that_the_function_does_not_take_is_told() -> None:
    (line,) = told("\n\ndef rms(n): ...", "n", "alpha")
    assert line.startswith("walk.py, line 3: rms does not take alpha, which the sweep gives")


def test_every_mistake_of_a_signature_is_told_at_once() -> None:
    assert len(told("def rms(a, b, *, c): ...", "d", "e")) == 5


def test_a_missing_function_is_told_with_the_nearest() -> None:
    (line,) = told(WALK, "n", function="walk:rmse")
    assert line.startswith('found "walk:rmse", expected a function of walk.py')
    assert 'did you mean "walk:rms"?' in line
    assert len(told("x = [rms for rms in ()]", "n", function="walk:nothing")) == 1


def test_a_missing_module_is_told_with_the_nearest() -> None:
    (line,) = told(WALK, "n", "alpha", function="wlk:rms")
    assert line.startswith('found "wlk:rms", expected a module of the code folder')
    assert "there is no wlk.py among the 1 files" in line
    assert 'did you mean "walk:rms"?' in line


@pytest.mark.parametrize("path", ["package/walk.py", "package/walk/__init__.py"])
def test_a_module_in_a_package_is_found(path: str) -> None:
    assert told(WALK, "n", "alpha", function="package.walk:rms", path=path) == []
    assert len(told(WALK, "n", function="package.walk:rms", path=path)) == 1


def test_a_module_that_is_installed_or_compiled_is_left_to_the_node() -> None:
    assert told(WALK, "n", function="json:dumps") == []
    assert told(WALK, "n", function="numpy.linalg:norm") == []
    assert told(WALK, function="fast:f", more=("fast.cpython-311-x86_64-linux-gnu.so",)) == []


def test_a_file_that_is_no_python_is_told_with_its_line() -> None:
    (line,) = told("x = 1\ndef rms(:\n", "n")
    assert line.startswith("walk.py, line 2: ")
    assert len(told("x = '\0'", "n")) == 1


def test_a_function_that_cannot_be_called_by_names_is_told() -> None:
    (line,) = told("def rms(n, /): ...", "n")
    assert "by position only" in line
    (line,) = told("async def rms(n): ...", "n")
    assert "async" in line


def told_of_command(folder: Path, *command: str) -> list[str]:
    mistake = check_target(
        pack(folder).files, CommandTarget(command=command), ("n",), source="sweep.toml"
    )
    if mistake is None:
        return []
    lines = str(mistake).splitlines()
    assert all(line.startswith("sweep.toml: command: ") for line in lines)
    return [line.removeprefix("sweep.toml: command: ") for line in lines]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for name, mode in (("walk", 0o755), ("bin/deep", 0o755), ("plain.sh", 0o644)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ("./walk", "{n}"),
        ("bin/deep", "{n}"),
        ("./bin/../walk",),
        ("sh", "plain.sh", "{n}"),
        ("/no/such/place/of/this/machine", "{n}"),
        ("surely-only-on-the-nodes", "{n}"),
        ("./{n}",),
        ("{n}", "walk here"),
    ],
)
def test_a_command_that_may_be_there_is_fine(programs: Path, command: tuple[str, ...]) -> None:
    assert told_of_command(programs, *command) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ("./wakl",),
            'among the 3 files that travel (ignored ones do not); did you mean "./walk"?',
        ),
        (("./else/where",), "is `code` the right folder?"),
        (("./plain.sh",), 'found "./plain.sh", which is not executable: chmod +x plain.sh'),
        (("../walk",), "what lies above it does not travel"),
        (("walk", "{n}"), 'found "walk", expected "./walk"'),
        (("./walk --fast -v",), '["./walk", "--fast", "-v", …]'),
        (("sh plain.sh",), '["sh", "plain.sh", …]'),
    ],
)
def test_a_command_that_cannot_be_there_is_told_in_one_line(
    programs: Path, command: tuple[str, ...], said: str
) -> None:
    (line,) = told_of_command(programs, *command)
    assert said in line
