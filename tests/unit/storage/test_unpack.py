"""Unpacked bundles: whole or not at all, read-only, never outside, mended when damaged."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import pytest

from gapless.storage.bundle import Bundle, pack
from gapless.storage.errors import StorageError, StorageUnavailable
from gapless.storage.unpack import unpack


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    code = tmp_path / "code"
    (code / "package").mkdir(parents=True)
    (code / "walk.py").write_text("def rms(n):\n    return n\n")
    (code / "package" / "__init__.py").write_text("X = 1\n")
    (code / "run.sh").write_text("#!/bin/sh\necho hello\n")
    (code / "run.sh").chmod(0o755)
    return pack(code)


def made(*entries: tuple[str, bytes], mode: int = 0o100644) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, data in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, data)
    data = buffer.getvalue()
    return data, hashlib.sha256(data).hexdigest()


def test_a_bundle_is_unpacked_read_only_under_its_hash(bundle: Bundle, tmp_path: Path) -> None:
    folder = unpack(bundle.data, bundle.sha256, tmp_path / "node" / "code")
    assert folder == tmp_path / "node" / "code" / bundle.sha256
    assert (folder / "walk.py").read_text() == "def rms(n):\n    return n\n"
    assert (folder / "package" / "__init__.py").read_text() == "X = 1\n"
    modes = {
        path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }
    assert modes.pop("run.sh") == 0o555
    assert modes.pop(".") == 0o555
    assert modes.pop("package") == 0o555
    assert set(modes.values()) == {0o444}
    assert [path.name for path in folder.parent.iterdir()] == [bundle.sha256]


def test_a_whole_copy_is_used_again(bundle: Bundle, tmp_path: Path) -> None:
    folder = unpack(bundle.data, bundle.sha256, tmp_path)
    before = (folder / "walk.py").stat().st_ino
    assert unpack(b"not even looked at", bundle.sha256, tmp_path) == folder
    assert (folder / "walk.py").stat().st_ino == before


@pytest.mark.parametrize("damage", ["change", "touch", "remove", "marker", "no marker", "a file"])
def test_a_damaged_copy_is_unpacked_again(bundle: Bundle, tmp_path: Path, damage: str) -> None:
    into = tmp_path / "node"
    folder = unpack(bundle.data, bundle.sha256, into)
    for path in (folder, folder / "walk.py", folder / ".gapless-bundle.json"):
        path.chmod(0o755)
    if damage == "change":
        (folder / "walk.py").write_text("def rms(n):\n    return 7\n")
    elif damage == "touch":
        os.utime(folder / "walk.py", (1, 1))
    elif damage == "remove":
        (folder / "walk.py").unlink()
    elif damage == "marker":
        (folder / ".gapless-bundle.json").write_text("{")
    elif damage == "no marker":
        (folder / ".gapless-bundle.json").unlink()
    else:
        folder.rename(tmp_path / "aside")
        folder.write_text("a file in its place")
    assert unpack(bundle.data, bundle.sha256, into) == folder
    assert (folder / "walk.py").read_text() == "def rms(n):\n    return n\n"
    assert [path.name for path in into.iterdir()] == [bundle.sha256]


def test_files_that_a_program_left_beside_do_not_make_a_copy_damaged(
    bundle: Bundle, tmp_path: Path
) -> None:
    folder = unpack(bundle.data, bundle.sha256, tmp_path)
    folder.chmod(0o755)
    (folder / "output.log").write_text("x")
    unpack(b"", bundle.sha256, tmp_path)
    assert (folder / "output.log").exists()


def test_a_bundle_damaged_on_the_way_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="damaged on the way"):
        unpack(bundle.data[:-1], bundle.sha256, tmp_path / "node")
    assert not (tmp_path / "node").exists()


def test_many_threads_unpack_the_same_bundle_at_once(bundle: Bundle, tmp_path: Path) -> None:
    start = threading.Barrier(8)
    folders: list[Path] = []

    def work() -> None:
        start.wait(timeout=30)
        folders.append(unpack(bundle.data, bundle.sha256, tmp_path / "node"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert folders == [tmp_path / "node" / bundle.sha256] * 8
    assert [path.name for path in (tmp_path / "node").iterdir()] == [bundle.sha256]


def test_processes_unpack_over_a_damaged_copy_at_once(bundle: Bundle, tmp_path: Path) -> None:
    node = tmp_path / "node"
    (node / bundle.sha256 / "half").mkdir(parents=True)
    (tmp_path / "bundle.zip").write_bytes(bundle.data)
    script = (
        "import sys; from pathlib import Path; from gapless.storage.unpack import unpack\n"
        "folder = unpack(Path(sys.argv[1]).read_bytes(), sys.argv[2], Path(sys.argv[3]))\n"
        "print((folder / 'walk.py').read_text())\n"
    )
    arguments = [str(tmp_path / "bundle.zip"), bundle.sha256, str(node)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=120)[0] for process in processes]
    assert ["def rms(n):" in answer for answer in answers] == [True] * 3
    assert [path.name for path in node.iterdir()] == [bundle.sha256]


@pytest.mark.parametrize(
    "name",
    [
        "../evil.py",
        "a/../../evil.py",
        "/etc/evil.py",
        "C:/evil.py",
        "C:evil.py",
        "a\\..\\evil.py",
        "a//b.py",
        "./a.py",
        "a/",
        "a\nb",
        ".gapless-bundle.json",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    data, sha256 = made(("good.py", b"x"), (name, b"evil"))
    with pytest.raises(StorageError, match="is refused"):
        unpack(data, sha256, tmp_path / "node")
    assert list((tmp_path / "node").iterdir()) == []
    assert not (tmp_path / "evil.py").exists()


def test_links_in_a_bundle_are_refused(tmp_path: Path) -> None:
    data, sha256 = made(("link", b"/etc/passwd"), mode=0o120777)
    with pytest.raises(StorageError, match="is a link"):
        unpack(data, sha256, tmp_path / "node")


@pytest.mark.parametrize("names", [("a.py", "a.py"), ("a", "a/b.py"), ("a/b/c", "a")])
def test_names_that_collide_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    data, sha256 = made(*[(name, b"x") for name in names])
    with pytest.raises(StorageError, match="is refused"):
        unpack(data, sha256, tmp_path / "node")
    assert list((tmp_path / "node").iterdir()) == []


def test_a_zip_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    million = bytes(1 << 20)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", million)
    data = bytearray(buffer.getvalue())
    # The directory at the end claims 3 GiB for the one entry.
    place = data.rindex(b"PK\x01\x02") + 24
    data[place : place + 4] = (3 * 2**30).to_bytes(4, "little")
    sha256 = hashlib.sha256(data).hexdigest()
    with pytest.raises(StorageError, match="more than 2 GiB"):
        unpack(bytes(data), sha256, tmp_path / "node")


@pytest.mark.parametrize("data", [b"", b"no zip at all", b"PK\x05\x06" + bytes(10)])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(StorageError, match="no zip"):
        unpack(data, hashlib.sha256(data).hexdigest(), tmp_path / "node")
    assert list((tmp_path / "node").iterdir()) == []


def test_an_entry_whose_content_is_damaged_is_refused(tmp_path: Path) -> None:
    data, _ = made(("a.py", b"x = 1\n" * 100))
    damaged = bytearray(data)
    damaged[35:45] = bytes(10)
    with pytest.raises(StorageError, match="no zip"):
        unpack(bytes(damaged), hashlib.sha256(damaged).hexdigest(), tmp_path / "node")
    assert list((tmp_path / "node").iterdir()) == []


def test_a_place_that_cannot_be_written_may_work_later(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "node").write_text("a file")
    with pytest.raises(StorageUnavailable, match="cannot be unpacked"):
        unpack(bundle.data, bundle.sha256, tmp_path / "node")
