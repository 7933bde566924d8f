"""What no backend takes: the same refusals everywhere, in words, before anything is sent."""

from __future__ import annotations

from queueing.errors import QueueError
from queueing.port import (
    MAX_DELAY_S,
    MAX_LEASE_S,
    MAX_MESSAGE_BYTES,
    Entry,
    Replacement,
)

__all__ = [
    "check_receive",
    "refusal_of_delay",
    "refusal_of_entry",
    "refusal_of_lease",
    "refusal_of_replacement",
]

# Characters Amazon SQS refuses in a body (API Reference, SendMessage): every ASCII control
# character but tab, line feed and carriage return.
_CONTROL = bytes(set(range(0x20)) - {0x09, 0x0A, 0x0D})
_TAKEN = bytes(set(range(0x80)) - set(_CONTROL))
_PRIORITY_BOUND = 2**31


def refusal_of_entry(entry: Entry) -> str:
    """Say why this entry cannot be sent; "" when it can."""
    return _of_message(entry.body, delay_s=entry.delay_s, priority=entry.priority)


def refusal_of_replacement(replacement: Replacement) -> str:
    """Say why this replacement cannot be sent; "" when it can."""
    reason = _of_message(
        replacement.body, delay_s=replacement.delay_s, priority=replacement.priority
    )
    if reason:
        return reason
    if replacement.lease_s and replacement.delay_s:
        return "a replacement is either delayed or leased to the caller, not both"
    if not 0.0 <= replacement.lease_s <= MAX_LEASE_S:
        return f"a lease lasts 0 to {MAX_LEASE_S:.0f} s, not {replacement.lease_s} s"
    return ""


def refusal_of_lease(lease_s: float) -> str:
    """Say why a lease cannot be renewed for `lease_s`; "" when it can (too long is cut)."""
    return "" if lease_s > 0.0 else f"a lease is renewed for more than 0 s, not {lease_s} s"


def refusal_of_delay(delay_s: float) -> str:
    """Say why a message cannot be delayed by `delay_s`; "" when it can."""
    if 0.0 <= delay_s <= MAX_DELAY_S:
        return ""
    return f"a message is delayed by 0 to {MAX_DELAY_S:.0f} s, not {delay_s} s"


def check_receive(*, most: int, wait_s: float, lease_s: float) -> None:
    """Raise QueueError for a receive that cannot work as it is asked."""
    if most < 1:
        raise QueueError(f"a receive asks for at least 1 message, not {most}")
    if not 0.0 < lease_s <= MAX_LEASE_S:
        raise QueueError(f"a lease lasts up to {MAX_LEASE_S:.0f} s, not {lease_s} s")
    if not wait_s >= 0.0:
        raise QueueError(f"a receive waits 0 s or more, not {wait_s} s")


def _of_message(body: str, *, delay_s: float, priority: int) -> str:
    if not body:
        return "a message's body is not empty"
    if not body.isascii():
        return "a message's body is ASCII only"
    if len(body) > MAX_MESSAGE_BYTES:
        return f"a message has at most {MAX_MESSAGE_BYTES} bytes, not {len(body)}"
    if body.encode("ascii").translate(None, _TAKEN):
        return "a message's body has no control characters but tab and line ends"
    if not -_PRIORITY_BOUND <= priority < _PRIORITY_BOUND:
        return f"a priority lies between -2**31 and 2**31, {priority} does not"
    return refusal_of_delay(delay_s)
