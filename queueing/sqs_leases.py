"""The leases one program holds on SQS: since when, until when, and what was sent in their place.

SQS counts the 12 hours of a message from its receive and tells nobody when that was, so it is
remembered here. A lease that is not remembered has ended: it was given back, or its time is over,
or another program received the message.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from queueing.port import MAX_LEASE_S, Lease, Replacement

__all__ = ["HeldLeases"]

_SWEEP_EVERY = 1_000
"""Leases entered between two sweeps of those that have ended."""


@dataclass(slots=True)
class _Held:
    """Monotonic seconds. `sent`: what a replace that did not end has sent already."""

    asked_at: float
    ends_at: float
    sent: tuple[Replacement, ...] = ()


class HeldLeases:
    """Leases by their time, in monotonic seconds of `monotonic`. Safe to use from any thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._held: dict[Lease, _Held] = {}
        self._entered = 0

    def __len__(self) -> int:
        with self._lock:
            return len(self._held)

    def enter(self, lease: Lease, *, asked_at: float, lease_s: float) -> None:
        """Remember a lease just received, which was asked for at `asked_at`.

        SQS counts from a moment between the two: the 12 hours are taken from the earlier one, the
        end of the lease from the later one, so neither is believed too long or over too early.
        """
        now = self._monotonic()
        with self._lock:
            self._held[lease] = _Held(asked_at=asked_at, ends_at=now + lease_s)
            self._entered += 1
            if self._entered % _SWEEP_EVERY == 0:
                for each in [each for each, held in self._held.items() if held.ends_at <= now]:
                    del self._held[each]

    def is_live(self, lease: Lease) -> bool:
        """Tell whether a lease is held and its end has not passed."""
        now = self._monotonic()
        with self._lock:
            held = self._held.get(lease)
            return held is not None and held.ends_at > now

    def extendable_s(self, lease: Lease) -> float:
        """Give for how many seconds from now a lease can be renewed; 0 for one that has ended."""
        now = self._monotonic()
        with self._lock:
            held = self._held.get(lease)
            if held is None or held.ends_at <= now:
                return 0.0
            return max(0.0, MAX_LEASE_S - (now - held.asked_at))

    def extended(self, lease: Lease, *, lease_s: float) -> None:
        """Remember that a lease was renewed and lasts `lease_s` from now."""
        now = self._monotonic()
        with self._lock:
            held = self._held.get(lease)
            if held is not None:
                held.ends_at = now + lease_s

    def forget(self, lease: Lease) -> None:
        """Forget a lease that was given back, deleted or lost; an unknown one is no error."""
        with self._lock:
            self._held.pop(lease, None)

    def unsent(self, lease: Lease, wanted: Sequence[Replacement]) -> list[Replacement]:
        """Give what is still to be sent in a lease's place, after a replace that did not end."""
        with self._lock:
            held = self._held.get(lease)
            sent = list(held.sent) if held is not None else []
        left: list[Replacement] = []
        for each in wanted:
            if each in sent:
                sent.remove(each)
            else:
                left.append(each)
        return left

    def sent(self, lease: Lease, replacements: Sequence[Replacement]) -> None:
        """Remember what was sent in a lease's place, until it is forgotten."""
        with self._lock:
            held = self._held.get(lease)
            if held is not None:
                held.sent += tuple(replacements)
