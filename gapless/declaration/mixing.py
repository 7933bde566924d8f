"""Mixing 64-bit words: the step that seeds and permutations are made of.

The finaliser is David Stafford's variant 13 of MurmurHash3's (the one of SplitMix64; Steele, Lea
and Flood, "Fast splittable pseudorandom number generators", 2014): a bijection on 64-bit words in
which each bit of the input changes each bit of the output with a chance near one half.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["GOLDEN", "Words", "key_words", "mix"]

Words = NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2**64 / the golden ratio, odd: its multiples are spread evenly."""

_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(words: Words) -> Words:
    """Mix each word in place, and give them back."""
    words ^= words >> _S30
    words *= _M1
    words ^= words >> _S27
    words *= _M2
    words ^= words >> _S31
    return words


def key_words(key: bytes, data: bytes, count: int) -> Words:
    """Give `count` (at most 8) 64-bit words: BLAKE2b of `data` under `key` (at most 64 bytes)."""
    digest = hashlib.blake2b(data, digest_size=8 * count, key=key).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)
