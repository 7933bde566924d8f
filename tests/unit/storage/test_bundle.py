"""The code folder as it travels: what is in it, what never is, and always the same bytes."""

from __future__ import annotations

import os
import socket
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapless.errors import UserMistake
from gapless.storage.bundle import CodeTooLarge, pack
from gapless.storage.bundle_changes import changes_between, changes_since
from gapless.storage.errors import StorageError, StorageUnavailable
from gapless.storage.folder import FolderBlobs
from gapless.storage.home import open_home_record
from gapless.storage.unpack import unpack


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    return folder


def put(folder: Path, name: str, text: str = "x") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def packed(folder: Path) -> list[str]:
    return list(pack(folder).files)


def test_every_file_travels_with_its_content(code: Path) -> None:
    put(code, "walk.py", "def rms(): ...\n")
    put(code, "package/deep/__init__.py", "")
    put(code, "data/ä b.csv", "1,2\n")
    bundle = pack(code)
    assert list(bundle.files) == ["data/ä b.csv", "package/deep/__init__.py", "walk.py"]
    assert bundle.files["walk.py"] == b"def rms(): ...\n"
    assert bundle.files["data/ä b.csv"] == b"1,2\n"
    assert len(bundle.files) == 3
    assert "walk.py" in bundle.files
    assert "nothing.py" not in bundle.files


def test_the_same_files_give_the_same_bytes_whenever_and_wherever(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, order in (
        (first, ("b.py", "a/c.py", "a.py")),
        (second, ("a.py", "a/c.py", "b.py")),
    ):
        for number, name in enumerate(order):
            path = put(folder, name, f"# {name}\n")
            os.utime(path, (1_000_000 * number + 10**8, 10**9))
            path.chmod(0o600 if folder == first else 0o664)
    assert pack(first).data == pack(second).data
    assert pack(first).sha256 == pack(second).sha256


def test_the_bytes_are_those_of_the_first_release(code: Path) -> None:
    put(code, "walk.py", "def rms(n):\n    return n\n")
    put(code, "run.sh", "#!/bin/sh\n").chmod(0o755)
    golden = "30ac21bc7814d9eee1daca8388904d95adab2dc28f1412dbfca9339671a2c349"
    assert pack(code).sha256 == golden


@pytest.mark.parametrize("change", ["content", "name", "mode", "more"])
def test_another_code_gives_another_digest(code: Path, change: str) -> None:
    put(code, "walk.py", "1")
    before = pack(code).sha256
    if change == "content":
        put(code, "walk.py", "2")
    elif change == "name":
        (code / "walk.py").rename(code / "talk.py")
    elif change == "mode":
        (code / "walk.py").chmod(0o755)
    else:
        put(code, "more.py")
    assert pack(code).sha256 != before


def test_homes_repositories_environments_and_caches_never_travel(code: Path) -> None:
    put(code, "walk.py")
    open_home_record(FolderBlobs(code / "sweeps"), create=True)
    put(code, "sweeps/sweeps/walk-1/sweep.json")
    put(code, ".git/config")
    put(code, "env/pyvenv.cfg")
    put(code, "env/lib/big.py")
    put(code, "package/__pycache__/walk.pyc")
    put(code, "sub/.git", "gitdir: elsewhere")
    assert packed(code) == ["walk.py"]


def test_a_users_own_home_json_is_no_home(code: Path) -> None:
    put(code, "pages/home.json", '{"title": "home"}')
    assert packed(code) == ["pages/home.json"]


def test_a_code_folder_that_is_a_home_itself_is_refused(code: Path) -> None:
    open_home_record(FolderBlobs(code), create=True)
    with pytest.raises(UserMistake, match=r"is a home of sweeps too.*--home"):
        pack(code)


def test_what_the_ignore_files_name_does_not_travel(code: Path) -> None:
    put(code, ".gitignore", "*.log\nbuild/\n/top.txt\n")
    put(code, ".gaplessignore", "raw/\n!wanted.log\n")
    for name in (
        "walk.py", "a.log", "wanted.log", "build/x.py", "sub/build/y.py", "top.txt",
        "sub/top.txt", "raw/data.bin", "sub/b.log",
    ):  # fmt: skip
        put(code, name)
    assert packed(code) == [".gaplessignore", ".gitignore", "sub/top.txt", "walk.py", "wanted.log"]


def test_a_deeper_ignore_file_decides_over_a_higher_one(code: Path) -> None:
    put(code, ".gitignore", "*.csv\n")
    put(code, "data/.gitignore", "!*.csv\n")
    put(code, "a.csv")
    put(code, "data/a.csv")
    put(code, "cache/.gitignore", "*\n")
    put(code, "cache/x")
    assert packed(code) == [".gitignore", "data/.gitignore", "data/a.csv"]


def test_the_ignore_files_of_the_repository_above_count_too(tmp_path: Path) -> None:
    put(tmp_path, ".gitignore", "*.no\n")
    put(tmp_path, "repo/.git/config")
    put(tmp_path, "repo/.gitignore", "*.log\n/examples/walk/out.txt\n")
    put(tmp_path, "repo/examples/.gaplessignore", "notes.txt\n")
    for name in ("walk.py", "a.log", "out.txt", "notes.txt", "a.no"):
        put(tmp_path, f"repo/examples/walk/{name}")
    assert packed(tmp_path / "repo" / "examples" / "walk") == ["a.no", "walk.py"]


def test_a_folder_named_as_code_travels_though_its_repository_ignores_it(tmp_path: Path) -> None:
    put(tmp_path, ".git/config")
    put(tmp_path, ".gitignore", "scratch/\n")
    put(tmp_path, "scratch/walk/walk.py")
    assert packed(tmp_path / "scratch" / "walk") == ["walk.py"]


def test_files_may_be_left_out_by_name(code: Path) -> None:
    put(code, "walk.py")
    put(code, "sweep.toml")
    assert list(pack(code, without=[code / "sweep.toml"]).files) == ["walk.py"]


def test_a_link_to_a_file_inside_travels_as_its_content(code: Path) -> None:
    put(code, "data/real.csv", "1,2\n")
    (code / "link.csv").symlink_to("data/real.csv")
    (code / "again").symlink_to("data")
    bundle = pack(code)
    assert list(bundle.files) == ["again/real.csv", "data/real.csv", "link.csv"]
    assert bundle.files["link.csv"] == bundle.files["again/real.csv"] == b"1,2\n"


def test_links_that_lead_elsewhere_are_all_refused_at_once(code: Path, tmp_path: Path) -> None:
    put(tmp_path, "secret/key")
    (code / "key").symlink_to(tmp_path / "secret" / "key")
    (code / "secret").symlink_to(tmp_path / "secret")
    (code / "up").symlink_to("..")
    (code / "nothing").symlink_to("nowhere")
    (code / "self").symlink_to(".")
    with pytest.raises(UserMistake) as caught:
        pack(code)
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert all(str(code) in line and ".gaplessignore" in line for line in lines)
    put(code, ".gaplessignore", "key\nsecret\nup\nnothing\nself\n")
    assert packed(code) == [".gaplessignore"]


def test_an_environment_behind_a_link_is_left_out(code: Path, tmp_path: Path) -> None:
    put(tmp_path, "env/pyvenv.cfg")
    put(code, "walk.py")
    (code / ".venv").symlink_to(tmp_path / "env")
    assert packed(code) == ["walk.py"]


def test_what_is_no_file_is_left_out(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(code, "walk.py")
    os.mkfifo(code / "pipe")
    monkeypatch.chdir(code)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert packed(code) == ["walk.py"]


def test_a_name_that_cannot_travel_is_refused(code: Path) -> None:
    put(code, "a\\b")
    put(code, "c\nd")
    Path(os.fsdecode(os.fsencode(code) + b"/\xff")).write_text("x")
    with pytest.raises(UserMistake) as caught:
        pack(code)
    assert len(str(caught.value).splitlines()) == 3


@pytest.fixture
def as_somebody() -> Iterator[Path]:
    """A folder in which we are not root, who may read everything."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65_534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)


def test_files_that_cannot_be_read_are_all_named(as_somebody: Path) -> None:
    put(as_somebody, "a").chmod(0)
    put(as_somebody, "b/c").parent.chmod(0)
    try:
        with pytest.raises(UserMistake) as caught:
            pack(as_somebody)
    finally:
        (as_somebody / "b").chmod(0o755)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "cannot be read" in lines[0]
    assert "cannot be read" in lines[1]


def test_too_large_a_folder_is_refused_with_its_five_largest_files(code: Path) -> None:
    for number in range(7):
        with put(code, f"data/{number}.bin").open("wb") as file:
            file.truncate(10_000_000 + number)
    with pytest.raises(UserMistake) as caught:
        pack(code)
    text = str(caught.value)
    assert "70.0 MB, more than the 50 MB" in text
    assert [number for number in range(7) if f"data/{number}.bin" in text] == [2, 3, 4, 5, 6]
    assert ".gaplessignore" in text
    put(code, ".gaplessignore", "data/\n")
    assert packed(code) == [".gaplessignore"]


def test_a_folder_too_large_is_compared_with_a_bundle_without_reading_what_differs_in_size(
    code: Path,
) -> None:
    for name in ("grown.csv", "run.sh", "same.py", "walk.py"):
        put(code, name)
    before = pack(code)
    for name in ("added.bin", "grown.csv"):
        with (code / name).open("wb") as file:
            file.truncate(2**40)
    put(code, "walk.py", "y")
    (code / "run.sh").chmod(0o755)
    with pytest.raises(CodeTooLarge) as caught:
        pack(code)
    changes = changes_between(before.files, caught.value.files)
    assert str(changes) == "grown.csv changed, run.sh changed, walk.py changed, added.bin added"


def test_what_is_no_code_is_told_apart_in_changes(code: Path) -> None:
    for name in (
        ".gaplessignore",
        "gone.py",
        "plot.csv",
        "sub/.gitignore",
        "table.csv",
        "table.py",
    ):
        put(code, name, "table 1")
    put(code, "notes.txt")
    before = pack(code)
    for name in ("sub/.gitignore", "table.csv", "table.py"):
        put(code, name, "table 2")
    put(code, "plot.csv", "other")
    put(code, ".gaplessignore", "notes.txt\n")
    (code / "gone.py").unlink()
    changes = changes_between(
        before.files, pack(code).files, is_table=lambda head: head.startswith(b"table")
    ).beside(code)
    assert changes.changed == ("plot.csv", "table.py")
    assert changes.removed == ("gone.py",)
    assert changes.rewritten == (".gaplessignore", "sub/.gitignore", "table.csv")
    assert changes.left_out == ("notes.txt",)
    assert not changes.code_as_it_was


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_code_folder_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, "file")
    with pytest.raises(UserMistake, match=f"{name} is not a folder"):
        pack(tmp_path / name)


def test_a_folder_without_files_gives_a_bundle_without_files(code: Path) -> None:
    assert packed(code) == []
    (code / "empty").mkdir()
    assert packed(code) == []


def test_packing_an_unpacked_bundle_gives_it_again(code: Path, tmp_path: Path) -> None:
    put(code, "walk.py", "x = 1\n")
    put(code, "bin/run", "#!/bin/sh\n").chmod(0o755)
    bundle = pack(code)
    again = pack(unpack(bundle.data, bundle.sha256, tmp_path / "node"))
    assert again.data == bundle.data


def test_entries_have_one_time_and_two_modes(code: Path) -> None:
    put(code, "a.py")
    put(code, "b.sh").chmod(0o710)
    put(tmp := code.parent, "bundle.zip").write_bytes(pack(code).data)
    with zipfile.ZipFile(tmp / "bundle.zip") as archive:
        entries = archive.infolist()
    assert [entry.date_time for entry in entries] == [(1980, 1, 1, 0, 0, 0)] * 2
    assert [oct(entry.external_attr >> 16) for entry in entries] == ["0o100644", "0o100755"]


def test_what_appears_beside_code_while_it_runs_is_not_packed(code: Path) -> None:
    put(code, "walk.py")
    for name in ("run.log", "deep/run.log", "nohup.out", ".DS_Store", "deep/.DS_Store"):
        put(code, name)
    put(code, ".ipynb_checkpoints/walk-checkpoint.py")
    put(code, "deep/__pycache__/walk.cpython-311.pyc")
    assert packed(code) == ["walk.py"]


def test_an_ignore_file_takes_a_log_back(code: Path) -> None:
    put(code, ".gaplessignore", "!measured.log\n")
    put(code, "measured.log")
    put(code, "run.log")
    assert packed(code) == [".gaplessignore", "measured.log"]


def test_code_in_a_folder_called_like_a_log_is_packed(tmp_path: Path) -> None:
    put(tmp_path, "2026.log/walk.py")
    put(tmp_path, ".git/HEAD")
    assert packed(tmp_path / "2026.log") == ["walk.py"]


def test_a_file_that_is_being_written_is_left_out_under_any_name(code: Path) -> None:
    out = put(code, "out.txt")
    (code / "link.txt").symlink_to("out.txt")
    os.link(out, code / "hard.txt")
    put(code, "walk.py")
    status = out.stat()
    bundle = pack(code, being_written=[(status.st_dev, status.st_ino)])
    assert list(bundle.files) == ["walk.py"]


def test_changes_of_a_bundle_are_named(code: Path) -> None:
    for name in ("same.py", "walk.py", "run.sh", "old.py"):
        put(code, name)
    before = pack(code)
    put(code, "walk.py", "changed")
    put(code, "new.py")
    (code / "run.sh").chmod(0o755)
    (code / "old.py").unlink()
    changes = changes_between(before.files, pack(code).files)
    assert str(changes) == "run.sh changed, walk.py changed, old.py removed, new.py added"
    assert changes
    assert not changes.additions_only
    assert not changes_between(before.files, before.files)


def test_files_that_were_only_added_are_counted_and_the_first_ones_named(code: Path) -> None:
    put(code, "walk.py")
    before = pack(code)
    for number in range(1200):
        put(code, f"{number:04}.csv", "")
    changes = changes_since(
        before.sha256, pack(code).files, {before.sha256: before.data}.__getitem__
    )
    assert changes is not None
    assert changes.additions_only
    assert str(changes).startswith("0000.csv added, 0001.csv added, ")
    assert str(changes).endswith(", … (1,200 files)")


def test_changes_since_a_lost_bundle_are_unknown_and_since_one_out_of_reach_an_error(
    code: Path,
) -> None:
    def lost(sha256: str) -> bytes:
        raise StorageError(f"{sha256} is damaged")

    def away(sha256: str) -> bytes:
        raise StorageUnavailable("no route")

    found = pack(code).files
    assert changes_since("0" * 64, found, lost) is None
    with pytest.raises(StorageUnavailable):
        changes_since("0" * 64, found, away)
