"""The ledger on a disk without room: see receipts/sqlite_file.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from receipts import sqlite_file, tables
from receipts.errors import LedgerDiskFull
from tests.chaos.small_disk import SmallDisk

_ROWS = [
    {"id": f"s{number}", "digest": "0" * 64, "name": "s", "submitted_at_s": 1.0}
    for number in range(1000)
]


@pytest.mark.parametrize("room_bytes", [0, 12_288, 24_576, 49_152, 98_304, 135_168])
def test_a_ledger_that_cannot_be_made_says_that_the_disk_is_full(
    room_bytes: int, small_disk: SmallDisk
) -> None:
    path = small_disk.folder / "ledger.db"
    small_disk.fill(leave_bytes=room_bytes)
    with pytest.raises(LedgerDiskFull, match=f"the disk of {path.parent} is full .*: free some"):
        _record(sqlite_file.open_file(path))
    small_disk.free()
    assert _count_after_recording(path) == 1000


def test_a_ledger_that_cannot_grow_says_that_the_disk_is_full_and_records_nothing(
    small_disk: SmallDisk,
) -> None:
    path = small_disk.folder / "ledger.db"
    opened = sqlite_file.open_file(path)
    small_disk.fill()
    with pytest.raises(LedgerDiskFull, match=f"the disk of {path.parent} is full .*: free some"):
        _record(opened)
    small_disk.free()
    opened.close()
    assert _count_after_recording(path) == 1000


def _record(opened: sqlite_file.SqliteDatabase) -> None:
    try:
        with opened.transaction() as connection:
            connection.execute(tables.sweeps.insert(), _ROWS)
    finally:
        opened.close()


def _count_after_recording(path: Path) -> int:
    """Record the rows, which fails where they were recorded before; count them."""
    _record(sqlite_file.open_file(path))
    opened = sqlite_file.open_file(path)
    with opened.snapshot() as connection:
        found = connection.execute(sa.select(sa.func.count()).select_from(tables.sweeps))
        count = int(found.scalar_one())
    opened.close()
    return count
