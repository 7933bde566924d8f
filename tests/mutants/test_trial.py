"""What a trial in a process of its own ends with."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.mutants.mutant import Mutant, Place
from tests.mutants.session import Verdict
from tests.mutants.trial import Trial, outcomes

MUTANT = Mutant(
    id="0123456789",
    module="aggregator/state.py",
    name="AggregatorState.handle",
    place=Place.BODY,
    operator="number",
    text="return 1",
    before="1",
    after="2",
    first=1,
    last=1,
    number=0,
)


def all_memory() -> list[str]:
    bytearray(1 << 40)
    return [Verdict.SURVIVED.name, ""]


def a_hook_that_fails_for_want_of_memory() -> list[str]:
    try:
        return all_memory()
    except MemoryError:
        raise UserWarning("a plugin raised an exception") from None


def no_such_place() -> list[str]:
    raise LookupError("nothing of that name")


def its_process() -> list[str]:
    os._exit(3)


@pytest.mark.parametrize(
    ("run", "verdict", "killer"),
    [
        (all_memory, Verdict.TESTS, "the memory it may use"),
        (a_hook_that_fails_for_want_of_memory, Verdict.TESTS, "the memory it may use"),
        (its_process, Verdict.TESTS, "the process died"),
        (no_such_place, Verdict.NOT_RUN, "LookupError('nothing of that name')"),
        (lambda: [Verdict.SURVIVED.name, ""], Verdict.SURVIVED, ""),
    ],
)
def test_a_trial_that_runs_out_of_memory_or_dies_is_a_kill_and_no_other_error_is(
    run: Callable[[], list[str]], verdict: Verdict, killer: str
) -> None:
    ((mutant, said, who, _),) = outcomes(iter([Trial(MUTANT, 30.0, run)]), workers=1)
    assert (mutant, said, who) == (MUTANT, verdict, killer)
