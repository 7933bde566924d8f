"""Packing blocks into deliveries, and what is on its way.

A delivery holds blocks of one sweep and is as large as a message may be, but waits no longer than
`linger_s`. What it takes in memory where it is read is bounded too: equal values are packed to next
to nothing, and an aggregator refuses what unpacks to more than it can hold. A block too large for
any message goes by a claim. What is refused is sent again as it was, later and later: the same
delivery twice is harmless, another one might split what a claim names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from compute_node.commands import SendDelivery, StoreClaim
from gapless.declaration.messages import Delivery, Part, encode_delivery
from gapless.declaration.runset import RunSet
from gapless.pauses import pause_s

__all__ = ["Deliveries", "PendingBlock"]

_REFUSALS_BEFORE_CLAIM = 2
_MOST_OPENED_BYTES = 512 * 2**20
"""Half of what an aggregator opens (`aggregator.decoding.MAX_OPENED_BYTES`); a block has at most a
quarter (`gapless.results.buffers.MAX_RAW_BYTES`)."""


@dataclass(frozen=True, slots=True)
class PendingBlock:
    """A block of the outbox that is in no delivery yet; sizes in bytes."""

    block: int
    epoch: int
    runs: RunSet
    digest: str
    made_at: float
    part_bytes: int
    opened_bytes: int


@dataclass(slots=True)
class _Sent:
    delivery: Delivery
    blocks: tuple[int, ...]
    by_claim: bool
    tries: int = 0
    refused: int = 0
    again_at: float | None = None


class Deliveries:
    """What waits to be delivered and what is on its way, by sweep."""

    def __init__(
        self,
        *,
        node: str,
        new_id: Callable[[], str],
        most_bytes: int,
        linger_s: float,
        most_in_flight: int,
    ) -> None:
        self._node = node
        self._new_id = new_id
        self._most_bytes = most_bytes
        self._linger_s = linger_s
        self._most_in_flight = most_in_flight
        self._pending: dict[str, list[PendingBlock]] = {}
        self._sent: dict[str, _Sent] = {}

    @property
    def empty(self) -> bool:
        """Tell whether nothing waits and nothing is on its way."""
        return not self._sent and not self._pending

    def add(
        self,
        *,
        sweep: str,
        block: int,
        epoch: int,
        runs: RunSet,
        digest: str,
        size_bytes: int,
        opened_bytes: int,
        now: float,
    ) -> None:
        """Let a block wait."""
        part = {"runs": runs.to_wire(), "epoch": epoch, "digest": digest}
        self._pending.setdefault(sweep, []).append(
            PendingBlock(
                block=block,
                epoch=epoch,
                runs=runs,
                digest=digest,
                made_at=now,
                # A comma in the header, a line end before the text.
                part_bytes=len(msgspec.json.encode(part)) + 1 + size_bytes + 1,
                opened_bytes=opened_bytes,
            )
        )

    def due(self, now: float, *, hurry: Callable[[str], bool]) -> list[SendDelivery | StoreClaim]:
        """Give what is to be sent now; `hurry(sweep)`: nothing more to wait for."""
        commands: list[SendDelivery | StoreClaim] = []
        busy = sum(1 for sent in self._sent.values() if sent.again_at is None)
        for sent in self._sent.values():
            again = sent.again_at is not None and sent.again_at <= now
            if again and busy < self._most_in_flight:
                sent.again_at = None
                busy += 1
                commands.append(_command(sent))
        for sweep in list(self._pending):
            while busy < self._most_in_flight:
                chosen = self._pack(sweep, now, hurry=hurry(sweep))
                if not chosen:
                    break
                sent = self._seal(sweep, chosen)
                self._sent[sent.delivery.delivery] = sent
                busy += 1
                commands.append(_command(sent))
        return commands

    def acknowledged(self, delivery: str) -> tuple[str, tuple[int, ...]]:
        """Note that a delivery arrived; give its sweep and its blocks."""
        sent = self._sent.pop(delivery)
        return sent.delivery.sweep, sent.blocks

    def refused(self, delivery: str, *, away: bool, now: float) -> str:
        """Note that a delivery was not taken: the same one is sent again after a growing pause.

        Give its sweep. Each delivery is answered once, and none is dropped before its answer.
        """
        sent = self._sent[delivery]
        sent.tries += 1
        sent.again_at = now + pause_s(sent.tries, who=delivery)
        if not away:
            sent.refused += 1
            sent.by_claim = sent.by_claim or sent.refused >= _REFUSALS_BEFORE_CLAIM
        return sent.delivery.sweep

    def hurry(self) -> None:
        """Send again at once what waits for another try."""
        for sent in self._sent.values():
            if sent.again_at is not None:
                sent.again_at = 0.0

    def drop(self, sweep: str) -> tuple[int, ...]:
        """Forget what waits for a sweep; give the blocks nobody will send."""
        blocks = [block.block for block in self._pending.pop(sweep, [])]
        for delivery, sent in list(self._sent.items()):
            if sent.delivery.sweep == sweep and sent.again_at is not None:
                del self._sent[delivery]
                blocks.extend(sent.blocks)
        return tuple(blocks)

    def _pack(self, sweep: str, now: float, *, hurry: bool) -> list[PendingBlock]:
        blocks = self._pending.get(sweep, [])
        if not blocks:
            return []
        size = self._header_bytes(sweep)
        count = opened = 0
        for block in blocks:
            opened += block.opened_bytes
            too_large = size + block.part_bytes > self._most_bytes or opened > _MOST_OPENED_BYTES
            if count and too_large:
                break
            size += block.part_bytes
            count += 1
        full = count < len(blocks) or size >= self._most_bytes * 0.9
        if not (full or hurry or now - blocks[0].made_at >= self._linger_s):
            return []
        if count == len(blocks):
            del self._pending[sweep]
        else:
            self._pending[sweep] = blocks[count:]
        return blocks[:count]

    def _header_bytes(self, sweep: str) -> int:
        empty = Delivery(sweep=sweep, delivery=self._new_id(), node=self._node, parts=())
        return len(encode_delivery(empty, [])) + 8

    def _seal(self, sweep: str, blocks: list[PendingBlock]) -> _Sent:
        delivery = Delivery(
            sweep=sweep,
            delivery=self._new_id(),
            node=self._node,
            parts=tuple(
                Part(runs=block.runs, epoch=block.epoch, digest=block.digest) for block in blocks
            ),
        )
        size = self._header_bytes(sweep) + sum(block.part_bytes for block in blocks)
        return _Sent(
            delivery=delivery,
            blocks=tuple(block.block for block in blocks),
            by_claim=size > self._most_bytes,
        )


def _command(sent: _Sent) -> SendDelivery | StoreClaim:
    kind = StoreClaim if sent.by_claim else SendDelivery
    return kind(delivery=sent.delivery, blocks=sent.blocks)
