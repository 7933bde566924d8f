"""A bucket of a test's own, seen directly and through a proxy that can break what passes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import boto3
import pytest
import stamina

from tests.services.proxy import FaultProxy
from tests.services.servers import REGION, Service
from tests.unit.storage.s3_bucket import PART_BYTES, Bucket


@pytest.fixture
def bucket(on_ministack: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    direct = boto3.client("s3")
    name = f"home-{uuid.uuid4().hex}"
    direct.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    with FaultProxy(on_ministack.url, seed=11) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        made = Bucket(name, direct, proxy)
        yield made
        made.close()
    direct.close()


@pytest.fixture
def tries() -> Iterator[None]:
    """Let what our own code does again be done again, without waits."""
    with stamina.set_testing(True, attempts=4):
        yield


@pytest.fixture
def large() -> bytes:
    """Three parts."""
    return bytes(range(256)) * (2 * PART_BYTES // 256) + b"the last part"
