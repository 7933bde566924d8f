"""How many runs a worker gets at a time: measured, not guessed.

A chunk should take a worker about `TARGET_S`: long enough that handing it over costs nothing, short
enough that a stop, a death or the end of the sweep costs little. It starts at one run and grows at
most tenfold a measurement, so one misleading first run cannot bind a worker for long.
"""

from __future__ import annotations

__all__ = ["LONGEST_AHEAD_S", "MAX_CHUNK_RUNS", "Pace"]

TARGET_S = 0.3
LEAST_S = 0.02
LONGEST_AHEAD_S = 1.0
"""A second chunk waits at a worker only when it takes less than this (what waits cannot move)."""
MAX_CHUNK_RUNS = 65_536
_GROWTH = 10
_MEASURED_RUNS = 3


class Pace:
    """What is known about the duration of a sweep's runs."""

    def __init__(self) -> None:
        self.mean_s: float | None = None
        self._largest = 0

    def measure(self, *, runs: int, busy_s: float) -> None:
        """Note that a worker took `busy_s` seconds for `runs` runs."""
        mean = max(busy_s / runs, 1e-8)
        # The first runs of a process load libraries and fill caches: they count for little.
        known = self.mean_s if self._largest >= _MEASURED_RUNS else None
        self.mean_s = mean if known is None else (known + mean) / 2
        self._largest = max(self._largest, runs)

    def chunk_runs(self, *, todo: int, workers: int) -> int:
        """Say how many of `todo` runs the next chunk takes, when `workers` share them (>= 1)."""
        if self.mean_s is None:
            return 1
        fair = -(-todo // (2 * max(workers, 1)))
        fair = max(fair, int(LEAST_S / self.mean_s))
        wish = int(TARGET_S / self.mean_s)
        return max(1, min(wish, fair, self._largest * _GROWTH, MAX_CHUNK_RUNS))

    def seconds(self, runs: int) -> float | None:
        """Estimate how long one worker takes for `runs` runs; None while nothing is known."""
        return None if self.mean_s is None else runs * self.mean_s
