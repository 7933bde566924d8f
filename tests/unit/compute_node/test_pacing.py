from __future__ import annotations

from compute_node.pacing import MAX_CHUNK_RUNS, Pace


def test_the_first_chunk_is_a_single_run() -> None:
    assert Pace().chunk_runs(todo=10_000, workers=2) == 1


def test_chunks_grow_tenfold_at_most_until_they_take_long_enough() -> None:
    pace = Pace()
    sizes = []
    for _ in range(7):
        size = pace.chunk_runs(todo=10**9, workers=2)
        sizes.append(size)
        pace.measure(runs=size, busy_s=size * 0.001)
    assert sizes == [1, 10, 100, 300, 300, 300, 300]


def test_a_slow_first_run_does_not_bind_the_pace() -> None:
    pace = Pace()
    pace.measure(runs=1, busy_s=5.0)
    pace.measure(runs=1, busy_s=0.001)
    assert pace.mean_s == 0.001


def test_the_last_runs_are_shared_among_the_workers() -> None:
    pace = Pace()
    for size in (1, 10, 100):
        pace.measure(runs=size, busy_s=size * 0.01)
    assert pace.chunk_runs(todo=1000, workers=4) == 30
    assert pace.chunk_runs(todo=16, workers=4) == 2


def test_no_chunk_is_larger_than_memory_allows() -> None:
    pace = Pace()
    for size in (1, 10**3, 10**5):
        pace.measure(runs=size, busy_s=0.0)
    assert pace.chunk_runs(todo=10**9, workers=1) == MAX_CHUNK_RUNS
