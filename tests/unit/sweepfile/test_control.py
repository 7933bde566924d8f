"""What is wanted of a sweep: versions, transitions, limits, what was asked anew."""

from __future__ import annotations

from typing import Any

import pytest

from gapless.declaration.control import Asked, Control, ControlState
from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.limits import Limits
from gapless.declaration.runset import RunSet
from gapless.errors import UserMistake

RUNNING, PAUSED, CANCELLED = ControlState.RUNNING, ControlState.PAUSED, ControlState.CANCELLED

FULL = Control(
    version=3,
    state=PAUSED,
    limits=Limits(
        time_s=60.0, memory_bytes=2**30, attempts=5, retry_on=("failed",), max_failures="2.5%"
    ),
    priority=-4,
    run_time_s=0.5,
    code="ab" * 32,
    at_s=1.5e9,
    why="too many failures: 5%",
)


@pytest.mark.parametrize("control", [Control(), FULL])
def test_a_control_record_is_read_as_it_was_written(control: Control) -> None:
    assert Control.decode(control.encode()) == control


def test_a_control_record_written_by_the_first_release_is_read() -> None:
    data = (
        b'{"at_s":1.0,"code":null,"format":"gapless.control/1","limits":{"attempts":3,'
        b'"max_failures":10,"memory_bytes":null,"retry_on":["lost","timeout"],"time_s":600.0},'
        b'"priority":0,"run_time_s":null,"state":"running","version":0,"why":"submitted"}'
    )
    control = Control(limits=Limits(time_s=600.0, max_failures=10), at_s=1.0, why="submitted")
    assert Control.decode(data) == control
    assert control.encode() == data


def test_a_change_gives_the_next_version_and_keeps_the_rest() -> None:
    following = FULL.changed(state=RUNNING, at_s=2.0)
    assert following.version == 4
    assert following.state is RUNNING
    assert following.limits == FULL.limits
    assert (following.at_s, following.why) == (2.0, "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RUNNING, PAUSED),
        (RUNNING, CANCELLED),
        (PAUSED, RUNNING),
        (PAUSED, CANCELLED),
        (CANCELLED, RUNNING),
        (CANCELLED, CANCELLED),
        (RUNNING, RUNNING),
    ],
)
def test_a_state_that_may_follow_is_taken(before: ControlState, after: ControlState) -> None:
    assert Control(state=before).changed(state=after).state is after


def test_a_cancelled_sweep_cannot_be_paused() -> None:
    with pytest.raises(UserMistake, match="a cancelled sweep cannot become paused"):
        Control(state=CANCELLED).changed(state=PAUSED)


def test_limits_of_a_cancelled_sweep_can_still_change() -> None:
    assert Control(state=CANCELLED).changed(priority=3).priority == 3


@pytest.mark.parametrize("runs", [RunSet.of(3), RunSet.span(0, 10**9), RunSet.of(1, 5, 2**40)])
def test_what_was_asked_anew_is_read_as_it_was_written(runs: RunSet) -> None:
    asked = Asked(epoch=2, runs=runs, at_s=12.5, why="failed runs")
    assert Asked.decode(asked.encode()) == asked


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"format":"gapless.asked/1","epoch":0,"runs":[[0,1]],"at_s":1.0}',
        b'{"format":"gapless.asked/1","epoch":1,"runs":[[1,0]],"at_s":1.0}',
        b'{"format":"gapless.asked/1","epoch":1,"runs":7,"at_s":1.0}',
    ],
)
def test_a_damaged_record_of_what_was_asked_is_told_apart(data: bytes) -> None:
    with pytest.raises(DamagedMessage):
        Asked.decode(data)


@pytest.mark.parametrize(
    "damage",
    [
        (b'"state":"running"', b'"state":"flying"'),
        (b'"attempts":3', b'"attempts":0'),
        (b'"attempts":3', b'"attempts":true'),
        (b'"retry_on":["lost"', b'"retry_on":["ok"'),
        (b'"time_s":null', b'"time_s":-1'),
        (b"}", b""),
    ],
)
def test_a_damaged_control_record_is_told_apart(damage: tuple[bytes, bytes]) -> None:
    data = Control().encode()
    assert damage[0] in data
    with pytest.raises(DamagedMessage):
        Control.decode(data.replace(*damage))


def test_a_control_record_of_a_newer_format_is_refused_as_such() -> None:
    with pytest.raises(NewerFormat):
        Control.decode(Control().encode().replace(b"control/1", b"control/12"))


@pytest.mark.parametrize(
    ("limit", "total", "allowed"),
    [
        (None, 100, None),
        (0, 100, 0),
        (7, 100, 7),
        ("5%", 100, 5),
        ("5%", 99, 4),
        ("0%", 99, 0),
        ("100%", 99, 99),
        ("2.5 %", 1_000, 25),
        ("29%", 100, 29),
        ("57%", 100, 57),
    ],
)
def test_failures_are_allowed_by_number_or_by_share(
    limit: str | int | None, total: int, allowed: int | None
) -> None:
    assert Limits(max_failures=limit).failures_allowed(total) == allowed


@pytest.mark.parametrize(
    "limits",
    [
        {"time_s": 0},
        {"time_s": float("inf")},
        {"time_s": "10 min"},
        {"memory_bytes": 0},
        {"memory_bytes": 1.5},
        {"attempts": 0},
        {"attempts": 1_001},
        {"attempts": True},
        {"retry_on": ("ok",)},
        {"retry_on": "lost"},
        {"max_failures": "5"},
        {"max_failures": "200%"},
        {"max_failures": -1},
        {"max_failures": True},
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(limits))} is .*expected"):
        Limits(**limits)
