"""Stored shards spoilt, when all is stored: `sweep verify` finds each, and its runs come again."""

from __future__ import annotations

import math
import random
from functools import partial
from typing import Protocol

from tests.chaos.places import Place

__all__ = ["spoil_shards"]


def _flipped(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]


def _cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _zeroed(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + bytes(len(data) - at) if any(data[at:]) else _cut(data, dice)


def _gone(data: bytes, dice: random.Random) -> None:
    del data, dice


class _Spoil(Protocol):
    def __call__(self, data: bytes, dice: random.Random) -> bytes | None: ...


_SHARD: dict[str, _Spoil] = {
    "a bit of a shard flipped": _flipped,
    "a shard cut short": _cut,
    "the end of a shard zeroed": _zeroed,
    "a shard deleted": _gone,
}
_MANIFEST: dict[str, _Spoil] = {
    "a manifest cut short": _cut,
    "a bit of a manifest flipped": _flipped,
}


def spoil_shards(place: Place, dice: random.Random) -> dict[str, str]:
    """Spoil one shard in each way there is, half of them at most; give the shard by kind."""
    names = set(place.stored_files())
    whole = sorted(
        name.removesuffix(".h5")
        for name in names
        if name.endswith(".h5") and f"{name.removesuffix('.h5')}.json" in names
    )
    kinds = [*_SHARD, *_MANIFEST]
    dice.shuffle(kinds)
    number = min(len(kinds), math.ceil(len(whole) / 2))
    chosen = dict(zip(kinds, dice.sample(whole, number), strict=False))
    for kind, shard in chosen.items():
        suffix = ".h5" if kind in _SHARD else ".json"
        spoil = {**_SHARD, **_MANIFEST}[kind]
        place.change_file(f"{shard}{suffix}", partial(spoil, dice=dice))
    return chosen
