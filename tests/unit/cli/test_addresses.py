"""How homes and ledgers are named: see gapless/wiring/address.py and ledger_address.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.errors import UserMistake
from gapless.wiring import S3Address, home_address
from gapless.wiring.ledger_address import (
    checked_ledger,
    file_of_ledger,
    holds_secret,
    shown_ledger,
)


@pytest.mark.parametrize(
    "named", ["s3://bucket/a/b", "s3://bucket/a/b/", "s3://bucket//a//b//", "S3://bucket/a/b"]
)
def test_a_home_on_s3_has_one_spelling(named: str) -> None:
    address = home_address(named)
    assert address == S3Address("bucket", "a/b")
    assert address.url == "s3://bucket/a/b"


def test_a_bucket_without_a_prefix_is_a_home() -> None:
    for named in ("s3://bucket", "s3://bucket/"):
        address = home_address(named)
        assert isinstance(address, S3Address)
        assert (address.prefix, address.url) == ("", "s3://bucket")


def test_the_prefix_of_queue_names_tells_homes_apart_and_stays_the_same() -> None:
    one, other = S3Address("bucket", "a"), S3Address("bucket", "b")
    # Never to change: programs of another version must find the same queues.
    assert S3Address("bucket", "a").queue_prefix == "gapless-77828262"
    assert one.queue_prefix != other.queue_prefix
    assert len(one.queue_prefix) <= 20


def test_what_a_machine_keeps_of_a_home_has_a_file_name_of_its_own() -> None:
    one, other = S3Address("bucket", "a/b c"), S3Address("bucket", "a-b-c")
    assert one.slug != other.slug
    for address in (one, other, S3Address("bucket", "é" * 200)):
        assert Path(address.slug).name == address.slug
        assert len(address.slug) < 100


@pytest.mark.parametrize(
    "named",
    [
        "https://bucket.s3.amazonaws.com/x",
        "file:///tmp/x",
        "s3:/bucket/x",
        "gs://bucket/x",
        "s3://",
        "s3:///x",
        "s3://Bucket/x",
        "s3://b",
        "s3://bucket/../x",
        "s3://bucket/a\\b",
        f"s3://bucket/{'x' * 200}/{'y' * 200}/{'z' * 200}",
    ],
)
def test_what_is_no_home_is_told_and_makes_no_folder(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserMistake, match="--home"):
        home_address(named)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://me:secret@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("postgresql://me@host/db?password=secret&x=1", "postgresql://me@host/db?password=***&x=1"),
        ("postgresql://me@host/db?Pass%77ord=secret", "postgresql://me@host/db?Pass%77ord=***"),
        ("postgresql://:secret@/db", "postgresql://:***@/db"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert checked_ledger(url) == url
    assert holds_secret(url)
    assert shown_ledger(url) == shown


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://me@host/db?sslmode=require", "sqlite:////a/led ger?x=1:2@3.db"]
)
def test_an_address_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert checked_ledger(url) == url
    assert not holds_secret(url)
    assert shown_ledger(url) == url


@pytest.mark.parametrize(
    "url",
    ["me:secret@host/db", "postgresql://me:sec/ret@host/db", "postgresql://me:secret@[host/db", ""],
)
def test_an_address_that_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UserMistake, match="--ledger") as refused:
        checked_ledger(url)
    assert "secret" not in str(refused.value)
    assert "ret@" not in str(refused.value)
    # What may hold a password is taken to hold one.
    assert "secret" not in shown_ledger("me:secret@host/db")
    assert holds_secret("me:secret@host/db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_a_ledger_in_memory_is_refused(url: str) -> None:
    with pytest.raises(UserMistake, match="gone at once"):
        checked_ledger(url)


def test_the_file_of_a_ledger_is_known_and_a_server_has_none() -> None:
    assert file_of_ledger("sqlite:////a/b.db") == Path("/a/b.db")
    assert file_of_ledger("postgresql://host/a.db") is None
