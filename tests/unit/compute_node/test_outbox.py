from __future__ import annotations

from pathlib import Path

import pytest

from compute_node.errors import NodeError
from compute_node.outbox import Outbox


def test_blocks_come_back_in_the_order_asked_from_memory_and_from_disk(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", memory_bytes=10)
    keys = [outbox.add(text) for text in (b"12345678", b"abcdefgh", b"x")]
    assert len(list((tmp_path / "outbox").iterdir())) == 1
    assert outbox.get(keys[::-1]) == ["x", "abcdefgh", "12345678"]
    assert outbox.waiting_bytes == 17


def test_what_is_forgotten_leaves_memory_and_disk(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", memory_bytes=4)
    keys = [outbox.add(b"1234"), outbox.add(b"5678")]
    outbox.forget(keys)
    outbox.forget(keys)
    assert outbox.waiting_bytes == 0
    assert list((tmp_path / "outbox").iterdir()) == []
    with pytest.raises(NodeError, match="gone from the outbox"):
        outbox.get(keys[:1])


def test_there_is_no_room_once_memory_and_disk_are_full(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", memory_bytes=4, disk_bytes=4, free_bytes=0)
    assert outbox.room()
    first = outbox.add(b"1234")
    assert outbox.room()
    outbox.add(b"5678")
    assert not outbox.room()
    outbox.forget([first])
    assert outbox.room()


def test_there_is_no_room_on_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", memory_bytes=0, free_bytes=2**62)
    assert not outbox.room()


def test_a_disk_that_takes_nothing_costs_no_result(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    outbox = Outbox(blocked / "outbox", memory_bytes=0)
    key = outbox.add(b"kept")
    assert outbox.get([key]) == ["kept"]
    assert not outbox.room()


def test_leftovers_of_an_earlier_start_are_removed(tmp_path: Path) -> None:
    Outbox(tmp_path / "outbox", memory_bytes=0).add(b"old")
    Outbox(tmp_path / "outbox")
    assert not (tmp_path / "outbox").exists()
