"""What becomes of a ledger's file: made, migrated, refused, lost, damaged."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gapless.declaration.runset import RunSet
from gapless.errors import UserMistake
from gapless.storage.memory import MemoryBlobs
from gapless.storage.sweeps import SweepStore
from queueing import sqlite_library
from receipts import sqlite_file, tables
from receipts.errors import (
    ForeignLedger,
    LedgerDamaged,
    LedgerDiskFull,
    LedgerLost,
    LedgerUnavailable,
    UnsupportedLedger,
)
from receipts.ledger import Ledger, NewReceipt, SweepRow, Why, open_ledger, open_ledger_to_read
from receipts.locks import held_file
from receipts.new_home import check_for_new_home
from receipts.rebuild import open_and_rebuild

ROW = SweepRow(id="walk-01234567", digest="0" * 64, name="walk", submitted_at_s=7.5)


def run_sql(path: Path, *statements: str) -> list[tuple[object, ...]]:
    connection = sqlite_library.load().connect(str(path), isolation_level=None)
    try:
        return [row for each in statements for row in connection.execute(each).fetchall()]
    finally:
        connection.close()


def remove_ledger(folder: Path) -> None:
    for path in folder.glob("ledger.db*"):
        path.unlink()


def test_a_new_ledger_is_durable_and_in_wal_mode(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    assert run_sql(tmp_path / "ledger.db", "PRAGMA journal_mode") == [("wal",)]
    opened = sqlite_file.open_file(tmp_path / "ledger.db")
    with opened.snapshot() as connection:
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar_one() == 2
    opened.close()


def test_what_is_recorded_is_there_after_opening_again(tmp_path: Path) -> None:
    first = open_ledger(tmp_path)
    first.record_sweep(ROW)
    first.close()
    second = open_ledger(tmp_path)
    assert second.sweep(ROW.id) == ROW
    second.close()


def test_alembic_is_not_imported_for_a_ledger_of_this_version(tmp_path: Path) -> None:
    script = (
        "import sys; from receipts.ledger import open_ledger\n"
        "for _ in range(2): open_ledger(sys.argv[1]).close()\n"
        "print([name for name in sys.modules if name.startswith(('alembic', 'h5py'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "[]\n"


def test_the_migrations_give_the_tables_of_the_program(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    run_sql(
        path,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
    )
    opened = sqlite_file.open_file(path)
    with opened.snapshot() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == tables.HEAD
        assert compare_metadata(context, tables.metadata) == []
        inspector = sa.inspect(connection)
        (unique,) = inspector.get_unique_constraints("receipts")
        assert unique["column_names"] == ["sweep", "block", "generation"]
    opened.close()


@pytest.mark.parametrize("named", ["folder", "address"])
def test_a_ledger_is_held_to_the_home_that_opened_it_first(tmp_path: Path, named: str) -> None:
    location = tmp_path if named == "folder" else f"sqlite:///{tmp_path}/ledger.db"
    unmarked = open_ledger(location)
    unmarked.record_sweep(ROW)
    unmarked.close()
    open_ledger(location, home="c0ffee (s3://bucket/one)").close()
    for same in ("c0ffee (s3://bucket/one)", "c0ffee (/where/it/was/moved)", None):
        opened = open_ledger(location, home=same)
        assert opened.sweep(ROW.id) == ROW
        opened.close()
    with pytest.raises(ForeignLedger, match=r"c0ffee \(s3://bucket/one\), not of beef.*own.*away"):
        open_ledger(location, home="beef (s3://bucket/other)")
    remove_ledger(tmp_path)
    open_ledger(location, home="beef (s3://bucket/other)").close()


def test_a_ledger_that_could_not_be_marked_is_nobodys(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    path = tmp_path / "ledger.db"
    # A table that holds nothing: its row went with a power failure, or was deleted by hand.
    run_sql(path, "CREATE TABLE ledger_home (home TEXT NOT NULL PRIMARY KEY)")
    open_ledger(tmp_path, home="c0ffee (/home)").close()
    assert run_sql(path, "SELECT home FROM ledger_home") == [("c0ffee (/home)",)]


def test_a_ledger_made_anew_after_damage_is_the_same_homes(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database" * 100)
    ledger, report = open_and_rebuild(
        tmp_path,
        store=SweepStore(MemoryBlobs()),
        clock=lambda: 1.0,
        new_id=lambda: "x",
        home="c0ffee (/home)",
    )
    ledger.close()
    assert report.set_aside is not None
    assert sqlite_file.home_of_file(tmp_path / "ledger.db") == "c0ffee (/home)"


def test_a_home_to_be_made_needs_a_ledger_that_is_nobodys(tmp_path: Path) -> None:
    location = f"sqlite:///{tmp_path}/l.db"
    check_for_new_home(location, place="/homes/one")
    open_ledger(location, home="c0ffee (/homes/one)").close()
    # Another program made this very home a moment ago.
    check_for_new_home(location, place="/homes/one")
    with pytest.raises(ForeignLedger, match=r"c0ffee \(/homes/one\).*No home was made at"):
        check_for_new_home(location, place="/homes/two")


def test_no_folder_is_made_for_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    absolute = f"its folder {tmp_path}/data is missing; make it, or name another file in --ledger$"
    with pytest.raises(LedgerUnavailable, match=absolute):
        open_ledger(f"sqlite:///{tmp_path}/data/l.db")
    relative = f"its folder {tmp_path}/data is missing.*write sqlite:////data/l.db, with four"
    with pytest.raises(LedgerUnavailable, match=relative):
        open_ledger("sqlite:///data/l.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "data").mkdir()
    open_ledger("sqlite:///data/l.db").close()
    assert (tmp_path / "data" / "l.db").is_file()


def test_an_older_ledger_is_migrated_and_keeps_its_rows(
    tmp_path: Path, later_migrations: Path
) -> None:
    path = tmp_path / "ledger.db"
    older = open_ledger(tmp_path)
    older.record_sweep(ROW)
    older.close()

    sqlite_file.open_file(path, head="9999", migrations=later_migrations).close()

    assert run_sql(path, "SELECT version_num FROM alembic_version") == [("9999",)]
    assert run_sql(path, "SELECT id, note FROM sweeps") == [(ROW.id, "none")]


def test_a_migration_that_fails_leaves_the_older_version(
    tmp_path: Path, later_migrations: Path
) -> None:
    path = tmp_path / "ledger.db"
    open_ledger(tmp_path).close()
    with (later_migrations / "versions" / "v9999_note.py").open("a", encoding="utf-8") as file:
        file.write("    raise RuntimeError('died')\n")

    with pytest.raises(RuntimeError, match="died"):
        sqlite_file.open_file(path, head="9999", migrations=later_migrations)

    assert run_sql(path, "SELECT version_num FROM alembic_version") == [(tables.HEAD,)]
    assert "note" not in str(run_sql(path, "SELECT sql FROM sqlite_master"))


def test_a_ledger_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    open_ledger(tmp_path).close()
    run_sql(path, "UPDATE alembic_version SET version_num = '0099'")
    before = path.read_bytes()
    with pytest.raises(ForeignLedger, match=r"version '0099'.*Update gapless") as caught:
        open_ledger(tmp_path)
    assert isinstance(caught.value, UserMistake)
    assert path.read_bytes() == before


def test_a_ledger_of_another_version_is_not_read_where_it_cannot_be_migrated(
    tmp_path: Path,
) -> None:
    open_ledger(tmp_path).close()
    path = tmp_path / "ledger.db"
    run_sql(path, "UPDATE alembic_version SET version_num = '0000'")
    before = path.read_bytes()
    with pytest.raises(LedgerUnavailable, match="another version"):
        open_ledger_to_read(path)
    assert path.read_bytes() == before


def test_a_ledger_is_read_without_writing_and_only_for_its_home(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, home="one (/here)")
    ledger.record_sweep(SweepRow("s-00000000", "0" * 64, "s", 1.0))
    ledger.close()
    path = tmp_path / "ledger.db"
    names = sorted(tmp_path.iterdir())
    reading = open_ledger_to_read(path, home="one (/moved)")
    assert reading.sweep("s-00000000") is not None
    with pytest.raises(LedgerUnavailable):
        reading.forget_sweep("s-00000000")
    reading.close()
    assert sorted(tmp_path.iterdir()) == names
    with pytest.raises(ForeignLedger, match="one"):
        open_ledger_to_read(path, home="other (/here)")


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    run_sql(tmp_path / "ledger.db", "CREATE TABLE songs (title TEXT)")
    with pytest.raises(ForeignLedger, match=r"no ledger .*songs"):
        open_ledger(tmp_path)


@pytest.mark.parametrize(
    "location", ["oracle://host/ledger", "mysql://host/x", "s3://bucket/prefix"]
)
def test_databases_this_version_does_not_know_are_refused(location: str) -> None:
    with pytest.raises(UnsupportedLedger, match="SQLite or PostgreSQL"):
        open_ledger(location)


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_file_is_told_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.db").write_bytes(content)
    with pytest.raises(LedgerDamaged, match="sweep reconcile --rebuild"):
        open_ledger(tmp_path)
    assert (tmp_path / "ledger.db").read_bytes() == content


def test_a_damaged_page_is_found_by_reading_all(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.write(
        NewReceipt(
            sweep=ROW.id,
            epoch=0,
            runs=RunSet.of(number),
            job=f"j{number}",
            why=Why.SUBMIT,
            generation=0,
            created_at_s=1.0,
        )
        for number in range(2000)
    )
    ledger.close()
    path = tmp_path / "ledger.db"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    opened = open_ledger(tmp_path)
    with pytest.raises(LedgerDamaged):
        opened.check_whole()
    opened.close()


def test_left_over_wal_files_do_not_trouble_a_new_ledger(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    (tmp_path / "ledger.db").unlink()
    (tmp_path / "ledger.db-wal").write_bytes(b"left over" * 1000)
    (tmp_path / "ledger.db-shm").write_bytes(b"\1" * 32768)
    ledger = open_ledger(tmp_path)
    ledger.record_sweep(ROW)
    assert ledger.sweep(ROW.id) == ROW
    ledger.close()


def test_a_ledger_deleted_while_open_is_lost_not_written_into_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.record_sweep(ROW)
    remove_ledger(tmp_path)
    with pytest.raises(LedgerLost, match="sweep reconcile --rebuild"):
        ledger.record_sweep(ROW)
    with pytest.raises(LedgerLost):
        ledger.sweep(ROW.id)
    ledger.close()
    assert not (tmp_path / "ledger.db").exists()


def test_a_ledger_deleted_within_a_transaction_is_lost_after_its_commit(tmp_path: Path) -> None:
    opened = sqlite_file.open_file(tmp_path / "ledger.db")

    def write_while_the_file_goes() -> None:
        with opened.transaction() as connection:
            connection.execute(sa.text("DELETE FROM sweeps"))
            remove_ledger(tmp_path)

    with pytest.raises(LedgerLost):
        write_while_the_file_goes()
    opened.close()


def test_a_ledger_replaced_while_open_is_lost(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    remove_ledger(tmp_path)
    successor = open_ledger(tmp_path)
    with pytest.raises(LedgerLost):
        ledger.record_sweep(ROW)
    ledger.close()
    successor.record_sweep(ROW)
    assert successor.sweep(ROW.id) == ROW
    successor.close()


def test_a_ledger_cut_short_while_open_is_damaged(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    with (tmp_path / "ledger.db").open("r+b") as file:
        file.truncate(0)
    with pytest.raises(LedgerDamaged):
        ledger.record_sweep(ROW)
    ledger.close()


def test_two_programs_write_the_same_ledger(tmp_path: Path) -> None:
    one, other = open_ledger(tmp_path), open_ledger(tmp_path)
    one.record_sweep(ROW)
    assert other.sweep(ROW.id) == ROW
    one.close()
    other.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LedgerUnavailable, match="cannot write the lock"):
        open_ledger(tmp_path / "file" / "home")


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_the_lock_of_a_sweep_keeps_others_out_until_it_is_given_back(
    tmp_path: Path, kind: str
) -> None:
    one = open_ledger(tmp_path if kind == "file" else "sqlite://")
    other: Ledger = open_ledger(tmp_path) if kind == "file" else one
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with other.lock(ROW.id):
            order.append("second")

    thread = threading.Thread(target=second)
    with one.lock(ROW.id):
        thread.start()
        assert entered.wait(10)
        with other.lock("another-sweep"):
            order.append("another")
        order.append("first")
    thread.join(10)
    assert not thread.is_alive()
    assert order == ["another", "first", "second"]
    one.close()
    other.close()


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_log_taken_away_under_a_ledger_is_damage(tmp_path: Path, suffix: str) -> None:
    ledger = open_ledger(tmp_path)
    ledger.record_sweep(ROW)
    (tmp_path / f"ledger.db{suffix}").unlink()
    with pytest.raises(LedgerDamaged, match=f"its {suffix} file was taken away"):
        ledger.record_sweep(ROW)
    ledger.close()


def test_the_lock_of_a_killed_program_is_free(tmp_path: Path) -> None:
    script = (
        "import sys, time; from receipts.ledger import open_ledger\n"
        "with open_ledger(sys.argv[1]).lock('walk-01234567'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "held\n"
        program.kill()
        program.wait(30)
    ledger = open_ledger(tmp_path)
    with ledger.lock(ROW.id):
        pass
    ledger.close()


def test_a_ledger_moved_aside_is_lost_for_those_who_have_it_open(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(tmp_path)
    seen = sqlite_file.file_identity(path)
    aside = sqlite_file.set_file_aside(path, seen=seen, now_s=77.0)
    assert aside == tmp_path / "ledger.db.damaged-77"
    with pytest.raises(LedgerLost):
        ledger.record_sweep(ROW)
    ledger.close()
    assert sqlite_file.set_file_aside(path, seen=seen, now_s=77.0) is None


def test_a_full_disk_is_told_and_nothing_is_recorded(tmp_path: Path) -> None:
    opened = sqlite_file.open_file(tmp_path / "ledger.db")
    with opened.snapshot() as connection:
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar_one()
        connection.execute(sa.text(f"PRAGMA max_page_count={pages}")).close()

    def fill() -> None:
        with opened.transaction() as connection:
            connection.execute(
                tables.sweeps.insert(),
                [
                    {"id": f"s{number}", "digest": "0" * 64, "name": "s", "submitted_at_s": 1.0}
                    for number in range(1000)
                ],
            )

    with pytest.raises(LedgerDiskFull, match=f"the disk of {tmp_path} is full .*: free some"):
        fill()
    with opened.snapshot() as connection:
        found = connection.execute(sa.select(sa.func.count()).select_from(tables.sweeps))
        assert found.scalar_one() == 0
    opened.close()


def test_a_lock_whose_file_was_deleted_keeps_out_who_waited_for_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    waits, new_is_in = threading.Event(), threading.Event()
    inside: list[str] = []

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            waits.set()

    def late() -> None:
        with held_file(path, purpose="a test"):
            inside.append("late")

    def new() -> None:
        with held_file(path, purpose="a test"):
            inside.append("new")
            new_is_in.set()
            # Whoever waited for the deleted file gets that one now, and must wait again.
            assert waits.wait(30)
            inside.append("new leaves")

    late_thread, new_thread = threading.Thread(target=late), threading.Thread(target=new)
    logger, handler = logging.getLogger("receipts.locks"), Told(logging.INFO)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        with held_file(path, purpose="a test"):
            late_thread.start()
            assert waits.wait(30)
            waits.clear()
            path.unlink()
            new_thread.start()
            assert new_is_in.wait(30)
        late_thread.join(30)
        new_thread.join(30)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert inside == ["new", "new leaves", "late"]


def test_a_lock_makes_its_folder_and_never_the_home_above_it(tmp_path: Path) -> None:
    with held_file(tmp_path / "locks" / "a", purpose="a test"):
        assert (tmp_path / "locks" / "a").exists()
    with pytest.raises(LedgerUnavailable), held_file(tmp_path / "away" / "locks" / "a", purpose=""):
        pass
    assert not (tmp_path / "away").exists()
