"""From a received message to rows: each step says whether the message is damaged or only newer."""

from __future__ import annotations

import hashlib

from aggregator.events import Buffered, MessageUndecodable, NewerFormatReceived
from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.messages import Claim, Part, decode_delivery, delivery_blocks
from gapless.declaration.runset import RunSet
from gapless.results.block import Block, block_bytes, decode_block
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing
from queueing.port import MAX_MESSAGE_BYTES, Message

__all__ = [
    "MAX_CLAIM_BYTES",
    "MAX_OPENED_BYTES",
    "ClaimGone",
    "open_blocks",
    "read_message",
]

MAX_CLAIM_BYTES = 512 * 2**20
"""The largest claimed object that is fetched: a bound on memory, far above what a node writes."""
MAX_OPENED_BYTES = 1024 * 2**20
"""What the blocks of one delivery may take in memory: equal values are packed to next to nothing,
so a message of some kilobytes can mean thousands of gigabytes. A node sends blocks of half a
megabyte (or of one run), and no more in a delivery than take half of this."""

_CLAIMS = "claims/"


class ClaimGone(DamagedMessage):
    """The object a delivery claims is not there (any more)."""


def read_message(message: Message) -> Buffered | MessageUndecodable | NewerFormatReceived:
    """Read a message's header; its blocks stay encoded."""
    lease, body = message.lease, message.body
    try:
        _check_size(body)
        delivery = decode_delivery(body)
        if delivery.claim is not None:
            _check_claim(delivery.claim)
    except NewerFormat as error:
        return NewerFormatReceived(lease=lease, reason=str(error))
    except DamagedMessage as error:
        return MessageUndecodable(lease=lease, body=body, reason=str(error))
    claimed = delivery.claim.size_bytes if delivery.claim is not None else 0
    rows = sum(len(part.runs) for part in delivery.parts)
    return Buffered(
        lease=lease, delivery=delivery, body=body, rows=rows, size_bytes=len(body) + claimed
    )


def open_blocks(
    buffered: Buffered, blobs: Blobs, *, most_bytes: int = MAX_OPENED_BYTES
) -> list[Block]:
    """Decode a delivery's blocks and hold them against its header.

    DamagedMessage, ClaimGone, NewerFormat; StorageUnavailable when a claim cannot be read now.
    """
    delivery = buffered.delivery
    if delivery.claim is None:
        text = buffered.body.partition("\n")[2]
    else:
        text = _fetch(delivery.claim, blobs)
    encoded = delivery_blocks(delivery, text)
    blocks: list[Block] = []
    room = most_bytes
    for part, data in zip(delivery.parts, encoded, strict=True):
        block = _open(part, data)
        room -= block_bytes(block)
        if room < 0:
            raise DamagedMessage(
                f"delivery {delivery.delivery} unpacks to more than {most_bytes} bytes"
            )
        blocks.append(block)
    return blocks


def _check_size(body: str) -> None:
    if len(body) > MAX_MESSAGE_BYTES:
        raise DamagedMessage(f"a message of {len(body)} bytes, the most is {MAX_MESSAGE_BYTES}")


def _check_claim(claim: Claim) -> None:
    name = claim.key.removeprefix(_CLAIMS)
    if name == claim.key or not name or "/" in name or name.startswith("."):
        raise DamagedMessage(f"a claim of {claim.key[:80]!r}, which is no key of claims/")
    if not 0 <= claim.size_bytes <= MAX_CLAIM_BYTES:
        raise DamagedMessage(f"a claim of {claim.size_bytes} bytes, the most is {MAX_CLAIM_BYTES}")


def _fetch(claim: Claim, blobs: Blobs) -> str:
    try:
        # One byte more than said shows an object that is longer, without reading all of it.
        data = blobs.get_range(claim.key, 0, claim.size_bytes + 1)
    except BlobMissing as error:
        raise ClaimGone(f"the claimed object {claim.key} is gone") from error
    if len(data) != claim.size_bytes or hashlib.sha256(data).hexdigest() != claim.sha256:
        raise DamagedMessage(f"the claimed object {claim.key} is not what the delivery says")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise DamagedMessage(f"the claimed object {claim.key} is not ASCII") from error


def _open(part: Part, data: bytes) -> Block:
    block = decode_block(data)
    if block.epoch != part.epoch or RunSet.from_numbers(block.run) != part.runs:
        raise DamagedMessage(
            f"a block holds {block.rows} rows of epoch {block.epoch}, its header says "
            f"{len(part.runs)} runs of epoch {part.epoch}, or other ones"
        )
    return block
