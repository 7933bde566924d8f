"""The commands with a ledger on PostgreSQL: see gapless/wiring/ledger_address.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.services.postgresql import PostgresqlServer
from tests.unit.cli.a_place import Place

SECRET = "not-to-be-seen"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def url(postgresql: PostgresqlServer) -> str:
    return postgresql.url(postgresql.new_database(), user=f"gapless:{SECRET}")


def test_a_ledger_on_a_server_does_what_one_in_the_home_does(place: Place, url: str) -> None:
    place.environment["GAPLESS_LEDGER"] = url
    ran = place.do("run", "sweep.toml", "--workers", "1")
    assert ran.returncode == 5, ran.stderr
    assert not list(place.home.glob("ledger.db*"))
    assert place.json("reconcile")["stored"] == 6
    assert place.json("resubmit", "tiny", "--outcome", "failed")["raised"] == 2
    assert place.do("cancel", "tiny").returncode == 0
    removed = place.do("remove", "tiny", "--yes")
    assert removed.returncode == 0, removed.stderr
    assert "its queues and its receipts are gone" in removed.stdout
    assert place.json("submit", "sweep.toml")["runs_sent"] == 6


def test_the_printed_command_works_once_the_password_is_put_in(
    place: Place, postgresql: PostgresqlServer, url: str
) -> None:
    assert place.do("submit", "sweep.toml", "--ledger", url).returncode == 0
    database = url.rpartition("/")[2]
    postgresql.sql(database, "DROP SCHEMA gapless CASCADE")
    told = place.do("reconcile", "--ledger", url)
    assert told.returncode == 1
    assert SECRET not in told.stdout + told.stderr
    (command,) = re.findall(r"`(GAPLESS_LEDGER=[^`]* sweep reconcile [^`]*)`", told.stderr)
    done = place.shell(command.replace("***", SECRET))
    assert done.returncode == 3, done.stderr


def test_a_password_is_not_printed_when_the_address_is_wrong(place: Place) -> None:
    assert place.do("submit", "sweep.toml").returncode == 0
    assert place.do("cancel", "tiny").returncode == 0
    wrong = (
        ("mysql://me:not-to-be-seen@host/db", ("submit", "sweep.toml")),
        ("postgresql://me:not-to-be-seen@[host/db", ("run", "sweep.toml")),
        ("postgresql://me:not-to-be-seen/x@host/db", ("reconcile",)),
        ("me:not-to-be-seen@host", ("resubmit", "tiny", "--runs", "0")),
        ("mysql://me:not-to-be-seen@host/db", ("remove", "tiny", "--yes")),
    )
    for url, command in wrong:
        answer = place.do(*command, "--ledger", url)
        assert answer.returncode == 2, answer.stderr
        assert SECRET not in answer.stdout + answer.stderr
        assert "Traceback" not in answer.stderr


def test_the_programs_of_a_run_are_not_told_the_ledger(place: Place, url: str) -> None:
    (place.folder / "work.py").write_text(
        "import os\ndef work(a, b):\n    return {'told': int('GAPLESS_LEDGER' in os.environ)}\n"
    )
    place.environment["GAPLESS_LEDGER"] = url
    assert place.do("run", "sweep.toml", "--workers", "1").returncode == 0
    rows = place.json("results", "--columns", "told")["rows"]
    assert rows == [[0]] * 6
