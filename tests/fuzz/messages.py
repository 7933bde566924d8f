"""Targets: what travels in queues. Jobs, deliveries, their blocks, and the sets of runs in them."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path

import msgspec
import numpy as np

from aggregator.decoding import open_blocks, read_message
from aggregator.events import Buffered
from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.messages import (
    Claim,
    Delivery,
    Job,
    Part,
    decode_delivery,
    decode_job,
    delivery_blocks,
    encode_delivery,
    encode_job,
    text_digest,
)
from gapless.declaration.runset import MAX_RUNS, RunSet
from gapless.results.block import Block, decode_block, encode_block
from gapless.results.block_builder import BlockBuilder
from gapless.storage.memory import MemoryBlobs
from queueing.port import Lease, Message
from tests.fuzz.target import MEBIBYTE, Target, holds

__all__ = ["MESSAGES", "check_runs", "sealed_block"]

_GOLDEN = Path(__file__).parents[1] / "unit"
_SWEEP = "walk-0011aabb"
_PREFIX = struct.Struct("<8sHHIQ16s")
_EPOCHS = 2**32


def text_of(data: bytes) -> str:
    """Give bytes as a queue might: whatever they are, as text."""
    return data.decode("utf-8", "surrogateescape")


def check_runs(runs: RunSet) -> None:
    """What holds of every set of runs, wherever it came from."""
    holds(len(runs) <= MAX_RUNS, f"{len(runs)} runs in one set")
    if not runs:
        return
    holds(0 <= runs.least <= runs.greatest < 2**63, f"runs {runs.least} to {runs.greatest}")
    holds(runs.greatest - runs.least + 1 >= len(runs), "more runs than there is room for")
    holds(RunSet.deserialize(runs.serialize()) == runs, "a set reads back as another one")
    if len(runs) <= 100_000:
        numbers = list(runs)
        holds(numbers == sorted(set(numbers)), "its runs are not in order, or twice")
        holds(len(numbers) == len(runs), "it counts other runs than it holds")
        holds(numbers[0] == runs.least and numbers[-1] == runs.greatest, "its ends are others")
        ranges = [run for start, stop in runs.ranges() for run in range(start, stop)]
        holds(ranges == numbers, "its ranges are other runs")
        holds(RunSet.from_numbers(numbers) == runs, "the same runs make another set")


# ------------------------------------------------------------------------- jobs


def _check_job(data: bytes) -> bool:
    try:
        job = decode_job(text_of(data))
    except NewerFormat as error:
        holds(error.found != error.known, "a job of the known format is called newer")
        return False
    except DamagedMessage:
        return False
    check_runs(job.runs)
    holds(job.runs, "a job without runs")
    holds(0 <= job.epoch < _EPOCHS and job.deaths >= 0, "a job with an impossible number")
    holds(decode_job(encode_job(job)) == job, "a job reads back as another one")
    return True


def _job_seeds() -> list[bytes]:
    jobs = [
        Job(sweep=_SWEEP, job="0123abcd", runs=RunSet.span(0, 1000)),
        Job(sweep=_SWEEP, job="0123abcd-1", runs=RunSet.of(1, 5, 2**40), epoch=3, deaths=2),
        Job(sweep=_SWEEP, job="b", runs=_scattered(300)),
    ]
    golden = sorted((_GOLDEN / "messages/golden").glob("job-*.txt"))
    return [encode_job(job).encode() for job in jobs] + [each.read_bytes() for each in golden]


def _job_hostile() -> list[bytes]:
    job = json.loads(encode_job(Job(sweep=_SWEEP, job="j", runs=RunSet.of(0))))
    wires = [
        [[0, MAX_RUNS]],
        [[0, 2**63 - 1]],
        [[0, 10**9] for _ in range(10_000)],
        [[2 * each, 2 * each + 1] for each in range(60_000)],
        [[each << 20, (each << 20) + 1] for each in range(50_000)],
        "A" * 2**20,
        *(base64.b64encode(bitmap).decode() for bitmap in _hostile_bitmaps()),
    ]
    bodies = [json.dumps(job | {"runs": wire}).encode() for wire in wires]
    bodies.append(json.dumps(job).replace('"epoch": 0', '"epoch": ' + "9" * 10**6).encode())
    bodies.append(b'{"format":"gapless.job/1","runs":' + b"[" * 10**6)
    bodies.append(b'{"format":"gapless.job/' + b"1" * 10**6 + b'"}')
    return bodies


def _scattered(count: int) -> RunSet:
    return RunSet.from_numbers(np.arange(0, 7 * count, 7, dtype=np.uint64))


# ------------------------------------------------------------------------- sets of runs


def _check_bitmap(data: bytes) -> bool:
    try:
        runs = RunSet.deserialize(data)
    except DamagedMessage:
        return False
    check_runs(runs)
    return True


def _bitmap_seeds() -> list[bytes]:
    sets = [
        RunSet(),
        RunSet.of(0),
        RunSet.span(0, 70_000),
        _scattered(300),
        _scattered(60_000),
        RunSet.of(*(each << 16 for each in range(12))),
        RunSet.of(1, 2**32 + 1, 2**62) | RunSet.span(2**33, 2**33 + 200_000),
    ]
    return [each.serialize() for each in sets]


def _hostile_bitmaps() -> list[bytes]:
    """Headers that announce what does not follow, and few bytes that mean very many runs."""
    cookie = struct.pack("<I", 12346)
    full = struct.pack("<IBHHHHH", (0 << 16) | 12347, 1, 0, 0xFFFF, 1, 0, 0xFFFF)
    return [
        struct.pack("<Q", 2**64 - 1),
        struct.pack("<Q", 2**40) + bytes(100),
        struct.pack("<QI", 1, 0) + cookie + struct.pack("<I", 2**32 - 1),
        struct.pack("<QI", 1, 0) + cookie + struct.pack("<I", 65_536) + bytes(1000),
        struct.pack("<QI", 1, 2**31) + full,
        struct.pack("<QI", 2, 0) + full + struct.pack("<I", 0) + full,
        struct.pack("<QI", 2, 5) + full + struct.pack("<I", 1) + full,
        struct.pack("<Q", 40_000)
        + b"".join(struct.pack("<I", each) + full for each in range(40_000)),
    ]


def _check_wire(data: bytes) -> bool:
    try:
        wire = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    try:
        runs = RunSet.from_wire(wire)
    except DamagedMessage:
        return False
    check_runs(runs)
    holds(RunSet.from_wire(runs.to_wire()) == runs, "a set reads back as another one")
    return True


def _wire_seeds() -> list[bytes]:
    return [msgspec.json.encode(RunSet.deserialize(each).to_wire()) for each in _bitmap_seeds()] + [
        b"[[0,5],[5,6],[9223372036854775000,9223372036854775807]]"
    ]


# ------------------------------------------------------------------------- deliveries


def _check_delivery(data: bytes) -> bool:
    body = text_of(data)
    try:
        delivery = decode_delivery(body)
    except NewerFormat as error:
        holds(error.found != error.known, "a delivery of the known format is called newer")
        return False
    except DamagedMessage:
        return False
    total = 0
    for part in delivery.parts:
        check_runs(part.runs)
        holds(part.runs and 0 <= part.epoch < _EPOCHS, "a part without runs or with no epoch")
        total += len(part.runs)
    holds(total <= MAX_RUNS, f"a delivery of {total} results")
    holds(delivery.parts, "a delivery without parts")
    holds(decode_delivery(encode_delivery(delivery, [])) == delivery, "it reads back otherwise")
    try:
        blocks = delivery_blocks(delivery, body.partition("\n")[2])
    except DamagedMessage:
        return True
    texts = body.partition("\n")[2].split("\n")
    for part, text, block in zip(delivery.parts, texts, blocks, strict=True):
        holds(text_digest(text) == part.digest, "a block that is not what its digest says")
        holds(base64.b64decode(text) == block, "a block that is not what its text says")
    return True


def _delivery_seeds() -> list[bytes]:
    golden = sorted((_GOLDEN / "messages/golden").glob("delivery-*.txt"))
    return [_delivery([block]).encode() for block in _blocks()] + [
        _delivery(_blocks()[:2]).encode(),
        *(each.read_bytes() for each in golden),
    ]


def _delivery_hostile() -> list[bytes]:
    part = {"runs": [[0, MAX_RUNS]], "epoch": 0, "digest": "0" * 32}
    head = {"format": "gapless.delivery/1", "sweep": _SWEEP, "delivery": "d", "node": "n"}
    claim = {"key": "claims/d", "sha256": "0" * 64, "size_bytes": 2**62}
    return [
        json.dumps(head | {"parts": [part] * 15_000}).encode(),
        json.dumps(
            head | {"parts": [part | {"runs": [[each, each + 1]]} for each in range(10_000)]}
        ).encode(),
        json.dumps(head | {"parts": [part | {"runs": [[0, 1]]}], "claim": claim}).encode(),
        json.dumps(head | {"parts": []}).encode() + b"\n" * 10**6,
        (json.dumps(head | {"parts": [part | {"runs": [[0, 1]]}]})).encode() + b"\n" + b"A" * 2**20,
    ]


def _delivery(blocks: list[Block], *, claim: Claim | None = None) -> str:
    texts = [base64.b64encode(encode_block(block)).decode("ascii") for block in blocks]
    parts = tuple(
        Part(
            runs=RunSet.from_numbers(np.unique(block.run)), epoch=block.epoch, digest=text_digest(t)
        )
        for block, t in zip(blocks, texts, strict=True)
    )
    delivery = Delivery(sweep=_SWEEP, delivery="d-1", node="node-1", parts=parts, claim=claim)
    return encode_delivery(delivery, [] if claim else texts)


# ------------------------------------------------------------------------- what an aggregator gets


def _check_received(data: bytes) -> bool:
    """As an aggregator does: the header, then the blocks, held against each other."""
    blobs = MemoryBlobs()
    blobs.put("claims/d-1", _claimed())
    message = Message(Lease(f"{_SWEEP}-results", "t"), text_of(data), 1)
    read = read_message(message)
    if not isinstance(read, Buffered):
        return False
    try:
        blocks = open_blocks(read, blobs)
    except (DamagedMessage, NewerFormat):
        return False
    for part, block in zip(read.delivery.parts, blocks, strict=True):
        check_rows(part, block)
    return True


def check_rows(part: Part, block: Block) -> None:
    """A block holds exactly one row of each run that its header names, and none of another."""
    holds(sorted(block.run.tolist()) == list(part.runs), "a block holds other runs than it says")
    holds(block.epoch == part.epoch, "a block is of another epoch than it says")


def _claimed() -> bytes:
    return _delivery(_blocks()[:1]).partition("\n")[2].encode()


def _received_seeds() -> list[bytes]:
    data = _claimed()
    claim = Claim(key="claims/d-1", sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    return [
        *(_delivery([block]).encode() for block in _blocks()),
        _delivery(_blocks()).encode(),
        _delivery(_blocks()[:1], claim=claim).encode(),
    ]


def _received_hostile() -> list[bytes]:
    return [*_delivery_hostile(), _bomb_delivery().encode()]


def _bomb_delivery() -> str:
    """A message of a few kilobytes whose blocks unpack to 200 MiB each."""
    zeros = np.zeros((1, 25 * 2**20))
    texts, parts = [], []
    builder = BlockBuilder(epoch=0, node="n", code="c")
    builder.add_ok(0, 1.0, 0.5, {"zeros": zeros[0]})
    text = base64.b64encode(encode_block(builder.build())).decode("ascii")
    for _ in range(40):
        texts.append(text)
        parts.append(Part(runs=RunSet.of(0), epoch=0, digest=text_digest(text)))
    delivery = Delivery(sweep=_SWEEP, delivery="d-1", node="n", parts=tuple(parts))
    return encode_delivery(delivery, texts)


# ------------------------------------------------------------------------- one message, its rows


def _check_headed(data: bytes) -> bool:
    """A block under a right checksum and a right digest, with headers that may be guessed."""
    sealed = sealed_block(data)
    try:
        block = decode_block(sealed)
    except (DamagedMessage, NewerFormat):
        return False
    if not block.rows or block.rows > 100_000:
        return False
    text = base64.b64encode(sealed).decode("ascii")
    least, greatest = int(block.run.min()), int(block.run.max())
    guesses = [RunSet.from_numbers(np.unique(block.run))]
    if greatest - least < 10**6:
        guesses.append(RunSet.span(least, greatest + 1))
    opened = False
    for runs in guesses:
        part = Part(runs=runs, epoch=block.epoch, digest=text_digest(text))
        delivery = Delivery(sweep=_SWEEP, delivery="d", node="n", parts=(part,))
        read = read_message(Message(Lease("q", "t"), encode_delivery(delivery, [text]), 1))
        if isinstance(read, Buffered):
            try:
                check_rows(part, open_blocks(read, MemoryBlobs())[0])
                opened = True
            except DamagedMessage:
                continue
    return opened


def sealed_block(data: bytes) -> bytes:
    """Take a block's body (the length of its header first) and put a right prefix before it."""
    head = int.from_bytes(data[:4], "little")
    body = data[4:]
    fields = (b"gaplessB", 1, 0, head & 0xFFFFFFFF, len(body))
    digest = hashlib.blake2b(_PREFIX.pack(*fields, bytes(16)) + body, digest_size=16).digest()
    return _PREFIX.pack(*fields, digest) + body


def block_bodies() -> list[bytes]:
    """Give blocks without their checksums, as `sealed_block` takes them."""
    encoded = [encode_block(each) for each in _blocks()]
    return [each[12:16] + each[_PREFIX.size :] for each in encoded]


def _blocks() -> list[Block]:
    plain = BlockBuilder(epoch=0, node="node-1", code="c0de")
    for run in range(8):
        plain.add_ok(run, 1.7e9 + run, 0.25, {"y": run / 3, "n": run, "good": run % 2 == 0})
    mixed = BlockBuilder(epoch=2, node="node-é", code="")
    for run in (5, 3, 2**40, 2**62):
        values = {"text": "é" * (run % 5), "list": [run, "a"], "array": np.arange(3) * 0.5}
        mixed.add_ok(run, 1.7e9, 1e-6, values | ({"some": 1} if run % 2 else {}))
    ragged = BlockBuilder(epoch=0, node="n", code="c")
    for run in range(3):
        ragged.add_ok(run, 0.0, 0.0, {"trace": np.arange(run, dtype=np.float32)})
    return [plain.build(), mixed.build(), ragged.build()]


MESSAGES = [
    Target(name="job", check=_check_job, seeds=_job_seeds, hostile=_job_hostile),
    Target(name="runs-bitmap", check=_check_bitmap, seeds=_bitmap_seeds, hostile=_hostile_bitmaps),
    Target(name="runs-wire", check=_check_wire, seeds=_wire_seeds),
    Target(
        name="delivery", check=_check_delivery, seeds=_delivery_seeds, hostile=_delivery_hostile
    ),
    Target(
        name="received",
        check=_check_received,
        seeds=_received_seeds,
        hostile=_received_hostile,
        room_bytes=2048 * MEBIBYTE,
    ),
    Target(name="block-in-delivery", check=_check_headed, seeds=block_bodies),
]
