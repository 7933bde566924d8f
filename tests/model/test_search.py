"""The search itself finds what there is to find, in worlds small enough to know that by heart."""

import dataclasses

import numpy as np
import pytest

from tests.model.search import Search
from tests.model.states import Batch, Layout, Part
from tests.model.system import Action, Fault
from tests.model.visited import Visited, distinct


class Counter:
    """A number from 0 to 5 that is over at 5; what else happens is up to the test."""

    def __init__(self, *more, over_at=5, budget=(), wrong_at=None):
        self.number = Layout().field("number", 3)
        self.over_at = over_at
        self.wrong_at = wrong_at
        self.budget = dict(budget)
        self.only_most_left = True
        self.actions = (self.step("count", range(over_at), 1), *(each(self) for each in more))

    def step(self, name, at, by, fault=None):
        def effect(states):
            states[self.number] = states[self.number].astype(np.int8) + by

        def guard(states):
            return np.isin(states[self.number], list(at))

        return Action(name, "a test", guard, effect, fault=fault)

    def initial(self):
        return Batch(np.zeros(1, dtype=np.uint64))

    def canonical(self, states):
        """Leave every state as it is."""

    def wrong(self, states):
        return [("I0", states[self.number] == (99 if self.wrong_at is None else self.wrong_at))]

    def over(self, states):
        return states[self.number] == self.over_at

    def rank(self, states):
        return (7 - states[self.number]).astype(np.uint16)

    def told(self, states, row):
        return str(int(states[self.number][row]))


def test_every_state_is_visited_once():
    outcome = Search(Counter()).explore()
    assert (outcome.states, outcome.transitions, outcome.depth) == (6, 5, 5)
    assert outcome.violation is None
    assert outcome.endless is None


def test_a_circle_without_a_fault_is_found():
    outcome = Search(Counter(lambda world: world.step("forget", [3], -2))).explore()
    assert outcome.endless == "from 3 to 1"


def test_a_circle_that_needs_a_fault_ends_with_the_faults():
    def forget(world):
        return world.step("forget", [3], -2, fault=Fault.CRASH)

    outcome = Search(Counter(forget, budget={Fault.CRASH: 2})).explore()
    assert outcome.endless is None
    assert "forget" in outcome.taken


def test_a_state_without_a_step_is_stuck_even_if_a_fault_would_help():
    def leap(world):
        return world.step("leap", [2], 3, fault=Fault.CRASH)

    world = Counter(leap, budget={Fault.CRASH: 1})
    world.actions = (world.step("count", [0, 1, 3, 4], 1), world.actions[1])
    violation = Search(world).explore().violation
    assert violation.invariant == "I1b"
    assert violation.states[-1] == "2"


def test_a_violation_comes_with_the_fewest_faults_and_then_the_fewest_steps():
    def leap(world):
        return world.step("leap", [0], 4, fault=Fault.CRASH)

    budget = {Fault.CRASH: 1}
    without_fault = Search(Counter(leap, budget=budget, wrong_at=4)).explore().violation
    assert without_fault.steps == ("count",) * 4

    def beyond(world):
        return world.step("beyond", [1, 4], 2, fault=Fault.CRASH)

    with_fault = Search(Counter(beyond, over_at=4, budget=budget, wrong_at=6)).explore()
    assert with_fault.violation is None
    world = Counter(beyond, over_at=5, budget=budget, wrong_at=6)
    assert Search(world).explore().violation.steps == ("count",) * 4 + ("beyond",)


def test_what_follows_at_once_leaves_no_state_between():
    world = Counter()
    twice = world.step("count again", range(1, 5), 1)
    world.actions = (dataclasses.replace(world.actions[0], at_once=(twice,)),)
    outcome = Search(world).explore()
    assert (outcome.states, outcome.taken) == (4, {"count", "count again"})


def test_a_value_that_does_not_fit_its_field_is_refused():
    layout = Layout()
    layout.field("other", 3)
    states = Batch(np.zeros(2, dtype=np.uint64))
    with pytest.raises(OverflowError, match="full holds at most 3"):
        states[layout.field("full", 2)] = np.array([1, 4])


def test_a_model_that_needs_more_than_a_word_is_refused():
    layout = Layout()
    for number in range(8):
        layout.field(f"field {number}", 8)
    with pytest.raises(OverflowError, match="64 bits: one more"):
        layout.field("one more", 1)


def test_a_table_says_what_the_function_says():
    layout = Layout()
    layout.field("below", 5)
    part, given = layout.field("part", 4), layout.field("given", 3)

    def function(states):
        return states[part].astype(np.int64) * 10 + states[given]

    looked_up = Part([part], given)
    words = np.random.default_rng(4).integers(0, 1 << 12, 1000, dtype=np.uint64)
    states = Batch(words)
    table = looked_up.table(function)
    np.testing.assert_array_equal(table[looked_up.index(states)], function(states))


def test_visited_words_are_told_from_new_ones():
    random = np.random.default_rng(5)
    visited, known = Visited(), set()
    for size in (1, 500, 3, 20, 0, 700, 2):
        words = distinct([random.integers(0, 3000, size, dtype=np.uint64)])
        new = visited.lacks(words)
        assert new.tolist() == sorted(set(words.tolist()) - known)
        visited.add(new)
        known |= set(new.tolist())
        assert len(visited) == len(known)
    assert visited.all().tolist() == sorted(known)
