"""Messages nobody can use, kept whole with the reason before they leave their queue.

A kept message is one line of JSON (format, queue, reason), then the body as it came. Its key ends
in the SHA-256 of the body, so that keeping a message again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from gapless.declaration.errors import DamagedMessage
from gapless.declaration.formats import decode_record, encode_record
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing

__all__ = ["KeptMessage", "count_kept", "keep_message", "kept_messages", "read_kept"]

_KIND = "quarantine"
_MAJOR = 1


class _Head(msgspec.Struct, kw_only=True):
    queue: str
    reason: str


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message in quarantine: the queue it was on, why nobody could use it, and its body."""

    queue: str
    reason: str
    body: str


def keep_message(blobs: Blobs, *, queue: str, body: str, reason: str) -> str:
    """Keep a message under the sweep of its queue; give its key. Durable on return.

    Safe to repeat: of several reasons for one body the first stays.
    """
    data = body.encode("utf-8", "surrogatepass")
    key = layout.quarantine(layout.sweep_id_of(queue), hashlib.sha256(data).hexdigest())
    # A reason may quote the body, which may be no text at all.
    said = reason.encode("utf-8", "backslashreplace").decode("utf-8")
    head = encode_record(_Head(queue=queue, reason=said), kind=_KIND, major=_MAJOR)
    blobs.put_if_absent(key, head + b"\n" + data)
    return key


def kept_messages(blobs: Blobs, sweep_id: str) -> Iterator[str]:
    """Give the keys of a sweep's kept messages, ascending."""
    for blob in blobs.list(layout.quarantine_prefix(sweep_id)):
        yield blob.key


def count_kept(blobs: Blobs, sweep_id: str) -> int:
    """Count a sweep's kept messages."""
    return sum(1 for _ in kept_messages(blobs, sweep_id))


def read_kept(blobs: Blobs, key: str) -> KeptMessage | None:
    """Read a kept message, None when it was taken away; DamagedMessage or NewerFormat."""
    try:
        data = blobs.get(key)
    except BlobMissing:
        return None
    head, _, body = data.partition(b"\n")
    record = decode_record(head, _Head, kind=_KIND, known=_MAJOR)
    try:
        text = body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise DamagedMessage(f"{key} holds no text: {error}"[:300]) from error
    return KeptMessage(record.queue, record.reason, text)
