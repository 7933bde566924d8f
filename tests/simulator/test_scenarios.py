"""Every seed is a world of faults that must end complete, no invariant broken on the way."""

import pytest

from tests.simulator.scenario import run_seed

SEEDS = 200


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_lost_or_doubled_in_the_world_of_seed(seed):
    run_seed(seed)


def test_the_same_seed_is_the_same_world():
    assert run_seed(39).lines == run_seed(39).lines
