"""The built wheel holds what a user needs, nothing else, and works."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
WORK = "def work(a, *, seed):\n    return {'twice': 2 * a}\n"
SWEEP = 'name = "wheel"\nfunction = "work:work"\n[space.grid]\na = { range = [0, 50] }\n'


def built_wheel(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_built_wheel_runs_a_sweep_and_holds_no_tests(tmp_path: Path) -> None:
    wheel = built_wheel(tmp_path / "dist")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"gapless", "compute_node", "aggregator", "queueing", "receipts", "infra"}
    assert "gapless/py.typed" in names
    assert any(name.startswith("receipts/migrations/") for name in names)

    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    work = tmp_path / "work"
    work.mkdir()
    (work / "work.py").write_text(WORK)
    (work / "sweep.toml").write_text(SWEEP)
    environment = {**os.environ, "PYTHONPATH": str(installed), "GAPLESS_CACHE": str(tmp_path / "c")}

    where = subprocess.run(
        [sys.executable, "-P", "-c", "import gapless, receipts; print(gapless.__file__)"],
        cwd=work, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(installed))

    for expected in ("run", "reconcile"):
        arguments = ["sweep.toml", "--workers", "1"] if expected == "run" else []
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "gapless.cli", expected, *arguments, "--home", "home"],
            cwd=work, env=environment, check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stdout + answer.stderr
