from __future__ import annotations

import subprocess
import sys

import pytest

import infra


@pytest.mark.parametrize("name", [infra.CLOUDFORMATION, *infra.UNITS])
def test_every_file_is_printed_by_its_name(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra", name],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == infra.file_text(name)
    assert len(done.stdout) > 500


@pytest.mark.parametrize("arguments", [[], ["gapless.service"], ["a", "b"]])
def test_anything_else_is_answered_with_the_names_there_are(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "gapless-node.service" in done.stderr


def test_a_unit_that_does_not_exist_is_told() -> None:
    with pytest.raises(KeyError, match="gapless-node"):
        infra.systemd_unit("gapless.service")
