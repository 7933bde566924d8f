"""Verify a home of 1,000,000 stored runs: MB/s and runs/s, and the memory it takes."""

from __future__ import annotations

import os
import statistics

from bench.throughput import FUNCTION, SWEEP_FILE
from bench.whole_programs import scratch, timed

RUNS = int(os.environ.get("BENCH_RUNS", "1000000"))


def main() -> None:
    with scratch() as folder:
        (folder / "trivial.py").write_text(FUNCTION)
        (folder / "sweep.toml").write_text(SWEEP_FILE.format(replicates=RUNS // 10_000))
        timed(folder, "run", "sweep.toml", "--workers", "2", "--home", "home", "--quiet")
        size_bytes = sum(path.stat().st_size for path in folder.rglob("home/**/*.h5"))
        taken = [timed(folder, "verify", "--home", "home").wall_s for _ in range(5)]
        watched = timed(folder, "verify", "--home", "home", watch=True)
        wall_s = statistics.median(taken)
        print(
            f"verify of {RUNS:,} runs in {size_bytes / 1e6:.1f} MB: median {wall_s:.2f} s "
            f"({min(taken):.2f}-{max(taken):.2f}), the whole program; {RUNS / wall_s:,.0f} runs/s, "
            f"{size_bytes / 1e6 / wall_s:.0f} MB/s, "
            f"peak {watched.peak_mb.get('command', 0):.0f} MB"
        )
        print(watched.output)


if __name__ == "__main__":
    main()
