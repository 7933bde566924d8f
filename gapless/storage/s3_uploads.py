"""Uploads to S3: each verified by the service, and put-if-absent that tells the truth.

Every upload carries a SHA-256, which S3 compares with what arrived before it stores anything, and
keeps the SHA-256 of the whole object in its metadata: a download is compared with it, and so is an
object that may be ours, without reading it.

boto3's own transfers (`upload_fileobj`) know no condition on the last step (ALLOWED_UPLOAD_ARGS
lacks IfNoneMatch), so that two writers of one large object could replace each other's: hence the
parts here.

One upload in parts, and what a crash right after each step leaves:

1. create the upload: nothing that any reader or listing sees; a lifecycle rule of the bucket
   (AbortIncompleteMultipartUpload) removes it after some days
2. send the parts: the same
3. complete it, if absent: the whole object
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gapless.daemon_pool import DaemonPool
from gapless.patience import patiently
from gapless.storage.errors import StorageError, StorageRefused, StorageUnavailable
from gapless.storage.s3_requests import (
    CONFLICT,
    EXISTS,
    NO_SUCH_KEY,
    NO_SUCH_UPLOAD,
    DamagedOnTheWay,
    S3Answer,
    S3Requests,
)

__all__ = ["PART_BYTES", "SHA256_NAME", "S3Uploads"]

PART_BYTES = 16 * 1024 * 1024
"""Objects up to this size go in one request, larger ones in parts of it."""
_MOST_PARTS = 10_000
"""Amazon S3 User Guide, "Amazon S3 multipart upload limits": parts of 5 MiB to 5 GiB, at most
10,000."""
_THREADS = 4
SHA256_NAME = "sha256"
"""The name in an object's metadata under which the SHA-256 of the whole lies, in hexadecimal."""


class _Again(StorageUnavailable):
    """The upload did nothing; doing it from its beginning may work at once."""


_DO_AGAIN = (_Again, DamagedOnTheWay)


@dataclass(frozen=True, slots=True)
class _Upload:
    """What is stored: the whole key, its bytes, their SHA-256, and on which condition."""

    key: str
    data: bytes
    digest: bytes
    condition: dict[str, str] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, str]:
        return {SHA256_NAME: self.digest.hex()}


class S3Uploads:
    """Stores objects in one bucket under whole keys. Safe to use from several threads."""

    def __init__(self, requests: S3Requests, *, part_bytes: int = PART_BYTES) -> None:
        self._requests = requests
        self._part_bytes = part_bytes

    def put(self, key: str, data: bytes) -> None:
        """Store, replacing what was there."""
        upload = _Upload(key, data, hashlib.sha256(data).digest())

        def attempt() -> None:
            try:
                self._store(upload)
            except S3Answer as answer:
                # The last step of an upload whose first answer was lost finds no upload any more.
                if not (answer.was_sent_before and self._holds(upload)):
                    raise _Again(f"the upload of {key} was taken away: {answer.code}") from answer

        patiently(attempt, on=_DO_AGAIN)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Store unless the key exists; tell whether this call stored it."""
        upload = _Upload(key, data, hashlib.sha256(data).digest(), {"IfNoneMatch": "*"})
        may_be_ours = False

        def attempt() -> bool:
            nonlocal may_be_ours
            try:
                self._store(upload)
            except StorageUnavailable:
                may_be_ours = True
                raise
            except S3Answer as answer:
                may_be_ours = may_be_ours or answer.was_sent_before
                if answer.code == EXISTS and not may_be_ours:
                    return False
                # "It exists" may be this very call's doing, its answer lost: the bytes tell.
                held = self._holds(upload) if may_be_ours else None
                if held or (held is False and answer.code == EXISTS):
                    return held
                raise _Again(f"another request about {key} came between: {answer.code}") from answer
            return True

        return patiently(attempt, on=_DO_AGAIN)

    def _holds(self, upload: _Upload) -> bool | None:
        """Tell whether these very bytes are stored; None when nothing is."""
        try:
            found = self._read(upload, lambda client, place: client.head_object(**place))
            if int(found["ContentLength"]) != len(upload.data):
                return False
            stored = found.get("Metadata", {}).get(SHA256_NAME)
            if stored is not None:
                return bool(stored == upload.digest.hex())
            return bool(
                self._read(
                    upload,
                    lambda client, place: self._requests.read_body(client.get_object(**place)),
                )
                == upload.data
            )
        except S3Answer:
            return None

    def _exists(self, upload: _Upload) -> bool:
        try:
            self._read(upload, lambda client, place: client.head_object(**place))
        except S3Answer:
            return False
        return True

    def _store(self, upload: _Upload) -> None:
        if len(upload.data) <= self._part_bytes:
            self._store_at_once(upload)
        else:
            self._store_in_parts(upload)

    def _store_at_once(self, upload: _Upload) -> None:
        self._send(
            upload,
            lambda client: client.put_object(
                Bucket=self._requests.bucket,
                Key=upload.key,
                Body=upload.data,
                ChecksumSHA256=_text(upload.digest),
                Metadata=upload.metadata,
                **upload.condition,
            ),
        )

    def _store_in_parts(self, upload: _Upload) -> None:
        if upload.condition and self._exists(upload):
            # The last step decides; this spares the parts of what is there for long.
            raise S3Answer(EXISTS, was_sent_before=False)
        created = self._send(
            upload,
            lambda client: client.create_multipart_upload(
                Bucket=self._requests.bucket,
                Key=upload.key,
                ChecksumAlgorithm="SHA256",
                Metadata=upload.metadata,
            ),
        )
        place = {
            "Bucket": self._requests.bucket,
            "Key": upload.key,
            "UploadId": created["UploadId"],
        }
        try:
            parts = self._send_parts(upload, place)
            # A lost answer to this makes boto3 send it again. S3 may then say that it is done, that
            # the key exists or that there is no such upload; the stand-ins for S3 that were tried
            # always say the first, whatever the condition.
            self._send(
                upload,
                lambda client: client.complete_multipart_upload(
                    **place,
                    MultipartUpload={"Parts": parts},
                    MpuObjectSize=len(upload.data),
                    **upload.condition,
                ),
            )
        except BaseException as error:
            # A service that is away would make this wait as long once more.
            if not _is_away(error):
                self._abort(upload, place)
            raise

    def _send_parts(self, upload: _Upload, place: dict[str, str]) -> list[dict[str, Any]]:
        size = max(self._part_bytes, -(-len(upload.data) // _MOST_PARTS))
        starts = range(0, len(upload.data), size)

        def send_part(number: int, start: int) -> dict[str, Any]:
            data = upload.data[start : start + size]
            checksum = _text(hashlib.sha256(data).digest())
            answer = self._send(
                upload,
                lambda client: client.upload_part(
                    **place, PartNumber=number, Body=data, ChecksumSHA256=checksum
                ),
            )
            return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

        with DaemonPool(min(_THREADS, len(starts)), "gapless-upload") as pool:
            sent = [pool.submit(send_part, number, start) for number, start in enumerate(starts, 1)]
            try:
                return [each.result() for each in sent]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _abort(self, upload: _Upload, place: dict[str, str]) -> None:
        # What cannot be removed now is removed by the bucket's lifecycle rule.
        with contextlib.suppress(StorageError, S3Answer):
            self._send(upload, lambda client: client.abort_multipart_upload(**place))

    def _send(self, upload: _Upload, request: Callable[[Any], Any]) -> Any:
        return self._requests.send(
            request,
            what=f"store {self._named(upload)}",
            expected=frozenset({EXISTS, CONFLICT, NO_SUCH_UPLOAD}),
        )

    def _read(self, upload: _Upload, request: Callable[[Any, dict[str, str]], Any]) -> Any:
        place = {"Bucket": self._requests.bucket, "Key": upload.key}
        return self._requests.send(
            lambda client: request(client, place),
            what=f"read {self._named(upload)}",
            expected=frozenset({NO_SUCH_KEY}),
        )

    def _named(self, upload: _Upload) -> str:
        return f"s3://{self._requests.bucket}/{upload.key}"


def _is_away(error: BaseException) -> bool:
    return isinstance(error, StorageUnavailable) and not isinstance(
        error, (StorageRefused, DamagedOnTheWay)
    )


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
