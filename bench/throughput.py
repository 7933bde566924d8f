"""1,000,000 runs of a trivial function: `sweep run`, everything durable, against a bare Pool(2).

Both call the same function once a run with plain Python values and end with the results in HDF5 on
the disk. The ratio is of medians of runs taken in turn.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from bench.whole_programs import scratch, timed

RUNS = int(os.environ.get("BENCH_RUNS", "1000000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
FUNCTION = """
def trivial(n, alpha, *, seed):
    return {"value": n * alpha, "low": seed & 1023}
"""
SWEEP_FILE = """
name = "trivial"
function = "trivial:trivial"
replicates = {replicates}
seed = 1
[space.grid]
n = {{ range = [0, 100] }}
alpha = {{ linspace = [0.0, 1.0, 100] }}
"""
BASELINE = """
import sys, time
sys.path.insert(0, {folder!r}); sys.path.insert(0, {checkout!r})
from bench.throughput import baseline
baseline({runs}, {out!r})
"""


def _call(arguments):
    from trivial import trivial

    return trivial(**arguments)


def baseline(runs: int, out: str) -> None:
    """Do the same with a bare pool: large chunks, results collected, one HDF5 file, fsynced."""
    import trivial  # noqa: F401

    axes = itertools.product(range(100), np.linspace(0.0, 1.0, 100).tolist(), range(runs // 10_000))
    arguments = [
        {"n": n, "alpha": alpha, "seed": number} for number, (n, alpha, _) in enumerate(axes)
    ]
    with multiprocessing.Pool(2) as pool:
        results = pool.map(_call, arguments, chunksize=25_000)
    with h5py.File(out, "w") as file:
        for name in ("value", "low"):
            file[name] = np.array([result[name] for result in results])
        for name in ("n", "alpha", "seed"):
            file[name] = np.array([each[name] for each in arguments])
    with Path(out).open("rb") as written:
        os.fsync(written.fileno())


def _time_baseline(folder: Path) -> float:
    import subprocess

    program = BASELINE.format(
        folder=str(folder),
        checkout=str(Path(__file__).parent.parent),
        runs=RUNS,
        out=str(folder / "out.h5"),
    )
    with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as file:
        file.write(program)
    started = time.perf_counter()
    subprocess.run([sys.executable, file.name], check=True)
    taken = time.perf_counter() - started
    Path(file.name).unlink()
    return taken


def main() -> None:
    bare: list[float] = []
    ours: list[float] = []
    peaks: dict[str, float] = {}
    for number in range(ROUNDS):
        with scratch() as folder:
            (folder / "trivial.py").write_text(FUNCTION)
            (folder / "sweep.toml").write_text(SWEEP_FILE.format(replicates=RUNS // 10_000))
            bare.append(_time_baseline(folder))
            finished = timed(
                folder, "run", "sweep.toml", "--workers", "2", "--home", "home", watch=True
            )
            ours.append(finished.wall_s)
            for kind, peak in finished.peak_mb.items():
                peaks[kind] = max(peaks.get(kind, 0.0), peak)
            print(f"round {number}: pool {bare[-1]:.2f} s, sweep run {ours[-1]:.2f} s", flush=True)
    pool, sweep = statistics.median(bare), statistics.median(ours)
    print(f"{RUNS:,} runs: Pool(2) {RUNS / pool:,.0f}/s, sweep run {RUNS / sweep:,.0f}/s")
    print(f"ratio of rates (sweep run / Pool): {pool / sweep:.2f} (at least 0.25 asked)")
    print("peak MB: " + ", ".join(f"{kind} {peak:.0f}" for kind, peak in sorted(peaks.items())))


if __name__ == "__main__":
    main()
