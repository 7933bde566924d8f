"""What can go wrong with one request on its way; each fault is a value the proxy performs."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from tests.services.proxy_calls import Call, Reply, Request, error_reply, json_of

__all__ = [
    "EXPIRED",
    "REFUSED",
    "SLOW_DOWN",
    "AnswerCut",
    "Delayed",
    "Entries",
    "Fault",
    "Flipped",
    "FlippedUnseen",
    "PartlyFailed",
    "Passage",
    "ReplyDropped",
    "RequestDropped",
    "Said",
]


@dataclass(frozen=True)
class Passage:
    """One request on its way: who asks, how to pass it on, and the dice of the proxy."""

    call: Call
    request: Request
    forward: Callable[[Request], Reply]
    chance: random.Random
    closing: threading.Event


class Fault(Protocol):
    def perform(self, passage: Passage) -> Reply | None:
        """Answer, or close the connection without an answer (None)."""
        ...


@dataclass(frozen=True)
class ReplyDropped:
    """The service did it; nobody hears so."""

    def perform(self, passage: Passage) -> None:
        passage.forward(passage.request)


@dataclass(frozen=True)
class RequestDropped:
    """The connection ends before the service has seen the request."""

    def perform(self, passage: Passage) -> None:
        del passage


@dataclass(frozen=True)
class Said:
    """The service does nothing and says an error."""

    status: int
    code: str

    def perform(self, passage: Passage) -> Reply:
        return error_reply(passage.call, status=self.status, code=self.code)


SLOW_DOWN = Said(503, "SlowDown")
REFUSED = Said(403, "AccessDenied")
EXPIRED = Said(403, "ExpiredToken")


@dataclass(frozen=True)
class Delayed:
    """The service does it; its answer comes late."""

    seconds: float

    def perform(self, passage: Passage) -> Reply:
        reply = passage.forward(passage.request)
        passage.closing.wait(self.seconds)
        return reply


@dataclass(frozen=True)
class AnswerCut:
    """Half of the answer, then the connection ends."""

    def perform(self, passage: Passage) -> Reply:
        reply = passage.forward(passage.request)
        whole = {**reply.headers, "content-length": str(len(reply.body))}
        return Reply(reply.status, whole, reply.body[: len(reply.body) // 2])


@dataclass(frozen=True)
class Flipped:
    """One byte of an object is another, or one letter of a message; an error stays as it is."""

    def perform(self, passage: Passage) -> Reply:
        reply = passage.forward(passage.request)
        if reply.status >= 300:
            return reply
        return dataclasses.replace(reply, body=_flip(reply.body, passage))


@dataclass(frozen=True)
class FlippedUnseen:
    """The same, and the service's own checksums are gone: what is damaged where it is kept."""

    def perform(self, passage: Passage) -> Reply:
        reply = Flipped().perform(passage)
        kept = {
            name: value
            for name, value in reply.headers.items()
            if not name.startswith("x-amz-checksum-")
        }
        return dataclasses.replace(reply, headers=kept)


class Entries(Enum):
    """What becomes of the entries of a batch that are hit."""

    NOT_DONE = "not done, and told as failed"
    DONE = "done, and yet told as failed"
    UNTOLD = "done, and not mentioned"


@dataclass(frozen=True)
class PartlyFailed:
    """A batch is answered with 200, and some of its entries (by chance, at least one) failed."""

    entries: Entries
    share: float = 0.5

    def perform(self, passage: Passage) -> Reply:
        asked = json_of(passage.request.body)
        ids = [entry["Id"] for entry in asked.get("Entries", ())]
        if not ids:
            return passage.forward(passage.request)
        hit = {id_ for id_ in ids if passage.chance.random() < self.share}
        hit = hit or {passage.chance.choice(ids)}
        if self.entries is not Entries.NOT_DONE:
            reply = passage.forward(passage.request)
            return _told(reply, hit, tell=self.entries is Entries.DONE)
        left = [entry for entry in asked["Entries"] if entry["Id"] not in hit]
        if not left:
            headers = {"content-type": "application/x-amz-json-1.0"}
            return _told(Reply(200, headers, b"{}"), hit, tell=True)
        body = json.dumps({**asked, "Entries": left}).encode()
        reply = passage.forward(dataclasses.replace(passage.request, body=body))
        return _told(reply, hit, tell=True)


def _told(reply: Reply, hit: set[str], *, tell: bool) -> Reply:
    if reply.status != 200:
        return reply
    answer = json_of(reply.body)

    def others(kind: str) -> list[dict[str, Any]]:
        return [entry for entry in answer.get(kind, ()) if entry["Id"] not in hit]

    failures = [
        {"Id": id_, "SenderFault": False, "Code": "InternalError", "Message": "by the proxy"}
        for id_ in sorted(hit)
    ]
    told = {
        **answer,
        "Successful": others("Successful"),
        "Failed": others("Failed") + (failures if tell else []),
    }
    return dataclasses.replace(reply, body=json.dumps(told).encode())


def _flip(body: bytes, passage: Passage) -> bytes:
    start, end = 0, len(body)
    if passage.call.operation == "ReceiveMessage":
        inside = re.search(rb'"Body": ?"((?:[^"\\]|\\.)+)"', body)
        if inside is None:
            return body
        start, end = inside.span(1)
    if start == end:
        return body
    at = passage.chance.randrange(start, end)
    if passage.call.operation != "ReceiveMessage":
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    letters = [index for index in range(start, end) if chr(body[index]).isalnum()]
    if not letters:
        return body
    at = passage.chance.choice(letters)
    return body[:at] + (b"a" if body[at : at + 1] != b"a" else b"b") + body[at + 1 :]
