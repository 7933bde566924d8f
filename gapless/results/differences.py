"""Compare values of two sets of rows exactly, NaN being equal to NaN."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapless.results.columns import ColumnKind, ValueColumn

__all__ = ["differing_rows"]


def differing_rows(left: ValueColumn, right: ValueColumn) -> NDArray[np.bool_]:
    """Tell for each row whether the two columns differ there (one missing: they do)."""
    has_left, has_right = _present(left), _present(right)
    differs = np.asarray(has_left != has_right, dtype=np.bool_)
    both = np.flatnonzero(has_left & has_right)
    if not len(both):
        return differs
    one, other = left.take(both), right.take(both)
    differs[both] = _compare(one, other)
    return differs


def _present(column: ValueColumn) -> NDArray[np.bool_]:
    return np.ones(len(column), dtype=np.bool_) if column.valid is None else column.valid


def _compare(one: ValueColumn, other: ValueColumn) -> NDArray[np.bool_]:
    plain = (ColumnKind.RAGGED, ColumnKind.JSON)
    alike = one.kind is other.kind and one.data.shape == other.data.shape
    if alike and one.kind not in plain:
        unequal = np.asarray(one.data != other.data, dtype=np.bool_)
        if one.data.dtype.kind in "fc":
            unequal &= ~(np.isnan(one.data) & np.isnan(other.data))
        return np.asarray(unequal.reshape(len(one), -1).any(axis=1))
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    return np.array([not _same(a, b) for a, b in pairs], dtype=np.bool_)


def _same(one: Any, other: Any) -> bool:
    """Compare two values; a number equals the same number of another type, not a truth value."""
    one, other = _plain(one), _plain(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other) or (isinstance(one, complex) and _same_complex(one, other))


def _same_complex(one: complex, other: Any) -> bool:
    if not isinstance(other, complex):
        return False
    return _same(one.real, other.real) and _same(one.imag, other.imag)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
