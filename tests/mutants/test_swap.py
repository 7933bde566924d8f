"""A mutant takes effect wherever the function or the value is in use."""

import importlib
import sys

import pytest

from tests.mutants.mutant import Mutant, Place
from tests.mutants.swap import BrokenAtImport, NoSuchPlace, put_in

TEXT = """\
import enum
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

MOST = 12


class Colour(enum.Enum):
    RED = 1


@dataclass
class Till:
    least: int = 3
    colour: Colour = Colour.RED

    @property
    def room(self):
        return MOST - self.least

    @cached_property
    def doubled(self):
        return self.least * 2

    @staticmethod
    def opened():
        return 1

    @classmethod
    def named(cls):
        return cls.__name__, 7

    def items(self):
        yield from (each + 1 for each in range(2))

    def paid(self, amount, times=2, *, extra=5):
        return amount * times + extra


class Better(Till):
    def paid(self, amount):
        return super().paid(amount) + 1000


@contextmanager
def held():
    yield 40


def free(amount):
    def inner():
        return amount + 1
    return inner()
"""


@pytest.fixture
def till(tmp_path, monkeypatch):
    (tmp_path / "a_till.py").write_text(TEXT)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("a_till")
    del sys.modules["a_till"]


def put(before, after, name, place=Place.BODY):
    mutant = Mutant(
        id="0",
        module="a_till.py",
        name=name,
        place=place,
        operator="swap_op",
        text="",
        before=before,
        after=after,
        first=1,
        last=1,
        number=0,
    )
    assert TEXT.count(before) == 1
    put_in(mutant, TEXT.replace(before, after))


def test_whoever_holds_the_function_runs_the_mutant(till):
    free, bound = till.free, till.Better().paid
    put("amount + 1\n", "amount - 1\n", "free")
    put("amount * times", "amount / times", "Till.paid")
    assert free(10) == 9
    assert bound(10) == 10 / 2 + 5 + 1000


def test_a_method_that_calls_its_base_class_can_be_mutated(till):
    better = till.Better()
    put("+ 1000", "- 1000", "Better.paid")
    assert better.paid(10) == 25 - 1000


def test_methods_with_a_decorator_can_be_mutated(till):
    one = till.Till()
    put("MOST - self.least", "MOST + self.least", "Till.room")
    put("self.least * 2", "self.least / 2", "Till.doubled")
    put("return 1", "return 2", "Till.opened")
    put("cls.__name__, 7", "cls.__name__, 8", "Till.named")
    put("yield 40", "yield 41", "held")
    assert (one.room, one.doubled, one.opened(), one.named()) == (15, 1.5, 2, ("Till", 8))
    with till.held() as given:
        assert given == 41


def test_what_a_generator_yields_can_be_mutated(till):
    put("each + 1", "each - 1", "Till.items")
    assert list(till.Till().items()) == [-1, 0]


def test_a_default_of_a_parameter_can_be_mutated(till):
    one = till.Till()
    put("extra=5", "extra=6", "Till.paid", Place.DEFAULT)
    put("times=2", "times=3", "Till.paid", Place.DEFAULT)
    assert one.paid(10) == 35


def test_a_default_of_a_dataclass_can_be_mutated_and_its_classes_stay(till):
    put("least: int = 3", "least: int = 4", "Till.least", Place.FIELD)
    assert till.Till() == till.Till(4, till.Colour.RED)


def test_a_constant_changes_where_it_was_imported_to(till, monkeypatch):
    monkeypatch.setattr(till, "MOST", 10_000_019)
    other = type(sys)("another_shop")
    other.MOST, other.LEAST = till.MOST, 3
    monkeypatch.setitem(sys.modules, "another_shop", other)
    put("MOST = 12", "MOST = 13", "MOST", Place.CONSTANT)
    assert (till.MOST, other.MOST, other.LEAST) == (13, 13, 3)
    assert till.Till().room == 10


def test_a_module_that_cannot_be_imported_with_its_mutant_is_told_apart(till):
    with pytest.raises(BrokenAtImport, match="ZeroDivisionError"):
        put("MOST = 12", "MOST = 12 / 0", "MOST", Place.CONSTANT)
    assert sys.modules["a_till"] is till
    assert till.MOST == 12


def test_a_place_that_is_not_there_is_told(till):
    with pytest.raises(NoSuchPlace, match="has no Till"):
        put("yield 40", "yield 41", "Till.sold")
