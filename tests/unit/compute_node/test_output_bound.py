"""What one run prints does not fill the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_node.output import HEAD_BYTES, TAIL_BYTES, read_output
from compute_node.output_bound import bound_output, cut_after_head

BLOCK = 512
MANY = b"0123456789abcde\n" * (4 * 2**20 // 16)


class Printed:
    """An output file and its writer, which appends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def write(self, data: bytes) -> None:
        assert os.write(self.fd, data) == len(data)

    @property
    def taken_bytes(self) -> int:
        return os.fstat(self.fd).st_blocks * BLOCK


@pytest.fixture
def printed(tmp_path: Path) -> Iterator[Printed]:
    made = Printed(tmp_path / "output")
    yield made
    os.close(made.fd)


def test_a_large_output_keeps_its_head_and_tail_and_takes_little_room(printed: Printed) -> None:
    printed.write(b"first line\n" + MANY + b"last line\n")
    before = read_output(printed.path)
    bound_output(printed.path, most_bytes=2**20)
    assert printed.taken_bytes < 2 * 2**20
    assert read_output(printed.path) == before
    assert before.head.startswith("first line\n")
    assert before.tail.endswith("last line\n")


def test_the_writer_goes_on_and_is_bounded_again(printed: Printed) -> None:
    printed.write(b"first line\n")
    for _ in range(5):
        printed.write(MANY)
        bound_output(printed.path, most_bytes=2 * 2**20)
        assert printed.taken_bytes < 2 * 2**20
    printed.write(b"the end\n")
    output = read_output(printed.path)
    assert output.head.startswith("first line\n")
    assert output.tail.endswith("the end\n")
    assert "\0" not in output.head + output.tail


def test_where_no_hole_can_be_made_the_head_and_what_comes_later_are_kept(
    printed: Printed,
) -> None:
    printed.write(b"first line\n" + MANY)
    cut_after_head(printed.fd)
    assert os.fstat(printed.fd).st_size == HEAD_BYTES
    printed.write(b"x" * TAIL_BYTES + b"the end\n")
    output = read_output(printed.path)
    assert output.head.startswith("first line\n")
    assert output.tail.endswith("the end\n")


def test_a_small_output_is_left_alone_and_a_missing_one_is_no_error(printed: Printed) -> None:
    printed.write(b"a" * 100_000)
    bound_output(printed.path, most_bytes=2**20)
    assert printed.path.read_bytes() == b"a" * 100_000
    bound_output(printed.path.with_name("none"))
