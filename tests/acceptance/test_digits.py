"""The example of a cross-validation: every stored score against scikit-learn's own search."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

import gapless

if TYPE_CHECKING:
    from tests.acceptance.programs import Programs

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"


def test_every_stored_score_equals_that_of_a_grid_search(programs: Programs) -> None:
    for name in ("digits.py", "digits.toml", "table.py"):
        shutil.copy(EXAMPLE / name, programs.folder / name)
    answer = programs.do("run", "digits.toml", "--workers", "2")
    assert answer.returncode == 0, answer.stderr + programs.logs()

    declared = tomllib.loads((EXAMPLE / "digits.toml").read_text("utf-8"))
    grid = declared["space"]["grid"]
    folds = declared["fixed"]["folds"]
    search = GridSearchCV(
        SVC(), {"C": grid["C"], "gamma": grid["gamma"]}, cv=folds, refit=False, n_jobs=1
    )
    images, digits = load_digits(return_X_y=True)
    found = search.fit(images, digits).cv_results_

    runs = gapless.open(str(programs.home), "digits").to_pandas()
    stored = {(run.C, run.gamma, run.fold): run.score for run in runs.itertuples(index=False)}
    assert len(runs) == len(stored) == len(grid["C"]) * len(grid["gamma"]) * folds
    assert {type(gamma) for _, gamma, _ in stored} == {str, float}
    expected = {
        (params["C"], params["gamma"], fold): found[f"split{fold}_test_score"][index]
        for index, params in enumerate(found["params"])
        for fold in range(folds)
    }
    assert stored.keys() == expected.keys()
    apart = [abs(stored[each] - expected[each]) for each in expected]
    assert max(apart) <= 1e-12
    # A search that reads digits well, and settings that differ: equal scores would prove little.
    assert 0.96 < max(expected.values()) <= 1.0
    assert len(set(expected.values())) > 20

    table = subprocess.run(
        [sys.executable, "table.py", str(programs.home)],
        cwd=programs.folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    best = found["params"][int(np.argmax(found["mean_test_score"]))]
    assert f"best: C = {best['C']}, gamma = {best['gamma']}: " in table
    assert f"{found['mean_test_score'].max():.4f}" in table
