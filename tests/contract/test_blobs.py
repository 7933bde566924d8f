"""What every backend of Blobs does. A new backend is one more entry of BACKENDS."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gapless.aws import AwsClients
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing, StorageError
from gapless.storage.folder import FolderBlobs
from gapless.storage.memory import MemoryBlobs
from gapless.storage.s3 import S3Blobs

Backend = Callable[[pytest.FixtureRequest], Iterator[Blobs]]


def folder_backend(request: pytest.FixtureRequest) -> Iterator[Blobs]:
    folder: Path = request.getfixturevalue("tmp_path")
    yield FolderBlobs(folder / "home")


def memory_backend(request: pytest.FixtureRequest) -> Iterator[Blobs]:
    yield MemoryBlobs(clock=time.time)


def s3_backend(fixture: str, prefix: str) -> Backend:
    def backend(request: pytest.FixtureRequest) -> Iterator[Blobs]:
        request.getfixturevalue(fixture)
        clients = AwsClients("s3")
        bucket = f"blobs-{uuid.uuid4().hex}"
        clients.client().create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        if prefix:
            # What lies beside the prefix is nobody's business.
            clients.client().put_object(Bucket=bucket, Key="a", Body=b"not of this home")
            clients.client().put_object(Bucket=bucket, Key=f"{prefix}-2/b", Body=b"neither")
        yield S3Blobs(bucket, prefix, clients=clients)
        clients.close()

    return backend


BACKENDS: dict[str, Backend] = {
    "folder": folder_backend,
    "memory": memory_backend,
    "s3 on ministack": s3_backend("on_ministack", ""),
    "s3 on moto": s3_backend("on_moto", ""),
    "s3 below a prefix": s3_backend("on_ministack", "some/homes"),
}


@pytest.fixture(params=sorted(BACKENDS))
def blobs(request: pytest.FixtureRequest) -> Iterator[Blobs]:
    yield from BACKENDS[request.param](request)


def keys(blobs: Blobs, prefix: str = "") -> list[str]:
    return [blob.key for blob in blobs.list(prefix)]


def test_what_was_put_is_read_back(blobs: Blobs) -> None:
    blobs.put("sweeps/a/sweep.json", b"\x00\xffdata")
    assert blobs.get("sweeps/a/sweep.json") == b"\x00\xffdata"


def test_nothing_at_all_can_be_stored(blobs: Blobs) -> None:
    blobs.put("empty", b"")
    assert blobs.get("empty") == b""
    assert [(blob.key, blob.size_bytes) for blob in blobs.list("")] == [("empty", 0)]


def test_several_megabytes_can_be_stored(blobs: Blobs) -> None:
    data = bytes(range(256)) * 20_000
    blobs.put("large", data)
    assert blobs.get("large") == data


def test_a_second_put_replaces_the_first(blobs: Blobs) -> None:
    blobs.put("a", b"first, and longer")
    blobs.put("a", b"second")
    assert blobs.get("a") == b"second"
    assert keys(blobs) == ["a"]


def test_put_if_absent_stores_once_and_says_who_did(blobs: Blobs) -> None:
    assert blobs.put_if_absent("a/b", b"first") is True
    assert blobs.put_if_absent("a/b", b"second") is False
    assert blobs.get("a/b") == b"first"


def test_put_if_absent_stores_again_what_was_deleted(blobs: Blobs) -> None:
    blobs.put_if_absent("a", b"first")
    blobs.delete("a")
    assert blobs.put_if_absent("a", b"second") is True
    assert blobs.get("a") == b"second"


def test_of_many_at_once_exactly_one_puts_if_absent(blobs: Blobs) -> None:
    start = threading.Barrier(8)
    answers: list[tuple[bool, bytes]] = []

    def store(number: int) -> None:
        data = b"%d" % number * 1000
        start.wait(timeout=30)
        answers.append((blobs.put_if_absent("deep/down/one", data), data))

    threads = [threading.Thread(target=store, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    stored = [data for did, data in answers if did]
    assert len(answers) == 8
    assert stored == [blobs.get("deep/down/one")]


def test_readers_see_the_old_or_the_new_value_whole(blobs: Blobs) -> None:
    old, new = b"o" * 300_000, b"n" * 200_000
    blobs.put("a", old)
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(blobs.get("a"))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        blobs.put("a", new)
        blobs.put("a", old)
    done.set()
    reader.join(timeout=30)
    assert seen <= {old, new}


@pytest.mark.parametrize("key", ["missing", "sweeps", "sweeps/a", "sweeps/a/sweep.json/deeper"])
def test_reading_what_is_not_there_says_so(blobs: Blobs, key: str) -> None:
    blobs.put("sweeps/a/sweep.json", b"{}")
    with pytest.raises(BlobMissing, match=key):
        blobs.get(key)
    with pytest.raises(BlobMissing, match=key):
        blobs.get_range(key, 0, 1)


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 4, b"0123"),
        (3, 5, b"34"),
        (8, 100, b"89"),
        (10, 12, b""),
        (50, 60, b""),
        (4, 4, b""),
        (5, 2, b""),
    ],
)
def test_a_range_is_read(blobs: Blobs, start: int, stop: int, expected: bytes) -> None:
    blobs.put("a", b"0123456789")
    assert blobs.get_range("a", start, stop) == expected


def test_a_range_of_nothing_is_nothing(blobs: Blobs) -> None:
    blobs.put("empty", b"")
    assert blobs.get_range("empty", 0, 0) == b""
    assert blobs.get_range("empty", 0, 5) == b""


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (3, 1), (100, 200)])
def test_no_range_of_what_is_not_there_can_be_read(blobs: Blobs, start: int, stop: int) -> None:
    with pytest.raises(BlobMissing, match="missing"):
        blobs.get_range("missing", start, stop)


def test_a_listing_is_sorted_by_the_whole_key(blobs: Blobs) -> None:
    wanted = ["a", "a-b", "a.b/c", "b/a/z", "b/a0", "b/aa", "b0/x", "z/10", "z/9", "é"]
    for key in reversed(wanted):
        blobs.put(key, b"x")
    assert keys(blobs) == wanted == sorted(wanted)


def test_a_listing_holds_what_begins_with_the_prefix_and_nothing_else(blobs: Blobs) -> None:
    for key in ("s/a/1", "s/a/2", "s/ab/1", "s/b/1", "t/a/1"):
        blobs.put(key, b"x")
    assert keys(blobs, "s/a/") == ["s/a/1", "s/a/2"]
    assert keys(blobs, "s/a") == ["s/a/1", "s/a/2", "s/ab/1"]
    assert keys(blobs, "s/a/1") == ["s/a/1"]
    assert keys(blobs, "s/c/") == []
    assert keys(blobs, "s/a/1/") == []
    assert keys(blobs, "nothing/here/") == []


def test_a_listing_tells_size_and_time(blobs: Blobs) -> None:
    before = time.time()
    blobs.put("a", b"12345")
    (blob,) = blobs.list("a")
    assert blob.size_bytes == 5
    assert before - 2 <= blob.written_at_s <= time.time() + 2


def test_a_listing_goes_on_while_blobs_come_and_go(blobs: Blobs) -> None:
    for number in range(20):
        blobs.put(f"a/{number:02d}", b"x")
        blobs.put(f"b{number:02d}/x", b"x")
    listing = blobs.list("")
    assert next(listing).key == "a/00"
    for number in range(20):
        blobs.delete(f"a/{number:02d}")
        blobs.delete(f"b{number:02d}/x")
    blobs.put("c", b"x")
    rest = [blob.key for blob in listing]
    assert rest == sorted(rest)


def test_folders_are_named_without_what_lies_in_them(blobs: Blobs) -> None:
    for key in ("s/b-1/x", "s/a/deep/x", "s/a/y", "s/file", "t/c/x"):
        blobs.put(key, b"x")
    assert list(blobs.folders("s/")) == ["a", "b-1"]
    assert list(blobs.folders("s/a/")) == ["deep"]
    assert list(blobs.folders("nothing/")) == []
    assert list(blobs.folders("")) == ["s", "t"]


def test_a_deleted_blob_is_gone_and_deleting_again_is_no_error(blobs: Blobs) -> None:
    blobs.put("a/b", b"x")
    blobs.delete("a/b")
    blobs.delete("a/b")
    blobs.delete("never/was")
    blobs.delete("a/b/c")
    assert keys(blobs) == []
    with pytest.raises(BlobMissing):
        blobs.get("a/b")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "a/../b",
        "a/..",
        "./a",
        "a//b",
        "a/",
        "a\x00b",
        "a\nb",
        "a\\b",
        "a/.tmp-1",
        ".tmp-x/a",
        "x" * 300,
        "/".join(["x" * 200] * 6),
    ],
)
def test_a_key_that_could_lead_elsewhere_is_refused(blobs: Blobs, key: str) -> None:
    for verb in (
        lambda: blobs.put(key, b"x"),
        lambda: blobs.put_if_absent(key, b"x"),
        lambda: blobs.get(key),
        lambda: blobs.get_range(key, 0, 1),
        lambda: blobs.delete(key),
    ):
        with pytest.raises(StorageError, match="cannot be a key"):
            verb()


@pytest.mark.parametrize("prefix", ["/", "../", "a/../", "/a", "a//"])
def test_a_prefix_that_could_lead_elsewhere_is_refused(blobs: Blobs, prefix: str) -> None:
    with pytest.raises(StorageError, match="cannot be a"):
        list(blobs.list(prefix))
    with pytest.raises(StorageError, match="cannot be a"):
        list(blobs.folders(prefix))
