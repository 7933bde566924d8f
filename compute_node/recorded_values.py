"""What a command recorded: a JSON object, or an HDF5 file with datasets at its top. Decoding only.

The bytes may be anything: half a file, garbage, or made to do harm. JSON is read here. HDF5 is read
by a library that ends its process on some damaged files, so that a caller with something to lose
lets `compute_node.values_reader` do it.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "HDF5_SIGNATURE",
    "MOST_VALUES_BYTES",
    "Recorded",
    "ValuesUnreadable",
    "decode_hdf5",
    "decode_json",
    "is_hdf5",
    "last_json_line",
]

MOST_VALUES_BYTES = 256 * 2**20
"""The most that a run may record in one file, and the most that one of its values may take."""
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FIRST_OFFSETS = (0, 512, 1024, 2048)
"""Where the signature of an HDF5 file may stand (HDF5 File Format Specification, II.A)."""
_MOST_DIGITS = 4300
"""Digits of an integer that Python reads by default (sys.int_info.default_max_str_digits)."""
_MOST_LINES = 1000


@dataclass(frozen=True, slots=True)
class Recorded:
    """Values by name, and why others cannot be had."""

    values: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class ValuesUnreadable(Exception):
    """No values can be had from these bytes; the text says what was found and what was expected."""


def is_hdf5(data: bytes) -> bool:
    """Tell whether a file that begins so is an HDF5 file."""
    return any(data[at : at + 8] == HDF5_SIGNATURE for at in _FIRST_OFFSETS)


class _LongInteger:
    """Stands for an integer nobody can read."""

    def __init__(self, text: str) -> None:
        self.reason = f"an integer of {len(text):,} digits: write it as text"


class _Table(dict[str, Any]):
    """A JSON object that knows which of its names stood in it twice."""

    twice: frozenset[str] = frozenset()


def decode_json(data: bytes) -> Recorded:
    """Read one JSON object (NaN and Infinity may stand for numbers); ValuesUnreadable."""
    if not data.strip():
        raise ValuesUnreadable("is empty, expected a JSON object or an HDF5 file")
    long_: list[_LongInteger] = []
    found = _loaded(data, long_)
    if not isinstance(found, _Table):
        raise ValuesUnreadable(
            f'holds a JSON {_kind(found)}, expected an object of values, like {{"rms": 0.31}}'
        )
    refused = dict.fromkeys(sorted(found.twice), "it stands there twice: record it once")
    if long_:
        for name, value in found.items():
            reason = _long_integer_in(value)
            if reason:
                refused.setdefault(name, reason)
    return Recorded({key: each for key, each in found.items() if key not in refused}, refused)


def _loaded(data: bytes, long_: list[_LongInteger]) -> Any:
    """Read JSON, and note the integers in it that nobody can read; ValuesUnreadable."""

    def integer(text: str) -> Any:
        if len(text) <= _MOST_DIGITS:
            return int(text)
        long_.append(_LongInteger(text))
        return long_[-1]

    try:
        return json.loads(
            data.removeprefix(b"\xef\xbb\xbf"), object_pairs_hook=_table, parse_int=integer
        )
    except RecursionError:
        raise ValuesUnreadable("is nested too deeply to be read") from None
    except ValueError as error:
        raise ValuesUnreadable(f"is no complete JSON object and no HDF5 file: {error}") from None
    except MemoryError:
        raise ValuesUnreadable(f"holds {len(data):,} bytes, too many for this machine") from None


def last_json_line(data: bytes) -> Recorded | None:
    """Read the last line that is a JSON object; None when there is none."""
    looked = 0
    end = len(data)
    while end > 0 and looked < _MOST_LINES:
        start = data.rfind(b"\n", 0, end) + 1
        line = data[start:end].strip()
        end = start - 1
        if line.startswith(b"{") and line.endswith(b"}"):
            looked += 1
            try:
                return decode_json(line)
            except ValuesUnreadable:
                continue
    return None


def decode_hdf5(data: bytes) -> Recorded:
    """Read the datasets at the top of an HDF5 file; ValuesUnreadable.

    A damaged file may end the process that reads it.
    """
    import h5py  # noqa: PLC0415 - only who is given such a file loads it

    values: dict[str, Any] = {}
    refused: dict[str, str] = {}
    room = MOST_VALUES_BYTES
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            for name in file:
                try:
                    room -= _dataset_bytes(file, name, room)
                    values[name] = _dataset(file, name)
                except ValuesUnreadable as error:
                    refused[name] = str(error)
                except (*_HDF5_ERRORS, AttributeError, TypeError) as error:
                    refused[name] = f"it cannot be read: {error}"[:300]
    except (*_HDF5_ERRORS, AttributeError, TypeError) as error:
        raise ValuesUnreadable(f"is no complete HDF5 file: {error}"[:300]) from None
    return Recorded(values, refused)


_HDF5_ERRORS = (OSError, RuntimeError, ValueError, KeyError, MemoryError, OverflowError)


def _dataset_bytes(file: Any, name: str, room: int) -> int:
    """Say how much a dataset takes in memory; ValuesUnreadable when that is more than `room`.

    One that was never written takes nothing in its file, and all of its size here.
    """
    import h5py  # noqa: PLC0415

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return 0
    dataset = file[name]
    size = int(dataset.nbytes) if isinstance(dataset, h5py.Dataset) and dataset.shape else 0
    if size > room:
        raise ValuesUnreadable(
            f"it has {size:,} bytes, the most is {MOST_VALUES_BYTES:,} for all datasets of a "
            "file: keep a summary"
        )
    return size


def _dataset(file: Any, name: str) -> Any:
    import h5py  # noqa: PLC0415

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValuesUnreadable("it is a link: put the dataset itself there")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValuesUnreadable("it is a group: put datasets at the top of the file")
    if dataset.is_virtual or dataset.external:
        raise ValuesUnreadable("its data lies in another file: put it into this one")
    if dataset.shape is None:
        return None
    if dataset.nbytes > MOST_VALUES_BYTES:
        raise ValuesUnreadable(
            f"it has {dataset.nbytes:,} bytes, the most is {MOST_VALUES_BYTES:,}: keep a summary"
        )
    if h5py.check_string_dtype(dataset.dtype) is not None:
        read = dataset.asstr(errors="replace")[()]
        return read if isinstance(read, str) else read.tolist()
    if dataset.dtype.kind not in "biufc":
        raise ValuesUnreadable(
            f"it is of HDF5 type {dataset.dtype}: use numbers, booleans or strings"
        )
    read = dataset[()]
    return read.item() if dataset.shape == () and dataset.dtype.itemsize <= 16 else read


def _table(pairs: list[tuple[str, Any]]) -> _Table:
    table = _Table(pairs)
    if len(table) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        table.twice = frozenset(name for name, count in counts.items() if count > 1)
    return table


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return "list" if isinstance(value, list) else "text" if isinstance(value, str) else "number"


def _long_integer_in(value: Any) -> str:
    open_ = [value]
    while open_:
        each = open_.pop()
        if isinstance(each, _LongInteger):
            return each.reason
        if isinstance(each, dict):
            open_.extend(each.values())
        elif isinstance(each, list):
            open_.extend(each)
    return ""
