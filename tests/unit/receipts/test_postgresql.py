"""Transactions and locks of a ledger in PostgreSQL, when the server or the connection fails."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
import sqlalchemy as sa
import stamina

from gapless.declaration.runset import RunSet
from receipts.errors import (
    ForeignLedger,
    LedgerBusy,
    LedgerError,
    LedgerInterrupted,
    LedgerLost,
    LedgerRefused,
    LedgerUnavailable,
)
from receipts.insertion import insert_or_ignore
from receipts.ledger import Ledger, NewReceipt, State, SweepRow, Why, open_ledger
from receipts.postgresql import lock_key
from receipts.postgresql_address import read_address
from receipts.postgresql_opening import open_postgresql
from receipts.tables import sweeps
from tests.services.postgresql import PostgresqlServer

SWEEP = "walk-01234567"
ROW = SweepRow(id=SWEEP, digest="0" * 64, name="walk", submitted_at_s=7.5)
NEW_ROW = {"id": "a", "digest": "", "name": "", "submitted_at_s": 1.0}
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE usename = 'gapless' AND pid <> pg_backend_pid()"
HOLDERS = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND "
    "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture
def url(postgresql_url: str) -> str:
    return postgresql_url


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = open_ledger(url)
    yield opened
    opened.close()


def end_sessions(server: PostgresqlServer, url: str, which: str = SESSIONS) -> int:
    """Have the server end sessions of a database; give how many."""
    found = f"SELECT pg_terminate_backend(pid) FROM ({which} AND datname = current_database()) x"
    if which is HOLDERS:
        found = f"SELECT pg_terminate_backend(pid) FROM ({which}) x"
    return len(server.sql(url, found))


def receipt(number: int) -> NewReceipt:
    return NewReceipt(
        sweep=SWEEP,
        epoch=0,
        runs=RunSet.of(number),
        job=f"job-{number}",
        why=Why.SUBMIT,
        generation=0,
        created_at_s=1.0,
    )


def test_a_connection_that_broke_between_two_steps_is_made_anew(
    ledger: Ledger, url: str, postgresql: PostgresqlServer
) -> None:
    ledger.record_sweep(ROW)
    assert end_sessions(postgresql, url) >= 1
    with stamina.set_testing(True, attempts=5):
        ledger.write([receipt(1)])
    assert ledger.count(SWEEP, State.PENDING) == 1


def test_a_connection_that_breaks_within_a_step_costs_only_a_repetition(
    ledger: Ledger, url: str, postgresql: PostgresqlServer
) -> None:
    calls = []

    def work(connection: sa.Connection) -> int:
        calls.append(1)
        added = insert_or_ignore(connection, sweeps, [NEW_ROW])
        if len(calls) == 1:
            assert end_sessions(postgresql, url) >= 1
        connection.execute(sa.select(sweeps)).all()
        return added

    with stamina.set_testing(True, attempts=5):
        assert ledger.database.write(work) == 1
    assert len(calls) == 2


def test_a_server_that_is_started_again_goes_unnoticed(
    postgresql_alone: PostgresqlServer,
) -> None:
    ledger = open_ledger(postgresql_alone.new_url())
    ledger.record_sweep(ROW)
    postgresql_alone.stop()
    with pytest.raises(LedgerUnavailable, match="run the same command again"):
        ledger.sweep(SWEEP)
    found: list[SweepRow | None] = []
    reading = threading.Thread(target=lambda: found.append(ledger.sweep(SWEEP)))
    # The server is started by this thread: it ends with the one that started it.
    with stamina.set_testing(False):
        reading.start()
        postgresql_alone.start()
        reading.join(60)
    assert found == [ROW]
    ledger.close()


def test_a_server_that_stays_away_is_told_shortly_to_who_waits_for_it() -> None:
    with pytest.raises(LedgerBusy) as caught:
        open_ledger("postgresql://me@127.0.0.1:1/db")
    assert caught.value.brief.startswith(
        "the ledger postgresql://me@127.0.0.1:1/db cannot be used now (connection to server"
    )
    assert "again" not in caught.value.brief


def test_a_program_of_an_older_version_stops_when_a_newer_one_changed_the_tables(
    ledger: Ledger, url: str, postgresql: PostgresqlServer
) -> None:
    ledger.record_sweep(ROW)
    postgresql.sql(url, "UPDATE gapless.alembic_version SET version_num = '9999'")
    with pytest.raises(ForeignLedger, match="9999 while this program had it open"):
        ledger.write([receipt(1)])
    assert postgresql.sql(url, "SELECT count(*) FROM gapless.receipts") == [(0,)]


def test_a_crash_of_the_server_loses_nothing_that_was_recorded(
    postgresql_alone: PostgresqlServer,
) -> None:
    ledger = open_ledger(postgresql_alone.new_url())
    ledger.write(receipt(number) for number in range(500))
    postgresql_alone.stop(signal.SIGQUIT)
    postgresql_alone.start()
    with stamina.set_testing(True, attempts=5):
        assert ledger.count(SWEEP, State.PENDING) == 500
    ledger.close()


def test_a_connection_that_breaks_at_commit_leaves_open_what_became_of_it(
    ledger: Ledger, url: str, postgresql: PostgresqlServer
) -> None:
    postgresql.sql(
        url,
        "CREATE FUNCTION public.die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS "
        "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER dying AFTER INSERT ON gapless.sweeps "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.die()",
    )
    with stamina.set_testing(True, attempts=5), pytest.raises(LedgerInterrupted) as caught:
        ledger.record_sweep(ROW)
    assert "whether this step was recorded is not known" in str(caught.value)
    postgresql.sql(url, "DROP TRIGGER dying ON gapless.sweeps")
    ledger.record_sweep(ROW)
    assert ledger.sweep(SWEEP) == ROW


def test_two_that_wait_for_each_other_both_finish(url: str) -> None:
    ledgers = [open_ledger(url), open_ledger(url)]
    for name in "ab":
        ledgers[0].record_sweep(SweepRow(id=name, digest="0", name="", submitted_at_s=0.0))
    both = threading.Barrier(2)

    def work(first: str, second: str) -> None:
        met = False

        def change(connection: sa.Connection) -> None:
            nonlocal met
            for name in (first, second):
                connection.execute(
                    sa.update(sweeps)
                    .where(sweeps.c.id == name)
                    .values(submitted_at_s=sweeps.c.submitted_at_s + 1.0)
                )
                if not met:
                    met = True
                    both.wait(30)

        ledgers["ab".index(first)].database.write(change)

    with stamina.set_testing(True, attempts=50):
        threads = [threading.Thread(target=work, args=each) for each in (("a", "b"), ("b", "a"))]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
    for name in "ab":
        row = ledgers[0].sweep(name)
        assert row is not None
        assert row.submitted_at_s == 2.0
    for each_ledger in ledgers:
        each_ledger.close()


def test_a_reader_sees_one_state_while_others_write(ledger: Ledger, url: str) -> None:
    other = open_ledger(url)

    def look(connection: sa.Connection) -> tuple[int, int]:
        count = sa.select(sa.func.count()).select_from(sweeps)
        before = connection.execute(count).scalar_one()
        other.record_sweep(ROW)
        return before, connection.execute(count).scalar_one()

    assert ledger.database.read(look) == (0, 0)
    assert ledger.sweep(SWEEP) == ROW
    other.close()


def test_work_that_only_reads_cannot_write(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="read-only transaction"):
        ledger.database.read(lambda connection: connection.execute(sa.delete(sweeps)))


def test_an_error_that_work_swallows_is_not_taken_for_a_commit(ledger: Ledger) -> None:
    def work(connection: sa.Connection) -> None:
        with suppress(sa.exc.DBAPIError):
            connection.exec_driver_sql("SELECT 1 / 0")

    with pytest.raises(LedgerError, match="went on after an error"):
        ledger.database.write(work)


def test_tables_that_are_dropped_while_open_are_lost(
    ledger: Ledger, url: str, postgresql: PostgresqlServer
) -> None:
    postgresql.sql(url, "DROP SCHEMA gapless CASCADE")
    with pytest.raises(LedgerLost, match="sweep reconcile --rebuild"):
        ledger.record_sweep(ROW)
    with pytest.raises(LedgerLost):
        ledger.submitted(SWEEP)
    open_ledger(url).close()
    with pytest.raises(LedgerLost):
        ledger.record_sweep(ROW)


def test_the_lock_of_a_sweep_keeps_others_out_and_the_wait_is_told(url: str) -> None:
    one, other = open_ledger(url), open_ledger(url)
    order: list[str] = []
    waits = threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if SWEEP in record.getMessage():
                waits.set()

    def second() -> None:
        with other.lock(SWEEP):
            order.append("second")

    thread = threading.Thread(target=second)
    logger, handler = logging.getLogger("receipts.postgresql"), Told(logging.WARNING)
    logger.addHandler(handler)
    try:
        with one.lock(SWEEP):
            thread.start()
            assert waits.wait(30)
            with other.lock("another-sweep"):
                order.append("another")
            one.record_sweep(ROW)
            order.append("first")
        thread.join(30)
    finally:
        logger.removeHandler(handler)
    assert order == ["another", "first", "second"]
    with other.lock(SWEEP), other.lock("another-sweep"):
        pass
    one.close()
    other.close()


def test_a_lock_that_was_given_back_is_free_for_everybody(
    ledger: Ledger, url: str, postgresql: PostgresqlServer
) -> None:
    with ledger.lock(SWEEP), ledger.lock("another"):
        assert len(postgresql.sql(url, HOLDERS)) == 2
    assert postgresql.sql(url, HOLDERS) == []


def test_who_lost_the_lock_with_its_connection_records_nothing_more(
    ledger: Ledger, url: str, postgresql: PostgresqlServer
) -> None:
    other = open_ledger(url)

    def work() -> None:
        with ledger.lock(SWEEP):
            ledger.write([receipt(1)])
            assert end_sessions(postgresql, url, HOLDERS) == 1
            # Another program works on the sweep now.
            with other.lock(SWEEP):
                for _ in range(2):
                    with pytest.raises(LedgerInterrupted, match=f"lock on sweep {SWEEP}"):
                        ledger.write([receipt(2)])
                with pytest.raises(LedgerInterrupted, match="run the same command again"):
                    ledger.submitted(SWEEP)
                other.write([receipt(3)])
            raise KeyError

    with stamina.set_testing(True, attempts=5), pytest.raises(KeyError):
        work()
    assert other.submitted(SWEEP).pending_runs(0) == RunSet.of(1) | RunSet.of(3)
    with ledger.lock(SWEEP):
        ledger.write([receipt(2)])
    assert other.submitted(SWEEP).pending_runs(0) == RunSet.span(1, 4)
    other.close()


def test_a_lock_lost_within_a_transaction_rolls_it_back(
    ledger: Ledger, url: str, postgresql: PostgresqlServer
) -> None:
    def work(connection: sa.Connection) -> None:
        insert_or_ignore(connection, sweeps, [NEW_ROW])
        assert end_sessions(postgresql, url, HOLDERS) == 1

    with (
        pytest.raises(LedgerInterrupted, match="nothing of this step was recorded"),
        ledger.lock(SWEEP),
    ):
        ledger.database.write(work)
    assert ledger.sweep("a") is None


def test_a_pooler_that_changes_sessions_is_refused(
    ledger: Ledger, url: str, postgresql: PostgresqlServer
) -> None:
    # As the ledger sees a pooler by transaction: the next one is another session's.
    opened = open_postgresql(read_address(url))
    with opened.held(SWEEP):
        session = opened._mine.session
        assert session is not None
        session.backend += 1
        with pytest.raises(LedgerRefused, match="pool by session"):
            opened.write(lambda connection: connection.execute(sa.delete(sweeps)))
    assert postgresql.sql(url, HOLDERS) == []
    opened.close()


def test_the_lock_of_a_killed_program_is_free(ledger: Ledger, url: str) -> None:
    script = (
        "import sys; from receipts.ledger import open_ledger\n"
        f"with open_ledger(sys.argv[1]).lock('{SWEEP}'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "held\n"
        program.kill()
        program.wait(30)
    with ledger.lock(SWEEP):
        pass


def test_a_program_stopped_at_the_keyboard_while_it_waits_leaves_no_lock(
    ledger: Ledger, url: str, postgresql: PostgresqlServer
) -> None:
    script = (
        "import sys; from receipts.ledger import open_ledger\n"
        "ledger = open_ledger(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        f"with ledger.lock('{SWEEP}'): print('held', flush=True)\n"
    )
    with (
        ledger.lock(SWEEP),
        subprocess.Popen(
            [sys.executable, "-c", script, url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as program,
    ):
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == "ready\n"
        assert "waiting for another program" in program.stderr.readline()
        program.send_signal(signal.SIGINT)
        said, _ = program.communicate(timeout=30)
        assert said == ""
        # Nobody else is in the queue for it any more.
        key = lock_key("gapless", SWEEP) & 0xFFFFFFFF
        asking = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {key}"
        assert postgresql.sql(url, asking) == [(1,)]
