"""Proofs that what a message says is durable elsewhere: without one no message is deleted (I3).

Only `aggregator.store` makes these values, each right after the writes it stands for returned.
Everybody else can only hand them on, so "delete before flush" cannot be written by mistake.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AlreadyFinal", "DurableShard", "DurableWaste", "Proof"]


@dataclass(frozen=True, slots=True)
class DurableShard:
    """A shard and its manifest are durable; `sha256` is the shard's."""

    shard_id: str
    sha256: str
    manifest_key: str


@dataclass(frozen=True, slots=True)
class DurableWaste:
    """A message nobody can use lies in quarantine, whole, with the reason beside it."""

    key: str


@dataclass(frozen=True, slots=True)
class AlreadyFinal:
    """Durable manifests hold a final result of every run of the message, at its epoch or later."""

    sweep_id: str
    manifests: int


Proof = DurableShard | DurableWaste | AlreadyFinal
