"""A folder to give commands in, with a home on a stand-in for Amazon's services."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import boto3

from gapless.storage import layout
from gapless.storage.home import HomeRecord
from gapless.wiring import S3Address
from tests.services.servers import REGION, Service, aws_environment
from tests.unit.cli.a_place import Place

__all__ = ["S3Place", "client", "make_bucket"]


def client(service: Service, name: str) -> Any:
    """Make a client of one service of the stand-in."""
    return boto3.client(
        name,
        endpoint_url=service.url,
        region_name=REGION,
        aws_access_key_id="test-key",
        aws_secret_access_key="test-secret",
    )


def make_bucket(service: Service) -> str:
    """Make a bucket that no other test uses."""
    bucket = f"b-{uuid.uuid4().hex}"
    client(service, "s3").create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return bucket


class S3Place(Place):
    """A place whose home is `s3://<a bucket of its own>/h`, made with short waits."""

    def __init__(self, folder: Path, service: Service) -> None:
        super().__init__(folder)
        self.service = service
        self.address = S3Address(make_bucket(service), "h")
        self.url = self.address.url
        self.environment |= {**aws_environment(service.url), "GAPLESS_HOME": self.url}
        self.s3 = client(service, "s3")
        self.sqs = client(service, "sqs")

    def make_home(self, **settings: Any) -> None:
        """Write home.json: long polls of a second, and what `settings` say."""
        record = HomeRecord(
            **{"queue_prefix": self.address.queue_prefix, "long_poll_s": 1.0, **settings}
        )
        self.s3.put_object(Bucket=self.address.bucket, Key=f"h/{layout.HOME}", Body=record.encode())

    def keys(self, below: str = "") -> list[str]:
        """List the home's keys."""
        found = self.s3.list_objects_v2(Bucket=self.address.bucket, Prefix=f"h/{below}")
        return [each["Key"].removeprefix("h/") for each in found.get("Contents", [])]

    def queues(self) -> list[str]:
        """List the names of the home's queues, without their prefix."""
        prefix = self.address.queue_prefix
        found = self.sqs.list_queues(QueueNamePrefix=prefix).get("QueueUrls", [])
        return sorted(url.rpartition("/")[2].removeprefix(f"{prefix}-") for url in found)

    def lose_messages(self, ending: str) -> None:
        """Purge the queue whose name ends so."""
        (name,) = [name for name in self.queues() if name.endswith(ending)]
        url = self.sqs.get_queue_url(QueueName=f"{self.address.queue_prefix}-{name}")["QueueUrl"]
        self.sqs.purge_queue(QueueUrl=url)
