"""The example of the README: its stored runs against an independent TD(n)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import gapless

if TYPE_CHECKING:
    from tests.acceptance.programs import Programs

EXAMPLE = Path(__file__).parents[2] / "examples" / "random_walk"
STATES, EPISODES = 19, 10


def paths_of(seed: int) -> list[tuple[np.ndarray, float]]:
    """The walks a seed gives, found over the whole stream at once (states visited, last reward)."""
    uniform = np.random.default_rng(seed).random(200_000)
    position, walks = 0, []
    for _ in range(EPISODES):
        steps = np.where(uniform[position:] >= 0.5, 1, -1)
        after = 10 + np.cumsum(steps)
        end = int(np.flatnonzero((after == 0) | (after == STATES + 1))[0])
        walks.append((np.concatenate(([10], after[:end])), 1.0 if after[end] > 0 else -1.0))
        position += end + 1
    return walks


def errors_of_all(n: np.ndarray, alpha: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Learn many runs at once: at time tau every run updates the state it was in then."""
    walks = [paths_of(int(seed)) for seed in seeds]
    runs = len(walks)
    value = np.zeros((runs, STATES + 2))
    true = np.arange(1, STATES + 1) / 10 - 1
    total = np.zeros(runs)
    every = np.arange(runs)
    for episode in range(EPISODES):
        lengths = np.array([walk[episode][0].size for walk in walks])
        reward = np.array([walk[episode][1] for walk in walks])
        path = np.zeros((runs, lengths.max()), dtype=int)
        for index, walk in enumerate(walks):
            path[index, : lengths[index]] = walk[episode][0]
        for tau in range(lengths.max()):
            live = tau < lengths
            boots = live & (tau + n < lengths)
            target = reward.copy()
            target[boots] = value[every[boots], path[every[boots], (tau + n)[boots]]]
            state = path[live, tau]
            value[every[live], state] += alpha[live] * (target[live] - value[every[live], state])
        total += np.sqrt(np.mean((value[:, 1:-1] - true) ** 2, axis=1))
    return total / EPISODES


def test_stored_runs_equal_an_independent_td_and_an_intermediate_n_is_best(
    programs: Programs,
) -> None:
    for name in ("walk.py", "random_walk.toml", "plot.py"):
        shutil.copy(EXAMPLE / name, programs.folder / name)
    answer = programs.do("run", "random_walk.toml", "--workers", "2")
    assert answer.returncode == 0, answer.stderr + programs.logs()
    table = gapless.open(str(programs.home), "random-walk").to_pandas()
    assert len(table) == 10 * 21 * 100
    assert table["seed"].nunique() == len(table)

    sample = table.sample(200, random_state=1)
    again = errors_of_all(
        sample["n"].to_numpy(), sample["alpha"].to_numpy(), sample["seed"].to_numpy()
    )
    assert np.abs(again - sample["rms"].to_numpy()).max() < 1e-12

    means = table.groupby(["n", "alpha"])["rms"].mean()
    best_n, best_alpha = means.idxmin()
    assert best_n in (2, 4, 8)
    assert 0.1 < best_alpha < 0.9
    assert abs(means.min() - 0.27) < 0.02  # figure 7.2: about 0.27 at n = 4

    picture = programs.folder / "figure.png"
    drawn = programs.start_python("plot.py", str(programs.home), str(picture))
    assert drawn.wait(timeout=60) == 0, programs.logs()
    assert picture.stat().st_size > 10_000
