"""The record that makes a place a home."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gapless.storage.disk import Disk
from gapless.storage.errors import HomeError
from gapless.storage.folder import FolderBlobs
from gapless.storage.home import HomeRecord, open_home_record
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
    data = b'{"format":"gapless.home/1","lease_s":900.0,"retention_s":1209600.0}'
    blobs.put("home.json", data)
    assert open_home_record(blobs, create=False) == HomeRecord()
    assert HomeRecord().encode() == data


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
    ],
)
def test_a_damaged_record_is_told_and_not_replaced(data: bytes) -> None:
    blobs = MemoryBlobs()
    blobs.put("home.json", data)
    with pytest.raises(HomeError, match=r"home\.json of the home is damaged"):
        open_home_record(blobs, create=True)
    assert blobs.get("home.json") == data


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
