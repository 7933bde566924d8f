"""What a person does after a loss of power: reconcile, or give `sweep run` once more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gapless
from gapless.declaration.control import ControlState
from gapless.local.accounting import rebuild_ledger, reconcile_once
from gapless.wiring import open_home
from receipts.errors import LedgerLacksSweep
from receipts.reconcile import ExitStatus
from tests.power_loss.scenarios import NAME, environment

__all__ = ["check_finish", "check_reconcile"]

_ON_ITS_WAY = {ExitStatus.COMPLETE, ExitStatus.IN_FLIGHT}


def check_reconcile(folder: Path) -> int:
    """Reconcile every sweep of a home: what is nowhere is found; AssertionError. Count sweeps."""
    if not (folder / "home.json").exists():
        return 0
    home = open_home(folder, create=False)
    sweeps = home.store.ids()
    for sweep_id in sweeps:
        try:
            reconcile_once(home, sweep_id, resubmit=True)
        except LedgerLacksSweep:
            rebuild_ledger(home)
            reconcile_once(home, sweep_id, resubmit=True)
        report = reconcile_once(home, sweep_id)
        assert not report.storage_problems, report.storage_problems
        assert not report.damaged_messages, report.damaged_messages
        if report.state is ControlState.CANCELLED:
            continue
        assert report.exit_status in _ON_ITS_WAY, f"{sweep_id} after reconcile: {report}"
    return len(sweeps)


def check_finish(folder: Path, *, place: Path, runs: int) -> None:
    """Run the sweep to its end: every run is there once, with its own value; AssertionError."""
    answer = subprocess.run(
        [str(Path(sys.executable).parent / "sweep"), "run", "sweep.toml", "--workers", "1"],
        cwd=place / "work",
        env=environment(place, home=folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    table = gapless.open(folder, NAME).to_pandas()
    assert sorted(table["run"].tolist()) == list(range(runs))
    assert (table["twice"] == 2 * table["a"]).all()
