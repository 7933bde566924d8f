"""Blobs in S3: what is read, listed and refused; the rest is in the contract suite."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gapless.aws import Trouble
from gapless.errors import UserMistake
from gapless.storage.errors import ArrivedDamaged, StorageError, StorageRefused, StorageUnavailable
from gapless.storage.s3 import S3Blobs
from tests.services.proxy import Rule
from tests.services.proxy_calls import Reply
from tests.services.proxy_faults import (
    EXPIRED,
    REFUSED,
    SLOW_DOWN,
    AnswerCut,
    Flipped,
    FlippedUnseen,
    Passage,
    RequestDropped,
    Said,
)
from tests.services.servers import free_port
from tests.unit.aws.lost_credentials import LOSSES, ProfileFile
from tests.unit.storage.s3_bucket import Bucket, Meanwhile

pytestmark = pytest.mark.usefixtures("tries")

VERBS: dict[str, Callable[[S3Blobs], object]] = {
    "PutObject": lambda blobs: blobs.put("a", b"x"),
    "PutObject if absent": lambda blobs: blobs.put_if_absent("a", b"x"),
    "GetObject": lambda blobs: blobs.get("a"),
    "GetObject in part": lambda blobs: blobs.get_range("a", 0, 1),
    "ListObjectsV2": lambda blobs: list(blobs.list("")),
    "ListObjectsV2 of folders": lambda blobs: list(blobs.folders("")),
    "DeleteObject": lambda blobs: blobs.delete("a"),
}


def test_a_home_in_a_bucket_says_where_it_is() -> None:
    assert repr(S3Blobs("my-bucket", "some/homes")) == "S3Blobs('s3://my-bucket/some/homes')"
    assert S3Blobs("my-bucket", "").url == "s3://my-bucket"


@pytest.mark.parametrize("bucket", ["", "ab", "My-Bucket", "a_b_c", "-abc", "a" * 64, "bücket"])
def test_what_cannot_be_a_bucket_is_refused_at_once(bucket: str) -> None:
    with pytest.raises(UserMistake, match=r"s3://.*cannot be a bucket; its name has 3 to 63"):
        S3Blobs(bucket, "")


@pytest.mark.parametrize("prefix", ["/", "a/", "/a", "a//b", "a/../b"])
def test_what_cannot_be_a_prefix_is_refused_at_once(prefix: str) -> None:
    with pytest.raises(UserMistake, match=r"s3://my-bucket/.*cannot be a key"):
        S3Blobs("my-bucket", prefix)


def test_without_boto3_the_message_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['boto3'] = None\n"
        "from gapless.errors import MissingExtra\n"
        "try: import gapless.storage.s3\n"
        "except MissingExtra as error: print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert "pip install 'gapless[aws]'" in found.stdout


@pytest.mark.parametrize("fault", [AnswerCut(), Flipped(), FlippedUnseen()], ids=repr)
def test_an_object_damaged_on_the_way_is_read_again(
    bucket: Bucket, fault: AnswerCut | Flipped | FlippedUnseen
) -> None:
    blobs = bucket.blobs()
    blobs.put("a", b"0123456789" * 1000)
    damage = bucket.fail(fault, "GetObject", times=2)
    assert blobs.get("a") == b"0123456789" * 1000
    assert damage.hits == 2


@pytest.mark.parametrize("fault", [AnswerCut(), Flipped(), FlippedUnseen()], ids=repr)
def test_a_large_object_damaged_on_the_way_never_passes(
    bucket: Bucket, large: bytes, fault: AnswerCut | Flipped | FlippedUnseen
) -> None:
    # boto3 compares no checksum of an object that was stored in parts.
    blobs = bucket.blobs()
    blobs.put("a", large)
    bucket.fail(fault, "GetObject", times=None)
    with pytest.raises(StorageUnavailable, match=r"broke off|arrived damaged"):
        blobs.get("a")


def test_an_object_that_lies_there_with_another_checksum_is_told_apart(bucket: Bucket) -> None:
    blobs = bucket.blobs()
    blobs.put("a", b"0123456789")
    bucket.fail(FlippedUnseen(), "GetObject", times=None)
    with pytest.raises(ArrivedDamaged, match="SHA-256"):
        blobs.get("a")


def test_a_range_that_breaks_off_is_read_again(bucket: Bucket) -> None:
    blobs = bucket.blobs()
    blobs.put("a", b"0123456789")
    cut = bucket.fail(AnswerCut(), "GetObject", times=2)
    assert blobs.get_range("a", 2, 8) == b"234567"
    assert cut.hits == 2


def test_what_another_tool_stored_is_read(bucket: Bucket) -> None:
    bucket.put_directly("a", b"copied here")
    assert bucket.blobs().get("a") == b"copied here"


@dataclasses.dataclass(frozen=True)
class SmallPages:
    """Two keys a page, where S3 gives up to 1,000."""

    def perform(self, passage: Passage) -> Reply:
        target = f"{passage.request.target}&max-keys=2"
        return passage.forward(dataclasses.replace(passage.request, target=target))


def test_a_listing_goes_over_several_pages(bucket: Bucket) -> None:
    blobs = bucket.blobs()
    names = [f"p/{number}/x" for number in range(5)]
    for name in (*names, "q"):
        bucket.put_directly(name, b"12")
    bucket.fail(SmallPages(), "ListObjectsV2", times=None)
    assert [blob.key for blob in blobs.list("p/")] == names
    assert bucket.count("ListObjectsV2") == 3
    assert list(blobs.folders("p/")) == ["0", "1", "2", "3", "4"]
    assert bucket.count("ListObjectsV2") == 6


def test_the_folders_of_a_console_are_not_seen(bucket: Bucket) -> None:
    for key in ("", "sweeps/", "sweeps//x", "sweeps/.tmp-1", "sweeps/a/1"):
        bucket.put_directly(key, b"")
    blobs = bucket.blobs()
    assert [blob.key for blob in blobs.list("")] == ["sweeps/a/1"]
    assert list(blobs.folders("")) == ["sweeps"]
    assert list(blobs.folders("sweeps/")) == ["a"]


@dataclasses.dataclass(frozen=True)
class OutOfOrder:
    """A listing as a directory bucket gives it."""

    def perform(self, passage: Passage) -> Reply:
        reply = passage.forward(passage.request)
        body = reply.body.replace(b"one/1<", b"one/3<", 1)
        return dataclasses.replace(reply, body=body)


def test_a_bucket_that_lists_out_of_order_is_refused(bucket: Bucket) -> None:
    bucket.put_directly("1", b"")
    bucket.put_directly("2", b"")
    bucket.fail(OutOfOrder(), "ListObjectsV2")
    with pytest.raises(StorageError, match="lists 2 after 3: a bucket that lists out of order"):
        list(bucket.blobs().list(""))


@pytest.mark.parametrize("verb", VERBS)
def test_no_bucket_is_refused_with_advice(bucket: Bucket, verb: str) -> None:
    with pytest.raises(
        StorageRefused, match=r"cannot \w+ s3://missing-bucket-1/.*make the bucket 'missing-bu"
    ):
        VERBS[verb](bucket.blobs(name="missing-bucket-1"))


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_not_allowed_names_the_permission(bucket: Bucket, verb: str) -> None:
    operation = verb.partition(" ")[0]
    action = operation.replace("ListObjectsV2", "ListBucket")
    where = bucket.name + ("" if action == "ListBucket" else "/*")
    bucket.fail(REFUSED, operation)
    with pytest.raises(StorageRefused) as caught:
        VERBS[verb](bucket.blobs())
    assert "AccessDenied" in str(caught.value)
    assert f"needs s3:{action} on arn:aws:s3:::{where}" in str(caught.value)


@pytest.mark.parametrize("verb", VERBS)
def test_credentials_that_ended_are_read_anew_once(bucket: Bucket, verb: str) -> None:
    blobs = bucket.blobs()
    bucket.put_directly("a", b"x")
    ended = bucket.fail(EXPIRED, verb.partition(" ")[0])
    VERBS[verb](blobs)
    assert ended.hits == 1


def test_new_credentials_are_taken(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = bucket.blobs()
    blobs.put("a", b"x")

    def renew() -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "newer-key")

    bucket.fail(Meanwhile(renew), "ListObjectsV2")
    list(blobs.list(""))
    bucket.fail(EXPIRED, "GetObject")
    assert blobs.get("a") == b"x"
    assert bucket.proxy.count(service="s3", operation="GetObject", by="newer-key") == 1


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_credentials_that_stay_wrong_are_refused_with_advice(bucket: Bucket, code: str) -> None:
    wrong = bucket.fail(Said(403, code), "GetObject", times=None)
    with pytest.raises(StorageRefused, match=f"{code}.*give this program valid AWS credentials"):
        bucket.blobs().get("a")
    assert wrong.hits == 2


def test_no_credentials_at_all_are_refused_with_advice(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageRefused, match=r"Unable to locate credentials.*AWS_PROFILE"):
        bucket.blobs().get("a")


@pytest.mark.parametrize("way", LOSSES)
def test_credentials_that_are_lost_while_a_program_runs_keep_its_work(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    profile = ProfileFile(tmp_path, monkeypatch)
    blobs = bucket.blobs()
    blobs.put("a", b"x")
    loss = LOSSES[way]
    loss.happen(profile)
    bucket.fail(EXPIRED, "GetObject")
    for verb in (
        lambda: blobs.get("a"),
        lambda: blobs.put("a", b"y"),
        lambda: list(blobs.list("")),
    ):
        with pytest.raises(StorageUnavailable, match=loss.words) as caught:
            verb()
        assert isinstance(caught.value, StorageRefused) == (loss.trouble is not Trouble.AWAY)
    monkeypatch.delenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", raising=False)
    profile.give()
    assert blobs.get("a") == b"x"


@dataclasses.dataclass(frozen=True)
class Bare:
    """An answer without a word, as S3 gives it to a HEAD."""

    status: int

    def perform(self, passage: Passage) -> Reply:
        passage.forward(passage.request)
        return Reply(self.status, {"content-length": "0"}, b"")


@pytest.mark.parametrize("status", [400, 403])
def test_a_head_refused_without_a_word_may_be_about_credentials_that_ended(
    bucket: Bucket, large: bytes, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    blobs = bucket.blobs()
    blobs.put("b", b"x")
    bucket.proxy.add(Rule(Bare(status), operations=["HeadObject"], by=["test-key"]))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "newer-key")
    assert blobs.put_if_absent("a", large)
    assert bucket.proxy.count(service="s3", operation="HeadObject", by="newer-key") == 1


@pytest.mark.parametrize(
    ("status", "advice"), [(400, "valid AWS credentials"), (403, "needs s3:GetObject")]
)
def test_a_head_that_stays_refused_keeps_the_work(
    bucket: Bucket, large: bytes, status: int, advice: str
) -> None:
    bucket.fail(Bare(status), "HeadObject", times=None)
    with pytest.raises(StorageRefused, match=advice):
        bucket.blobs().put_if_absent("a", large)


def test_a_wrong_clock_is_told(bucket: Bucket) -> None:
    bucket.fail(Said(403, "RequestTimeTooSkewed"), "GetObject", times=None)
    with pytest.raises(StorageRefused, match="set the clock of this machine"):
        bucket.blobs().get("a")


def test_a_bucket_elsewhere_is_told(bucket: Bucket) -> None:
    bucket.fail(Said(400, "IllegalLocationConstraintException"), "PutObject", times=None)
    with pytest.raises(StorageRefused, match="in another region: set AWS_REGION"):
        bucket.blobs().put("a", b"x")


@pytest.mark.parametrize(
    "fault", [SLOW_DOWN, Said(500, "InternalError"), RequestDropped()], ids=repr
)
def test_a_moment_of_weakness_is_not_seen(bucket: Bucket, fault: Said | RequestDropped) -> None:
    blobs = bucket.blobs()
    blobs.put("a", b"x")
    bucket.fail(fault, "GetObject")
    assert blobs.get("a") == b"x"


def test_a_service_that_stays_busy_is_unavailable(bucket: Bucket) -> None:
    bucket.fail(SLOW_DOWN, "PutObject", times=None)
    with pytest.raises(StorageUnavailable, match=r"cannot store .* for now: .*SlowDown") as caught:
        bucket.blobs().put("a", b"x")
    assert not isinstance(caught.value, StorageRefused)


def test_a_service_that_cannot_be_reached_is_unavailable(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageUnavailable, match=r"cannot read .* for now: Could not connect"):
        bucket.blobs().get("a")


@pytest.mark.parametrize(
    "said",
    [Said(400, "SomethingNew"), Said(400, "InvalidRequest"), Said(409, "InvalidBucketState")],
    ids=repr,
)
@pytest.mark.parametrize("verb", VERBS)
def test_an_answer_that_may_be_about_the_bucket_keeps_the_work(
    bucket: Bucket, verb: str, said: Said
) -> None:
    bucket.fail(said, verb.partition(" ")[0], times=None)
    with pytest.raises(StorageRefused, match=f"{said.code}.*see the settings of the bucket"):
        VERBS[verb](bucket.blobs())


def test_an_archived_object_is_told(bucket: Bucket) -> None:
    bucket.fail(Said(403, "InvalidObjectState"), "GetObject")
    with pytest.raises(StorageRefused, match="archived: restore it"):
        bucket.blobs().get("a")


@dataclasses.dataclass(frozen=True)
class Undated:
    """A listing in which a time is none."""

    def perform(self, passage: Passage) -> Reply:
        reply = passage.forward(passage.request)
        body = reply.body.replace(b"<LastModified>", b"<LastModified>damaged")
        return dataclasses.replace(reply, body=body)


def test_an_answer_that_cannot_be_read_is_damage_on_the_way(bucket: Bucket) -> None:
    bucket.put_directly("a", b"x")
    blobs = bucket.blobs()
    damage = bucket.fail(Undated(), "ListObjectsV2")
    with pytest.raises(StorageUnavailable, match=r"cannot list .* for now"):
        list(blobs.list(""))
    assert damage.hits == 1
    assert [blob.key for blob in blobs.list("")] == ["a"]


def test_what_no_service_would_take_is_a_plain_error(bucket: Bucket) -> None:
    with pytest.raises(StorageError, match="cannot store") as caught:
        bucket.blobs()._uploads.put("", b"x")
    assert not isinstance(caught.value, StorageUnavailable)


def test_what_a_request_of_ours_holds_is_an_error_that_waiting_does_not_mend(
    bucket: Bucket,
) -> None:
    bucket.fail(Said(400, "KeyTooLongError"), "PutObject")
    with pytest.raises(StorageError, match=r"cannot store s3://.*/a: .*KeyTooLong") as caught:
        bucket.blobs().put("a", b"x")
    assert not isinstance(caught.value, StorageUnavailable)


def test_a_listing_that_breaks_off_says_so_and_not_that_it_is_over(bucket: Bucket) -> None:
    for number in range(3):
        bucket.put_directly(f"{number}", b"")
    bucket.fail(SmallPages(), "ListObjectsV2")
    bucket.fail(REFUSED, "ListObjectsV2")
    listing = bucket.blobs().list("")
    assert [next(listing).key, next(listing).key] == ["0", "1"]
    with pytest.raises(StorageRefused, match="ListBucket"):
        list(listing)


def test_a_home_may_be_used_by_several_threads_and_counts_all_requests(bucket: Bucket) -> None:
    blobs = bucket.blobs()
    start = threading.Barrier(4)

    def work(number: int) -> bytes:
        start.wait(timeout=30)
        blobs.put(f"{number}", b"%d" % number)
        return blobs.get(f"{number}")

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(work, range(4))) == [b"0", b"1", b"2", b"3"]
    assert blobs.requests == {"PutObject": 4, "GetObject": 4}
    blobs.close()
    assert blobs.get("0") == b"0"
