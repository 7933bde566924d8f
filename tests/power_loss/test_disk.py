"""The model of a disk: what may be left of a few calls, and how a record of them is read."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.power_loss.crash_states import ALL, moments
from tests.power_loss.disk import Order, Tree
from tests.power_loss.history import History
from tests.power_loss.recording import MARKS, read_calls, record


def history_of(program: str, place: Path, order: Order = Order.ANY) -> History:
    """Record a program that works in the folder `disk`, which is empty at first."""
    (place / "disk").mkdir()
    calls = record(
        [sys.executable, "-c", "import os\n" + program.replace("@", str(place / "disk"))],
        cwd=place,
        environment=os.environ,
        log=place / "log",
        within_s=60,
    )
    history = History.of(calls, place / "disk", order)
    history.check_against(place / "disk")
    return history


def states_at_the_end(history: History) -> list[Tree]:
    *_, last = moments(history)
    found: list[Tree] = []
    for tree in last.states(ALL, random.Random(1)):
        if tree not in found:
            found.append(tree)
    return found


WRITE = "f = os.open('@/a', os.O_CREAT | os.O_EXCL | os.O_WRONLY)\nos.write(f, b'x' * 1000)\n"
FLUSH_FOLDER = "os.fsync(os.open('@', os.O_RDONLY))\n"
END = "\ntry: open('/gapless-mark/end')\nexcept OSError: pass"


def test_what_was_flushed_with_its_name_is_the_only_state(tmp_path: Path) -> None:
    history = history_of(WRITE + "os.fsync(f)\n" + FLUSH_FOLDER + END, tmp_path)
    assert states_at_the_end(history) == [{"a": b"x" * 1000}]


def test_a_flushed_file_may_lack_its_name(tmp_path: Path) -> None:
    states = states_at_the_end(history_of(WRITE + "os.fsync(f)\n" + END, tmp_path))
    assert sorted(states, key=len) == [{}, {"a": b"x" * 1000}]


def test_a_flushed_name_may_lead_to_nothing_to_half_of_it_or_to_zeros(tmp_path: Path) -> None:
    history = history_of(FLUSH_FOLDER.replace("os.fsync", "d = ") + WRITE + "os.fsync(d)", tmp_path)
    found = [
        tree.get("a")
        for moment in moments(history)
        for tree in moment.states(ALL, random.Random(1))
    ]
    assert {b"", b"x" * 512, b"\0" * 1000, b"x" * 1000} <= set(found)


@pytest.mark.parametrize(("order", "alone"), [(Order.ANY, True), (Order.JOURNAL, False)])
def test_the_later_of_two_names_is_there_alone_only_where_folders_keep_no_order(
    tmp_path: Path, order: Order, *, alone: bool
) -> None:
    states = states_at_the_end(
        history_of("os.mkdir('@/a')\nos.mkdir('@/b')" + END, tmp_path, order)
    )
    assert ({"b/": b""} in states) is alone
    assert {} in states
    assert {"a/": b"", "b/": b""} in states


def test_a_rename_shows_the_old_file_or_the_new_one_and_never_none(tmp_path: Path) -> None:
    program = (
        WRITE + "os.fsync(f)\n" + WRITE.replace("@/a", "@/b").replace("b'x'", "b'y'")
        + "os.fsync(f)\n" + FLUSH_FOLDER + "os.rename('@/b', '@/a')" + END
    )  # fmt: skip
    states = states_at_the_end(history_of(program, tmp_path))
    assert states == [{"a": b"x" * 1000, "b": b"y" * 1000}, {"a": b"y" * 1000}]


def hexadecimal(text: str) -> str:
    return "".join(f"\\x{each:02x}" for each in text.encode())


def test_bytes_written_by_a_thread_while_another_flushes_are_not_taken_for_flushed() -> None:
    path = hexadecimal("/d/a")
    lines = (
        f'7 openat(AT_FDCWD<{hexadecimal("/")}>, "{path}", O_RDWR|O_CREAT, 0600) = 3<{path}>',
        f"7 fsync(3<{path}> <unfinished ...>",
        f'8 pwrite64(3<{path}>, "{hexadecimal("x")}", 1, 0) = 1',
        "7 <... fsync resumed>) = 0",
        f'7 openat(AT_FDCWD<{hexadecimal("/")}>, "{hexadecimal(MARKS + "end")}", O_RDONLY) = -1 E',
    )
    history = History.of(read_calls(lines), Path("/d"))
    *_, last = moments(history)
    assert {"a": b""} in list(last.states(ALL, random.Random(1)))


def test_a_change_that_the_record_lacks_is_found_by_comparing_with_the_disk(
    tmp_path: Path,
) -> None:
    history = history_of(WRITE, tmp_path)
    (tmp_path / "disk/a").write_bytes(b"x" * 999)
    with pytest.raises(AssertionError, match="the record lacks something: a"):
        history.check_against(tmp_path / "disk")


def test_a_program_that_fails_under_the_recorder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="exit status 3"):
        history_of("os._exit(3)", tmp_path)


def test_exploring_tells_what_it_did(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "tests.power_loss", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "--scenario" in answer.stdout
