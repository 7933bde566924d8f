"""What every ledger does, wherever it lies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapless.declaration.runset import RunSet
from receipts.ledger import Ledger, NewReceipt, State, SweepRow, Why, open_ledger

SWEEP = "walk-01234567"


@pytest.fixture(params=["folder", "address", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    location = {
        "folder": tmp_path / "home",
        "address": f"sqlite:///{tmp_path}/what? 100%/ledger.db",
        "memory": "sqlite://",
    }[request.param]
    opened = open_ledger(location)
    yield opened
    opened.close()


def receipt(
    runs: RunSet,
    *,
    generation: int = 0,
    epoch: int = 0,
    state: State = State.PENDING,
    sweep: str = SWEEP,
) -> NewReceipt:
    return NewReceipt(
        sweep=sweep,
        epoch=epoch,
        runs=runs,
        job=f"job-{runs.least}-{generation}",
        why=Why.SUBMIT,
        generation=generation,
        created_at_s=5.0,
        state=state,
    )


def test_a_sweep_is_unknown_until_it_is_recorded(ledger: Ledger) -> None:
    assert ledger.sweep(SWEEP) is None
    row = SweepRow(id=SWEEP, digest="0" * 64, name="walk", submitted_at_s=7.5)
    ledger.record_sweep(row)
    assert ledger.sweep(SWEEP) == row


def test_recording_a_sweep_again_changes_nothing(ledger: Ledger) -> None:
    row = SweepRow(id=SWEEP, digest="0" * 64, name="walk", submitted_at_s=7.5)
    ledger.record_sweep(row)
    ledger.record_sweep(SweepRow(id=SWEEP, digest="1" * 64, name="other", submitted_at_s=9.0))
    assert ledger.sweep(SWEEP) == row


def test_receipts_are_pending_until_they_are_marked_as_sent(ledger: Ledger) -> None:
    assert ledger.write(receipt(runs) for runs in RunSet.span(0, 30).pieces(10)) == 3
    pending = ledger.pending(SWEEP, after=0, most=10)
    assert [each.runs for each in pending] == list(RunSet.span(0, 30).pieces(10))
    assert [each.job for each in pending] == ["job-0-0", "job-10-0", "job-20-0"]

    ledger.mark_sent([pending[0].id, pending[2].id], queue_created_at_s=1.0, sent_at_s=6.0)

    submitted = ledger.submitted(SWEEP)
    assert submitted.sent_runs(0) == RunSet.span(0, 10) | RunSet.span(20, 30)
    assert submitted.pending_runs(0) == RunSet.span(10, 20)
    assert submitted.runs(0) == RunSet.span(0, 30)
    assert submitted.runs(1) == RunSet()
    assert (ledger.count(SWEEP, State.PENDING), ledger.count(SWEEP, State.SENT)) == (1, 2)


def test_pending_receipts_come_page_by_page(ledger: Ledger) -> None:
    ledger.write(receipt(RunSet.of(number)) for number in range(7))
    last, seen = 0, []
    while page := ledger.pending(SWEEP, after=last, most=3):
        seen.append([each.runs.least for each in page])
        last = page[-1].id
    assert seen == [[0, 1, 2], [3, 4, 5], [6]]


def test_the_same_block_of_the_same_round_is_written_once(ledger: Ledger) -> None:
    assert ledger.write([receipt(RunSet.span(0, 10))]) == 1
    assert ledger.write([receipt(RunSet.span(0, 4)), receipt(RunSet.span(10, 20))]) == 1
    assert ledger.write([receipt(RunSet.span(0, 10), generation=1)]) == 1
    assert len(ledger.pending(SWEEP, after=0, most=10)) == 3


def test_rebuilt_receipts_count_as_sent(ledger: Ledger) -> None:
    ledger.write([receipt(RunSet.span(0, 10), state=State.UNKNOWN)])
    assert ledger.submitted(SWEEP).sent_runs(0) == RunSet.span(0, 10)
    assert ledger.pending(SWEEP, after=0, most=10) == []


def test_each_round_has_a_number_of_its_own_after_that_of_submit(ledger: Ledger) -> None:
    assert ledger.next_generation(SWEEP) == 1
    ledger.write([receipt(RunSet.of(1), generation=0)])
    assert ledger.next_generation(SWEEP) == 1
    ledger.write([receipt(RunSet.of(1), generation=4)])
    assert ledger.next_generation(SWEEP) == 5


def test_sent_receipts_are_told_by_the_queue_they_went_to(ledger: Ledger) -> None:
    ledger.write(receipt(RunSet.of(number)) for number in (1, 2, 3))
    first, second, third = (each.id for each in ledger.pending(SWEEP, after=0, most=9))
    ledger.mark_sent([first], queue_created_at_s=10.0, sent_at_s=12.0)
    ledger.mark_sent([second], queue_created_at_s=20.0, sent_at_s=23.0)
    ledger.mark_sent([third], queue_created_at_s=20.0, sent_at_s=22.0)
    found = ledger.sent_to(SWEEP, epoch=0, queue_created_at_s=20.0)
    assert [(each.runs, each.sent_at_s) for each in found] == [
        (RunSet.of(3), 22.0),
        (RunSet.of(2), 23.0),
    ]


def test_forgetting_a_sweep_leaves_the_others(ledger: Ledger) -> None:
    for sweep in (SWEEP, "other-89abcdef"):
        ledger.record_sweep(SweepRow(id=sweep, digest="0" * 64, name="n", submitted_at_s=1.0))
        ledger.write([receipt(RunSet.of(1), sweep=sweep)])
    ledger.forget_sweep(SWEEP)
    assert ledger.sweep(SWEEP) is None
    assert ledger.submitted(SWEEP).runs(0) == RunSet()
    assert ledger.sweep("other-89abcdef") is not None
    assert ledger.submitted("other-89abcdef").runs(0) == RunSet.of(1)


def test_more_receipts_than_one_transaction_holds_are_all_written(ledger: Ledger) -> None:
    assert ledger.write(receipt(RunSet.of(number)) for number in range(20_500)) == 20_500
    assert ledger.submitted(SWEEP).pending_runs(0) == RunSet.span(0, 20_500)


def test_a_writer_that_dies_leaves_whole_transactions(ledger: Ledger) -> None:
    class Died(Exception):
        pass

    def dying() -> Iterator[NewReceipt]:
        yield from (receipt(RunSet.of(number)) for number in range(20_001))
        raise Died

    with pytest.raises(Died):
        ledger.write(dying())
    assert ledger.count(SWEEP, State.PENDING) == 20_000


def test_epochs_are_kept_apart(ledger: Ledger) -> None:
    numbers = itertools.count()
    for epoch in (0, 1, 3):
        runs = RunSet.span(0, 5 + epoch)
        ledger.write([receipt(runs, epoch=epoch, generation=next(numbers))])
    submitted = ledger.submitted(SWEEP)
    assert {epoch: len(runs) for epoch, runs in submitted.pending.items()} == {0: 5, 1: 6, 3: 8}
