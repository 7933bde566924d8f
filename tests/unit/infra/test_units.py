from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

import infra
from compute_node.commands import UNFIT
from queueing.port import MAX_LEASE_S
from tests.unit.infra.units import command_line, seconds, settings

NODE, AGGREGATOR = infra.UNITS
LONG_POLL_S = 20


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("systemd-analyze is missing")
        pytest.skip("systemd-analyze is missing")
    return subprocess.run(
        [program, "--no-pager", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def installed(unit: str, folder: Path, *, program: str = "/opt/gapless/bin/sweep") -> Path:
    """The unit as a file, with a program that is there."""
    sweep = folder / "sweep"
    sweep.write_text("#!/bin/sh\n")
    sweep.chmod(sweep.stat().st_mode | stat.S_IXUSR)
    text = infra.systemd_unit(unit)
    assert text.count(f"ExecStart={program} ") == 1
    file = folder / unit
    file.write_text(text.replace(program, str(sweep)))
    return file


@pytest.mark.parametrize("unit", infra.UNITS)
def test_systemd_understands_every_line(unit: str, tmp_path: Path) -> None:
    done = analyze("verify", str(installed(unit, tmp_path)))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", infra.UNITS)
def test_a_line_that_systemd_does_not_know_would_be_told(unit: str, tmp_path: Path) -> None:
    file = installed(unit, tmp_path)
    file.write_text(file.read_text().replace("TimeoutStopSec=", "TimeoutStopSeconds="))
    assert "TimeoutStopSeconds" in analyze("verify", str(file)).stderr


@pytest.mark.parametrize(("unit", "threshold"), [(NODE, 25), (AGGREGATOR, 20)])
def test_systemd_finds_little_that_is_exposed(unit: str, threshold: int, tmp_path: Path) -> None:
    # In tenths of systemd's scale from 0 to 10; a unit without hardening has 96.
    file = str(installed(unit, tmp_path))
    done = analyze("security", "--offline=true", f"--threshold={threshold}", file)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", infra.UNITS)
def test_a_unit_comes_back_after_a_failure_however_long_it_lasts(unit: str) -> None:
    found = settings(unit)
    assert found["Restart"] == ["on-failure"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert seconds(found["RestartSec"][0]) >= 5


def test_a_unit_that_cannot_work_here_is_left_alone() -> None:
    assert settings(NODE)["RestartPreventExitStatus"] == [f"2 {UNFIT}"]
    assert settings(AGGREGATOR)["RestartPreventExitStatus"] == ["2"]


@pytest.mark.parametrize("unit", infra.UNITS)
def test_a_stop_reaches_the_program_first_and_its_workers_only_when_time_is_over(unit: str) -> None:
    found = settings(unit)
    assert (found["KillMode"], found["KillSignal"]) == (["mixed"], ["SIGTERM"])


def test_the_time_to_stop_holds_the_grace_a_last_receive_and_a_delivery() -> None:
    words = command_line(NODE, {})
    grace_s = seconds(words[words.index("--grace") + 1])
    stop_s = seconds(settings(NODE)["TimeoutStopSec"][0])
    assert stop_s >= grace_s + LONG_POLL_S + 60
    assert seconds(settings(AGGREGATOR)["TimeoutStopSec"][0]) >= LONG_POLL_S + 60
    assert stop_s < MAX_LEASE_S


def test_a_worker_killed_for_want_of_memory_does_not_end_its_node() -> None:
    assert settings(NODE)["OOMPolicy"] == ["continue"]


def test_what_user_code_may_need_stays_open_on_a_node() -> None:
    found = settings(NODE)
    for closing in ("MemoryDenyWriteExecute", "PrivateDevices", "ProtectClock", "NoExecPaths"):
        assert closing not in found


@pytest.mark.parametrize("unit", infra.UNITS)
def test_a_program_has_a_user_of_its_own_and_folders_it_may_write(unit: str) -> None:
    found, name = settings(unit), unit.removesuffix(".service")
    assert found["DynamicUser"] == ["yes"]
    assert found["CacheDirectory"] == found["StateDirectory"] == [name]
    assert set(found["Environment"]) == {f"HOME=%S/{name}", f"GAPLESS_CACHE=%C/{name}"}
    assert found["EnvironmentFile"] == ["/etc/gapless/gapless.env"]


def test_options_of_the_environment_file_come_last() -> None:
    words = command_line(NODE, {"GAPLESS_NODE_OPTIONS": "--workers 8"})
    assert words[1:] == ["node", "--grace", "60s", "--workers", "8"]
    assert command_line(AGGREGATOR, {})[1:] == ["aggregate"]
