"""How columns lie in HDF5: chunks, filters, types and marks, shared by writer and reader.

Numbers are chunked, shuffled and packed by lzf; texts are variable-length UTF-8. A dataset with
the attribute `encoding` = "json" holds JSON text. A value some runs lack has a mask of the same
name under /valid.
"""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5s
from numpy.typing import NDArray

from gapless.results.columns import ColumnKind, ValueColumn, text_array
from gapless.results.dataset_creation import (
    create_numbers,
    create_text_attribute,
    create_texts,
    text_types,
)
from gapless.results.outcome import Outcome
from gapless.results.shard_rows import Labels

__all__ = [
    "OUTCOME_DTYPE",
    "read_labels",
    "read_numbers",
    "read_text_attribute",
    "read_texts",
    "read_value",
    "write_labels",
    "write_numbers",
    "write_texts",
    "write_value",
]

OUTCOME_DTYPE = h5py.enum_dtype({each.label: int(each) for each in Outcome}, basetype="u1")

_CHUNK_BYTES = 512 * 1024
_MAX_ENUM_BYTES = 60_000
"""An object header message of HDF5 ends at 64 KiB: a larger enumeration becomes plain texts."""

_JSON_MARK = "json"


def write_numbers(
    group: h5py.Group, name: str, data: NDArray[Any], dtype: Any = None
) -> h5d.DatasetID:
    """Store an array of numbers (n, …), packed when it has rows."""
    kind = data.dtype if dtype is None else dtype
    chunk = None
    if data.size:
        row_bytes = max(1, data.dtype.itemsize * math.prod(data.shape[1:]))
        rows = min(len(data), max(1, _CHUNK_BYTES // row_bytes))
        chunk = (rows, *data.shape[1:])
    return create_numbers(group, name, data, dtype=kind, chunk=chunk)


def read_numbers(group: h5py.Group, name: str) -> NDArray[Any]:
    """Read what `write_numbers` wrote; an enumeration as the integers it is of."""
    # Past h5py's own objects: opening one costs more than reading a few thousand numbers.
    dataset = h5d.open(group.id, name.encode("utf-8"))
    data: NDArray[Any] = np.empty(dataset.shape, dtype=dataset.dtype)
    if data.size:
        dataset.read(h5s.ALL, h5s.ALL, data)
    return data


def write_texts(group: h5py.Group, name: str, texts: NDArray[Any] | list[str]) -> h5d.DatasetID:
    """Store texts (n,) as variable-length UTF-8."""
    data = text_array(texts) if isinstance(texts, list) else texts
    return create_texts(group, name, data)


def read_text_attribute(file: h5py.File, name: str) -> str:
    """Give the text of an attribute; ValueError, or what h5py raises, when it holds none."""
    # Past h5py's own objects, as numbers are: they ask for the type of each anew.
    attribute = h5a.open(file.id, name.encode("utf-8"))
    if attribute.shape != ():
        # HDF5 would write all its texts where there is room for one.
        raise ValueError(f"{name} holds a list")
    _, held = text_types()
    text = np.empty((), dtype=object)
    attribute.read(text, mtype=held)
    found: bytes | None = text.item()
    if found is None:
        raise ValueError(f"{name} holds nothing")
    return found.decode("utf-8")


def read_texts(dataset: h5py.Dataset, rows: slice = slice(None)) -> NDArray[Any]:
    """Give texts (n,) as an object array of str."""
    texts: NDArray[Any] = dataset.asstr()[rows]
    return texts


def write_labels(group: h5py.Group, name: str, labels: Labels) -> None:
    """Store a column of few distinct texts: an enumeration, or texts when they are too many."""
    size = sum(len(label.encode("utf-8")) + 3 for label in labels.names)
    if labels.names and all(labels.names) and size < _MAX_ENUM_BYTES:
        members = {label: number for number, label in enumerate(labels.names)}
        dtype = h5py.enum_dtype(members, basetype="u2")
        write_numbers(group, name, labels.index.astype(np.uint16, copy=False), dtype)
    else:
        write_texts(group, name, labels.tolist())


def read_labels(group: h5py.Group, name: str) -> Labels:
    """Read what `write_labels` wrote."""
    dataset = h5d.open(group.id, name.encode("utf-8"))
    members = h5py.check_enum_dtype(dataset.dtype)
    if members is None:
        texts = read_texts(h5py.Dataset(dataset)).tolist()
        return Labels.of([(text, 1) for text in texts])
    names = [""] * (max(members.values()) + 1)
    for label, number in members.items():
        names[number] = label
    index = read_numbers(group, name).astype(np.uint16)
    if len(index) and int(index.max()) >= len(names):
        raise ValueError(f"{name} has a number that names nothing")
    return Labels(tuple(names), index)


def write_value(group: h5py.Group, name: str, column: ValueColumn, valid: h5py.Group) -> None:
    """Store one column under its name, its mask (if it has one) under the same name in `valid`."""
    if column.kind in (ColumnKind.STR, ColumnKind.JSON):
        dataset = write_texts(group, name, column.data)
        if column.kind is ColumnKind.JSON:
            create_text_attribute(dataset, "encoding", _JSON_MARK)
    elif column.offsets is not None:
        ragged = group.create_group(name)
        write_numbers(ragged, "data", column.data)
        write_numbers(ragged, "offsets", column.offsets)
    else:
        write_numbers(group, name, column.data)
    if column.valid is not None:
        write_numbers(valid, name, column.valid)


def read_value(
    group: h5py.Group, name: str, valid: h5py.Group | None, rows: slice = slice(None)
) -> ValueColumn:
    """Read what `write_value` wrote, or some rows of it (not of a ragged column)."""
    item = group[name]
    mask = valid[name][rows] if valid is not None and name in valid else None
    if isinstance(item, h5py.Group):
        offsets = item["offsets"][...].astype(np.int64)
        data = item["data"][...]
        if offsets[0] != 0 or offsets[-1] != len(data) or (np.diff(offsets) < 0).any():
            raise ValueError(f"{item.name} has offsets that do not fit its data")
        return ValueColumn(ColumnKind.RAGGED, data, mask, offsets)
    if h5py.check_string_dtype(item.dtype) is not None:
        kind = ColumnKind.JSON if item.attrs.get("encoding") == _JSON_MARK else ColumnKind.STR
        return ValueColumn(kind, read_texts(item, rows), mask)
    data = item[rows]
    return ValueColumn(_numeric_kind(data), data, mask)


def _numeric_kind(data: NDArray[Any]) -> ColumnKind:
    if data.ndim == 1 and data.dtype == np.int64:
        return ColumnKind.INT64
    if data.ndim == 1 and data.dtype == np.float64:
        return ColumnKind.FLOAT64
    if data.ndim == 1 and data.dtype == np.bool_:
        return ColumnKind.BOOL
    return ColumnKind.ARRAY
