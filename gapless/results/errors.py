"""Errors of results."""

from gapless.errors import GaplessError, UserMistake

__all__ = ["ResultsError", "ShardDamaged", "ShardGone", "UnknownValue", "ValueRefused"]


class ResultsError(GaplessError):
    """Stored results cannot be used as asked."""


class ShardDamaged(ResultsError):
    """A shard's bytes are not what its manifest says, or are no shard at all."""

    def __init__(self, shard_id: str, why: str) -> None:
        super().__init__(
            f"shard {shard_id} is damaged ({why}): `sweep verify` sets it aside, then `sweep run` "
            "or `sweep reconcile --resubmit` does its runs again; damaged='skip' reads without it"
        )
        self.shard_id = shard_id
        self.why = why


class ShardGone(ResultsError):
    """A shard of this view was removed (compacted, or deleted by someone)."""

    def __init__(self, shard_id: str) -> None:
        super().__init__(
            f"shard {shard_id} is not there any more: call refresh() to see what replaced it, "
            "or run `sweep reconcile` if nothing did"
        )
        self.shard_id = shard_id


class UnknownValue(UserMistake):
    """A value was asked for that no stored run has."""


class ValueRefused(ResultsError):
    """A value of a run cannot be stored; the message names its type."""
