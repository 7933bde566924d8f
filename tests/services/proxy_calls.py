"""What passes through the proxy: a request, a reply, and which call of which service it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["Call", "Reply", "Request", "call_of", "error_reply", "json_of"]

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/[^/]+/[^/]+/([^/,\s]+)/")

_OF_A_BUCKET = {
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "lifecycle"): "GetBucketLifecycleConfiguration",
    ("PUT", "lifecycle"): "PutBucketLifecycleConfiguration",
    ("POST", "delete"): "DeleteObjects",
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", ""): "ListObjects",
    ("PUT", ""): "CreateBucket",
    ("HEAD", ""): "HeadBucket",
    ("DELETE", ""): "DeleteBucket",
}
_OF_AN_OBJECT = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
    ("GET", "uploadId"): "ListParts",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", ""): "GetObject",
    ("PUT", ""): "PutObject",
    ("HEAD", ""): "HeadObject",
    ("DELETE", ""): "DeleteObject",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call: by whom, of what, on what.

    `resource` is a queue's name, or "bucket" or "bucket/key"; "" where a call has none.
    """

    access_key_id: str
    service: str
    operation: str
    resource: str


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came; header names in small letters."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it goes back; header names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def call_of(request: Request) -> Call:
    """Tell which call a request is; the access key id of its signature tells by whom."""
    signed = _CREDENTIAL.search(request.headers.get("authorization", ""))
    access_key_id, service = signed.groups() if signed else ("", "")
    amazon_target = request.headers.get("x-amz-target", "")
    if amazon_target.startswith("AmazonSQS."):
        asked = json_of(request.body)
        queue = str(asked.get("QueueUrl") or asked.get("QueueName") or "").rpartition("/")[2]
        return Call(access_key_id, "sqs", amazon_target.partition(".")[2], queue)
    if service in {"", "s3"}:
        return _s3_call(request, access_key_id)
    form = parse_qs(request.body.decode("latin-1"))
    return Call(access_key_id, service, form.get("Action", [""])[0], "")


def _s3_call(request: Request, access_key_id: str) -> Call:
    parts = urlsplit(request.target)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    query = parse_qs(parts.query, keep_blank_values=True)
    if not bucket:
        return Call(access_key_id, "s3", "ListBuckets", "")
    known = _OF_AN_OBJECT if key else _OF_A_BUCKET
    operation = next(
        (
            name
            for (method, asked), name in known.items()
            if method == request.method and (not asked or asked in query)
        ),
        f"{request.method} {parts.query}",
    )
    if "x-amz-copy-source" in request.headers:
        operation = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}[operation]
    return Call(access_key_id, "s3", operation, f"{bucket}/{key}" if key else bucket)


def json_of(body: bytes) -> dict[str, Any]:
    """Read a body of SQS's JSON protocol; {} for one that is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def error_reply(call: Call, *, status: int, code: str) -> Reply:
    """Say no the way the service of a call does."""
    message = "said by the proxy of the tests"
    if call.service == "s3":
        xml = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        return Reply(status, {"content-type": "application/xml"}, xml.encode())
    shape = code.rpartition(".")[2]
    answer = {"__type": f"com.amazonaws.sqs#{shape}", "message": message}
    headers = {
        "content-type": "application/x-amz-json-1.0",
        "x-amzn-query-error": f"{code};{'Sender' if status < 500 else 'Receiver'}",
    }
    return Reply(status, headers, json.dumps(answer).encode())
