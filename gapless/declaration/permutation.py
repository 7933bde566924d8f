"""A seeded permutation of [0, count), computed for each index alone: no table but a small one.

A Feistel network with unequal halves on the least power of two >= count, walked along its cycle
until it lands below count (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002): fewer
than two steps on average from 33 elements on. The vectors of the tests fix it for ever: run numbers
depend on it.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from gapless.declaration.mixing import Words, key_words

__all__ = ["MAX_COUNT", "permute"]

MAX_COUNT = 2**62
"""The largest domain."""

_ROUNDS = 8
_LEAST_BITS = 6
"""Fewer bits give an uneven choice among the orders of a handful of elements (measured on 5)."""
_BLOCK = 1 << 15
_MOST_LISTED = 1 << 12
"""Up to so many elements the whole order is kept (32 KiB): it is asked for in small parts, each of
which costs as much as the whole (0.1 ms)."""
_MULTIPLIER = np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)


def permute(indices: NDArray[np.int64], *, count: int, key: int) -> NDArray[np.int64]:
    """Give the place of each index (0 <= index < count <= 2**62) in the order `key` stands for."""
    if not 1 <= count <= MAX_COUNT:
        raise ValueError(f"a permutation of {count} elements: expected 1 to 2**62")
    if count <= _MOST_LISTED:
        return _listed(count, key)[indices]
    return _walked(indices, count, key)


@functools.lru_cache(maxsize=64)
def _listed(count: int, key: int) -> NDArray[np.int64]:
    if count == 1:
        return np.zeros(1, dtype=np.int64)
    return _walked(np.arange(count, dtype=np.int64), count, key)


def _walked(indices: NDArray[np.int64], count: int, key: int) -> NDArray[np.int64]:
    bits = max(_LEAST_BITS, (count - 1).bit_length())
    network = _Network(bits, key)
    result = indices.astype(np.uint64)
    for start in range(0, len(result), _BLOCK):
        block = result[start : start + _BLOCK]
        network.encrypt(block)
        outside = np.flatnonzero(block >= np.uint64(count))
        while outside.size:
            walking = block[outside]
            network.encrypt(walking)
            block[outside] = walking
            outside = outside[walking >= np.uint64(count)]
    return result.view(np.int64)


class _Network:
    """A keyed bijection on [0, 2**bits); `bits` from 6 to 62."""

    def __init__(self, bits: int, key: int) -> None:
        low = (bits + 1) // 2
        high = bits - low
        self._low = np.uint64(low)
        self._mask = np.uint64((1 << low) - 1)
        # Unequal halves take turns: each is changed by a function of the other, of its own width.
        self._down = (np.uint64(64 - high), high > 0), (np.uint64(64 - low), True)
        secret = str(key).encode("ascii")
        self._keys = key_words(secret, b"gapless.order/1 keys", _ROUNDS)
        self._factors = key_words(secret, b"gapless.order/1 factors", _ROUNDS) | np.uint64(1)

    def encrypt(self, words: Words) -> None:
        """Map each word in place."""
        high = words >> self._low
        low = words & self._mask
        for number in range(_ROUNDS):
            target, source = (high, low) if number % 2 == 0 else (low, high)
            shift, wide = self._down[number % 2]
            if not wide:
                continue
            changed = source + self._keys[number]
            changed *= self._factors[number]
            changed ^= changed >> _HALF
            changed *= _MULTIPLIER
            changed >>= shift
            target ^= changed
        np.left_shift(high, self._low, out=words)
        words |= low
