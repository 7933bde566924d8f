"""What every ledger does, wherever it lies."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import stamina

from gapless.declaration.runset import RunSet
from receipts.errors import LedgerDamaged, LedgerLost
from receipts.insertion import insert_or_ignore, insert_or_update
from receipts.ledger import (
    Ledger,
    NewReceipt,
    State,
    SweepRow,
    Why,
    identity_of,
    open_ledger,
    set_aside,
)
from receipts.looks import Look, read_looks, replace_looks
from receipts.tables import receipts, sweeps

SWEEP = "walk-01234567"


@pytest.fixture(params=["folder", "address", "memory", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    match request.param:
        case "folder":
            return tmp_path / "home"
        case "address":
            # An address makes no folder.
            (tmp_path / "what? 100%").mkdir()
            return f"sqlite:///{tmp_path}/what? 100%/ledger.db"
        case "postgresql":
            return str(request.getfixturevalue("postgresql_url"))
        case _:
            return "sqlite://"


@pytest.fixture
def ledger(location: str | Path) -> Iterator[Ledger]:
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


def row(name: str, digest: str = "0" * 64) -> dict[str, object]:
    return {"id": name, "digest": digest, "name": "walk", "submitted_at_s": 1.0}


def test_rows_that_are_there_are_left_out_and_not_counted(ledger: Ledger) -> None:
    added = ledger.database.write(lambda at: insert_or_ignore(at, sweeps, [row("a"), row("b")]))
    assert added == 2
    new = [row("a", "1" * 64), row("c")]
    assert ledger.database.write(lambda at: insert_or_ignore(at, sweeps, new)) == 1
    assert ledger.database.write(lambda at: insert_or_ignore(at, sweeps, new)) == 0
    assert ledger.database.write(lambda at: insert_or_ignore(at, sweeps, [])) == 0
    kept = ledger.sweep("a")
    assert kept is not None
    assert kept.digest == "0" * 64


def test_rows_that_are_there_are_replaced_where_that_is_asked_for(ledger: Ledger) -> None:
    for rows in ([row("a"), row("b")], [row("b", "1" * 64), row("c", "2" * 64)], []):
        ledger.database.write(
            lambda at, rows=rows: insert_or_update(at, sweeps, rows, key=["id"])  # type: ignore[misc]
        )
    found = [ledger.sweep(each) for each in "abc"]
    assert [each.digest[0] for each in found if each is not None] == ["0", "1", "2"]


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger) -> None:
    class Died(Exception):
        pass

    def dying(connection: sa.Connection) -> None:
        insert_or_ignore(connection, sweeps, [row("a")])
        raise Died

    with pytest.raises(Died):
        ledger.database.write(dying)
    assert ledger.sweep("a") is None
    ledger.record_sweep(SweepRow(id="a", digest="3" * 64, name="n", submitted_at_s=1.0))
    assert ledger.sweep("a") is not None


def test_two_that_read_before_they_write_do_so_one_after_the_other(
    location: str | Path, ledger: Ledger
) -> None:
    other = ledger if location == "sqlite://" else open_ledger(location)

    def add_one(connection: sa.Connection) -> None:
        count = connection.execute(sa.select(sa.func.count()).select_from(sweeps)).scalar_one()
        connection.execute(sa.insert(sweeps), [row(f"s{count}")])

    def add_some(to: Ledger) -> None:
        for _ in range(10):
            to.database.write(add_one)

    with stamina.set_testing(True, attempts=1000):
        threads = [threading.Thread(target=add_some, args=(each,)) for each in (ledger, other)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
    assert all(ledger.sweep(f"s{number}") is not None for number in range(20))
    if other is not ledger:
        other.close()


def test_a_transaction_within_another_is_refused(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError, match="within another"):
        ledger.database.write(lambda _: ledger.sweep(SWEEP))
    assert ledger.sweep(SWEEP) is None


def test_work_under_the_lock_is_recorded_like_any_other(ledger: Ledger) -> None:
    with ledger.lock(SWEEP):
        with ledger.lock("another-01234567"):
            ledger.write(receipt(RunSet.of(number)) for number in range(5000))
        assert len(ledger.submitted(SWEEP).pending_runs(0)) == 5000
        ledger.mark_sent(
            [each.id for each in ledger.pending(SWEEP, after=0, most=5000)],
            queue_created_at_s=1.0,
            sent_at_s=2.0,
        )
        assert ledger.count(SWEEP, State.SENT) == 5000
    assert ledger.count(SWEEP, State.SENT) == 5000


def test_an_error_under_the_lock_frees_it(ledger: Ledger) -> None:
    class Died(Exception):
        pass

    with pytest.raises(Died), ledger.lock(SWEEP):
        raise Died
    with ledger.lock(SWEEP):
        assert ledger.sweep(SWEEP) is None


def test_times_are_kept_to_the_last_bit(ledger: Ledger) -> None:
    created_at_s, sent_at_s = 1763654321.1234567, 0.1 + 0.2
    ledger.write([receipt(RunSet.of(1))])
    (pending,) = ledger.pending(SWEEP, after=0, most=9)
    ledger.mark_sent([pending.id], queue_created_at_s=created_at_s, sent_at_s=sent_at_s)
    (found,) = ledger.sent_to(SWEEP, epoch=0, queue_created_at_s=created_at_s)
    assert (found.queue_created_at_s, found.sent_at_s) == (created_at_s, sent_at_s)


def test_forgetting_a_sweep_forgets_what_was_seen_of_its_queues(ledger: Ledger) -> None:
    look = Look(
        epoch=0, runs=RunSet.of(1), at_s=1.0, jobs_created_at_s=0.5, results_created_at_s=0.5
    )
    for sweep in (SWEEP, "other-89abcdef"):
        replace_looks(ledger, sweep, [look])
    ledger.forget_sweep(SWEEP)
    assert read_looks(ledger, SWEEP) == []
    assert read_looks(ledger, "other-89abcdef") == [look]


def test_a_receipt_of_unreadable_runs_is_damage(ledger: Ledger) -> None:
    ledger.write([receipt(RunSet.span(0, 10))])
    change = sa.update(receipts).values(runs=b"no runs")
    ledger.database.write(lambda connection: connection.execute(change))
    with pytest.raises(LedgerDamaged, match="a receipt"):
        ledger.submitted(SWEEP)
    with pytest.raises(LedgerDamaged, match="a receipt"):
        ledger.pending(SWEEP, after=0, most=10)


def test_a_whole_ledger_is_found_whole(ledger: Ledger) -> None:
    ledger.check_whole()
    ledger.write(receipt(runs) for runs in RunSet.span(0, 30).pieces(10))
    ledger.check_whole()


@pytest.mark.parametrize(
    "damage", [{"runs": b"no runs"}, {"runs": RunSet.span(1, 11).serialize()}, {"count": 11}]
)
def test_a_receipt_that_cannot_be_right_is_damage(
    ledger: Ledger, damage: dict[str, object]
) -> None:
    ledger.write(receipt(runs) for runs in RunSet.span(0, 30).pieces(10))
    change = sa.update(receipts).where(receipts.c.block == 0).values(**damage)
    ledger.database.write(lambda connection: connection.execute(change))
    with pytest.raises(LedgerDamaged, match="sweep reconcile --rebuild"):
        ledger.check_whole()


def test_a_ledger_set_aside_is_lost_for_who_has_it_open(
    location: str | Path, ledger: Ledger
) -> None:
    if location == "sqlite://":
        assert set_aside(location, seen=identity_of(location), now_s=77.0) is None
        return
    ledger.record_sweep(SweepRow(id=SWEEP, digest="0" * 64, name="n", submitted_at_s=1.0))
    seen = identity_of(location)
    aside = str(set_aside(location, seen=seen, now_s=77.0))
    assert aside.endswith(("ledger.db.damaged-77", "gapless_damaged_77"))
    new = open_ledger(location)
    assert set_aside(location, seen=seen, now_s=78.0) is None
    assert new.sweep(SWEEP) is None
    with pytest.raises(LedgerLost, match="sweep reconcile --rebuild"):
        ledger.record_sweep(SweepRow(id=SWEEP, digest="0" * 64, name="n", submitted_at_s=1.0))
    with pytest.raises(LedgerLost):
        ledger.sweep(SWEEP)
    assert new.sweep(SWEEP) is None
    new.close()
