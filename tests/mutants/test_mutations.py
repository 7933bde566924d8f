"""What is mutated, and what is left out."""

import pytest

pytest.importorskip("mutmut", reason="mutmut is installed by `make mutants`")

from tests.mutants.mutant import Place
from tests.mutants.mutations import Source

MODULE = "shop/till.py"

TEXT = '''\
"""A till."""

from dataclasses import dataclass

__all__ = ["Till"]

MOST = 12


@dataclass(frozen=True)
class Till:
    """Takes money."""

    least: int = 3
    name: str = ""

    @property
    def room(self) -> int:
        return MOST - self.least

    def take(self, amount: int, times: int = 2) -> int:
        if amount < self.least:
            raise ValueError(f"{amount + 1} is too little for {self.name}")
        note("money came in", amount)
        return amount * times
'''


def changes(source):
    return {(each.name, each.before, each.after) for each in source.mutants}


def test_bodies_of_functions_are_mutated_those_with_a_decorator_too():
    found = changes(Source(MODULE, TEXT))
    assert ("Till.take", "amount < self.least", "amount < self.least") not in found
    assert ("Till.take", "amount * times", "amount / times") in found
    assert ("Till.room", "MOST - self.least", "MOST + self.least") in found


def test_values_outside_functions_are_mutated():
    source = Source(MODULE, TEXT)
    places = {each.name: each.place for each in source.mutants}
    assert places["MOST"] is Place.CONSTANT
    assert places["Till.least"] is Place.FIELD
    assert ("Till.take", "2", "3") in changes(source)
    assert {each.place for each in source.mutants} == set(Place)


def test_the_wording_of_messages_is_left_alone():
    found = changes(Source(MODULE, TEXT))
    assert not [each for each in found if "too little" in each[1] and "too little" not in each[2]]
    assert not [each for each in found if "amount + 1" in each[1] and "amount + 1" not in each[2]]
    assert not [each for each in found if "money" in each[1] and "money" not in each[2]]
    assert ("Till.take", 'note("money came in", amount)', 'note("money came in", None)') in found


def test_the_names_of_a_module_are_left_alone():
    assert "__all__" not in {each.name for each in Source(MODULE, TEXT).mutants}


def test_each_mutant_changes_the_text_where_it_says():
    source = Source(MODULE, TEXT)
    for mutant in source.mutants:
        mutated = source.mutated(mutant)
        assert mutated != TEXT
        old, new = TEXT.split("\n"), mutated.split("\n")
        assert old[: mutant.first - 1] == new[: mutant.first - 1]
        tail = len(old) - mutant.last
        assert old[len(old) - tail :] == new[len(new) - tail :]


def test_ids_differ_and_stay_when_lines_move():
    before = Source(MODULE, TEXT)
    after = Source(MODULE, TEXT.replace("MOST = 12", "\n\n# The room of a drawer.\nMOST = 12"))
    assert len({each.id for each in before.mutants}) == len(before.mutants)
    assert [each.id for each in before.mutants] == [each.id for each in after.mutants]
