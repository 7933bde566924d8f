"""What an aggregator tells the person of queue and storage that are away, from its events."""

from __future__ import annotations

from aggregator.events import (
    DeleteFailed,
    DeliveriesReceived,
    Event,
    FlushFailed,
    MessageQuarantined,
    MessagesDeleted,
    QuarantineFailed,
    ReceiveFailed,
    ShardStored,
    SweepsPolled,
    SweepsUnread,
)
from gapless.troubles import Troubles

__all__ = ["note"]

_RECEIVING = "receiving deliveries"
_STORING = "storing results"
_DELETING = "deleting deliveries"
_QUARANTINE = "storing in quarantine"
_READING = "reading the home"

_WELL: dict[type, str] = {
    DeliveriesReceived: _RECEIVING,
    ShardStored: _STORING,
    MessagesDeleted: _DELETING,
    MessageQuarantined: _QUARANTINE,
    SweepsPolled: _READING,
}


def note(troubles: Troubles, event: Event) -> None:
    """Take note of an event that tells of trouble, or that there is none."""
    match event:
        case ReceiveFailed(reason=reason):
            text = f"no deliveries can be received for now: {reason}"
            troubles.trouble(_RECEIVING, text)
        case FlushFailed(sweep_id=sweep_id, reason=reason):
            text = f"sweep {sweep_id}: a flush failed, trying again: {reason}"
            troubles.trouble(_STORING, text)
        case DeleteFailed(reason=reason):
            text = f"what is stored cannot be deleted from its queue, trying again: {reason}"
            troubles.trouble(_DELETING, text)
        case QuarantineFailed(reason=reason):
            text = f"a message cannot be put in quarantine, trying again: {reason}"
            troubles.trouble(_QUARANTINE, text)
        case SweepsUnread(reason=reason):
            troubles.trouble(_READING, f"the home cannot be read for now: {reason}")
        case _ if type(event) in _WELL:
            troubles.well(_WELL[type(event)])
        case _:
            pass
