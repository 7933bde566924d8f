"""Columns of plain values: typed arrays where all values are of one scalar type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gapless.declaration.canonical import INT_MAX, INT_MIN, canonical_json, check_text

__all__ = ["Column", "Kind", "column_of", "first_rows", "gather", "joined_kind", "plain"]

Kind = Literal["int", "float", "number", "bool", "str", "json"]

_DTYPES: dict[Kind, Any] = {
    "int": np.int64,
    "float": np.float64,
    "number": object,
    "bool": np.bool_,
    "str": object,
    "json": object,
}
_KINDS: dict[type, Kind] = {int: "int", float: "float", bool: "bool", str: "str"}
_NUMERIC = frozenset(("int", "float", "number"))
_EXACT = 2**53
"""Integers up to here (absolute) are floats without loss."""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Values of one parameter, shape (n,), and their kind.

    `int` is int64, `float` float64, `bool` bool. The others are object arrays of Python values:
    `str`; `number`, integers and floats as they were written, each of which float64 holds exactly;
    `json`, anything else (none, lists, tables, values of more than one type).
    """

    values: NDArray[Any]
    kind: Kind

    def __len__(self) -> int:
        return len(self.values)

    def tolist(self) -> list[Any]:
        """Give plain Python values, lists and tables as copies: a run may change what it got."""
        values: list[Any] = self.values.tolist()
        return list(map(_copied, values)) if self.kind == "json" else values

    def take(self, rows: NDArray[np.int64]) -> Column:
        """Give the values at `rows`, in that order."""
        return Column(self.values.take(rows), self.kind)


def plain(value: Any) -> Any:
    """Turn a value into plain Python: numpy scalars and arrays, tuples, `{"none": True}` (None).

    Does not judge: `canonical_json` refuses what JSON lacks.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        if len(value) == 1 and value.get("none") is True:
            return None
        return {key: plain(each) for key, each in value.items()}
    return value


def column_of(values: Sequence[Any]) -> Column:
    """Build from plain Python values; DeclarationError for what cannot be a value."""
    types = set(map(type, values))
    kind = _kind_of(values, types)
    if kind == "int" and (min(values) < INT_MIN or max(values) > INT_MAX):
        canonical_json(list(values))
    array = _array(values, kind)
    if kind == "str":
        for each in values:
            check_text(each)
    elif kind in {"number", "json"} or (kind == "float" and not np.isfinite(array).all()):
        canonical_json(list(values))
    return Column(array, kind)


def joined_kind(columns: Sequence[Column]) -> Kind:
    """Give the kind of a column that has the values of all of these."""
    kinds = {column.kind for column in columns}
    if len(kinds) == 1:
        return kinds.pop()
    if kinds <= _NUMERIC and all(map(_exact_as_float, columns)):
        return "number"
    return "json"


def gather(count: int, kind: Kind, parts: Sequence[tuple[NDArray[Any] | slice, Column]]) -> Column:
    """Put parts together: each is (the places its values take, its values)."""
    if len(parts) == 1 and parts[0][1].kind == kind and isinstance(parts[0][0], slice):
        return parts[0][1]
    array = np.empty(count, dtype=_DTYPES[kind])
    for places, column in parts:
        if column.kind == kind:
            array[places] = column.values
        else:
            array[places] = _array(column.tolist(), "json")
    return Column(array, kind)


def first_rows(columns: Sequence[Column]) -> NDArray[np.int64] | None:
    """Give the rows to keep so that each row of values stands once, where it stood first.

    None when all rows differ.
    """
    count = len(columns[0])
    codes = np.zeros(count, dtype=np.int64)
    distinct = 1
    for column in columns:
        own = _codes(column)
        joint = codes * (int(own.max(initial=0)) + 1) + own
        kept, first, codes = np.unique(joint, return_index=True, return_inverse=True)
        distinct = len(kept)
        if distinct == count:
            return None
    return np.sort(first).astype(np.int64) if distinct < count else None


def _copied(value: Any) -> Any:
    if type(value) is list:
        return list(map(_copied, value))
    if type(value) is dict:
        return {key: _copied(each) for key, each in value.items()}
    return value


def _codes(column: Column) -> NDArray[np.int64]:
    if column.kind in {"str", "number", "json"}:
        seen: dict[Any, int] = {}
        keys: list[Any] = column.tolist()
        if column.kind != "str":
            keys = list(map(canonical_json, keys))
        return np.fromiter(
            (seen.setdefault(key, len(seen)) for key in keys), dtype=np.int64, count=len(keys)
        )
    bits = column.values
    if column.kind == "float":
        bits = bits.view(np.int64)
    return np.unique(bits, return_inverse=True)[1].astype(np.int64)


def _kind_of(values: Sequence[Any], types: set[type]) -> Kind:
    if len(types) == 1:
        return _KINDS.get(next(iter(types)), "json")
    if types == {int, float} and all(
        type(value) is float or abs(value) <= _EXACT for value in values
    ):
        return "number"
    return "json"


def _exact_as_float(column: Column) -> bool:
    if column.kind != "int":
        return True
    return int(column.values.min()) >= -_EXACT and int(column.values.max()) <= _EXACT


def _array(values: Sequence[Any], kind: Kind) -> NDArray[Any]:
    if _DTYPES[kind] is not object:
        return np.array(values, dtype=_DTYPES[kind])
    return np.fromiter(values, dtype=object, count=len(values))
