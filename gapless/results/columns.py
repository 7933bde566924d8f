"""One value of many runs: a typed column with an optional mask of which runs have it.

`kind` says what `data` is, n being the number of runs:

- int64, float64, bool: shape (n,)
- str: an object array (n,) of str; json: the same, of JSON text
- array: shape (n, …), any numeric dtype (also single complex numbers)
- ragged: run i's array is data[offsets[i]:offsets[i + 1]]; data may have further dimensions
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapless.results.storable import (
    FLOAT_TYPES,
    INT_TYPES,
    JsonText,
    holds_as_text,
    json_text,
)

__all__ = [
    "EXACT_INT",
    "MOST_MISSING_BYTES",
    "ColumnKind",
    "ValueColumn",
    "column_of",
    "missing_column",
    "offsets_of",
    "spread",
    "stack_arrays",
    "text_array",
]

EXACT_INT = 2**53
"""Integers up to here (absolute) are exact as float64."""

MOST_MISSING_BYTES = 64 * 2**20
"""What rows without a value may take in a column of arrays of one shape."""

_TEXT_BITS = 14_000
"""Longer integers are kept as hexadecimal text: Python refuses to write or read their digits."""

_BOOL_TYPES = frozenset((bool, np.bool_))


class ColumnKind(enum.Enum):
    """What a column holds."""

    INT64 = "int64"
    FLOAT64 = "float64"
    BOOL = "bool"
    STR = "str"
    JSON = "json"
    ARRAY = "array"
    RAGGED = "ragged"


@dataclass(frozen=True, slots=True, eq=False)
class ValueColumn:
    """The column of one value; `valid` (n,) is None when every run has it."""

    kind: ColumnKind
    data: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    offsets: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        if self.offsets is not None:
            return len(self.offsets) - 1
        return len(self.data)

    @property
    def missing_everywhere(self) -> bool:
        """Tell whether no run has this value."""
        return self.valid is not None and not self.valid.any()

    def at(self, index: int) -> Any:
        """Give one run's value: a Python value, an array, or None when it is missing."""
        if self.valid is not None and not self.valid[index]:
            return None
        if self.offsets is not None:
            return self.data[self.offsets[index] : self.offsets[index + 1]]
        value = self.data[index]
        if self.kind is ColumnKind.JSON:
            return json.loads(value)
        if isinstance(value, np.generic):
            return value.item()
        return value

    def tolist(self) -> list[Any]:
        """Give every run's value as `at` does."""
        if self.valid is None and self.kind in _PLAIN:
            plain: list[Any] = self.data.tolist()
            return plain
        return [self.at(index) for index in range(len(self))]

    def take(self, rows: NDArray[np.intp]) -> ValueColumn:
        """Pick runs by position, in the order given."""
        valid = None if self.valid is None else self.valid[rows]
        if valid is not None and bool(valid.all()):
            valid = None
        if self.offsets is None:
            return ValueColumn(self.kind, self.data[rows], valid)
        lengths = np.diff(self.offsets)[rows]
        offsets = offsets_of(lengths)
        inside = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        inside += np.arange(offsets[-1])
        return ValueColumn(self.kind, self.data[inside], valid, offsets)

    def json_texts(self) -> ValueColumn:
        """Give the same values as a column of JSON text."""
        if self.kind is ColumnKind.JSON:
            return self
        texts = [_missing_or_text(self.at(index)) for index in range(len(self))]
        return ValueColumn(ColumnKind.JSON, text_array(texts), self.valid)


_PLAIN = frozenset((ColumnKind.INT64, ColumnKind.FLOAT64, ColumnKind.BOOL, ColumnKind.STR))


def missing_column(rows: int) -> ValueColumn:
    """Make the column of a value that no run has."""
    return ValueColumn(ColumnKind.FLOAT64, np.full(rows, np.nan), np.zeros(rows, dtype=np.bool_))


def text_array(texts: list[str]) -> NDArray[Any]:
    """Give texts as an object array of shape (n,)."""
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def column_of(values: list[Any], most_missing_bytes: int = MOST_MISSING_BYTES) -> ValueColumn:
    """Make a column of storable values (what `storable` gives); None marks a missing one."""
    types = set(map(type, values))
    if type(None) not in types:
        return _present_column(values, types)
    valid = np.fromiter((value is not None for value in values), dtype=np.bool_, count=len(values))
    types.discard(type(None))
    if not types:
        return missing_column(len(values))
    present = _present_column([value for value in values if value is not None], types)
    return spread(present, valid, most_missing_bytes)


def spread(
    column: ValueColumn,
    valid: NDArray[np.bool_],
    most_missing_bytes: int = MOST_MISSING_BYTES,
) -> ValueColumn:
    """Give the column its missing rows: `column` holds the rows where `valid` is true.

    Arrays whose missing rows would take more than `most_missing_bytes`, and more than an eighth of
    those that are there, become ragged: a missing row then takes nothing.
    """
    rows = len(valid)
    if _wastes(column, rows - len(column), most_missing_bytes):
        column = _as_ragged(column)
    if column.offsets is not None:
        lengths = np.zeros(rows, dtype=np.int64)
        lengths[valid] = np.diff(column.offsets)
        return ValueColumn(column.kind, column.data, valid, offsets_of(lengths))
    data = np.empty((rows, *column.data.shape[1:]), dtype=column.data.dtype)
    data[...] = _fill(column)
    data[valid] = column.data
    return ValueColumn(column.kind, data, valid)


def _wastes(column: ValueColumn, missing: int, most_missing_bytes: int) -> bool:
    if column.kind is not ColumnKind.ARRAY or column.data.ndim < 2 or not len(column):
        return False
    missing_bytes = missing * (column.data.nbytes // len(column))
    return missing_bytes > max(most_missing_bytes, column.data.nbytes // 8)


def _as_ragged(column: ValueColumn) -> ValueColumn:
    rows, width, *rest = column.data.shape
    offsets = np.arange(rows + 1, dtype=np.int64) * width
    data = column.data.reshape(rows * width, *rest)
    return ValueColumn(ColumnKind.RAGGED, data, None, offsets)


def stack_arrays(arrays: list[NDArray[Any]]) -> ValueColumn | None:
    """Put one array a run together, fixed-shape or ragged; None when no column would be exact."""
    dtype = _common_dtype(arrays)
    if dtype is None:
        return None
    shapes = {array.shape for array in arrays}
    if len(shapes) == 1:
        return ValueColumn(ColumnKind.ARRAY, np.stack(arrays).astype(dtype, copy=False))
    if len({shape[1:] for shape in shapes}) != 1 or () in shapes:
        return None
    lengths = np.fromiter((len(array) for array in arrays), dtype=np.int64, count=len(arrays))
    data = np.concatenate([array.astype(dtype, copy=False) for array in arrays])
    return ValueColumn(ColumnKind.RAGGED, data, None, offsets_of(lengths))


def _common_dtype(arrays: list[NDArray[Any]]) -> np.dtype[Any] | None:
    """Give the dtype that holds every array exactly, or None. Empty arrays have no say."""
    dtypes = {array.dtype for array in arrays if array.size} or {arrays[0].dtype}
    if len(dtypes) == 1:
        return dtypes.pop()
    if any(dtype.kind == "b" for dtype in dtypes):
        return None
    joined = np.result_type(*dtypes)
    if joined.kind in "fc" and any(
        array.dtype.kind in "iu" and not _exact_in_float(array, joined) for array in arrays
    ):
        return None
    return joined


def _exact_in_float(array: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    bits = np.finfo(dtype).nmant + 1
    return array.size == 0 or (int(array.max()) <= 2**bits and int(array.min()) >= -(2**bits))


def _present_column(values: list[Any], types: set[type]) -> ValueColumn:
    column: ValueColumn | None
    if types == {np.ndarray}:
        column = stack_arrays(values)
    elif types == {str}:
        column = _text_column(values)
    elif types == {JsonText}:
        column = ValueColumn(ColumnKind.JSON, text_array([str(value) for value in values]))
    else:
        column = _number_column(values, types)
    return _json_column(values) if column is None else column


def _number_column(values: list[Any], types: set[type]) -> ValueColumn | None:
    """Give scalars of one type, or of integers and floats where that is exact, as a column."""
    if types <= FLOAT_TYPES:
        return ValueColumn(ColumnKind.FLOAT64, np.array(values, dtype=np.float64))
    if types <= INT_TYPES:
        return _int_column(values, types)
    if types <= _BOOL_TYPES:
        return ValueColumn(ColumnKind.BOOL, np.array(values, dtype=np.bool_))
    if types == {complex}:
        return ValueColumn(ColumnKind.ARRAY, np.array(values, dtype=np.complex128))
    if types <= FLOAT_TYPES | INT_TYPES and all(
        type(value) in FLOAT_TYPES or abs(int(value)) <= EXACT_INT for value in values
    ):
        return ValueColumn(ColumnKind.FLOAT64, np.array(values, dtype=np.float64))
    return None


def _int_column(values: list[Any], types: set[type]) -> ValueColumn | None:
    plain = values if types == {int} else [int(value) for value in values]
    try:
        return ValueColumn(ColumnKind.INT64, np.array(plain, dtype=np.int64))
    except OverflowError:
        return None


def _text_column(values: list[str]) -> ValueColumn | None:
    if holds_as_text("".join(values)) and all(map(_whole, values)):
        return ValueColumn(ColumnKind.STR, text_array(values))
    return None


def _whole(text: str) -> bool:
    """Tell whether a text is valid alone: two halves of a character may join to a whole one."""
    return text.isascii() or holds_as_text(text)


def _json_column(values: list[Any]) -> ValueColumn:
    return ValueColumn(ColumnKind.JSON, text_array([_as_text(value) for value in values]))


def _as_text(value: Any) -> str:
    if type(value) is JsonText:
        return str(value)
    if type(value) is int and value.bit_length() > _TEXT_BITS:
        return json.dumps(hex(value))
    return str(json_text(value))


def _missing_or_text(value: Any) -> str:
    return "null" if value is None else _as_text(value)


def _fill(column: ValueColumn) -> Any:
    if column.kind is ColumnKind.STR:
        return ""
    if column.kind is ColumnKind.JSON:
        return "null"
    return np.nan if column.data.dtype.kind in "fc" else 0


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give where each of n pieces of these lengths starts, and where the last ends: (n + 1,)."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
