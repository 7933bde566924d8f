"""What `sweep run` says of services that are away: see gapless/local/notices.py."""

from __future__ import annotations

import pytest

from gapless.errors import GaplessError
from gapless.local.notices import Notices
from gapless.storage.errors import StorageDiskFull, StorageRefused, StorageUnavailable
from queueing.errors import QueueDiskFull, QueueUnavailable
from receipts.errors import LedgerBusy, LedgerDiskFull, LedgerUnusable

SHARDS = StorageUnavailable("cannot list s3://b/h/shards/ for now: no connection")
CONTROL = StorageUnavailable("cannot list s3://b/h/control/ for now: no connection")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def notices(told: list[str]) -> Notices:
    return Notices(told.append)


def test_a_service_that_is_away_is_told_once_whatever_each_step_wanted_of_it(
    notices: Notices, told: list[str]
) -> None:
    for _ in range(30):
        notices.trouble("look", SHARDS)
        notices.trouble("state", CONTROL)
    assert told == [f"{SHARDS}; going on by itself"]


def test_a_service_is_back_when_every_step_that_missed_it_went_well(
    notices: Notices, told: list[str]
) -> None:
    notices.trouble("look", SHARDS)
    notices.trouble("state", CONTROL)
    notices.well("look")
    notices.well("mend")
    assert len(told) == 1
    notices.well("state")
    notices.well("state")
    assert told[1:] == ["storage answers again"]
    notices.trouble("look", SHARDS)
    assert len(told) == 3


def test_a_service_that_answers_and_refuses_is_told_as_well(
    notices: Notices, told: list[str]
) -> None:
    notices.trouble("look", SHARDS)
    notices.trouble("look", StorageRefused("not allowed"))
    assert told[1:] == ["not allowed; going on by itself"]
    notices.well("look")
    assert told[2:] == ["storage answers again"]


@pytest.mark.parametrize(
    ("error", "begins", "over"),
    [
        (QueueUnavailable("no queue"), "no queue", "the queues answer again"),
        (
            LedgerBusy("postgresql://h/db", reason="refused"),
            "the ledger postgresql://h/db cannot be used now (refused)",
            "the ledger answers again",
        ),
        (
            LedgerUnusable("/h/ledger.db", reason="EIO"),
            "the ledger /h/ledger.db cannot be used now (EIO): see to its folder and disk",
            "the ledger answers again",
        ),
        (QueueDiskFull("the disk of /h is full"), "the disk of /h is full", "the disk has room"),
    ],
)
def test_each_service_is_named_when_it_is_away_and_when_it_is_back(
    error: GaplessError, begins: str, over: str, notices: Notices, told: list[str]
) -> None:
    notices.trouble("mend", error)
    notices.well("mend")
    assert told[0] == f"{begins}; going on by itself"
    assert told[1].startswith(over)


def test_a_full_disk_is_one_trouble_whoever_meets_it(notices: Notices, told: list[str]) -> None:
    text = "the disk of /h is full: free some of it"
    for error in (QueueDiskFull(text), LedgerDiskFull(text), StorageDiskFull(text)):
        notices.trouble("mend", error)
    assert told == [f"{text}; going on by itself"]
    notices.well("mend")
    assert told[1:] == ["the disk has room again"]
