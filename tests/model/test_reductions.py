"""What is left out of the search changes no verdict: compared with the search that leaves it in.

Not the verdicts alone, but for what is stored the very states: each state of the larger search is
visited by the reduced one, in the shape of the state that stands for it, and nothing else is.
"""

import numpy as np
import pytest

from tests.model.protections import Configuration, Home, Protection, Reduction
from tests.model.protocol import Protocol
from tests.model.search import Search
from tests.model.states import Batch
from tests.model.test_model import HARMFUL, HARMLESS
from tests.model.visited import distinct

BOTH = pytest.mark.parametrize("home", Home, ids=lambda home: home.value)
ALIKE = (Reduction.NODES_ALIKE, Reduction.AGGREGATORS_ALIKE, Reduction.RUNS_ALIKE)
WORLDS = [
    {"runs": 1, "aggregators": 2, "crashes": 2, "mishaps": 1},
    {"runs": 2, "aggregators": 1, "crashes": 1},
    {"runs": 2, "aggregators": 1, "crashes": 0, "deletions": 0, "mishaps": 1},
    {"runs": 3, "aggregators": 1, "crashes": 1, "deletions": 0},
    {"runs": 2, "aggregators": 2, "crashes": 1, "deletions": 0},
]
IN_EACH_WORLD = pytest.mark.parametrize(
    "world", WORLDS, ids=lambda world: ", ".join(f"{count} {name}" for name, count in world.items())
)


def searched(**world):
    search = Search(Protocol(Configuration(**world)))
    outcome = search.explore()
    assert outcome.violation is None, str(outcome.violation)
    assert outcome.endless is None, outcome.endless
    return search


def visited(search):
    return {left: layer.visited.all() for left, layer in search.layers.items()}


def canonical(world, words):
    states = Batch(words)
    Protocol(Configuration(**world)).canonical(states)
    return distinct([states.words])


@BOTH
@pytest.mark.parametrize(
    ("reduction", "world"),
    [
        *((Reduction.NODES_ALIKE, world) for world in WORLDS),
        *((Reduction.RUNS_ALIKE, world) for world in WORLDS if world["runs"] > 1),
        *((Reduction.AGGREGATORS_ALIKE, world) for world in WORLDS if world["aggregators"] > 1),
    ],
)
def test_one_state_of_those_that_differ_in_names_is_visited_and_no_other(reduction, world, home):
    world = {"home": home, **world}
    reduced = visited(searched(**world))
    whole = visited(searched(**world, unreduced=frozenset({reduction})))
    for left, words in whole.items():
        np.testing.assert_array_equal(canonical(world, words), reduced[left])


@BOTH
def test_what_is_alike_makes_fewer_states(home):
    world = {"home": home, "aggregators": 2, "crashes": 0}
    fewest = searched(**world).outcome.states
    for reduction in ALIKE:
        more = searched(**world, unreduced=frozenset({reduction})).outcome.states
        assert more > 1.5 * fewest


@BOTH
@IN_EACH_WORLD
def test_a_state_left_out_was_visited_with_as_many_faults_left(world, home):
    world = {"home": home, **world}
    reduced = visited(searched(**world))
    whole = visited(searched(**world, unreduced=frozenset({Reduction.MOST_FAULTS_LEFT})))
    for left, words in whole.items():
        richer = [
            known
            for other, known in reduced.items()
            if all(ours >= theirs for ours, theirs in zip(other, left, strict=True))
        ]
        np.testing.assert_array_equal(np.setdiff1d(words, distinct(richer)), [])
        np.testing.assert_array_equal(np.setdiff1d(reduced[left], words), [])
    assert sum(map(len, reduced.values())) < sum(map(len, whole.values()))


@BOTH
@IN_EACH_WORLD
def test_deletes_at_once_leave_out_the_states_between_and_no_other(world, home):
    world = {"home": home, **world}
    protocol = Protocol(Configuration(**world))
    reduced = visited(searched(**world))
    whole = visited(searched(**world, unreduced=frozenset({Reduction.DELETES_AT_ONCE})))
    between = distinct(list(whole.values()))
    after = distinct(list(reduced.values()))
    assert len(np.setdiff1d(between, after))
    states = protocol.with_deletes_done(Batch(between))
    np.testing.assert_array_equal(distinct([states.words]), after)


@BOTH
@IN_EACH_WORLD
def test_where_what_is_stored_is_forgotten_nothing_is_made_up(world, home):
    """Whatever is visited is, but for what is about stored runs, a state of the whole search."""
    world = {"home": home, **world}
    protocol = Protocol(Configuration(**world))
    reduced = searched(**world)
    whole = searched(**world, unreduced=frozenset({Reduction.STORED_FORGOTTEN}))
    assert reduced.outcome.states < whole.outcome.states
    states = Batch(distinct(list(visited(whole).values())))
    protocol.canonical(states)
    known = distinct([protocol.with_deletes_done(states).words])
    np.testing.assert_array_equal(
        np.setdiff1d(distinct(list(visited(reduced).values())), known), []
    )


@BOTH
@pytest.mark.parametrize("protection", Protection, ids=lambda each: each.value)
def test_forgetting_what_is_stored_hides_no_broken_invariant(protection, home):
    without = {"home": home, "crashes": 1, "without": frozenset({protection})}
    whole = Search(Protocol(Configuration(**without))).explore().violation
    forgetful = Configuration(**without, reduced_even_so=frozenset({Reduction.STORED_FORGOTTEN}))
    reduced = Search(Protocol(forgetful)).explore().violation
    assert (whole is None) == (reduced is None)
    if whole is not None:
        assert reduced.invariant == whole.invariant
        assert len(reduced.steps) == len(whole.steps)


@BOTH
@pytest.mark.parametrize("protection", HARMFUL, ids=lambda each: each.value)
def test_without_a_protection_the_same_invariant_breaks_in_the_whole_search(protection, home):
    without = {"home": home, "crashes": 1, "without": frozenset({protection})}
    reduced = Search(Protocol(Configuration(**without))).explore().violation
    everything = Configuration(**without, unreduced=frozenset(Reduction))
    whole = Search(Protocol(everything)).explore().violation
    assert whole.invariant == reduced.invariant == HARMFUL[protection][0]
    assert len(whole.steps) == len(reduced.steps)


@BOTH
@pytest.mark.parametrize("protection", HARMLESS, ids=lambda each: each.value)
def test_without_what_only_saves_work_the_whole_search_finds_nothing_either(protection, home):
    without = frozenset({protection})
    searched(home=home, runs=1, crashes=1, without=without, unreduced=frozenset(Reduction))
