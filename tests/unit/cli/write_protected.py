"""A home that cannot be written, by root neither: mounted read-only, or its folders closed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.a_place import Place

__all__ = ["do_write_protected"]

_MOUNT = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"'


def do_write_protected(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Give a command while the place's home cannot be written; skip where that cannot be made."""
    sweep = str(Path(sys.executable).parent / "sweep")
    if os.geteuid() != 0:
        return _do_with_folders_closed(place, sweep, *arguments)
    apart = ["unshare", "--mount", "sh", "-c"]
    probe = [*apart, _MOUNT, "sh", str(place.home)]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    script = f'{_MOUNT} && shift && exec "$@"'
    return _run(place, *apart, script, "sh", str(place.home), sweep, *arguments)


def _do_with_folders_closed(place: Place, *command: str) -> subprocess.CompletedProcess[str]:
    modes = {each: each.stat().st_mode for each in [place.home, *place.home.rglob("*")]}
    try:
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        return _run(place, *command)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def _run(place: Place, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=place.folder,
        env=place.environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
