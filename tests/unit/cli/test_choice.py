"""Which sweep is meant: see gapless/local/choice.py."""

from __future__ import annotations

import pytest

from gapless.declaration.space import Space
from gapless.declaration.sweep import Sweep
from gapless.local.choice import SweepUnknown, choose_sweep, choose_sweeps
from gapless.storage.memory import MemoryBlobs
from gapless.storage.sweeps import SweepStore


def store_with(*names: str, seeds: int = 1) -> SweepStore:
    store = SweepStore(MemoryBlobs(clock=lambda: 0.0))
    for name in names:
        for seed in range(seeds):
            sweep = Sweep(name=name, function="work:work", space=Space.grid(a=[1, 2]), seed=seed)
            store.store(sweep.freeze(), None, 0.0)
    return store


def test_the_only_sweep_of_a_home_need_not_be_named() -> None:
    store = store_with("walk")
    assert choose_sweep(store, None) == store.ids()[0]


def test_several_sweeps_are_listed_when_none_is_named() -> None:
    store = store_with("walk", "run")
    with pytest.raises(SweepUnknown) as caught:
        choose_sweep(store, None)
    assert all(each in str(caught.value) for each in store.ids())


def test_a_name_a_beginning_and_a_whole_id_find_a_sweep() -> None:
    store = store_with("walk", "run")
    run, walk = store.ids()
    assert choose_sweep(store, "walk") == walk
    assert choose_sweep(store, "wa") == walk
    assert choose_sweep(store, run) == run


def test_a_whole_name_goes_before_a_beginning_of_another_name() -> None:
    store = store_with("walk", "walk-2")
    assert choose_sweep(store, "walk").startswith("walk-")
    assert choose_sweep(store, "walk") != choose_sweep(store, "walk-2")


def test_a_name_of_several_sweeps_lists_them() -> None:
    store = store_with("walk", seeds=2)
    with pytest.raises(SweepUnknown, match="2 sweeps"):
        choose_sweep(store, "walk")


def test_an_unknown_name_and_an_empty_home_are_told() -> None:
    with pytest.raises(SweepUnknown, match="nothing-like-it"):
        choose_sweep(store_with("walk"), "nothing-like-it")
    with pytest.raises(SweepUnknown, match="no sweep yet"):
        choose_sweep(store_with(), "walk")


def test_no_name_at_all_means_every_sweep_of_a_node() -> None:
    store = store_with("walk", "run")
    assert choose_sweeps(store, None) is None
    assert choose_sweeps(store, ["run", "walk", "run"]) == store.ids()
