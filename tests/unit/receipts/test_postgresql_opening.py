"""What becomes of a ledger's schema in PostgreSQL: made, migrated, refused, set aside."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gapless.errors import UserMistake
from receipts import tables
from receipts.errors import (
    ForeignLedger,
    LedgerBusy,
    LedgerDamaged,
    LedgerRefused,
    LedgerUnavailable,
)
from receipts.ledger import SweepRow, identity_of, open_ledger, set_aside
from receipts.new_home import check_for_new_home
from receipts.postgresql import lock_key
from receipts.postgresql_address import read_address
from receipts.postgresql_opening import open_postgresql
from tests.services.postgresql import PASSWORD, PostgresqlServer

ROW = SweepRow(id="walk-01234567", digest="0" * 64, name="walk", submitted_at_s=7.5)


@pytest.fixture
def url(postgresql_url: str) -> str:
    return postgresql_url


def test_what_is_recorded_is_there_after_opening_again(url: str) -> None:
    first = open_ledger(url)
    first.record_sweep(ROW)
    first.close()
    second = open_ledger(url)
    assert second.sweep(ROW.id) == ROW
    second.close()


def test_a_ledger_shares_a_database_with_other_programs(
    url: str, postgresql: PostgresqlServer
) -> None:
    # Theirs has tables of the same names, and is of a version of theirs.
    postgresql.sql(
        url,
        "CREATE TABLE public.alembic_version (version_num text)",
        "INSERT INTO public.alembic_version VALUES ('theirs')",
        "CREATE TABLE public.sweeps (title text)",
    )
    ledger = open_ledger(url)
    ledger.record_sweep(ROW)
    ledger.close()
    assert postgresql.sql(url, "SELECT id FROM gapless.sweeps") == [(ROW.id,)]
    assert postgresql.sql(url, "SELECT count(*) FROM public.sweeps") == [(0,)]
    assert postgresql.sql(url, "SELECT * FROM public.alembic_version") == [("theirs",)]


def test_two_schemas_of_one_database_are_two_ledgers(url: str) -> None:
    one, other = open_ledger(url), open_ledger(f"{url}?schema=second")
    one.record_sweep(ROW)
    assert other.sweep(ROW.id) is None
    with one.lock(ROW.id), other.lock(ROW.id):
        other.record_sweep(ROW)
    one.close()
    other.close()


def test_many_programs_open_an_empty_database_at_once(url: str) -> None:
    start = threading.Barrier(6)
    failed: list[Exception] = []

    def open_and_record(number: int) -> None:
        start.wait(30)
        try:
            ledger = open_ledger(url, home="s3://bucket/home")
            ledger.record_sweep(
                SweepRow(id=f"s{number}", digest="0" * 64, name="s", submitted_at_s=1.0)
            )
            ledger.close()
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failed.append(error)

    threads = [threading.Thread(target=open_and_record, args=(each,)) for each in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert failed == []
    ledger = open_ledger(url, home="s3://bucket/home")
    assert all(ledger.sweep(f"s{number}") is not None for number in range(6))
    ledger.close()


def test_the_migrations_give_the_tables_of_the_program(
    url: str, postgresql: PostgresqlServer
) -> None:
    postgresql.sql(
        url,
        "CREATE SCHEMA gapless AUTHORIZATION gapless",
        "CREATE TABLE gapless.alembic_version (version_num varchar(32) PRIMARY KEY)",
        "ALTER TABLE gapless.alembic_version OWNER TO gapless",
    )
    opened = open_postgresql(read_address(url))

    def compare(connection: object) -> None:
        context = MigrationContext.configure(connection)  # type: ignore[arg-type]
        assert context.get_current_revision() == tables.HEAD
        assert compare_metadata(context, tables.metadata) == []

    opened.read(compare)
    opened.close()
    ledger = open_ledger(url)
    ledger.record_sweep(ROW)
    ledger.close()


def test_an_older_ledger_is_migrated_and_keeps_its_rows(
    url: str, later_migrations: Path, postgresql: PostgresqlServer
) -> None:
    older = open_ledger(url)
    older.record_sweep(ROW)
    older.close()
    open_postgresql(read_address(url), head="9999", migrations=later_migrations).close()
    assert postgresql.sql(url, "SELECT version_num FROM gapless.alembic_version") == [("9999",)]
    assert postgresql.sql(url, "SELECT id, note FROM gapless.sweeps") == [(ROW.id, "none")]


def test_a_migration_that_fails_leaves_the_older_version(
    url: str, later_migrations: Path, postgresql: PostgresqlServer
) -> None:
    open_ledger(url).close()
    with (later_migrations / "versions" / "v9999_note.py").open("a", encoding="utf-8") as file:
        file.write("    raise RuntimeError('died')\n")
    with pytest.raises(RuntimeError, match="died"):
        open_postgresql(read_address(url), head="9999", migrations=later_migrations)
    version = postgresql.sql(url, "SELECT version_num FROM gapless.alembic_version")
    assert version == [(tables.HEAD,)]
    columns = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'note'"
    assert postgresql.sql(url, columns) == [(0,)]


def test_a_ledger_of_a_newer_version_is_refused(url: str, postgresql: PostgresqlServer) -> None:
    open_ledger(url).close()
    postgresql.sql(url, "UPDATE gapless.alembic_version SET version_num = '0099'")
    with pytest.raises(ForeignLedger, match=r"version '0099'.*Update gapless"):
        open_ledger(url)
    assert postgresql.sql(url, "SELECT version_num FROM gapless.alembic_version") == [("0099",)]


def test_a_schema_of_another_program_is_refused(url: str, postgresql: PostgresqlServer) -> None:
    postgresql.sql(url, "CREATE TABLE public.songs (title text)")
    with pytest.raises(ForeignLedger, match=r"no ledger .*songs.*schema=NAME"):
        open_ledger(f"{url}?schema=public")
    tables_now = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert postgresql.sql(url, tables_now) == [("songs",)]


def test_a_ledger_is_held_to_the_home_it_was_made_for(
    url: str, postgresql: PostgresqlServer
) -> None:
    open_ledger(url, home="s3://bucket/mine").close()
    open_ledger(url, home="s3://bucket/mine").close()
    open_ledger(url).close()
    with pytest.raises(ForeignLedger, match=r"of the home s3://bucket/mine.*schema=NAME"):
        open_ledger(url, home="s3://bucket/other")
    open_ledger(f"{url}?schema=other", home="s3://bucket/other").close()
    postgresql.sql(url, "COMMENT ON TABLE gapless.alembic_version IS NULL")
    open_ledger(url, home="s3://bucket/it's moved").close()
    with pytest.raises(ForeignLedger, match="it's moved"):
        open_ledger(url, home="s3://bucket/mine")


def test_a_home_to_be_made_needs_a_schema_that_is_nobodys(
    url: str, postgresql: PostgresqlServer
) -> None:
    check_for_new_home(url, place="s3://bucket/mine")
    open_ledger(url, home="c0ffee (s3://bucket/mine)").close()
    check_for_new_home(url, place="s3://bucket/mine")
    with pytest.raises(ForeignLedger, match=r"c0ffee \(s3://bucket/mine\).*schema=NAME"):
        check_for_new_home(url, place="s3://bucket/other")
    check_for_new_home(f"{url}?schema=other", place="s3://bucket/other")


def test_a_host_that_nobody_knows_is_told_at_once() -> None:
    # RFC 6761: .invalid is never given to anybody.
    with pytest.raises(LedgerUnavailable, match=r"nowhere\.invalid.*see to the name") as told:
        open_ledger("postgresql://me@nowhere.invalid/db")
    assert not isinstance(told.value, LedgerBusy)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"database": "nowhere"}, r'database "nowhere" does not exist; make it with `createdb`'),
        ({"username": "stranger"}, r'role "stranger" does not exist; name another user'),
        ({"username": "guarded"}, r"no password supplied; put the right password"),
        (
            {"username": "guarded", "password": "wr0ng"},
            r'password authentication failed for user "guarded"; put the right password',
        ),
    ],
)
def test_what_a_person_has_to_mend_is_said_with_how(
    url: str, wrong: dict[str, str], said: str
) -> None:
    address = read_address(url).url.set(**wrong)  # type: ignore[arg-type]
    with pytest.raises(LedgerRefused, match=said) as caught:
        open_ledger(address.render_as_string(hide_password=False))
    assert isinstance(caught.value, UserMistake)
    assert "wr0ng" not in str(caught.value)


def test_a_password_opens_and_is_shown_nowhere(
    url: str, postgresql: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    postgresql.sql(url, "CREATE SCHEMA gapless AUTHORIZATION guarded")
    address = read_address(url).url.set(username="guarded", password=PASSWORD)
    ledger = open_ledger(address.render_as_string(hide_password=False))
    ledger.record_sweep(ROW)
    postgresql.sql(url, "DROP SCHEMA gapless CASCADE")
    with pytest.raises(Exception, match=ledger.location) as caught:
        ledger.record_sweep(ROW)
    ledger.close()
    assert PASSWORD not in f"{caught.value}{caught.value.__cause__}{caplog.text}"


def test_a_colleague_works_with_the_rights_on_the_tables_alone(
    url: str, postgresql: PostgresqlServer
) -> None:
    open_ledger(url, home="s3://bucket/mine").close()
    theirs = url.replace("gapless@", "colleague@")
    postgresql.sql(
        url,
        "DROP ROLE IF EXISTS colleague",
        "CREATE ROLE colleague LOGIN",
        "GRANT USAGE ON SCHEMA gapless TO colleague",
    )
    try:
        with pytest.raises(LedgerRefused, match=r"permission denied.*granted to this role"):
            open_ledger(theirs)
        postgresql.sql(
            url,
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA gapless TO colleague",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA gapless TO colleague",
        )
        ledger = open_ledger(theirs, home="s3://bucket/mine")
        with ledger.lock(ROW.id):
            ledger.record_sweep(ROW)
        ledger.close()
    finally:
        postgresql.sql(url, "DROP OWNED BY colleague", "DROP ROLE colleague")


def test_who_may_not_make_a_schema_is_told(url: str, postgresql: PostgresqlServer) -> None:
    with pytest.raises(LedgerRefused, match="permission denied for database"):
        open_ledger(postgresql.url(url.rpartition("/")[2], user="guest"))


@pytest.fixture(autouse=True)
def guest(postgresql: PostgresqlServer) -> Iterator[None]:
    postgresql.sql("postgres", "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
    yield
    postgresql.sql("postgres", "DROP ROLE guest")


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(LedgerUnavailable, match=r"cannot be used.*run the same command again"):
        open_ledger("postgresql://me@127.0.0.1:1/db")


def test_commits_are_durable_whatever_the_role_s_default_is(
    url: str, postgresql: PostgresqlServer
) -> None:
    database = url.rpartition("/")[2]
    postgresql.sql("postgres", f"ALTER DATABASE {database} SET synchronous_commit = off")
    opened = open_postgresql(read_address(url))
    setting = "SHOW synchronous_commit"
    assert opened.read(lambda at: at.exec_driver_sql(setting).scalar_one()) == "on"
    opened.close()
    postgresql.sql("postgres", f"ALTER DATABASE {database} SET synchronous_commit = local")
    opened = open_postgresql(read_address(url))
    assert opened.read(lambda at: at.exec_driver_sql(setting).scalar_one()) == "local"
    opened.close()


def test_time_limits_that_the_database_sets_do_not_end_a_wait(
    url: str, postgresql: PostgresqlServer
) -> None:
    database = url.rpartition("/")[2]
    for name in ("statement_timeout", "lock_timeout", "idle_session_timeout"):
        postgresql.sql("postgres", f"ALTER DATABASE {database} SET {name} = '5s'")
    opened = open_postgresql(read_address(url))
    for name in ("statement_timeout", "lock_timeout", "idle_session_timeout"):
        shown = opened.read(lambda at, name=name: at.exec_driver_sql(f"SHOW {name}").scalar_one())  # type: ignore[misc]
        assert shown == "0"
    opened.close()


def test_a_server_that_does_not_sync_its_disk_is_warned_of_once(
    postgresql_alone: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgresql_alone.new_url()
    postgresql_alone.stop()
    postgresql_alone.start(fsync=False)
    ledger = open_ledger(url)
    with ledger.lock(ROW.id):
        ledger.record_sweep(ROW)
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gapless'"
    postgresql_alone.sql(url, ending)
    with stamina.set_testing(True, attempts=5):
        ledger.record_sweep(ROW)
    ledger.close()
    warned = [each for each in caplog.messages if "fsync = off" in each]
    assert len(warned) == 1
    assert "power failure" in warned[0]


def test_a_table_that_is_missing_is_damage_and_set_aside(
    url: str, postgresql: PostgresqlServer
) -> None:
    open_ledger(url).close()
    postgresql.sql(url, "DROP TABLE gapless.receipts")
    with pytest.raises(LedgerDamaged, match=r"receipts is missing.*sweep reconcile --rebuild"):
        open_ledger(url)
    assert set_aside(url, seen=identity_of(url), now_s=77.0) == "gapless_damaged_77"
    open_ledger(url).close()
    assert set_aside(url, seen=identity_of(url), now_s=77.0) == "gapless_damaged_77_1"
    assert identity_of(url) == (0, 0)


def test_tables_without_their_version_are_damage(url: str, postgresql: PostgresqlServer) -> None:
    open_ledger(url).close()
    postgresql.sql(url, "DROP TABLE gapless.alembic_version")
    with pytest.raises(LedgerDamaged, match="of which version"):
        open_ledger(url)


def test_a_damaged_page_is_found_by_reading_all(postgresql_alone: PostgresqlServer) -> None:
    url = postgresql_alone.new_url()
    ledger = open_ledger(url)
    ledger.record_sweep(ROW)
    ledger.close()
    where = "SELECT pg_relation_filepath('gapless.sweeps')"
    ((path,),) = postgresql_alone.sql(url, "CHECKPOINT", where)
    postgresql_alone.stop()
    file = postgresql_alone.folder / "data" / str(path)
    data = bytearray(file.read_bytes())
    # The header of the page (pd_lower, pd_upper), which the server checks on reading.
    data[12:16] = b"\xff" * 4
    file.write_bytes(data)
    postgresql_alone.start()
    opened = open_ledger(url)
    with pytest.raises(LedgerDamaged, match="invalid page"):
        opened.check_whole()
    opened.close()


def test_the_number_of_a_lock_never_changes() -> None:
    assert lock_key("gapless", "walk-01234567") == LOCK_OF_WALK
    assert lock_key("gapless", "walk-01234568") != LOCK_OF_WALK
    assert lock_key("gapless2", "walk-01234567") != LOCK_OF_WALK


LOCK_OF_WALK = -928184468204933728
