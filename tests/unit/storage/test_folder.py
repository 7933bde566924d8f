"""The folder backend: in which order it makes things durable, and what each failure leaves."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gapless.storage.disk import Disk
from gapless.storage.errors import StorageError, StorageUnavailable
from gapless.storage.folder import LEFTOVER_AGE_S, FolderBlobs


class WatchedDisk(Disk):
    """The real disk, which notes each step and fails at the one it is told to."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str]] = []
        self.fails: dict[str, int] = {}
        self.before: Callable[[str], None] = lambda step: None

    def _step(self, name: str, path: Path) -> None:
        self.before(name)
        self.steps.append((name, path.name))
        if name in self.fails:
            raise OSError(self.fails[name], os.strerror(self.fails[name]))

    def make_folder(self, path: Path) -> None:
        self._step("make folder", path)
        super().make_folder(path)

    def write(self, descriptor: int, data: bytes) -> None:
        if "write half" in self.fails:
            super().write(descriptor, data[: len(data) // 2])
            self._step("write half", Path("file"))
        self._step("write", Path("file"))
        super().write(descriptor, data)

    def flush(self, descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self._step("flush file", Path("file"))
        super().flush(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        self._step("rename", new)
        super().rename(old, new)

    def link(self, old: Path, new: Path) -> None:
        self._step("link", new)
        super().link(old, new)

    def flush_folder(self, path: Path) -> tuple[int, int]:
        self._step("flush folder", path)
        return super().flush_folder(path)


@pytest.fixture
def disk() -> WatchedDisk:
    return WatchedDisk()


@pytest.fixture
def blobs(tmp_path: Path, disk: WatchedDisk) -> FolderBlobs:
    return FolderBlobs(tmp_path / "home", disk=disk)


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_a_put_flushes_the_file_before_its_name_and_the_name_before_it_returns(
    blobs: FolderBlobs, disk: WatchedDisk
) -> None:
    blobs.put("s/a", b"first")
    disk.steps.clear()
    blobs.put("s/b", b"second")
    assert disk.steps == [
        ("write", "file"),
        ("flush file", "file"),
        ("rename", "b"),
        ("flush folder", "s"),
    ]


def test_a_put_if_absent_flushes_the_file_before_its_name_and_the_name_before_it_returns(
    blobs: FolderBlobs, disk: WatchedDisk
) -> None:
    blobs.put("s/a", b"first")
    disk.steps.clear()
    assert blobs.put_if_absent("s/b", b"second")
    assert disk.steps == [
        ("write", "file"),
        ("flush file", "file"),
        ("link", "b"),
        ("flush folder", "s"),
    ]


def test_what_another_writer_named_is_durable_before_it_is_said_to_exist(
    tmp_path: Path, disk: WatchedDisk
) -> None:
    FolderBlobs(tmp_path / "home").put("s/t/a", b"another writer's")
    ours = FolderBlobs(tmp_path / "home", disk=disk)
    assert not ours.put_if_absent("s/t/a", b"ours")
    assert disk.steps[:4] == [
        ("flush folder", "t"),
        ("flush folder", "s"),
        ("flush folder", "home"),
        ("flush folder", tmp_path.name),
    ]
    # And on to the root of the file system: the folders above the home may be new too.
    assert disk.steps[4] == ("flush folder", tmp_path.parent.name)


def test_new_folders_are_durable_from_the_top_before_anything_lies_in_them(
    blobs: FolderBlobs, disk: WatchedDisk, tmp_path: Path
) -> None:
    blobs.put("s/t/a", b"x")
    assert disk.steps[:6] == [
        ("make folder", "home"),
        ("flush folder", tmp_path.name),
        ("make folder", "s"),
        ("flush folder", "home"),
        ("make folder", "t"),
        ("flush folder", "s"),
    ]
    assert disk.steps.index(("flush folder", "s")) < disk.steps.index(("rename", "a"))
    assert ("flush folder", "t") in disk.steps[disk.steps.index(("rename", "a")) :]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize(
    "step", ["write", "write half", "flush file", "rename", "link", "flush folder"]
)
def test_a_put_that_fails_leaves_the_old_value_or_the_new_one_and_no_litter(
    blobs: FolderBlobs, disk: WatchedDisk, step: str, code: int
) -> None:
    blobs.put("s/old", b"old value")
    disk.fails[step] = code
    verb = blobs.put_if_absent if step == "link" else blobs.put
    key = "s/new" if step == "link" else "s/old"
    with pytest.raises(StorageUnavailable, match=re.escape(os.strerror(code))):
        verb(key, b"the new value")
    disk.fails.clear()
    expected = b"the new value" if step == "flush folder" else b"old value"
    assert blobs.get("s/old") == expected
    assert files(blobs.folder) == ["s/old"]
    verb(key, b"the new value")
    assert blobs.get(key) == b"the new value"


def test_after_a_failed_flush_another_file_is_written_instead_of_flushing_again(
    blobs: FolderBlobs, disk: WatchedDisk
) -> None:
    blobs.put("s/a", b"old")
    seen: set[str] = set()

    def note(step: str) -> None:
        if step == "flush file":
            seen.update(path for path in files(blobs.folder) if ".tmp-" in path)

    disk.before = note
    disk.fails["flush file"] = errno.EIO
    with pytest.raises(StorageUnavailable):
        blobs.put("s/a", b"new")
    disk.fails.clear()
    blobs.put("s/a", b"new")
    assert len(seen) == 2
    assert blobs.get("s/a") == b"new"


def test_a_file_system_without_hard_links_is_named_as_the_reason(
    blobs: FolderBlobs, disk: WatchedDisk
) -> None:
    disk.fails["link"] = errno.EPERM
    with pytest.raises(StorageError, match=r"no hard links.*another file system") as caught:
        blobs.put_if_absent("a", b"x")
    assert not isinstance(caught.value, StorageUnavailable)
    assert files(blobs.folder) == []


def test_a_folder_that_is_a_file_is_no_matter_of_waiting(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StorageError, match="Not a directory") as caught:
        FolderBlobs(tmp_path / "home").put("a", b"x")
    assert not isinstance(caught.value, StorageUnavailable)


def test_a_home_that_was_deleted_is_made_again_and_made_durable_again(
    blobs: FolderBlobs, disk: WatchedDisk, tmp_path: Path
) -> None:
    blobs.put("s/a", b"x")
    shutil.rmtree(tmp_path / "home")
    assert list(blobs.list("")) == []
    disk.steps.clear()
    blobs.put("s/a", b"y")
    assert ("make folder", "home") in disk.steps
    assert ("flush folder", tmp_path.name) in disk.steps
    assert blobs.get("s/a") == b"y"


def test_a_folder_replaced_by_another_process_is_made_durable_again(
    blobs: FolderBlobs, disk: WatchedDisk, tmp_path: Path
) -> None:
    blobs.put("s/a", b"x")
    (tmp_path / "home" / "s").rename(tmp_path / "kept")
    (tmp_path / "home" / "s").mkdir()
    disk.steps.clear()
    blobs.put("s/a", b"y")
    assert ("flush folder", "home") in disk.steps


def test_a_folder_above_the_home_that_may_not_be_opened_is_its_owners_business(
    tmp_path: Path,
) -> None:
    class Closed(Disk):
        def flush_folder(self, path: Path) -> tuple[int, int]:
            if path == tmp_path:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return super().flush_folder(path)

    blobs = FolderBlobs(tmp_path / "home", disk=Closed())
    blobs.put("s/a", b"x")
    assert blobs.get("s/a") == b"x"


def test_temporary_files_are_never_listed(blobs: FolderBlobs, tmp_path: Path) -> None:
    blobs.put("s/a", b"x")
    (tmp_path / "home" / "s" / ".tmp-123").write_bytes(b"half")
    (tmp_path / "home" / ".tmp-folder").mkdir()
    (tmp_path / "home" / ".tmp-folder" / "x").write_bytes(b"half")
    assert [blob.key for blob in blobs.list("")] == ["s/a"]
    assert list(blobs.folders("")) == ["s"]


def test_temporary_files_older_than_a_day_are_swept_and_nothing_else(
    blobs: FolderBlobs, tmp_path: Path
) -> None:
    now = 1_700_000_000.0
    folder = tmp_path / "home" / "s"
    blobs.put("s/a", b"x")
    for name, age_s in ((".tmp-old", LEFTOVER_AGE_S + 1), (".tmp-new", 60), ("a", 10**7)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (now - age_s, now - age_s))
    assert blobs.sweep_leftovers(now) == 1
    assert files(folder) == [".tmp-new", "a"]
    assert blobs.sweep_leftovers(now) == 0


def test_sweeping_a_home_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert FolderBlobs(tmp_path / "nowhere").sweep_leftovers(0.0) == 0


def test_a_listing_survives_folders_and_files_that_vanish(
    blobs: FolderBlobs, tmp_path: Path
) -> None:
    for key in ("s/a/1", "s/b/1", "s/c/1"):
        blobs.put(key, b"x")
    listing = blobs.list("s/")
    assert next(listing).key == "s/a/1"
    shutil.rmtree(tmp_path / "home" / "s" / "b")
    assert [blob.key for blob in listing] == ["s/c/1"]


@pytest.mark.parametrize("ask", ["list", "folders"])
def test_a_home_that_goes_away_during_a_listing_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    home = tmp_path / "home"
    blobs = FolderBlobs(home)
    blobs.put("home.json", b"{}")
    blobs.put("sweeps/a/sweep.json", b"{}")
    scandir = os.scandir

    def unmounted(folder: Path) -> object:
        home.rename(tmp_path / "elsewhere")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", unmounted)
    with pytest.raises(StorageUnavailable, match="is away"):
        list(getattr(blobs, ask)("sweeps/"))


def test_the_path_of_a_key_lies_in_the_folder(blobs: FolderBlobs, tmp_path: Path) -> None:
    assert blobs.path("s/a") == tmp_path / "home" / "s" / "a"
    with pytest.raises(StorageError):
        blobs.path("../a")


SCRIPT = """
import sys
from gapless.storage.folder import FolderBlobs
blobs = FolderBlobs(sys.argv[1])
blobs.put("s/warm", b"x")
blobs.put("s/put", b"x")
blobs.put_if_absent("s/absent", b"x")
"""


def traced(tmp_path: Path) -> list[str]:
    """Run SCRIPT under strace and give the calls on files of the home, in order."""
    log = tmp_path / "trace"
    calls = "trace=openat,fsync,rename,renameat,renameat2,link,linkat,unlink,unlinkat"
    answer = subprocess.run(
        ["strace", "-f", "-y", "-e", calls, "-o", str(log), sys.executable, "-c", SCRIPT,
         str(tmp_path / "home")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if "ptrace" in answer.stderr.lower() and answer.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(f"strace may not trace here: {answer.stderr}")
        pytest.skip("strace may not trace here")
    assert answer.returncode == 0, answer.stderr
    return [line for line in log.read_text().splitlines() if str(tmp_path / "home") in line]


def test_the_system_sees_the_calls_in_the_durable_order(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        if os.environ.get("CI"):
            pytest.fail("strace is missing: install it")
        pytest.skip("strace is missing")
    calls = traced(tmp_path)
    folder = re.escape(str(tmp_path / "home" / "s"))
    for name, verb in (("put", "rename"), ("absent", "link")):
        (named,) = [
            place
            for place, line in enumerate(calls)
            if re.search(rf'{verb}\w*\(.*"{folder}/{name}"', line)
        ]
        flushed = [line for line in calls[:named] if re.search(r"fsync\(\d+<", line)]
        assert re.search(rf"fsync\(\d+<{folder}/\.tmp-\w+>\) += 0", flushed[-1])
        after = [line for line in calls[named + 1 :] if "unlink" not in line]
        flush = next(line for line in after if "fsync(" in line)
        assert re.search(rf"fsync\(\d+<{folder}>\) += 0", flush)
