"""The file a command records in: its last complete version, whatever is done to it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compute_node.recorded_values import decode_hdf5
from compute_node.values_file import KEPT, OUTPUT, STDOUT, ValuesFile, read_left, read_stdout
from compute_node.values_reader import values_left


class Watched:
    """A values file whose looks are not spared."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / OUTPUT
        self.kept_path = folder / KEPT
        self.file = ValuesFile(self.path, kept=self.kept_path, read_hdf5=decode_hdf5, share=1e9)
        self._turn = 0

    def write(self, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        self.path.write_bytes(data)
        # Two writes within one tick of the file system's clock are one to who only looks.
        self._turn += 1
        os.utime(self.path, ns=(self._turn, self._turn))


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_without_a_file_there_is_nothing_and_nothing_is_wrong(watched: Watched) -> None:
    watched.file.look()
    assert watched.file.last() == (None, "")


def test_the_version_at_the_end_counts_when_it_is_complete(watched: Watched) -> None:
    for step in range(3):
        watched.write(f'{{"step": {step}}}')
        watched.file.look()
    watched.write('{"step": 9}')
    recorded, problem = watched.file.last()
    assert recorded is not None
    assert recorded.values == {"step": 9}
    assert problem == ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_the_last_complete_version_that_was_seen_counts(
    tmp_path: Path, versions: list[tuple[bool, bool]]
) -> None:
    watched = Watched(tmp_path)
    expected: int | None = None
    for step, (complete, seen) in enumerate(versions):
        watched.write(f'{{"step": {step}' + ("}" if complete else ""))
        if seen:
            watched.file.look()
        if complete and (seen or step == len(versions) - 1):
            expected = step
    recorded, problem = watched.file.last()
    assert (recorded.values["step"] if recorded else None) == expected
    assert bool(problem) is not versions[-1][0]
    watched.file.forget()
    assert not watched.kept_path.exists()


def test_a_file_that_was_removed_leaves_what_was_seen(watched: Watched) -> None:
    watched.write('{"step": 1}')
    watched.file.look()
    watched.path.unlink()
    recorded, problem = watched.file.last()
    assert recorded is not None
    assert recorded.values == {"step": 1}
    assert problem == ""


@pytest.mark.parametrize("what", ["folder", "pipe", "device"])
def test_what_is_no_file_is_said_and_never_waited_for(watched: Watched, what: str) -> None:
    if what == "folder":
        watched.path.mkdir()
    elif what == "pipe":
        os.mkfifo(watched.path)
    else:
        watched.path.symlink_to("/dev/zero")
    watched.file.look()
    recorded, problem = watched.file.last()
    assert recorded is None
    assert "no file" in problem


def test_a_file_beyond_the_bound_is_refused_with_its_size(watched: Watched) -> None:
    with watched.path.open("wb") as file:
        file.truncate(256 * 2**20 + 1)
    _, problem = watched.file.last()
    assert problem.startswith("has 268,435,457 bytes, the most is 268,435,456")


def test_an_hdf5_file_that_is_still_open_for_writing_is_not_looked_at(watched: Watched) -> None:
    with h5py.File(watched.path, "w", locking=True) as file:
        file["step"] = 1
        file.flush()
        watched.file.look()
        assert watched.file.kept is None
    watched.file.look()
    assert watched.file.kept is not None
    assert watched.file.kept.values == {"step": 1}


def test_a_dead_workers_run_gives_its_file_or_the_kept_version_or_its_output(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run-0"
    folder.mkdir()
    assert read_left(tmp_path, decode_hdf5) is None
    assert values_left(tmp_path).values == {}
    (tmp_path / STDOUT).write_text('{"from": "stdout"}\n')
    assert values_left(tmp_path).values == {"from": "stdout"}
    (tmp_path / KEPT).write_text('{"from": "kept"}')
    (folder / OUTPUT).write_text('{"from": "out')
    assert values_left(tmp_path).values == {"from": "kept"}
    with h5py.File(folder / OUTPUT, "w") as file:
        file["from"] = "file"
    assert values_left(tmp_path).values == {"from": "file"}


def test_only_the_end_of_a_long_output_is_searched(tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    with path.open("wb") as file:
        file.write(b'{"early": 1}\n')
        file.seek(200 * 2**20)
        file.write(b"\n" + json.dumps({"late": 2}).encode() + b"\nbye\n")
    fd = os.open(path, os.O_RDONLY)
    try:
        recorded = read_stdout(fd)
    finally:
        os.close(fd)
    assert recorded is not None
    assert recorded.values == {"late": 2}
