"""Each protection against a loss of power, left out: the exploration finds what that costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power_loss.crash_states import SAMPLE
from tests.power_loss.disk import Order
from tests.power_loss.exploring import Report, explore
from tests.power_loss.opening import Opener, fresh_folder
from tests.power_loss.scenarios import record_walk

EVEN_ON_A_JOURNAL = [
    ("flush-of-files", "nobody ever gave it"),
    ("flush-of-folders", "is not so"),
    ("flush-before-delete", "are nowhere"),
    ("full-synchronous", "lacks a transaction that was answered"),
    ("any-synchronous", "lacks a transaction that was answered"),
]
WHERE_ORDER_IS_ANY = [
    ("flush-of-folders-above", "is not so"),
    ("shard-before-manifest", "cannot be read"),
]


def explored(without: str, place: Path, order: Order, *, until: str | None) -> Report:
    history = record_walk(without, place, order)
    with fresh_folder() as folder:
        return explore(history, opener=Opener(folder, home="home"), depth=SAMPLE, until=until)


def test_nothing_is_broken_when_nothing_is_left_out(tmp_path: Path) -> None:
    report = explored("", tmp_path, Order.ANY, until=None)
    assert not report.broken, report.told()
    assert report.moments > 100, report.told()
    assert report.different > 300, report.told()


@pytest.mark.parametrize(("without", "what"), EVEN_ON_A_JOURNAL)
def test_a_protection_left_out_breaks_a_promise_even_where_folders_keep_their_order(
    tmp_path: Path, without: str, what: str
) -> None:
    report = explored(without, tmp_path, Order.JOURNAL, until=what)
    assert any(what in each.what for each in report.broken), report.told()


@pytest.mark.parametrize(("without", "what"), WHERE_ORDER_IS_ANY)
def test_a_protection_left_out_breaks_a_promise_where_folders_keep_no_order(
    tmp_path: Path, without: str, what: str
) -> None:
    report = explored(without, tmp_path, Order.ANY, until=what)
    assert any(what in each.what for each in report.broken), report.told()
