"""Uploads to S3: what put and put_if_absent say is so, whatever becomes of requests and answers."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading

import pytest

from gapless.storage.errors import BlobMissing, StorageRefused, StorageUnavailable
from tests.services.proxy_calls import Reply
from tests.services.proxy_faults import (
    REFUSED,
    SLOW_DOWN,
    Fault,
    Passage,
    ReplyDropped,
    RequestDropped,
    Said,
)
from tests.unit.storage.s3_bucket import PART_BYTES, Bucket, Meanwhile

CONFLICT = Said(409, "ConditionalRequestConflict")
EXISTS = Said(412, "PreconditionFailed")
NO_SUCH_UPLOAD = Said(404, "NoSuchUpload")

pytestmark = pytest.mark.usefixtures("tries")


def test_an_upload_carries_the_hash_that_the_service_compares(bucket: Bucket) -> None:
    bucket.blobs().put("a", b"123")
    found = bucket.direct.head_object(Bucket=bucket.name, Key="homes/one/a", ChecksumMode="ENABLED")
    assert found["ChecksumSHA256"] == "pmWkWSBCL51Bfkhn79xPuKBKHz//H6B+mY6G9/eieuM="
    assert found["Metadata"] == {
        "sha256": "a665a45920422f9d417e4867efdc4fb8a04a1f3fff1fa07e998e86f7f7a27ae3"
    }


@dataclasses.dataclass(frozen=True)
class DamagedUpload:
    """One byte of what is stored is another."""

    def perform(self, passage: Passage) -> Reply:
        body = passage.request.body
        damaged = body[:-1] + bytes([body[-1] ^ 1])
        return passage.forward(dataclasses.replace(passage.request, body=damaged))


def test_bytes_damaged_on_the_way_up_are_not_stored_but_sent_again(bucket: Bucket) -> None:
    damaged = bucket.fail(DamagedUpload(), "PutObject")
    assert bucket.blobs().put_if_absent("a", b"123") is True
    assert damaged.hits == 1
    assert bucket.count("PutObject") == 2
    assert bucket.stored("a") == b"123"


def test_a_damaged_part_is_not_stored(bucket: Bucket, large: bytes) -> None:
    damaged = bucket.fail(DamagedUpload(), "UploadPart")
    bucket.blobs().put("a", large)
    assert damaged.hits == 1
    assert bucket.stored("a") == large
    assert bucket.uploads_under_way() == []


def test_a_put_whose_answer_was_lost_is_this_calls(bucket: Bucket) -> None:
    bucket.fail(ReplyDropped(), "PutObject")
    assert bucket.blobs().put_if_absent("a", b"mine") is True
    assert bucket.count("PutObject") == 2
    assert bucket.count("HeadObject") == 1
    assert bucket.blobs().put_if_absent("a", b"mine") is False


@pytest.mark.parametrize("with_our_note", [True, False])
def test_a_put_that_was_lost_while_another_came_first_is_not_this_calls(
    bucket: Bucket, with_our_note: bool
) -> None:
    put = bucket.blobs().put if with_our_note else bucket.put_directly
    bucket.fail(Meanwhile(lambda: put("a", b"else"), lost=True), "PutObject")
    assert bucket.blobs().put_if_absent("a", b"mine") is False
    assert bucket.stored("a") == b"else"


def test_a_longer_object_of_another_is_not_this_calls(bucket: Bucket) -> None:
    other = Meanwhile(lambda: bucket.put_directly("a", b"mine, but longer"), lost=True)
    bucket.fail(other, "PutObject")
    assert bucket.blobs().put_if_absent("a", b"mine") is False
    assert bucket.count("GetObject") == 0


def test_the_very_same_bytes_count_as_stored_after_a_lost_answer(bucket: Bucket) -> None:
    # Without our note of the hash, so that the bytes themselves are compared.
    other = Meanwhile(lambda: bucket.put_directly("a", b"mine"), lost=True)
    bucket.fail(other, "PutObject")
    assert bucket.blobs().put_if_absent("a", b"mine") is True
    assert bucket.count("GetObject") == 1


def test_the_very_same_bytes_of_another_do_not_count_when_no_answer_was_lost(
    bucket: Bucket,
) -> None:
    bucket.put_directly("a", b"mine")
    assert bucket.blobs().put_if_absent("a", b"mine") is False
    assert bucket.count("HeadObject") == 0


def test_a_put_that_was_done_unseen_before_its_repetition_was_damaged_is_this_calls(
    bucket: Bucket,
) -> None:
    bucket.fail(ReplyDropped(), "PutObject")
    bucket.fail(Said(400, "BadDigest"), "PutObject")
    assert bucket.blobs().put_if_absent("a", b"mine") is True
    assert bucket.count("PutObject") == 3


def test_what_was_stored_by_a_lost_put_and_deleted_is_stored_again(bucket: Bucket) -> None:
    blobs = bucket.blobs()
    bucket.fail(ReplyDropped(), "PutObject")
    bucket.fail(Meanwhile(lambda: bucket.blobs().delete("a")), "HeadObject")
    assert blobs.put_if_absent("a", b"mine") is True
    assert bucket.stored("a") == b"mine"


def test_a_conflict_with_another_request_is_tried_again(bucket: Bucket) -> None:
    bucket.fail(CONFLICT, "PutObject", times=2)
    assert bucket.blobs().put_if_absent("a", b"1") is True
    bucket.fail(CONFLICT, "PutObject", times=2)
    assert bucket.blobs().put_if_absent("a", b"2") is False
    assert bucket.stored("a") == b"1"


def test_a_conflict_that_lasts_is_left_to_the_caller(bucket: Bucket) -> None:
    bucket.fail(CONFLICT, "PutObject", times=None)
    with pytest.raises(StorageUnavailable, match=r"homes/one/a .*ConditionalRequestConflict"):
        bucket.blobs().put_if_absent("a", b"1")


def test_a_busy_service_is_asked_again(bucket: Bucket) -> None:
    bucket.fail(SLOW_DOWN, "PutObject")
    assert bucket.blobs().put_if_absent("a", b"1") is True
    assert bucket.count("PutObject") == 2


def test_a_large_object_goes_in_parts_and_comes_back_whole(bucket: Bucket, large: bytes) -> None:
    blobs = bucket.blobs()
    assert blobs.put_if_absent("a", large) is True
    assert bucket.count("UploadPart") == 3
    assert bucket.stored("a") == large == blobs.get("a")
    assert blobs.get_range("a", PART_BYTES - 3, PART_BYTES + 3) == b"\xfd\xfe\xff\x00\x01\x02"
    blobs.put("a", large[::-1])
    assert blobs.get("a") == large[::-1]
    assert bucket.uploads_under_way() == []


def test_a_large_object_that_exists_is_left_alone_and_not_sent(
    bucket: Bucket, large: bytes
) -> None:
    bucket.put_directly("a", b"first")
    assert bucket.blobs().put_if_absent("a", large) is False
    assert bucket.stored("a") == b"first"
    assert bucket.count("CreateMultipartUpload") == 0


def test_of_two_large_objects_at_once_one_is_stored_whole(bucket: Bucket, large: bytes) -> None:
    other = large[::-1]
    bucket.fail(Meanwhile(lambda: bucket.put_directly("a", other)), "CompleteMultipartUpload")
    assert bucket.blobs().put_if_absent("a", large) is False
    assert bucket.stored("a") == other
    assert bucket.uploads_under_way() == []


@pytest.mark.parametrize("said", [None, EXISTS, NO_SUCH_UPLOAD], ids=["done", "412", "404"])
def test_a_large_put_whose_last_answer_was_lost_is_this_calls(
    bucket: Bucket, large: bytes, said: Fault | None
) -> None:
    # The service may say to the repeated request that it is done, that the key exists, or that it
    # knows no such upload.
    bucket.fail(ReplyDropped(), "CompleteMultipartUpload")
    if said is not None:
        bucket.fail(said, "CompleteMultipartUpload")
    assert bucket.blobs().put_if_absent("a", large) is True
    assert bucket.stored("a") == large
    assert bucket.count("CreateMultipartUpload") == 1


def test_a_large_put_that_replaces_survives_a_lost_last_answer(
    bucket: Bucket, large: bytes
) -> None:
    bucket.put_directly("a", b"old")
    bucket.fail(ReplyDropped(), "CompleteMultipartUpload")
    bucket.fail(NO_SUCH_UPLOAD, "CompleteMultipartUpload")
    bucket.blobs().put("a", large)
    assert bucket.stored("a") == large
    assert bucket.count("CreateMultipartUpload") == 1


def test_an_upload_that_was_taken_away_begins_anew(bucket: Bucket, large: bytes) -> None:
    bucket.fail(NO_SUCH_UPLOAD, "UploadPart")
    bucket.blobs().put("a", large)
    bucket.fail(NO_SUCH_UPLOAD, "CompleteMultipartUpload")
    assert bucket.blobs().put_if_absent("b", large) is True
    assert bucket.stored("a") == bucket.stored("b") == large
    assert bucket.count("CreateMultipartUpload") == 4


def test_a_conflict_at_the_last_step_begins_anew(bucket: Bucket, large: bytes) -> None:
    # Amazon S3 User Guide: after this answer the parts have to be uploaded again.
    bucket.fail(CONFLICT, "CompleteMultipartUpload")
    assert bucket.blobs().put_if_absent("a", large) is True
    assert bucket.count("CreateMultipartUpload") == 2
    assert bucket.uploads_under_way() == []


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
def test_an_upload_that_fails_leaves_nothing(bucket: Bucket, large: bytes, operation: str) -> None:
    bucket.fail(REFUSED, operation)
    with pytest.raises(StorageRefused, match=r"store s3://.*needs s3:PutObject on arn:aws:s3:::"):
        bucket.blobs().put_if_absent("a", large)
    assert bucket.keys() == []
    assert bucket.uploads_under_way() == []


def test_an_upload_that_cannot_even_be_taken_back_says_why_it_failed(
    bucket: Bucket, large: bytes
) -> None:
    bucket.fail(REFUSED, "UploadPart", "AbortMultipartUpload", times=None)
    with pytest.raises(StorageRefused, match="UploadPart"):
        bucket.blobs().put("a", large)
    assert bucket.keys() == []
    assert bucket.uploads_under_way() == ["homes/one/a"]


def test_a_service_that_goes_away_is_not_asked_to_take_the_upload_back(
    bucket: Bucket, large: bytes
) -> None:
    bucket.fail(RequestDropped(), "UploadPart", times=None)
    with pytest.raises(StorageUnavailable, match="for now"):
        bucket.blobs().put("a", large)
    assert bucket.count("AbortMultipartUpload") == 0
    assert bucket.keys() == []


_UPLOAD = """
import sys
from gapless.storage.s3 import S3Blobs
S3Blobs(sys.argv[1], "homes/one", part_bytes=5 * 2**20).put_if_absent("a", b"x" * (16 * 2**20))
"""


@pytest.mark.parametrize(
    "operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
)
def test_a_writer_killed_in_the_middle_leaves_nothing_that_is_seen(
    bucket: Bucket, operation: str
) -> None:
    started = threading.Event()
    program: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        assert started.wait(timeout=60)
        program[0].kill()
        program[0].wait()

    bucket.fail(Meanwhile(kill, lost=True), operation)
    program.append(subprocess.Popen([sys.executable, "-c", _UPLOAD, bucket.name]))
    started.set()
    assert program[0].wait(timeout=120) == -9
    blobs = bucket.blobs()
    assert list(blobs.list("")) == []
    with pytest.raises(BlobMissing):
        blobs.get("a")
    assert blobs.put_if_absent("a", b"another") is True


def test_a_request_that_never_arrived_is_sent_again(bucket: Bucket) -> None:
    bucket.fail(RequestDropped(), "PutObject")
    assert bucket.blobs().put_if_absent("a", b"mine") is True
    assert bucket.stored("a") == b"mine"
