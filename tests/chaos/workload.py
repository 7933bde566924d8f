"""The sweep that is disturbed, and what each of its runs must have given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["COUNTS", "NAME", "Workload", "executed", "wrong_rows"]

NAME = "chaos"
COUNTS = "GAPLESS_CHAOS_COUNTS"
"""The variable that names the folder in which every execution leaves one byte."""

_FACTOR = 6364136223846793005
_MASK = 2**52 - 1  # a double holds it

_WORK = f"""
import os
import time

_counter = os.open(
    os.path.join(os.environ["{COUNTS}"], str(os.getpid())),
    os.O_WRONLY | os.O_APPEND | os.O_CREAT,
    0o600,
)


def work(a, *, nap_s, seed, run):
    os.write(_counter, b".")
    time.sleep(nap_s)
    mixed = (run.number * {_FACTOR} + seed) & {_MASK}
    return {{"mixed": mixed, "third": mixed / 3, "name": f"run {{run.number}}"}}
"""

_SWEEP = """
name = "{name}"
function = "work:work"
replicates = 2
seed = {seed}
[fixed]
nap_s = {nap_s}
[limits]
attempts = 50  # a worker killed again and again with the same run is no failure of the run
time = "2 min"
[space.grid]
a = {{ range = [0, {points}] }}
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """So many runs (an even number), each of which naps so long."""

    runs: int
    seed: int
    nap_s: float

    def files(self) -> dict[str, str]:
        """Give the sweep file and the code, by name."""
        sweep = _SWEEP.format(
            name=NAME, seed=self.seed, nap_s=round(self.nap_s, 6), points=self.runs // 2
        )
        return {"sweep.toml": sweep, "work.py": _WORK}


def wrong_rows(table: pd.DataFrame) -> int:
    """Count the rows that are not what their run gives, of those that are ok."""
    table = table[table["outcome"] == "ok"]
    number = table["run"].to_numpy(np.uint64)
    seed = table["seed"].to_numpy(np.uint64)
    with np.errstate(over="ignore"):
        mixed = (number * np.uint64(_FACTOR) + seed) & np.uint64(_MASK)
    right = (
        (table["mixed"].to_numpy(np.uint64) == mixed)
        & (table["third"].to_numpy(np.float64) == mixed.astype(np.float64) / 3)
        & (table["name"].to_numpy() == ("run " + table["run"].astype(str)).to_numpy())
    )
    twice_the_point = table.duplicated(["a", "replicate"]).to_numpy()
    twice_the_seed = table.duplicated(["seed"]).to_numpy()
    return int((~right | twice_the_point | twice_the_seed).sum())


def executed(counts: Path) -> int:
    """Count how often the function was called, by all workers there ever were."""
    return sum(path.stat().st_size for path in counts.iterdir())
