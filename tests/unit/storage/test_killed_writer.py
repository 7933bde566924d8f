"""kill -9 of a writer at each of its steps: a reader finds a whole value, the next writer works."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gapless.storage.errors import BlobMissing
from gapless.storage.folder import LEFTOVER_AGE_S, FolderBlobs

SCRIPT = """
import os, signal, sys
from gapless.storage.disk import Disk
from gapless.storage.folder import FolderBlobs

folder, verb, last = sys.argv[1], sys.argv[2], int(sys.argv[3])

class Killed(Disk):
    steps = 0

    def step(self):
        if self.steps == last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.steps += 1

    def make_folder(self, path):
        self.step(); super().make_folder(path); self.step()

    def write(self, descriptor, data):
        self.step(); super().write(descriptor, data[:5]); self.step()
        super().write(descriptor, data[5:]); self.step()

    def flush(self, descriptor):
        self.step(); super().flush(descriptor); self.step()

    def rename(self, old, new):
        self.step(); super().rename(old, new); self.step()

    def link(self, old, new):
        self.step(); super().link(old, new); self.step()

getattr(FolderBlobs(folder, disk=Killed()), verb)("s/t/key", b"the new value")
"""

OLD, NEW = b"the old value", b"the new value"


def write_until(step: int, verb: str, folder: Path) -> bool:
    """Tell whether the writer came to its end before it was to be killed."""
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), verb, str(step)],
        timeout=60,
        check=False,
        capture_output=True,
    )
    assert answer.returncode in {0, -signal.SIGKILL}, answer.stderr
    return answer.returncode == 0


@pytest.mark.parametrize(("verb", "old"), [("put", None), ("put", OLD), ("put_if_absent", None)])
def test_a_writer_killed_at_any_step_leaves_a_whole_value_and_no_obstacle(
    tmp_path: Path, verb: str, old: bytes | None
) -> None:
    seen: set[bytes | None] = set()
    for step in range(100):
        home = tmp_path / str(step)
        blobs = FolderBlobs(home)
        if old is not None:
            blobs.put("s/t/key", old)
        finished = write_until(step, verb, home)
        try:
            found = blobs.get("s/t/key")
        except BlobMissing:
            found = None
        assert found in {old, NEW}
        assert [blob.key for blob in blobs.list("")] == ([] if found is None else ["s/t/key"])
        if finished:
            break
        seen.add(found)
        getattr(blobs, verb)("s/t/key", NEW)
        assert blobs.get("s/t/key") == NEW
        blobs.sweep_leftovers(blobs.path("s/t/key").stat().st_mtime + LEFTOVER_AGE_S + 60)
        assert [path.name for path in home.rglob("*") if path.is_file()] == ["key"]
    assert step > 8
    assert seen == {old, NEW}
    assert blobs.get("s/t/key") == NEW
