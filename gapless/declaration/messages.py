"""The formats of what travels in queues: jobs and deliveries, versioned, ASCII only.

A job's body is one line of JSON. A delivery's body is one line of JSON (the header, which lists its
runs), then one line of base64 a part. A reader ignores keys it does not know (a minor addition);
an unknown major version is `NewerFormat`: the message is given back, never deleted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.runset import MAX_RUNS, RunSet

__all__ = [
    "MAX_EPOCH",
    "Claim",
    "Delivery",
    "Job",
    "Part",
    "decode_delivery",
    "decode_job",
    "delivery_blocks",
    "encode_delivery",
    "encode_job",
    "text_digest",
]

_T = TypeVar("_T")
MAX_EPOCH = 2**32 - 1
"""The highest epoch: results keep it in 32 bits."""

_JOB_MAJOR = 1
_DELIVERY_MAJOR = 1
_MOST_DEATHS = 2**31
_LONGEST_ID = 1_000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a sweep's work queue: a set of runs asked for at an epoch.

    `deaths` counts how often it was taken and not given back.
    """

    sweep: str
    job: str
    runs: RunSet
    epoch: int = 0
    deaths: int = 0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One block of a delivery: final results of `runs` at `epoch`; `digest` is of its text."""

    runs: RunSet
    epoch: int
    digest: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Where the lines of a delivery too large for a message lie: key, hash and size."""

    key: str
    sha256: str
    size_bytes: int


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The header of one message of a sweep's result queue."""

    sweep: str
    delivery: str
    node: str
    parts: tuple[Part, ...]
    claim: Claim | None = None

    @property
    def runs(self) -> RunSet:
        """Every run of the delivery."""
        return RunSet.union(part.runs for part in self.parts)


class _JobWire(msgspec.Struct, kw_only=True):
    format: str
    sweep: str
    job: str
    runs: Any
    epoch: int
    deaths: int


class _PartWire(msgspec.Struct, kw_only=True):
    runs: Any
    epoch: int
    digest: str


class _ClaimWire(msgspec.Struct, kw_only=True):
    key: str
    sha256: str
    size_bytes: int


class _DeliveryWire(msgspec.Struct, kw_only=True, omit_defaults=True):
    format: str
    sweep: str
    delivery: str
    node: str
    parts: list[_PartWire]
    claim: _ClaimWire | None = None


class _FormatWire(msgspec.Struct):
    format: str


_read_format = msgspec.json.Decoder(_FormatWire)
_read_job = msgspec.json.Decoder(_JobWire)
_read_delivery = msgspec.json.Decoder(_DeliveryWire)
_write = msgspec.json.Encoder()


def encode_job(job: Job) -> str:
    """Write a job's body."""
    return _ascii(
        _JobWire(
            format=f"gapless.job/{_JOB_MAJOR}",
            sweep=job.sweep,
            job=job.job,
            runs=job.runs.to_wire(),
            epoch=job.epoch,
            deaths=job.deaths,
        )
    )


def decode_job(body: str) -> Job:
    """Read a job's body; DamagedMessage or NewerFormat when it cannot be."""
    _check_format(body, kind="job", known=_JOB_MAJOR)
    wire = _decode(_read_job, body, kind="job")
    _check_ids("job", wire.sweep, wire.job)
    _check_epoch(wire.epoch)
    if not 0 <= wire.deaths <= _MOST_DEATHS:
        raise DamagedMessage(f"job {wire.job[:80]!r} has an impossible number of deaths")
    runs = RunSet.from_wire(wire.runs)
    if not runs:
        raise DamagedMessage(f"job {wire.job[:80]!r} has no runs")
    return Job(sweep=wire.sweep, job=wire.job, runs=runs, epoch=wire.epoch, deaths=wire.deaths)


def text_digest(text: str) -> str:
    """Give the checksum of a block's base64 text (BLAKE2b, 16 bytes, hexadecimal)."""
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def encode_delivery(delivery: Delivery, texts: Sequence[str]) -> str:
    """Write a delivery's body: header line, then each part's base64 text (none under a claim)."""
    parts = [
        _PartWire(runs=part.runs.to_wire(), epoch=part.epoch, digest=part.digest)
        for part in delivery.parts
    ]
    claim = None
    if delivery.claim is not None:
        claim = _ClaimWire(
            key=delivery.claim.key,
            sha256=delivery.claim.sha256,
            size_bytes=delivery.claim.size_bytes,
        )
    header = _ascii(
        _DeliveryWire(
            format=f"gapless.delivery/{_DELIVERY_MAJOR}",
            sweep=delivery.sweep,
            delivery=delivery.delivery,
            node=delivery.node,
            parts=parts,
            claim=claim,
        )
    )
    return "\n".join([header, *texts])


def decode_delivery(body: str) -> Delivery:
    """Read a delivery's header (the first line of its body); DamagedMessage or NewerFormat."""
    line = body.partition("\n")[0]
    _check_format(line, kind="delivery", known=_DELIVERY_MAJOR)
    wire = _decode(_read_delivery, line, kind="delivery")
    _check_ids("delivery", wire.sweep, wire.delivery, wire.node)
    parts = _read_parts(wire)
    claim = None
    if wire.claim is not None:
        _check_ids("delivery", wire.claim.key, wire.claim.sha256)
        claim = Claim(
            key=wire.claim.key, sha256=wire.claim.sha256, size_bytes=wire.claim.size_bytes
        )
    return Delivery(
        sweep=wire.sweep, delivery=wire.delivery, node=wire.node, parts=parts, claim=claim
    )


def delivery_blocks(delivery: Delivery, texts: str) -> list[bytes]:
    """Give the encoded block of each part, checked: `texts` is what follows the header line.

    For a claim, `texts` is the claimed object's text. DamagedMessage when a checksum differs.
    """
    lines = texts.split("\n")
    if len(lines) != len(delivery.parts):
        raise DamagedMessage(
            f"delivery {delivery.delivery} has {len(lines)} blocks for {len(delivery.parts)} parts"
        )
    blocks: list[bytes] = []
    for part, line in zip(delivery.parts, lines, strict=True):
        if not line.isascii() or text_digest(line) != part.digest:
            raise DamagedMessage(f"delivery {delivery.delivery}: a block was damaged on the way")
        try:
            blocks.append(base64.b64decode(line, validate=True))
        except (binascii.Error, ValueError) as error:
            raise DamagedMessage(f"delivery {delivery.delivery}: a block is not base64") from error
    return blocks


def _read_parts(wire: _DeliveryWire) -> tuple[Part, ...]:
    parts: list[Part] = []
    total = 0
    for each in wire.parts:
        _check_epoch(each.epoch)
        _check_ids("delivery", each.digest)
        runs = RunSet.from_wire(each.runs)
        # Before the next one: ten bytes can name as many runs as a set may hold (13 MB of memory).
        total += len(runs)
        if not runs or total > MAX_RUNS:
            raise DamagedMessage(
                f"delivery {wire.delivery[:80]!r} has a part without runs, or too many"
            )
        parts.append(Part(runs=runs, epoch=each.epoch, digest=each.digest))
    if not parts:
        raise DamagedMessage(f"delivery {wire.delivery[:80]!r} has no runs")
    return tuple(parts)


def _check_ids(kind: str, *ids: str) -> None:
    # Who changes a job writes them again: what cannot be written must not be read.
    if not all(each.isascii() and len(each) <= _LONGEST_ID for each in ids):
        raise DamagedMessage(f"a {kind} has an id that is not ASCII or too long")


def _check_epoch(epoch: int) -> None:
    if not 0 <= epoch <= MAX_EPOCH:
        raise DamagedMessage(f"a message has the epoch {str(epoch)[:40]}")


def _ascii(wire: msgspec.Struct) -> str:
    text = _write.encode(wire).decode("utf-8")
    if not text.isascii():
        raise ValueError("ids in messages are ASCII")
    return text


def _check_format(line: str, *, kind: str, known: int) -> None:
    found = _decode(_read_format, line, kind=kind).format
    name, _, major = found.partition("/")
    if name != f"gapless.{kind}" or not (major.isascii() and major.isdigit() and len(major) < 10):
        raise DamagedMessage(f"not a {kind}: format {found[:80]!r}")
    if int(major) != known:
        raise NewerFormat(kind=kind, found=int(major), known=known)


def _decode(decoder: msgspec.json.Decoder[_T], line: str, *, kind: str) -> _T:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise DamagedMessage(f"not a {kind}: {error}"[:300]) from error
