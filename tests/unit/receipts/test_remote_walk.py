"""Whatever happens to queues and nodes, no gap stays hidden; without a fault none is invented."""

from __future__ import annotations

import pytest

from gapless.declaration.runset import RunSet
from receipts.ledger import State
from tests.unit.receipts.remote_walk import RUNS, SETTLE_S, Walk

_HOUR_S = 3600.0


@pytest.mark.parametrize("seed", range(40))
def test_a_sweep_becomes_complete_once_faults_stop(seed: int) -> None:
    walk = Walk(seed, late_s=SETTLE_S * 0.9, each_count_on_its_own=True)
    for _ in range(walk.dice.randrange(5, 80)):
        walk.step(walk.dice.random() * 90.0)
        if walk.dice.random() < 0.25:
            walk.go_wrong()
        if walk.dice.random() < 0.25:
            walk.reconcile()
    # Within 10 minutes a dead node is not heard any more, within 4 the second look is made; and a
    # run of which six copies went to one queue waits for the next day.
    walk.settle(most_s=26 * _HOUR_S)
    assert walk.final() == RunSet.span(0, RUNS)
    walk.close()


@pytest.mark.parametrize("seed", range(20))
def test_without_a_fault_nothing_is_sent_twice(seed: int) -> None:
    walk = Walk(seed, late_s=SETTLE_S * 0.99, each_count_on_its_own=False)
    for _ in range(400):
        walk.step(walk.dice.random() * 40.0)
        if walk.dice.random() < 0.4:
            walk.reconcile()
    walk.settle(most_s=_HOUR_S)
    assert walk.resent == 0
    assert walk.world.ledger.count(walk.sweep, State.SENT) == 6
    walk.close()


@pytest.mark.parametrize("seed", range(20))
def test_a_sweep_of_one_fault_is_complete_within_the_hour(seed: int) -> None:
    walk = Walk(seed, late_s=SETTLE_S * 0.5, each_count_on_its_own=True)
    for _ in range(walk.dice.randrange(5, 60)):
        walk.step(walk.dice.random() * 30.0)
    walk.go_wrong()
    walk.settle(most_s=_HOUR_S)
    assert walk.final() == RunSet.span(0, RUNS)
    walk.close()
