"""What a node tells the person of queue and storage that are away, from what its threads report."""

from __future__ import annotations

from compute_node.events import (
    DeliveryAcknowledged,
    DeliveryRefused,
    Event,
    JobDeleted,
    JobReplaced,
    PiecesSent,
    PreparationFailed,
    ReceiveEnded,
    SweepPrepared,
)
from gapless.troubles import Troubles
from queueing.port import AnswerStatus

__all__ = ["note"]

_RECEIVING = "receiving jobs"
_ASKING = "reading what is wanted of jobs"
_DELIVERING = "delivering results"
_CHANGING = "changing jobs on the queue"


def note(troubles: Troubles, event: Event) -> None:
    """Take note of an event that tells of trouble, or that there is none."""
    match event:
        case ReceiveEnded():
            _note_receive(troubles, event)
        case DeliveryAcknowledged():
            troubles.well(_DELIVERING)
        case DeliveryRefused(delivery=delivery, reason=reason):
            troubles.trouble(_DELIVERING, f"delivery {delivery} waits: {reason}")
        case JobDeleted() | JobReplaced() | PiecesSent():
            if event.status is AnswerStatus.FAILED:
                text = f"a job cannot be changed on the queue for now: {event.reason}"
                troubles.trouble(_CHANGING, text)
            else:
                troubles.well(_CHANGING)
        case SweepPrepared(sweep=sweep):
            troubles.well(_fetching(sweep))
        case PreparationFailed(sweep=sweep, reason=reason, fatal=False):
            troubles.trouble(_fetching(sweep), f"sweep {sweep} cannot be fetched yet: {reason}")
        case _:
            pass


def _note_receive(troubles: Troubles, event: ReceiveEnded) -> None:
    if event.problem:
        troubles.trouble(_RECEIVING, f"no jobs can be received for now: {event.problem}")
        return
    troubles.well(_RECEIVING)
    if event.unread:
        waiting = ", ".join(sorted(event.unread))
        troubles.trouble(_ASKING, f"jobs of sweep {waiting} wait, their home cannot be read now")
    elif event.messages:
        troubles.well(_ASKING)


def _fetching(sweep: str) -> str:
    return f"fetching sweep {sweep}"
