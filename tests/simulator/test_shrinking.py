"""A failing world is shrunk to the faults it needs."""

import pytest

from tests.simulator.faults import Fault
from tests.simulator.planted_people import NeverResubmits
from tests.simulator.scenario import Cast, Failed, run_seed
from tests.simulator.shrinking import happened, minimised, shrink, symptom
from tests.simulator.test_bites import DeletesBeforeTheAcknowledgement


def first_failure(cast, found):
    for seed in range(120):
        try:
            run_seed(seed, cast)
        except Failed as failure:
            if found in failure.reason:
                return failure
    return pytest.fail(f"no world found {found!r}")


@pytest.mark.parametrize("needed", [set(), {3}, {0, 19}, {4, 5, 6}, set(range(20))])
def test_only_what_is_needed_is_left(needed):
    asked = []

    def fails(parts):
        asked.append(parts)
        return needed <= set(parts)

    assert minimised(list(range(20)), fails) == sorted(needed)
    assert len(asked) < 20 * 20


def test_what_has_alternatives_is_shrunk_to_one_of_them():
    left = minimised(list(range(9)), lambda parts: 2 in parts or {5, 7} <= set(parts))
    assert left in ([2], [5, 7])


def test_an_invariant_is_a_symptom_whatever_the_runs():
    one = "Violation: I2: runs [3, 4] left a job of s0-12ab34cd-jobs at epoch 0"
    other = "Violation: I2: runs [7] left a job of s1-00ff00ff-jobs at epoch 2"
    assert symptom(one) == symptom(other) == "I2"


def test_an_error_is_a_symptom_without_its_details():
    one = symptom("KeyError: 'job 7 of s0-12ab34cd'")
    assert one == symptom("KeyError: 'job 9 of s1-12ab34ce'")
    assert one != symptom("ValueError: 'job 9 of s1-12ab34ce'")


def test_a_planted_bug_is_shrunk_to_the_few_faults_it_needs():
    cast = Cast(node=DeletesBeforeTheAcknowledgement)
    failure = first_failure(cast, "I2: runs")
    shrunk = shrink(failure, cast)
    assert "I2: runs" in shrunk.failure.reason
    assert 1 <= len(shrunk.faults) <= 2
    assert len(shrunk.faults) < len(happened(failure.thrown, failure.left_out))


def test_a_bug_that_needs_no_fault_is_shrunk_to_none():
    class SaysNothing(DeletesBeforeTheAcknowledgement):
        def deliver(self, command):
            raise RuntimeError("a bug of every world")

    cast = Cast(node=SaysNothing)
    shrunk = shrink(first_failure(cast, "RuntimeError"), cast)
    assert shrunk.faults == ()
    assert set(Fault) <= shrunk.failure.left_out


def test_a_shrunk_world_fails_in_the_same_way_when_it_is_replayed():
    cast = Cast(person=NeverResubmits)
    shrunk = shrink(first_failure(cast, "I1b"), cast)
    with pytest.raises(Failed, match="I1b") as again:
        run_seed(shrunk.failure.seed, cast, shrunk.failure.left_out)
    assert again.value.lines == shrunk.failure.lines
    assert 1 <= len(shrunk.faults) <= 2
