"""The record that makes a place a home."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from gapless.storage.disk import Disk
from gapless.storage.errors import HomeError
from gapless.storage.folder import FolderBlobs
from gapless.storage.home import HomeRecord, holds_home, open_home_record
from gapless.storage.memory import MemoryBlobs


def test_a_new_home_gets_the_default_record_and_keeps_it() -> None:
    blobs = MemoryBlobs()
    record = open_home_record(blobs, create=True)
    assert record == HomeRecord(lease_s=900.0, retention_s=14 * 86_400.0)
    assert open_home_record(blobs, create=False) == record


def test_the_first_record_of_a_home_stays() -> None:
    blobs = MemoryBlobs()
    open_home_record(blobs, create=True, record=HomeRecord(lease_s=60.0))
    assert open_home_record(blobs, create=True).lease_s == 60.0


def test_a_home_written_by_the_first_release_is_read() -> None:
    blobs = MemoryBlobs()
    data = b'{"format":"gapless.home/1","lease_s":600.0,"retention_s":1209600.0}'
    blobs.put("home.json", data)
    record = open_home_record(blobs, create=False)
    assert record == HomeRecord(
        lease_s=600.0,
        retention_s=1_209_600.0,
        queue_prefix="",
        queue_region="",
        long_poll_s=20.0,
        encryption="sqs",
        settle_s=120.0,
        rest_s=60.0,
    )


def test_the_record_of_a_home_is_written_like_this_for_ever() -> None:
    record = HomeRecord(
        id="c0ffee",
        queue_prefix="gapless-0123abcd",
        queue_region="eu-central-1",
        long_poll_s=10.5,
        encryption="none",
    )
    data = (
        b'{"encryption":"none","format":"gapless.home/1","id":"c0ffee","lease_s":900.0,'
        b'"long_poll_s":10.5,"queue_prefix":"gapless-0123abcd","queue_region":"eu-central-1",'
        b'"rest_s":60.0,"retention_s":1209600.0,"settle_s":120.0}'
    )
    blobs = MemoryBlobs()
    blobs.put("home.json", data)
    assert open_home_record(blobs, create=False) == record
    assert record.encode() == data


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lease_s": 0}, "lease_s is 0, expected more than 0"),
        ({"retention_s": 59}, "retention_s is 59, expected 60 to 1209600"),
        ({"queue_prefix": "a" * 21}, "queue_prefix is 'a+', expected up to 20 letters"),
        ({"queue_prefix": "my queue"}, "queue_prefix is 'my queue'"),
        ({"queue_prefix": "ü"}, "queue_prefix is 'ü'"),
        ({"queue_region": "eu central"}, "queue_region is 'eu central', expected the name"),
        ({"long_poll_s": -1}, "long_poll_s is -1, expected 0 to 20"),
        ({"long_poll_s": 21}, "long_poll_s is 21, expected 0 to 20"),
        ({"long_poll_s": float("nan")}, "long_poll_s is nan"),
        ({"encryption": "kms"}, "encryption is 'kms', expected 'sqs' or 'none'"),
        ({"settle_s": -1}, "settle_s is -1, expected 0 to 86400"),
        ({"settle_s": float("inf")}, "settle_s is inf"),
        ({"rest_s": -1}, "rest_s is -1, expected 0 to 3600"),
    ],
)
def test_an_impossible_record_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HomeRecord(**values)


def test_a_place_without_a_record_is_no_home_and_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match=r"there is no home.*home\.json.*--home"):
        open_home_record(FolderBlobs(tmp_path / "sweeps"), create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_home_of_a_newer_format_is_refused() -> None:
    blobs = MemoryBlobs()
    blobs.put("home.json", HomeRecord().encode().replace(b"home/1", b"home/2"))
    with pytest.raises(HomeError, match=r"format 2.*knows up to 1: update"):
        open_home_record(blobs, create=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[1]",
        HomeRecord().encode().replace(b"900.0", b"-1"),
        HomeRecord().encode().replace(b"900.0", b"43201"),
        HomeRecord().encode().replace(b"1209600.0", b"1209601"),
        HomeRecord().encode().replace(b'"sqs"', b'"kms"'),
        HomeRecord().encode().replace(b'"queue_prefix":""', b'"queue_prefix":"a b"'),
    ],
)
def test_a_damaged_record_is_told_and_not_replaced(data: bytes) -> None:
    blobs = MemoryBlobs()
    blobs.put("home.json", data)
    with pytest.raises(HomeError, match=r"home s3://b/h: its home\.json is no record.*--home"):
        open_home_record(blobs, create=True, place="s3://b/h")
    assert blobs.get("home.json") == data
    assert not holds_home(blobs)


def test_a_home_is_told_from_other_places_whatever_its_format() -> None:
    blobs = MemoryBlobs()
    assert not holds_home(blobs)
    open_home_record(blobs, create=True)
    assert holds_home(blobs)
    blobs.put("home.json", HomeRecord().encode().replace(b"home/1", b"home/2"))
    assert holds_home(blobs)


def test_a_file_in_the_place_of_a_home_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(HomeError, match=r"the home cannot be used.*Not a directory.*--home"):
        open_home_record(FolderBlobs(tmp_path / "home"), create=True)


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    class ReadOnly(Disk):
        def write_new(self, path: Path, data: bytes) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.raises(HomeError, match=r"the home cannot be used.*Read-only.*--home"):
        open_home_record(FolderBlobs(tmp_path / "home", disk=ReadOnly()), create=True)
