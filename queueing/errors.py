"""Errors of the queues."""

from gapless.errors import GaplessError

__all__ = ["QueueError", "QueueUnavailable"]


class QueueError(GaplessError):
    """A queue cannot do what was asked, and trying again will not help."""


class QueueUnavailable(QueueError):
    """The queue service cannot be reached or is busy: nothing is known to be done; try again."""
