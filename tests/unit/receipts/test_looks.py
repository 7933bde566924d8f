"""What the ledger remembers for queues that cannot be seen whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from gapless.declaration.runset import RunSet
from receipts.errors import LedgerDamaged
from receipts.ledger import Ledger, NewReceipt, State, Why, open_ledger
from receipts.looks import (
    Look,
    forget_looks,
    last_sent_at_s,
    may_be_queued,
    read_looks,
    replace_looks,
)
from receipts.tables import looks, receipts

SWEEP = "walk-00000000"


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    opened = open_ledger("sqlite://")
    yield opened
    opened.close()


def look(at_s: float, *, epoch: int = 0, run: int = 1) -> Look:
    return Look(
        epoch=epoch,
        runs=RunSet.of(run),
        at_s=at_s,
        jobs_created_at_s=3.0,
        results_created_at_s=4.0,
    )


def write(ledger: Ledger, run: int, *, state: State = State.PENDING, created_at_s: float) -> None:
    receipt = NewReceipt(
        sweep=SWEEP,
        epoch=0,
        runs=RunSet.of(run),
        job=f"j{run}",
        why=Why.SUBMIT,
        generation=0,
        created_at_s=created_at_s,
        state=state,
    )
    assert ledger.write([receipt]) == 1


def send(ledger: Ledger, run: int, *, at_s: float, queue_created_at_s: float = 10.0) -> None:
    write(ledger, run, created_at_s=at_s)
    (pending,) = ledger.pending(SWEEP, after=0, most=10)
    ledger.mark_sent([pending.id], queue_created_at_s=queue_created_at_s, sent_at_s=at_s)


def test_looks_are_read_earliest_first_and_of_one_moment_by_epoch(ledger: Ledger) -> None:
    new = [look(8.0, epoch=0), look(5.0, epoch=2, run=3), look(5.0, epoch=1, run=2)]
    replace_looks(ledger, SWEEP, new)
    replace_looks(ledger, "other-00000000", [look(1.0)])
    assert read_looks(ledger, SWEEP) == [new[2], new[1], new[0]]


def test_new_looks_of_a_sweep_take_the_place_of_its_old_ones(ledger: Ledger) -> None:
    replace_looks(ledger, SWEEP, [look(5.0)])
    replace_looks(ledger, "other-00000000", [look(1.0)])
    replace_looks(ledger, SWEEP, [look(6.0)])
    assert read_looks(ledger, SWEEP) == [look(6.0)]
    forget_looks(ledger, SWEEP)
    assert read_looks(ledger, SWEEP) == []
    assert read_looks(ledger, "other-00000000") == [look(1.0)]


def test_a_look_that_cannot_be_read_is_told_with_the_ledger_it_is_in(ledger: Ledger) -> None:
    replace_looks(ledger, SWEEP, [look(5.0)])
    ledger.database.write(lambda each: each.execute(sa.update(looks).values(runs=b"no runs")))
    with pytest.raises(LedgerDamaged, match="a set of runs") as told:
        read_looks(ledger, SWEEP)
    assert str(ledger.location) in str(told.value)


def test_jobs_as_old_as_the_queue_keeps_messages_are_on_it_no_more(ledger: Ledger) -> None:
    send(ledger, 1, at_s=100.0)
    send(ledger, 2, at_s=100.5)
    write(ledger, 3, state=State.UNKNOWN, created_at_s=100.0)
    write(ledger, 4, state=State.UNKNOWN, created_at_s=100.5)
    found = may_be_queued(ledger, SWEEP, queue_created_at_s=10.0, since_s=100.0)
    assert (found.sent, found.unknown) == ({0: RunSet.of(2)}, {0: RunSet.of(4)})
    assert found.runs(0) == RunSet.of(2, 4)
    assert found.runs(1) == RunSet()


def test_jobs_that_went_to_another_queue_of_the_name_are_not_on_this_one(ledger: Ledger) -> None:
    send(ledger, 1, at_s=100.0, queue_created_at_s=9.0)
    send(ledger, 2, at_s=100.0)
    found = may_be_queued(ledger, SWEEP, queue_created_at_s=10.0, since_s=0.0)
    assert (found.sent, found.unknown) == ({0: RunSet.of(2)}, {})
    assert may_be_queued(ledger, "other-00000000", queue_created_at_s=10.0, since_s=0.0).sent == {}


def test_the_last_send_is_the_latest_of_the_sweep(ledger: Ledger) -> None:
    assert last_sent_at_s(ledger, SWEEP) is None
    send(ledger, 1, at_s=100.0)
    send(ledger, 2, at_s=90.0)
    assert last_sent_at_s(ledger, SWEEP) == 100.0
    assert last_sent_at_s(ledger, "other-00000000") is None


def test_a_receipt_that_cannot_be_read_is_told_with_the_ledger_it_is_in(ledger: Ledger) -> None:
    send(ledger, 1, at_s=100.0)
    ledger.database.write(lambda each: each.execute(sa.update(receipts).values(runs=b"no runs")))
    with pytest.raises(LedgerDamaged) as told:
        may_be_queued(ledger, SWEEP, queue_created_at_s=10.0, since_s=0.0)
    assert str(ledger.location) in str(told.value)


def test_the_runs_of_more_receipts_than_are_read_at_once_are_all_found(ledger: Ledger) -> None:
    written = ledger.write(
        NewReceipt(
            sweep=SWEEP,
            epoch=run % 2,
            runs=RunSet.of(run),
            job=f"j{run}",
            why=Why.SUBMIT,
            generation=0,
            created_at_s=50.0,
            state=State.UNKNOWN,
        )
        for run in range(4_100)
    )
    assert written == 4_100
    found = may_be_queued(ledger, SWEEP, queue_created_at_s=10.0, since_s=0.0).unknown
    assert found == {each: RunSet.from_numbers(range(each, 4_100, 2)) for each in (0, 1)}
