"""The programs as they are shipped, on a disk that loses power at any moment.

Here a sample of the states; `python -m tests.power_loss --all` looks at far more of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power_loss.aftermath import check_finish, check_reconcile
from tests.power_loss.crash_states import SAMPLE
from tests.power_loss.exploring import explore
from tests.power_loss.opening import Opener, fresh_folder
from tests.power_loss.scenarios import HOME, RUNS, record_scenario

LEAST_STATES = {"changes": 500, "run": 500, "remove": 300}
RECONCILED = 12
FINISHED = 2


@pytest.mark.parametrize("name", [*LEAST_STATES])
def test_a_loss_of_power_at_any_moment_breaks_no_promise(tmp_path: Path, name: str) -> None:
    history = record_scenario(name, tmp_path)
    with fresh_folder() as folder:
        opener = Opener(folder, home=HOME)
        report = explore(history, opener=opener, depth=SAMPLE)
        assert not report.broken, report.told()
        assert report.different > LEAST_STATES[name], report.told()
        for tree in report.spread(RECONCILED):
            with opener.laid_out(tree) as root:
                check_reconcile(root / HOME)
        if name == "run":
            for tree in report.spread(FINISHED + 1)[1:]:
                with opener.laid_out(tree) as root:
                    check_finish(root / HOME, place=tmp_path, runs=RUNS)
