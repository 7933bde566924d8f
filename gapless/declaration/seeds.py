"""Seeds: a keyed hash of (root seed, values of the point, replicate), whole blocks at a time.

Each (name, value) becomes two 64-bit words, keyed with the root seed: numbers by mixing their bits
twice under words of BLAKE2b(root seed, name, type), everything else by BLAKE2b of its canonical
JSON. A point is the sum of its words in each lane (tabulation hashing, Zobrist 1970: no order of
parameters can matter, and 128 bits keep different points apart); then the replicate is mixed in,
and the two lanes into one. Nothing else enters: not the point's place, nor other points. The
vectors of the tests fix it for ever: results that are stored were made with these seeds.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gapless.declaration.canonical import canonical_json
from gapless.declaration.columns import Column
from gapless.declaration.factors import Factor, Rows
from gapless.declaration.mixing import GOLDEN, Words, key_words, mix

__all__ = ["SeedMode", "Seeder"]

SeedMode = Literal["point", "common"]

_BLOCK = 1 << 14
_ONE = np.uint64(1)


class Seeder:
    """Gives seeds (int64, 0 <= seed < 2**63) of one root seed and mode."""

    def __init__(self, seed: int, mode: SeedMode) -> None:
        self._key = str(seed).encode("ascii")
        self._mode = mode
        self._start = key_words(self._key, b"gapless.seed/1 " + mode.encode("ascii"), 2)
        self._words: dict[int, tuple[Factor, tuple[Words, Words]]] = {}

    def seeds(
        self, factors: tuple[Factor, ...], rows: list[Rows], replicates: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Give the seed of each run: `rows` of each factor make its point; shape (n,)."""
        count = len(replicates)
        result = np.empty(count, dtype=np.uint64)
        tables = [self._table(factor) for factor in factors] if self._mode == "point" else []
        for begin in range(0, count, _BLOCK):
            part = slice(begin, begin + _BLOCK)
            steps = replicates[part].astype(np.uint64)
            steps *= GOLDEN
            steps += self._start[0]
            other = np.full(len(steps), self._start[1])
            for (first, second), own in zip(tables, rows, strict=False):
                chosen = own[part]
                steps += first.take(chosen)
                other += second.take(chosen)
            mix(steps)
            steps ^= other
            mix(steps)
            np.right_shift(steps, _ONE, out=result[part])
        return result.view(np.int64)

    def _table(self, factor: Factor) -> tuple[Words, Words]:
        held = self._words.get(id(factor))
        if held is None:
            # The factor is held too, so that its id stays its own.
            held = factor, self._hashed(factor)
            self._words[id(factor)] = held
        return held[1]

    def _hashed(self, factor: Factor) -> tuple[Words, Words]:
        lanes = np.zeros((2, factor.count), dtype=np.uint64)
        for name, column in zip(factor.names, factor.columns, strict=True):
            lanes += self._column(name.encode("utf-8"), column)
        return lanes[0], lanes[1]

    def _column(self, name: bytes, column: Column) -> Words:
        if column.kind in {"int", "float"}:
            return self._numbers(name, column.kind, column.values.view(np.uint64))
        lanes = np.empty((2, len(column)), dtype=np.uint64)
        known: dict[bytes, Words] = {}
        for place, value in enumerate(column.tolist()):
            if type(value) is int or type(value) is float:
                # A number of a mixed column has the words it has in a column of numbers.
                kind = type(value).__name__
                bits = np.array([value], dtype=np.int64 if kind == "int" else np.float64)
                lanes[:, place] = self._numbers(name, kind, bits.view(np.uint64))[:, 0]
                continue
            written = canonical_json(value)
            words = known.get(written)
            if words is None:
                words = key_words(self._key, b"gapless.seed/1 value " + name + b"\0" + written, 2)
                known[written] = words
            lanes[:, place] = words
        return lanes

    def _numbers(self, name: bytes, kind: str, bits: Words) -> Words:
        label = b"gapless.seed/1 " + kind.encode("ascii") + b" " + name
        keys = key_words(self._key, label, 4)
        lanes = np.empty((2, len(bits)), dtype=np.uint64)
        for lane in range(2):
            words = mix(bits ^ keys[2 * lane])
            words += keys[2 * lane + 1]
            lanes[lane] = mix(words)
        return lanes
