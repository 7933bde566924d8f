"""Submit 6,000,000 runs (asked: under 5 s and 100 MB), run them, reconcile them (under 2 s)."""

from __future__ import annotations

import os
import statistics

from bench.throughput import FUNCTION, SWEEP_FILE
from bench.whole_programs import scratch, timed

RUNS = int(os.environ.get("BENCH_RUNS", "6000000"))


def main() -> None:
    with scratch() as folder:
        (folder / "trivial.py").write_text(FUNCTION)
        (folder / "sweep.toml").write_text(SWEEP_FILE.format(replicates=RUNS // 10_000))
        submitted = timed(folder, "submit", "sweep.toml", "--home", "home", watch=True)
        print(
            f"submit of {RUNS:,} runs: {submitted.wall_s:.2f} s, "
            f"peak {submitted.peak_mb.get('command', 0):.0f} MB"
        )
        ran = timed(folder, "run", "sweep.toml", "--workers", "2", "--home", "home", watch=True)
        print(
            f"run of {RUNS:,} runs: {ran.wall_s:.1f} s, peak MB: "
            + ", ".join(f"{kind} {peak:.0f}" for kind, peak in sorted(ran.peak_mb.items()))
        )
        taken = [timed(folder, "reconcile", "--home", "home").wall_s for _ in range(5)]
        watched = timed(folder, "reconcile", "--home", "home", watch=True)
        print(
            f"reconcile of {RUNS:,} stored runs: median {statistics.median(taken):.2f} s "
            f"({min(taken):.2f}-{max(taken):.2f}), peak {watched.peak_mb.get('command', 0):.0f} MB"
        )


if __name__ == "__main__":
    main()
