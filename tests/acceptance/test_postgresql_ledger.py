"""The commands with a ledger in PostgreSQL: two people at once, a server that forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.programs import Programs
    from tests.services.postgresql import PostgresqlServer

SQUARES = "def square(n):\n    return {'y': n * n}\n"
SWEEP = 'name = "squares"\nfunction = "squares:square"\n[space.grid]\nn = { range = [0, 400] }\n'


def test_two_people_submit_at_once_and_a_lost_ledger_is_made_anew(
    programs: Programs, postgresql_url: str, postgresql: PostgresqlServer
) -> None:
    programs.write("squares.py", SQUARES)
    programs.write("squares.toml", SWEEP)
    programs.environment["GAPLESS_LEDGER"] = postgresql_url
    submits = [programs.start("submit", "squares.toml", "--job-size", "5") for _ in range(2)]
    assert [each.wait(timeout=120) for each in submits] == [0, 0], programs.logs()
    sent = "SELECT count(*), sum(count), count(DISTINCT block) FROM gapless.receipts"
    assert postgresql.sql(postgresql_url, f"{sent} WHERE state = 'sent'") == [(80, 400, 80)]
    assert not (programs.home / "ledger.db").exists()

    programs.finish("squares.toml")
    assert postgresql.sql(postgresql_url, sent) == [(80, 400, 80)]

    postgresql.sql(postgresql_url, "DROP SCHEMA gapless CASCADE")
    lost = programs.do("reconcile")
    assert lost.returncode == 1
    assert "--rebuild" in lost.stderr
    assert programs.do("reconcile", "--rebuild").returncode == 0
    assert postgresql.sql(postgresql_url, sent) == [(1, 400, 1)]
    assert programs.do("reconcile").returncode == 0


def test_a_mistake_in_the_address_is_told_without_a_traceback(
    programs: Programs, postgresql: PostgresqlServer
) -> None:
    programs.write("squares.py", SQUARES)
    programs.write("squares.toml", SWEEP)
    answer = programs.do("submit", "squares.toml", "--ledger", postgresql.url("nowhere"))
    assert answer.returncode == 2
    assert 'database "nowhere" does not exist; make it with `createdb`' in answer.stderr
    assert "Traceback" not in answer.stderr
