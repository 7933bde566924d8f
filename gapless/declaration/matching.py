"""Find the points of one product among those of another: what unions and extensions rest on.

Two values are the same when their canonical JSON is. Factors may be cut differently on both sides
(a zip here, two axes there), so values are compared parameter by parameter, by small codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapless.declaration.canonical import canonical_json
from gapless.declaration.columns import Column
from gapless.declaration.factors import Factor, Rows, strides

__all__ = ["Finder"]


class Finder:
    """Tells which candidate of `target` has the values of a candidate of `source`, or -1."""

    def __init__(self, *, source: Sequence[Factor], target: Sequence[Factor]) -> None:
        self._codes: dict[str, tuple[int, Rows]] = {}
        self._lookups: list[_Lookup] = []
        self.disjoint = False
        held = {
            name: (place, factor.columns[column])
            for place, factor in enumerate(source)
            for column, name in enumerate(factor.names)
        }
        for factor in target:
            owns: list[Rows] = []
            for name, column in zip(factor.names, factor.columns, strict=True):
                place, given = held[name]
                own, other = _common_codes(column, given)
                owns.append(own)
                self._codes[name] = (place, other)
                self.disjoint |= bool((other < 0).all())
            self._lookups.append(_Lookup(factor.names, owns))
        self._strides = strides(target)

    def find(self, rows: Sequence[Rows], count: int) -> Rows:
        """Give the target's candidates, shape (count,); `rows` are of the source's factors."""
        found = np.zeros(count, dtype=np.int64)
        missing = np.zeros(count, dtype=np.bool_)
        for lookup, stride in zip(self._lookups, self._strides, strict=True):
            codes = [self._codes[name] for name in lookup.names]
            places = lookup.find([other[rows[place]] for place, other in codes])
            missing |= places < 0
            found += places * stride
        found[missing] = -1
        return found


class _Lookup:
    """Finds a row of a factor by the codes of its values."""

    def __init__(self, names: tuple[str, ...], codes: list[Rows]) -> None:
        self.names = names
        self._steps: list[tuple[int, Rows]] = []
        ranks = np.zeros(len(codes[0]), dtype=np.int64)
        for own in codes:
            width = int(own.max()) + 1
            keys, ranks = np.unique(ranks * width + own, return_inverse=True)
            self._steps.append((width, keys))
        # Rows are distinct, so the last ranks are too: turn them into rows.
        self._rows = np.empty(len(ranks), dtype=np.int64)
        self._rows[ranks] = np.arange(len(ranks))

    def find(self, codes: list[Rows]) -> Rows:
        ranks = np.zeros(len(codes[0]), dtype=np.int64)
        missing = np.zeros(len(ranks), dtype=np.bool_)
        for (width, keys), own in zip(self._steps, codes, strict=True):
            sought = ranks * width + own
            ranks = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
            missing |= (own < 0) | (keys[ranks] != sought)
        return np.where(missing, -1, self._rows[ranks])


def _common_codes(target: Column, source: Column) -> tuple[Rows, Rows]:
    if target.kind == source.kind and target.kind in {"int", "float"}:
        # By bits, as repr tells them apart: 0.0 and -0.0 are two values.
        vocabulary, own = np.unique(target.values.view(np.int64), return_inverse=True)
        sought: NDArray[Any] = source.values.view(np.int64)
        places = np.minimum(np.searchsorted(vocabulary, sought), len(vocabulary) - 1)
        return own, np.where(vocabulary[places] == sought, places, -1)
    seen: dict[bytes, int] = {}
    own = np.array([seen.setdefault(key, len(seen)) for key in _keys(target)], dtype=np.int64)
    return own, np.array([seen.get(key, -1) for key in _keys(source)], dtype=np.int64)


def _keys(column: Column) -> list[bytes]:
    return list(map(canonical_json, column.tolist()))
