"""What a sweep's identity covers, and that it never changes from one release to the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gapless.declaration.durations import parse_size
from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.space import Space
from gapless.declaration.sweep import Declaration, Limits, Sweep
from gapless.declaration.sweepfile import parse_sweep_file

GOLDEN = Path(__file__).parent / "golden"


def golden() -> Sweep:
    return parse_sweep_file(
        (GOLDEN / "sweep.toml").read_bytes(),
        filename="sweep.toml",
        read=lambda name: (GOLDEN / name).read_bytes(),
    )


def sweep(**changes: Any) -> Sweep:
    declared: dict[str, Any] = {
        "name": "walk",
        "function": "walk:rms",
        "space": Space.grid(n=[1, 2, 4], alpha=[0.0, 0.5]),
        "replicates": 2,
        "seed": 1,
        "fixed": {"states": 19},
    }
    return Sweep(**{**declared, **changes})


def test_a_golden_sweep_file_gives_the_golden_declaration_and_id() -> None:
    frozen = golden().freeze()
    assert frozen.declaration.encode() == (GOLDEN / "sweep.json").read_bytes().rstrip(b"\n")
    assert frozen.id == (GOLDEN / "id.txt").read_text().strip()
    assert frozen.segment.count == 3 * len(golden().space)


def test_a_golden_declaration_is_read_and_written_again_the_same() -> None:
    data = (GOLDEN / "sweep.json").read_bytes().rstrip(b"\n")
    declaration = Declaration.decode(data)
    assert declaration.encode() == data
    assert declaration.id == (GOLDEN / "id.txt").read_text().strip()
    assert declaration == golden().freeze().declaration


def test_the_digest_does_not_change_when_the_declaration_is_written_and_read() -> None:
    declaration = sweep(fixed={"a": (1, 2.0), "b": None}).freeze().declaration
    again = Declaration.decode(declaration.encode())
    assert again == declaration
    assert again.digest == declaration.digest
    assert len(declaration.digest) == 64
    assert declaration.id == f"walk-{declaration.digest[:8]}"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "walk2"},
        {"function": "walk:rms2"},
        {"function": None, "command": ("./walk", "{n}")},
        {"fixed": {"states": 20}},
        {"fixed": {"states": 19.0}},
        {"fixed": {"status": 19}},
        {"space": Space.grid(n=[1, 2, 4], alpha=[0.0, 0.25])},
        {"space": Space.grid(n=[1, 2, 4], alpha=[0, 0.5])},
        {"space": Space.grid(alpha=[0.0, 0.5], n=[1, 2, 4])},
        {"replicates": 3},
        {"seed": 2},
        {"seed_mode": "common"},
        {"order": "declared"},
    ],
)
def test_what_results_depend_on_changes_the_identity(changes: dict[str, Any]) -> None:
    assert sweep(**changes).freeze().declaration.digest != sweep().freeze().declaration.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": Limits(time_s=5.0, attempts=9)},
        {"run_time_s": 2.0},
        {"priority": 9},
        {"code": "elsewhere"},
        {"source": "another.toml"},
    ],
)
def test_what_results_do_not_depend_on_leaves_the_identity(changes: dict[str, Any]) -> None:
    assert sweep(**changes).freeze().declaration.digest == sweep().freeze().declaration.digest


def test_a_function_given_as_such_is_the_same_sweep_as_its_name() -> None:
    named = sweep(function="gapless.declaration.durations:parse_size")
    given = sweep(function=parse_size)
    assert given.freeze().id == named.freeze().id


def test_a_declaration_of_a_newer_format_is_refused_as_such() -> None:
    data = sweep().freeze().declaration.encode().replace(b"gapless.sweep/1", b"gapless.sweep/2")
    with pytest.raises(NewerFormat, match="format 2"):
        Declaration.decode(data)


def test_a_key_that_a_later_minor_version_added_is_ignored() -> None:
    declaration = sweep().freeze().declaration
    added = {**json.loads(declaration.encode()), "added": 1}
    assert Declaration.decode(json.dumps(added).encode()) == declaration


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format":"gapless.sweep/1"}',
        b'{"format":"gapless.control/1"}',
        b'{"format":"gapless.sweep/x"}',
        b'{"format":3}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_declaration_is_told_apart(data: bytes) -> None:
    with pytest.raises(DamagedMessage):
        Declaration.decode(data)
