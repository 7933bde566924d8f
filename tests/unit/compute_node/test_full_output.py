"""The whole output of a run that is not ok is kept, stored before anybody hears of the run."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from compute_node.agent import run_node
from compute_node.full_output import MOST_WAITING_BYTES, RunFile, keep_full_output
from compute_node.outbox import Outbox
from compute_node.output import HEAD_BYTES, TAIL_BYTES, read_open
from gapless.declaration.sweep import Limits
from gapless.results.outcome import Outcome
from gapless.storage import layout
from gapless.storage.errors import StorageUnavailable
from tests.unit.compute_node.commands_here import submit_program

ONCE = Limits(attempts=1)
LOUD = """
    import os
    def f(x):
        for line in range(20_000):
            print("line", line)
        if x == 1: raise ValueError("after all")
        if x == 2: os._exit(3)
        return {"y": 1}
"""


class FlakyBlobs:
    """A storage that is away for the first puts of files of runs; notes what was put."""

    def __init__(self, blobs: Any, away: int) -> None:
        self._blobs = blobs
        self._away = away
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def put(self, key: str, data: bytes) -> None:
        if "/files/" in key and self.refused < self._away:
            self.refused += 1
            raise StorageUnavailable("away")
        self._blobs.put(key, data)


def stored(place: Any, run: int, attempt: int = 1) -> str:
    key = layout.run_file(place.sweep, run, attempt, "output.txt.gz")
    return gzip.decompress(place.blobs.get(key)).decode()


def stored_files(place: Any) -> list[str]:
    return sorted(blob.key for blob in place.blobs.list(f"sweeps/{place.sweep}/files/"))


def test_a_failed_function_and_a_dead_worker_leave_all_they_printed(place: Any) -> None:
    place.submit(LOUD, runs=3, limits=ONCE)
    assert place.run_node() == 0
    found = place.delivered()
    assert found.outcomes == {0: Outcome.OK, 1: Outcome.FAILED, 2: Outcome.LOST}
    whole = "".join(f"line {line}\n" for line in range(20_000))
    assert stored(place, 1) == whole
    assert stored(place, 2) == whole
    assert len(stored_files(place)) == 2
    for run in (1, 2):
        assert whole.startswith(found.errors[run].output_head)
        assert whole.endswith(found.errors[run].output_tail)
    assert list((place.folder / "work").rglob("*.gz")) == []


def test_a_failed_command_leaves_both_its_outputs(place: Any) -> None:
    text = """
        #!/bin/sh
        yes out | head -n 20000
        yes err | head -n 20000 >&2
        exit 1
    """
    submit_program(place, text, runs=1, limits=ONCE)
    assert place.run_node() == 0
    out, err = "out\n" * 20_000, "err\n" * 20_000
    assert stored(place, 0) == f"--- standard output ---\n{out}--- standard error ---\n{err}"


def test_output_that_the_record_holds_whole_makes_no_file(place: Any) -> None:
    submit_program(place, "#!/bin/sh\necho little\nexit 1\n", runs=3, limits=ONCE)
    assert place.run_node() == 0
    assert stored_files(place) == []


def test_only_the_attempt_of_the_row_leaves_its_output(place: Any) -> None:
    code = LOUD.replace('raise ValueError("after all")', "raise ValueError(x)")
    limits = Limits(attempts=2, retry_on=("failed", "lost"))
    place.submit(code, runs=3, limits=limits)
    assert place.run_node() == 0
    assert stored_files(place) == [
        layout.run_file(place.sweep, run, 2, "output.txt.gz") for run in (1, 2)
    ]
    assert list((place.folder / "work").rglob("*.gz")) == []


def test_a_result_waits_for_its_output_while_the_home_is_away(place: Any) -> None:
    place.submit(LOUD, runs=2, limits=ONCE)
    blobs = FlakyBlobs(place.blobs, away=4)
    assert run_node(place.settings(blobs=blobs)) == 0
    assert blobs.refused == 4
    assert place.delivered().outcomes == {0: Outcome.OK, 1: Outcome.FAILED}
    assert stored(place, 1).startswith("line 0\n")


def test_the_output_of_a_dropped_result_is_removed_here(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(b"x")
    box = Outbox(tmp_path / "outbox")
    file = RunFile(run=1, attempt=1, path=str(path))
    key = box.add(b"text", [file])
    assert box.files([key]) == [file]
    box.forget([key])
    assert box.files([key]) == []
    assert not path.exists()


def test_holes_are_told_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "output"
    with path.open("wb") as file:
        file.write(b"begin\n" * 2000)
        file.seek(50 * 2**20)
        file.write(b"end\n" * 10_000)
    fd = os.open(path, os.O_RDONLY)
    kept = keep_full_output(
        [("output", fd)], read_open(fd), run=1, attempt=1, folder=tmp_path / "files", name="a.gz"
    )
    os.close(fd)
    assert kept is not None
    text = gzip.decompress(Path(kept.path).read_bytes())
    assert len(text) < 200_000
    assert text.startswith(b"begin\n")
    assert text.endswith(b"end\n")
    assert b"bytes were not kept" in text


def test_files_that_wait_are_bounded(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    with (folder / "others.gz").open("wb") as file:
        file.truncate(MOST_WAITING_BYTES + 1)
    path = tmp_path / "output"
    path.write_bytes(b"x" * (HEAD_BYTES + TAIL_BYTES + 1))
    fd = os.open(path, os.O_RDONLY)
    kept = keep_full_output(
        [("output", fd)], read_open(fd), run=1, attempt=1, folder=folder, name="a.gz"
    )
    os.close(fd)
    assert kept is None
    assert not (folder / "a.gz").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_costs_the_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "files").symlink_to("/dev/full")
    path = tmp_path / "output"
    path.write_bytes(b"x" * (HEAD_BYTES + TAIL_BYTES + 1))
    fd = os.open(path, os.O_RDONLY)
    shown = read_open(fd)
    folder = tmp_path / "files"
    kept = keep_full_output([("output", fd)], shown, run=1, attempt=1, folder=folder, name="a")
    os.close(fd)
    assert kept is None
