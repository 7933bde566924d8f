"""What programs keep outside of the home: a state folder, and code that was unpacked."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

from gapless.storage.bundle_names import MARKER
from gapless.wiring.state_folder import taken_state
from tests.power_loss.crash_states import USUAL, moments
from tests.power_loss.disk import Tree
from tests.power_loss.test_disk import END, history_of

TAKE = """
from pathlib import Path
from gapless.wiring.state_folder import taken_state
taken_state(Path("@/new/state"), "/the/home")
"""
FILES = {"walk.py": b"def walk(a):\n    return a\n" * 400, "data/table.csv": b"1,2,3\n" * 2000}
UNPACK = f"""
import hashlib, io, zipfile
from pathlib import Path
from gapless.storage.unpack import unpack
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w") as archive:
    for name, data in {FILES!r}.items():
        archive.writestr(name, data)
data = packed.getvalue()
unpack(data, hashlib.sha256(data).hexdigest(), Path("@/code"))
"""


def test_a_state_folder_that_was_taken_stays_there_and_is_marked_as_whose_it_is(
    tmp_path: Path,
) -> None:
    *_, last = moments(history_of(TAKE + END, tmp_path))
    states = list(last.states(USUAL, random.Random(1)))
    assert len(states) >= 1
    for tree in states:
        assert tree.get("new/state/home-of-this-state.txt") == b"/the/home\n", tree


def test_a_mark_of_a_state_folder_is_never_half_written(tmp_path: Path) -> None:
    for moment in moments(history_of(TAKE, tmp_path)):
        for tree in moment.states(USUAL, random.Random(1)):
            mark = tree.get("new/state/home-of-this-state.txt", b"")
            # An empty one, or one of zeros, belongs to nobody, and is taken.
            assert mark in {b"", b"\0" * 10, b"/the/home\n"}, tree


def test_a_mark_that_a_loss_of_power_left_in_zeros_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "home-of-this-state.txt").write_bytes(b"\0" * 10)
    assert taken_state(tmp_path, "/the/home") == tmp_path


def test_code_that_counts_as_unpacked_is_what_was_packed(tmp_path: Path) -> None:
    counted = 0
    for moment in moments(history_of(UNPACK, tmp_path)):
        for tree in moment.states(USUAL, random.Random(1)):
            for folder in unpacked_folders(tree):
                counted += 1
                for name, data in FILES.items():
                    assert hashed(tree[f"{folder}/{name}"]) == hashed(data), (moment.at, name)
    assert counted > 1


def unpacked_folders(tree: Tree) -> list[str]:
    """Name the folders in which every file has the size that their listing says."""
    found = []
    for path, data in tree.items():
        folder, _, name = path.rpartition("/")
        if name == MARKER and "/.tmp-" not in path and data.startswith(b"{"):
            try:
                listing = json.loads(data)
            except ValueError:
                continue
            sizes = {each: len(tree.get(f"{folder}/{each}", b"")) for each in listing}
            if all(sizes[each] == size for each, (size, _) in listing.items()):
                found.append(folder)
    return found


def hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
