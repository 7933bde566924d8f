"""How a person writes where a ledger in PostgreSQL is, and what is shown of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gapless.errors import UserMistake
from receipts.errors import UnsupportedLedger
from receipts.ledger import open_ledger
from receipts.postgresql_address import names_postgresql, read_address


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("postgresql+psycopg://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me@host:5433/db", "postgresql://me@host:5433/db"),
        ("postgres://host/db", "postgresql://host/db"),
        ("postgresql:///db?host=/run/postgresql", "postgresql:///db?host=%2Frun%2Fpostgresql"),
        ("postgresql://me@host/db?schema=mine", "postgresql://me@host/db?schema=mine"),
        ("postgresql://me@[::1]/db?sslmode=require", "postgresql://me@[::1]/db"),
    ],
)
def test_each_usual_spelling_is_read(written: str, shown: str) -> None:
    address = read_address(written)
    assert address.url.drivername == "postgresql+psycopg"
    assert address.shown == shown


@pytest.mark.parametrize(
    "written",
    [
        "postgresql://me:s3cret@host/db",
        "postgresql://me@host/db?password=s3cret",
        "postgresql://me@host/db?sslpassword=s3cret&sslmode=require",
    ],
)
def test_a_password_is_never_shown(written: str) -> None:
    address = read_address(written)
    assert "s3cret" not in address.shown
    assert "s3cret" not in repr(address)


def test_the_schema_is_ours_and_not_given_to_the_driver() -> None:
    address = read_address("postgresql://host/db?schema=other_sweeps&sslmode=require")
    assert address.schema == "other_sweeps"
    assert dict(address.url.query) == {"sslmode": "require"}
    assert read_address("postgresql://host/db").schema == "gapless"


@pytest.mark.parametrize("name", ["Upper", "pg_mine", "1st", 'a"b', "a" * 39, "a b", "a&schema=b"])
def test_a_schema_that_needs_quotes_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedLedger, match="lower-case letters"):
        read_address(f"postgresql://host/db?schema={name}")


def test_another_driver_is_named_with_the_right_one() -> None:
    with pytest.raises(UnsupportedLedger, match=r"write postgresql\+psycopg:// instead"):
        read_address("postgresql+psycopg2://host/db")


@pytest.mark.parametrize(
    "written", ["postgresql://me:s3/cret@host:x/db", "postgresql://me:s3cret@h:port/db"]
)
def test_an_address_that_cannot_be_read_is_not_repeated(written: str) -> None:
    with pytest.raises(UnsupportedLedger, match="%40") as caught:
        read_address(written)
    assert "s3" not in str(caught.value)
    assert isinstance(caught.value, UserMistake)


@pytest.mark.parametrize(
    ("location", "is_postgresql"),
    [
        ("postgresql+asyncpg://host/db", True),
        ("postgres://host/db", True),
        ("postgres", False),
        ("sqlite:///postgresql://", False),
        ("/srv/postgresql://x", False),
    ],
)
def test_the_address_tells_the_kind_of_database(location: str, is_postgresql: bool) -> None:
    assert names_postgresql(location) is is_postgresql


def test_without_its_driver_the_extra_to_install_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from gapless.errors import MissingExtra\n"
        "from receipts.ledger import open_ledger\n"
        "try: open_ledger('postgresql+psycopg://127.0.0.1:1/x')\n"
        "except MissingExtra as error: print(error)\n"
        "open_ledger(sys.argv[1]).close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == (
        "a ledger in PostgreSQL needs an optional library: pip install 'gapless[postgres]'\n"
    )


def test_a_parameter_the_driver_does_not_know_is_told() -> None:
    with pytest.raises(UserMistake, match='invalid connection option "colour"'):
        open_ledger("postgresql://127.0.0.1:1/db?colour=red")
