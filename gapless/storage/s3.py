"""Blobs in an S3 bucket, with the folder's meaning: durable when the put was acknowledged.

S3 gives a reader the whole old object or the whole new one, and lists what is there at once and in
order (Amazon S3 User Guide, "Amazon S3 data consistency model"): nothing is left to build here but
conditions, checksums and errors.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gapless.aws import AwsClients
from gapless.daemon_pool import DaemonPool
from gapless.errors import UserMistake
from gapless.patience import patiently
from gapless.storage.blobs import Blob
from gapless.storage.errors import BlobMissing, StorageError
from gapless.storage.keys import checked_key, checked_prefix
from gapless.storage.s3_requests import (
    NO_SUCH_KEY,
    NO_SUCH_RANGE,
    DamagedOnTheWay,
    S3Answer,
    S3Requests,
    WrongChecksum,
)
from gapless.storage.s3_uploads import PART_BYTES, SHA256_NAME, S3Uploads

__all__ = ["S3Blobs"]

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
"""Amazon S3 User Guide, "General purpose bucket naming rules"."""
_THREADS = 8
"""Readers of many small objects: each waits some 20 ms for an answer, and computes for 1 ms."""
_FEW = 24
"""So many are read one after the other before threads and their connections would be there."""
_BATCH = 256


class S3Blobs:
    """Blobs as objects of one bucket, below `prefix` ("" or like "a/b"). Makes no bucket.

    Objects below the prefix whose keys are none of ours (a console's empty "folders") are not
    seen. Several programs may use the same prefix. Safe to use from several threads.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        clients: AwsClients | None = None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._url = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        if not _BUCKET_NAME.fullmatch(bucket):
            raise UserMistake(
                f"{self._url}: {bucket!r} cannot be a bucket; its name has 3 to 63 lower-case "
                "letters, digits, hyphens and dots"
            )
        try:
            self._before = f"{checked_key(prefix)}/" if prefix else ""
        except StorageError as error:
            raise UserMistake(f"{self._url}: {error}") from error
        self._requests = S3Requests(bucket, AwsClients("s3") if clients is None else clients)
        self._uploads = S3Uploads(self._requests, part_bytes=part_bytes)

    def __repr__(self) -> str:
        return f"S3Blobs({self._url!r})"

    @property
    def url(self) -> str:
        """Where the blobs lie: s3://bucket/prefix."""
        return self._url

    @property
    def requests(self) -> Counter[str]:
        """Count what was sent, retries included, by operation ("PutObject")."""
        return self._requests.clients.requests

    def close(self) -> None:
        """Close the connections; a later verb opens new ones. Safe to repeat."""
        self._requests.clients.close()

    def put(self, key: str, data: bytes) -> None:
        """Store, replacing what was there; durable and whole for every reader when it returns."""
        self._uploads.put(self._whole(key), bytes(data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Store unless the key exists; tell whether this call stored it. Durable on return.

        When an answer was lost on the way, an object with these very bytes counts as this call's.
        """
        return self._uploads.put_if_absent(self._whole(key), bytes(data))

    def get(self, key: str) -> bytes:
        """Read all of it, compared with its checksum; BlobMissing."""
        whole = self._whole(key)

        def read(client: Any) -> tuple[bytes, str | None]:
            answer = client.get_object(
                Bucket=self._requests.bucket, Key=whole, ChecksumMode="ENABLED"
            )
            data = self._requests.read_body(answer)
            return data, answer.get("Metadata", {}).get(SHA256_NAME)

        def attempt() -> bytes:
            data, expected = self._requests.send(
                read, what=f"read {self._url}/{key}", expected=frozenset({NO_SUCH_KEY})
            )
            # boto3 compares too, but not an object that was stored in parts. One that another tool
            # put there has no such note.
            if expected is not None and hashlib.sha256(data).hexdigest() != expected:
                raise WrongChecksum(
                    f"{self._url}/{key} arrived damaged: {len(data):,} bytes that are not those of "
                    f"the SHA-256 it was stored with, {expected[:16]}… (`sweep verify` tells more)"
                )
            return data

        try:
            return patiently(attempt, on=DamagedOnTheWay)
        except S3Answer as error:
            raise BlobMissing(key) from error

    def get_many(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Give each key with all its bytes, in this order; what is not there is left out.

        Several are read at once; an error comes after what was read before it.
        """
        if len(keys) < _FEW:
            yield from _those_there(map(self._get_if_there, keys))
            return
        pool = DaemonPool(_THREADS, "gapless-read")
        try:
            # By the batch: what is read ahead of whoever takes it is bounded.
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                yield from _those_there(pool.map(self._get_if_there, batch))
        finally:
            # Who wants no more does not wait for what is under way.
            pool.shutdown(wait=False, cancel_futures=True)

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Read bytes start <= position < stop (fewer at the end); BlobMissing.

        A part of an object has no checksum: who reads one checks what it holds.
        """
        whole, size = self._whole(key), max(0, stop - start)
        # Nothing wanted: one byte tells whether the object is there.
        wanted = f"bytes={start}-{stop - 1}" if size else "bytes=0-0"

        def read(client: Any) -> bytes:
            answer = client.get_object(Bucket=self._requests.bucket, Key=whole, Range=wanted)
            return self._requests.read_body(answer)

        try:
            data = patiently(
                lambda: self._requests.send(
                    read,
                    what=f"read {self._url}/{key}",
                    expected=frozenset({NO_SUCH_KEY, NO_SUCH_RANGE}),
                ),
                on=DamagedOnTheWay,
            )
        except S3Answer as answer:
            if answer.code == NO_SUCH_RANGE:
                return b""
            raise BlobMissing(key) from answer
        return data[:size]

    def list(self, prefix: str) -> Iterator[Blob]:
        """Give every object whose key starts with `prefix`, by key ascending.

        One request for each 1,000. What is written or deleted meanwhile may be seen or not.
        `written_at_s` is when S3 had it, by S3's clock; of a large object, when its upload began.
        """
        before = ""
        for page in self._pages(checked_prefix(prefix)):
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(self._before)
                if not _is_ours(key):
                    continue
                if key <= before:
                    raise StorageError(
                        f"{self._url} lists {key} after {before}: a bucket that lists out of order "
                        "(a directory bucket) cannot hold a home"
                    )
                before = key
                yield Blob(
                    key=key,
                    size_bytes=found["Size"],
                    written_at_s=found["LastModified"].timestamp(),
                )

    def folders(self, prefix: str) -> Iterator[str]:
        """Name each part that follows `prefix` (it ends with a slash) and leads on, ascending."""
        above = self._before + checked_prefix(prefix)
        # S3 sorts them with their slash: "a-b/" before "a/".
        yield from sorted(
            name
            for page in self._pages(prefix, Delimiter="/")
            for found in page.get("CommonPrefixes", ())
            if _is_ours(name := found["Prefix"].removeprefix(above).removesuffix("/"))
        )

    def delete(self, key: str) -> None:
        """Remove; nothing there is no error."""
        whole = self._whole(key)
        self._requests.send(
            lambda client: client.delete_object(Bucket=self._requests.bucket, Key=whole),
            what=f"delete {self._url}/{key}",
            expected=frozenset(),
        )

    def _get_if_there(self, key: str) -> tuple[str, bytes] | None:
        try:
            return key, self.get(key)
        except BlobMissing:
            return None

    def _whole(self, key: str) -> str:
        return self._before + checked_key(key)

    def _pages(self, prefix: str, **more: str) -> Iterator[dict[str, Any]]:
        # Not boto3's paginator: each page goes through `send`, which knows credentials that end in
        # the middle.
        wanted = {"Bucket": self._requests.bucket, "Prefix": self._before + prefix, **more}
        while True:
            page: dict[str, Any] = self._requests.send(
                lambda client: client.list_objects_v2(**wanted),
                what=f"list {self._url}/{prefix}",
                expected=frozenset(),
            )
            yield page
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]


def _those_there(found: Iterable[tuple[str, bytes] | None]) -> Iterator[tuple[str, bytes]]:
    return (each for each in found if each is not None)


def _is_ours(key: str) -> bool:
    try:
        checked_key(key)
    except StorageError:
        return False
    return True
