"""Errors of the aggregator."""

from gapless.errors import GaplessError

__all__ = ["AggregatorError"]


class AggregatorError(GaplessError):
    """An aggregator cannot go on with something; what it concerns stays on the queue."""
