"""The model of the protocol holds, and it holds because of each protection.

Searched whole here, every interleaving: 2 nodes, 1 and 2 aggregators, 2 runs in one job, two
crashes, one deletion or purge of a queue; lost leases, twins and lost answers in smaller worlds.
`python -m tests.model` searches the larger ones: 3 runs, 1 and 2 aggregators.
"""

import importlib.util

import pytest

from tests.model.protections import Configuration, Home, Protection
from tests.model.protocol import Protocol
from tests.model.search import Search

BOTH = pytest.mark.parametrize("home", Home, ids=lambda home: home.value)

HARMFUL = {
    Protection.ACKNOWLEDGEMENT_BEFORE_DELETE: ("I2", 5),
    Protection.REMAINDER_BEFORE_DELETE: ("I2", 6),
    Protection.FLUSH_BEFORE_DELETE: ("I3", 7),
    Protection.ORPHANS_KEPT: ("I3", 10),
    Protection.RECEIPT_BEFORE_SEND: ("I5", 1),
    Protection.SEND_BEFORE_MARK: ("I1", 3),
    Protection.STORED_BY_MANIFESTS: ("I4", 8),
    Protection.COMPLETE_BY_RUNS: ("I4", 5),
    Protection.ONE_ROW_A_RUN: ("I4", 12),
    Protection.RECONCILE: ("I1b", 5),
}
"""The invariant that breaks without each protection, and after how many steps at most."""
HARMLESS = sorted(
    set(Protection) - HARMFUL.keys() - {Protection.LOST_LEASE_DELETES_NOTHING},
    key=lambda each: each.value,
)


def holds(configuration, *, more_than):
    """Search a configuration whole: nothing is wrong, and there was something to search."""
    search = Search(Protocol(configuration))
    outcome = search.explore()
    assert outcome.violation is None, str(outcome.violation)
    assert outcome.states > more_than
    assert outcome.endless is None, outcome.endless
    return outcome


def test_every_interleaving_in_a_folder_home_holds_with_two_crashes_and_a_deleted_queue():
    holds(Configuration(), more_than=100_000)


def test_every_interleaving_in_a_cloud_holds_with_two_crashes_and_a_lost_queue():
    holds(Configuration(home=Home.CLOUD), more_than=500_000)


@BOTH
def test_two_aggregators_hold_with_two_runs_two_crashes_and_a_lost_queue(home):
    holds(Configuration(home=home, aggregators=2), more_than=500_000)


@BOTH
def test_two_aggregators_hold_with_a_crash_and_a_lost_lease_a_twin_or_a_lost_answer(home):
    configuration = Configuration(home=home, aggregators=2, crashes=1, deletions=0, mishaps=1)
    holds(configuration, more_than=40_000)


@BOTH
def test_lost_leases_twins_and_lost_answers_hold_with_a_crash(home):
    configuration = Configuration(home=home, runs=1, crashes=1, deletions=1, mishaps=2)
    holds(configuration, more_than=5_000)


@BOTH
def test_a_lost_lease_beside_two_runs_holds_where_messages_alike_are_told_apart(home):
    configuration = Configuration(home=home, crashes=0, deletions=0, mishaps=1, alike=3)
    holds(configuration, more_than=1_000)


@BOTH
@pytest.mark.parametrize("protection", HARMFUL, ids=lambda each: each.value)
def test_without_a_protection_its_invariant_breaks_soon(protection, home):
    invariant, most_steps = HARMFUL[protection]
    configuration = Configuration(home=home, crashes=1, without=frozenset({protection}))
    violation = Search(Protocol(configuration)).explore().violation
    assert violation is not None
    assert violation.invariant == invariant
    assert len(violation.steps) <= most_steps


@BOTH
def test_a_delete_by_a_lost_lease_must_not_take_the_job_that_was_sent_anew(home):
    without = frozenset({Protection.LOST_LEASE_DELETES_NOTHING})
    configuration = Configuration(home=home, runs=1, crashes=1, mishaps=1, without=without)
    violation = Search(Protocol(configuration)).explore().violation
    assert violation.invariant == "I1"
    assert "by a lease it lost" in violation.steps[-2] + violation.steps[-1]


@BOTH
@pytest.mark.parametrize("protection", HARMLESS, ids=lambda each: each.value)
def test_what_only_saves_work_may_be_left_out(protection, home):
    without = frozenset({protection})
    holds(Configuration(home=home, crashes=0, without=without), more_than=4_000)
    holds(Configuration(home=home, runs=1, crashes=1, mishaps=1, without=without), more_than=4_000)


@BOTH
def test_every_action_of_the_model_happens(home):
    """In one of three worlds: nothing is skipped where what is stored is forgotten at once."""
    with_skips = frozenset({Protection.ADOPTION})
    happened, known = set(), set()
    for configuration in (
        Configuration(home=home, crashes=1),
        Configuration(home=home, crashes=0, mishaps=1),
        Configuration(home=home, crashes=0, runs=2, deletions=0, mishaps=1, without=with_skips),
    ):
        protocol = Protocol(configuration)
        happened |= Search(protocol).explore().taken
        known |= {action.name for action in protocol.actions}
    assert known == happened


@BOTH
def test_every_action_stands_for_a_module_that_exists(home):
    actions = Protocol(Configuration(home=home)).actions
    for action in actions:
        assert action.fault or importlib.util.find_spec(action.stands_for)


def test_a_violation_is_told_step_by_step():
    configuration = Configuration(without=frozenset({Protection.ACKNOWLEDGEMENT_BEFORE_DELETE}))
    told = str(Search(Protocol(configuration)).explore().violation)
    assert "I2 is broken after 5 steps" in told
    assert "deletes its job before its results are acknowledged" in told
