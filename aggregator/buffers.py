"""What an aggregator holds of one sweep: deliveries waiting, one flush, and what is still missing.

Pure bookkeeping. Every delivery is in exactly one place: `puzzling` (names runs the sweep is not
known to have), `waiting`, or the batch of the open flush; from there it leaves with a proof.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aggregator.events import SWEEP_TRANSITIONS, Buffered, SweepState
from aggregator.policy import Policy
from aggregator.proof import Proof
from gapless.declaration.messages import Delivery
from gapless.declaration.runset import RunSet
from queueing.port import Lease

__all__ = ["OpenFlush", "SweepBuffer"]


@dataclass(slots=True)
class OpenFlush:
    """One shard on its way: it stays the same batch and number until storage answers."""

    number: int
    batch: tuple[Buffered, ...]
    size_bytes: int
    failures: int = 0
    due_at: float = 0.0


@dataclass(slots=True)
class SweepBuffer:
    """One sweep's deliveries in hand and what is known of its coverage.

    `polled_at`: when the state wanted of it was last read. Its queue was seen empty from
    `empty_since` (None: not since its last delivery) to `empty_at`.
    """

    sweep_id: str
    state: SweepState = SweepState.RUNNING
    runs: RunSet | None = None
    missing: dict[int, RunSet] | None = None
    awaited: dict[int, RunSet] = field(default_factory=dict)
    waiting: list[Buffered] = field(default_factory=list)
    puzzling: list[Buffered] = field(default_factory=list)
    oldest_at: float = 0.0
    rows: int = 0
    size_bytes: int = 0
    flush: OpenFlush | None = None
    reading: bool = False
    questioned: frozenset[Lease] = frozenset()
    coverage_due_at: float = 0.0
    adopting: bool = False
    adopt_due_at: float = 0.0
    adopted_once: bool = False
    polled_at: float = 0.0
    empty_since: float | None = None
    empty_at: float = 0.0
    copies: dict[Lease, list[Lease]] = field(default_factory=dict)
    _by_id: dict[str, Buffered] = field(default_factory=dict)
    _stored: OrderedDict[str, tuple[Delivery, Proof]] = field(default_factory=OrderedDict)

    def become(self, state: SweepState) -> None:
        """Note what is wanted of it now."""
        assert state is self.state or state in SWEEP_TRANSITIONS[self.state], (self.state, state)
        self.state = state

    @property
    def held_bytes(self) -> int:
        """Count the bytes of every delivery in hand."""
        flushing = self.flush.size_bytes if self.flush else 0
        return self.size_bytes + flushing + sum(each.size_bytes for each in self.puzzling)

    @property
    def empty(self) -> bool:
        """Tell whether no delivery is in hand."""
        return not self.waiting and not self.puzzling and self.flush is None

    @property
    def complete(self) -> bool:
        """Tell whether durable manifests hold a final result of every run."""
        return self.missing is not None and not any(self.missing.values())

    def rests(self, policy: Policy) -> bool:
        """Tell whether nothing of it is in hand, nor to be expected.

        Only receives that found its queue empty tell that, not the time alone.
        """
        if policy.rest_s <= 0.0 or not self.empty:
            return False
        if self.complete or self.state in {SweepState.CANCELLED, SweepState.GONE}:
            return True
        since = self.empty_since
        return since is not None and self.empty_at - since >= policy.rest_after_s

    def saw_empty(self, now: float) -> None:
        """Note that a receive found its queue empty."""
        self.empty_since = now if self.empty_since is None else self.empty_since
        self.empty_at = now

    def add(self, delivery: Buffered, now: float) -> None:
        """Take a delivery in hand; it waits for a flush, or for the sweep's runs to be read."""
        self._by_id[delivery.delivery.delivery] = delivery
        if self.runs is None or not delivery.delivery.runs.issubset(self.runs):
            self.puzzling.append(delivery)
            return
        self._wait(delivery, now)

    def _wait(self, delivery: Buffered, now: float) -> None:
        if not self.waiting:
            self.oldest_at = now
        self.waiting.append(delivery)
        self.rows += delivery.rows
        self.size_bytes += delivery.size_bytes
        _subtract(self.awaited, delivery)

    def twin_of(self, delivery: Buffered) -> Buffered | None:
        """Find the delivery in hand whose body is the very same (the queue delivered it twice)."""
        first = self._by_id.get(delivery.delivery.delivery)
        return first if first is not None and first.body == delivery.body else None

    def stored_proof(self, delivery: Delivery) -> Proof | None:
        """Find the proof of a delivery stored before whose delete the queue forgot."""
        known = self._stored.get(delivery.delivery)
        return known[1] if known is not None and known[0] == delivery else None

    def leases_of(self, delivery: Buffered) -> tuple[Lease, ...]:
        """Give the delivery's lease and those of its copies."""
        return (delivery.lease, *self.copies.get(delivery.lease, ()))

    def leases_in_hand(self) -> list[Lease]:
        """Give the leases of every delivery in hand, copies with them."""
        batch = self.flush.batch if self.flush is not None else ()
        in_hand = (*batch, *self.waiting, *self.puzzling)
        return [lease for each in in_hand for lease in self.leases_of(each)]

    def completes(self) -> bool:
        """Tell whether what is in hand is all that was missing."""
        return (
            self.missing is not None
            and any(self.missing.values())
            and not any(self.awaited.values())
        )

    def open_flush(self, number: int, policy: Policy, now: float) -> OpenFlush:
        """Move waiting deliveries, the oldest first, into a batch of bounded size."""
        rows = size_bytes = count = 0
        for each in self.waiting:
            rows += each.rows
            size_bytes += each.size_bytes
            count += 1
            if rows >= policy.flush_rows or size_bytes >= policy.flush_bytes:
                break
        self.flush = OpenFlush(
            number=number, batch=tuple(self.waiting[:count]), size_bytes=size_bytes, due_at=now
        )
        del self.waiting[:count]
        self.rows -= rows
        self.size_bytes -= size_bytes
        return self.flush

    def close_flush(self, unopened: Iterable[Buffered] = ()) -> None:
        """Forget the batch: each of its deliveries has its own proof or reason now.

        But those `unopened`, which wait again, before all others and for no more to come.
        """
        self.flush = None
        again = tuple(unopened)
        if again:
            self.waiting[:0] = again
            self.rows += sum(each.rows for each in again)
            self.size_bytes += sum(each.size_bytes for each in again)
            self.oldest_at = -math.inf

    def let_go(self, delivery: Buffered) -> tuple[Lease, ...]:
        """Give up a delivery that left the buffer; give all its leases."""
        leases = self.leases_of(delivery)
        self.copies.pop(delivery.lease, None)
        if self._by_id.get(delivery.delivery.delivery) is delivery:
            del self._by_id[delivery.delivery.delivery]
        return leases

    def mark_stored(
        self, delivery: Buffered, proof: Proof, *, most_remembered: int = 20_000
    ) -> None:
        """Note that a delivery's rows are durable; so many deliveries are known again."""
        # It was flushed, so its runs were known, and with them what is missing.
        assert self.missing is not None
        _subtract(self.missing, delivery)
        self._stored[delivery.delivery.delivery] = (delivery.delivery, proof)
        if len(self._stored) > most_remembered:
            self._stored.popitem(last=False)

    def begin_reading(self) -> None:
        """Note that the sweep is read from now on: the answer judges what is puzzling now."""
        self.reading = True
        self.questioned = frozenset(each.lease for each in self.puzzling)

    def learn(self, runs: RunSet, missing: Mapping[int, RunSet], now: float) -> list[Buffered]:
        """Take over what was read; give the deliveries that name runs the sweep does not have.

        A delivery that came while it was read stays puzzling: its runs may have been added since.
        """
        self.runs = runs
        self.missing = dict(missing)
        self.awaited = dict(missing)
        batch: Iterable[Buffered] = self.flush.batch if self.flush else ()
        for each in (*batch, *self.waiting):
            _subtract(self.awaited, each)
        puzzling, self.puzzling = self.puzzling, []
        strange: list[Buffered] = []
        for each in puzzling:
            if each.delivery.runs.issubset(runs):
                self._wait(each, now)
            elif each.lease in self.questioned:
                strange.append(each)
            else:
                self.puzzling.append(each)
        return strange


def _subtract(missing: dict[int, RunSet], delivery: Buffered) -> None:
    for part in delivery.delivery.parts:
        for epoch, runs in missing.items():
            if part.epoch >= epoch and not runs.isdisjoint(part.runs):
                missing[epoch] = runs - part.runs
