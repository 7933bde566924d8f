"""Errors of results."""

from gapless.errors import GaplessError, UserMistake

__all__ = [
    "ResultsError",
    "ShardDamaged",
    "ShardGone",
    "ShardMisnamed",
    "UnknownValue",
    "ValueRefused",
]

_NAME_SHOWN = 160


class ResultsError(GaplessError):
    """Stored results cannot be used as asked."""


class ShardDamaged(ResultsError):
    """A shard's bytes are not what its manifest says, or are no shard at all."""

    _is = "damaged"
    _next = (
        "`sweep verify` sets it aside, then `sweep run` or `sweep reconcile --resubmit` does its "
        "runs again"
    )

    def __init__(self, shard_id: str, why: str) -> None:
        super().__init__(f"shard {shard_id} is {self._is} ({why}): {self._next}")
        self.shard_id = shard_id
        self.why = why


class ShardMisnamed(ShardDamaged):
    """A shard lies under another name than its own, `is_shard`: somebody copied or renamed it."""

    _is = "misnamed"
    _next = "`sweep verify` sees to it"

    def __init__(self, shard_id: str, is_shard: str) -> None:
        super().__init__(shard_id, f"it is shard {is_shard[:_NAME_SHOWN]}")
        self.is_shard = is_shard


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
