"""Join the columns of one value from several blocks or shards, never losing a value.

Where kinds differ: integers and floats become float64 while that is exact; arrays of different
lengths become ragged; everything else becomes JSON text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gapless.results.columns import (
    EXACT_INT,
    MOST_MISSING_BYTES,
    ColumnKind,
    ValueColumn,
    missing_column,
    offsets_of,
    spread,
    stack_arrays,
    text_array,
)

__all__ = ["join_columns"]

_NUMERIC = frozenset((ColumnKind.INT64, ColumnKind.FLOAT64))
_ARRAYS = frozenset((ColumnKind.ARRAY, ColumnKind.RAGGED))


def join_columns(
    pieces: Sequence[tuple[int, ValueColumn | None]],
    most_missing_bytes: int = MOST_MISSING_BYTES,
) -> ValueColumn:
    """Put columns one after another: each piece is (rows, column, or None where it is missing).

    `most_missing_bytes`: see `columns.spread`.
    """
    rows = sum(count for count, _ in pieces)
    present = [_without_missing(column) for _, column in pieces if column is not None]
    present = [column for column in present if len(column)]
    if not present:
        return missing_column(rows)
    joined = _join_present(present)
    valid = _join_masks(pieces)
    return joined if valid is None else spread(joined, valid, most_missing_bytes)


def _without_missing(column: ValueColumn) -> ValueColumn:
    return column if column.valid is None else column.take(np.flatnonzero(column.valid))


def _join_masks(pieces: Sequence[tuple[int, ValueColumn | None]]) -> NDArray[np.bool_] | None:
    if all(column is not None and column.valid is None for _, column in pieces):
        return None
    masks = []
    for count, column in pieces:
        if column is None:
            masks.append(np.zeros(count, dtype=np.bool_))
        else:
            masks.append(np.ones(count, dtype=np.bool_) if column.valid is None else column.valid)
    mask = np.concatenate(masks)
    return None if bool(mask.all()) else mask


def _join_present(columns: list[ValueColumn]) -> ValueColumn:
    if len(columns) == 1:
        return columns[0]
    kinds = {column.kind for column in columns}
    joined: ValueColumn | None = None
    if kinds <= _ARRAYS:
        joined = _join_arrays(columns)
    elif len(kinds) == 1:
        joined = ValueColumn(kinds.pop(), np.concatenate([column.data for column in columns]))
    elif kinds == _NUMERIC and all(_exact_as_float(column) for column in columns):
        data = np.concatenate([column.data.astype(np.float64) for column in columns])
        joined = ValueColumn(ColumnKind.FLOAT64, data)
    return _join_as_text(columns) if joined is None else joined


def _join_as_text(columns: list[ValueColumn]) -> ValueColumn:
    texts = [text for column in columns for text in column.json_texts().data]
    return ValueColumn(ColumnKind.JSON, text_array(texts))


def _exact_as_float(column: ValueColumn) -> bool:
    data = column.data
    return column.kind is ColumnKind.FLOAT64 or (
        int(data.min()) >= -EXACT_INT and int(data.max()) <= EXACT_INT
    )


def _join_arrays(columns: list[ValueColumn]) -> ValueColumn | None:
    """Join columns of arrays; None when no array column holds them all exactly."""
    blobs = stack_arrays([_flat(column) for column in columns])
    if blobs is None:
        return None
    data = blobs.data if blobs.offsets is not None else blobs.data.reshape(-1)
    shapes = {column.data.shape[1:] for column in columns if column.offsets is None}
    if len(shapes) == 1 and all(column.offsets is None for column in columns):
        shape = shapes.pop()
        rows = sum(map(len, columns))
        return ValueColumn(ColumnKind.ARRAY, data.reshape(rows, *shape))
    trailing = {_trailing(column) for column in columns}
    if len(trailing) != 1 or None in trailing:
        return None
    offsets = offsets_of(np.concatenate([_lengths(column) for column in columns]))
    shape = (int(offsets[-1]), *(trailing.pop() or ()))
    return ValueColumn(ColumnKind.RAGGED, data.reshape(shape), None, offsets)


def _flat(column: ValueColumn) -> NDArray[np.generic]:
    return column.data.reshape(-1)


def _trailing(column: ValueColumn) -> tuple[int, ...] | None:
    """Give the shape of one element of a run's array; None when the value is a single number."""
    if column.offsets is not None:
        return column.data.shape[1:]
    return column.data.shape[2:] if column.data.ndim > 1 else None


def _lengths(column: ValueColumn) -> NDArray[np.int64]:
    if column.offsets is not None:
        return np.diff(column.offsets)
    return np.full(len(column.data), column.data.shape[1], dtype=np.int64)
