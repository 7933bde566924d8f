"""Errors of the queues."""

from gapless.errors import DiskFull, GaplessError

__all__ = ["QueueDiskFull", "QueueError", "QueueRefused", "QueueUnavailable"]


class QueueError(GaplessError):
    """A queue cannot do what was asked, and trying again will not help."""


class QueueUnavailable(QueueError):
    """The queue service cannot be reached or is busy: nothing is known to be done; try again."""


class QueueDiskFull(QueueUnavailable, DiskFull):
    """The disk of the embedded queue is full: nothing was done."""


class QueueRefused(QueueUnavailable):
    """The queue service answered and refuses: a permission, credentials, an account.

    A program keeps its work and tries again, as for any QueueUnavailable: somebody may allow it
    meanwhile. A person's command says it at once.
    """
