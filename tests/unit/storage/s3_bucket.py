"""A bucket of a stand-in for S3, for tests of what is stored there and of faults on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gapless.aws import AwsClients
from gapless.storage.s3 import S3Blobs
from tests.services.proxy import FaultProxy, Rule
from tests.services.proxy_calls import Reply
from tests.services.proxy_faults import Fault, Passage

PART_BYTES = 5 * 1024 * 1024
"""The least part S3 takes."""
PREFIX = "homes/one"


@dataclass
class Bucket:
    """A bucket: `direct` is a client that no fault hits, `blobs` go through the proxy."""

    name: str
    direct: Any
    proxy: FaultProxy
    made: list[AwsClients] = field(default_factory=list)

    def blobs(self, *, name: str | None = None) -> S3Blobs:
        clients = AwsClients("s3")
        self.made.append(clients)
        return S3Blobs(name or self.name, PREFIX, clients=clients, part_bytes=PART_BYTES)

    def fail(self, fault: Fault, *operations: str, times: int | None = 1, key: str = "") -> Rule:
        """Have the next calls of these operations fail, the first rule first."""
        return self.proxy.add(
            Rule(fault, service="s3", operations=operations, times=times, resource=key)
        )

    def count(self, operation: str) -> int:
        return self.proxy.count(service="s3", operation=operation)

    def put_directly(self, key: str, data: bytes) -> None:
        """Store what another program puts there: without our note of its hash."""
        self.direct.put_object(Bucket=self.name, Key=f"{PREFIX}/{key}", Body=data)

    def stored(self, key: str) -> bytes:
        data: bytes = self.direct.get_object(Bucket=self.name, Key=f"{PREFIX}/{key}")["Body"].read()
        return data

    def keys(self) -> list[str]:
        found = self.direct.list_objects_v2(Bucket=self.name).get("Contents", ())
        return [each["Key"].removeprefix(f"{PREFIX}/") for each in found]

    def uploads_under_way(self) -> list[str]:
        found = self.direct.list_multipart_uploads(Bucket=self.name).get("Uploads", ())
        return [each["Key"] for each in found]

    def close(self) -> None:
        for clients in self.made:
            clients.close()


@dataclass(frozen=True)
class Meanwhile:
    """Somebody else does something before the request is passed on, or lost."""

    act: Any
    lost: bool = False

    def perform(self, passage: Passage) -> Reply | None:
        self.act()
        return None if self.lost else passage.forward(passage.request)
