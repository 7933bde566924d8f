"""`sweep --help` (asked: under 0.4 s) and a sweep of 10 trivial runs, all in (under 2 s)."""

from __future__ import annotations

import statistics

from bench.throughput import FUNCTION
from bench.whole_programs import scratch, timed

SWEEP_FILE = """
name = "ten"
function = "trivial:trivial"
[space.grid]
n = { range = [0, 5] }
alpha = [0.5, 1.0]
"""


def main() -> None:
    with scratch() as folder:
        (folder / "trivial.py").write_text(FUNCTION)
        (folder / "sweep.toml").write_text(SWEEP_FILE)
        helped = [timed(folder, "--help").wall_s for _ in range(7)]
        ten = [
            timed(folder, "run", "sweep.toml", "--workers", "2", "--home", f"home-{number}").wall_s
            for number in range(5)
        ]
    print(f"sweep --help: median {statistics.median(helped):.2f} s, max {max(helped):.2f} s")
    print(f"sweep run of 10 runs: median {statistics.median(ten):.2f} s, max {max(ten):.2f} s")


if __name__ == "__main__":
    main()
