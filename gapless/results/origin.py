"""Where a shard's rows come from: the flush that first stored them."""

from __future__ import annotations

import datetime as dt
import re

import msgspec

__all__ = ["Origin", "is_shard_id", "shard_id"]

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_SHARD = re.compile(r"\d{8}T\d{12}Z-[A-Za-z0-9][A-Za-z0-9._-]{0,99}-\d{6,9}")
_AGGREGATOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Origin(msgspec.Struct, frozen=True, order=True):
    """One flush: when (ISO, UTC, microseconds), by which aggregator, its how manyth flush.

    The least origin is the first stored.
    """

    flushed_at: str
    aggregator: str
    number: int

    def __post_init__(self) -> None:
        if self.flushed_at.endswith("+00:00"):
            msgspec.structs.force_setattr(
                self, "flushed_at", self.flushed_at.removesuffix("+00:00") + "Z"
            )
        if not _MOMENT.fullmatch(self.flushed_at):
            raise ValueError(
                f"flushed_at is {self.flushed_at!r}: write it like 2026-01-31T12:00:00.000000Z"
            )
        if not _AGGREGATOR.fullmatch(self.aggregator) or not 0 <= self.number < 10**9:
            raise ValueError(f"no aggregator is called {self.aggregator!r}, flush {self.number}")

    @classmethod
    def at(cls, flushed_at_s: float, aggregator: str, number: int) -> Origin:
        """Build from Unix time."""
        moment = dt.datetime.fromtimestamp(flushed_at_s, tz=dt.UTC)
        return cls(moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), aggregator, number)


def shard_id(origin: Origin) -> str:
    """Name the shard of a flush; names sort by time."""
    moment = re.sub(r"[-:.]", "", origin.flushed_at)
    return f"{moment}-{origin.aggregator}-{origin.number:06d}"


def is_shard_id(text: str) -> bool:
    """Tell whether a name can be one that `shard_id` gave."""
    return _SHARD.fullmatch(text) is not None
