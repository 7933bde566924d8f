"""Blobs that wait: every verb is done when storage can, and the person hears about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import stamina

from gapless.storage.blobs import Blob, Blobs
from gapless.storage.errors import (
    ArrivedDamaged,
    BlobMissing,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)
from gapless.storage.memory import MemoryBlobs
from gapless.storage.persistent_blobs import PersistentBlobs
from tests.services.proxy_faults import SLOW_DOWN, ReplyDropped
from tests.unit.storage.s3_bucket import Bucket

AWAY = StorageUnavailable("the disk is away")


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1000):
        yield


class Unsteady(MemoryBlobs):
    """Raises what it is given before a verb is done, or after it was."""

    def __init__(self, *before: Exception, after: tuple[Exception, ...] = ()) -> None:
        super().__init__()
        self.before, self.after = list(before), list(after)
        self.between: list[Callable[[], object]] = []

    def _fail(self) -> None:
        if self.before:
            raise self.before.pop(0)

    def put(self, key: str, data: bytes) -> None:
        self._fail()
        super().put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self._fail()
        stored = super().put_if_absent(key, data)
        if self.after:
            raise self.after.pop(0)
        return stored

    def get(self, key: str) -> bytes:
        if self.between:
            self.between.pop(0)()
        self._fail()
        return super().get(key)

    def list(self, prefix: str) -> Iterator[Blob]:
        for blob in super().list(prefix):
            yield blob
            self._fail()

    def folders(self, prefix: str) -> Iterator[str]:
        self._fail()
        yield from super().folders(prefix)

    def delete(self, key: str) -> None:
        self._fail()
        super().delete(key)


def persistent(blobs: Blobs) -> tuple[PersistentBlobs, list[str]]:
    told: list[str] = []
    return PersistentBlobs(blobs, tell=told.append), told


VERBS: dict[str, tuple[Callable[[Blobs], object], object]] = {
    "put": (lambda blobs: blobs.put("a/b", b"new"), None),
    "put_if_absent": (lambda blobs: blobs.put_if_absent("c", b"new"), True),
    "get": (lambda blobs: blobs.get("a/b"), b"12345"),
    "get_range": (lambda blobs: blobs.get_range("a/b", 1, 3), b"23"),
    "list": (lambda blobs: [blob.key for blob in blobs.list("a")], ["a/b", "a/c"]),
    "folders": (lambda blobs: list(blobs.folders("")), ["a"]),
    "delete": (lambda blobs: blobs.delete("a/b"), None),
}


def filled(*before: Exception) -> Unsteady:
    blobs = Unsteady()
    blobs.put("a/b", b"12345")
    blobs.put("a/c", b"")
    blobs.before = list(before)
    return blobs


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_repeated_until_it_is_done(verb: str) -> None:
    act, expected = VERBS[verb]
    blobs, told = persistent(filled(*[AWAY] * 200))
    assert act(blobs) == expected
    assert told == [
        "the disk is away; trying again until it works (ctrl-C ends this)",
        "storage answers again",
    ]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("error", [StorageRefused("not allowed"), StorageError("never works")])
def test_what_waiting_does_not_mend_is_told_at_once(verb: str, error: StorageError) -> None:
    blobs, told = persistent(filled(error))
    with pytest.raises(type(error), match=str(error)):
        VERBS[verb][0](blobs)
    assert told == []


def test_what_lies_there_damaged_is_not_waited_for_without_end() -> None:
    damaged = ArrivedDamaged("another checksum")
    unsteady = Unsteady(*[damaged] * 3)
    unsteady.between, data = [], b"whole"
    MemoryBlobs.put(unsteady, "a", data)
    assert PersistentBlobs(unsteady, tell=[].append).get("a") == data
    unsteady.before = [damaged] * 10
    with pytest.raises(ArrivedDamaged):
        PersistentBlobs(unsteady, tell=[].append).get("a")


def test_what_works_is_not_spoken_about() -> None:
    blobs, told = persistent(filled())
    assert blobs.get("a/b") == b"12345"
    with pytest.raises(BlobMissing):
        blobs.get("missing")
    assert told == []


def test_an_earlier_attempt_that_was_done_counts_as_this_calls() -> None:
    blobs, _ = persistent(Unsteady(after=(AWAY, AWAY)))
    assert blobs.put_if_absent("a", b"mine") is True
    assert blobs.put_if_absent("a", b"mine") is False


def test_an_earlier_attempt_that_was_not_done_does_not_claim_what_another_stored() -> None:
    inner = Unsteady()
    inner.put("a", b"else")
    inner.before = [AWAY]
    blobs, _ = persistent(inner)
    assert blobs.put_if_absent("a", b"mine") is False
    assert inner.get("a") == b"else"


def test_the_same_bytes_of_another_are_not_claimed_when_no_answer_was_lost() -> None:
    inner = Unsteady()
    inner.put("a", b"mine")
    blobs, _ = persistent(inner)
    assert blobs.put_if_absent("a", b"mine") is False


def test_storage_that_goes_away_while_bytes_are_compared_is_waited_for() -> None:
    inner = Unsteady(after=(AWAY,))
    blobs, _ = persistent(inner)
    inner.between = [lambda: inner.before.append(AWAY)]
    assert blobs.put_if_absent("a", b"mine") is True


def test_what_was_stored_and_removed_meanwhile_is_stored_again() -> None:
    inner = Unsteady(after=(AWAY,))
    blobs, _ = persistent(inner)
    inner.between = [lambda: inner.delete("a")]
    assert blobs.put_if_absent("a", b"mine") is True
    assert inner.get("a") == b"mine"


def test_a_listing_that_broke_off_names_nothing_twice() -> None:
    inner = Unsteady()
    for number in range(5):
        inner.put(f"{number}", b"")
    inner.before = [AWAY]
    blobs, _ = persistent(inner)
    assert [blob.key for blob in blobs.list("")] == ["0", "1", "2", "3", "4"]


def test_a_put_on_s3_that_stays_unanswered_for_long_is_this_calls(bucket: Bucket) -> None:
    # The first is done without an answer, and so are boto3's own repetitions of it.
    lost = bucket.fail(ReplyDropped(), "PutObject", times=4)
    busy = bucket.fail(SLOW_DOWN, "HeadObject", times=1)
    blobs, told = persistent(bucket.blobs())
    assert blobs.put_if_absent("a", b"mine") is True
    assert (lost.hits, busy.hits) == (4, 0)
    assert len(told) == 2
    assert repr(blobs) == repr(bucket.blobs())
