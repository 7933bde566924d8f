"""What a run may record: turn one Python value into a form that columns can hold.

A value is taken the moment it is recorded (a list or an array may be changed by the next run).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from gapless.results.errors import ValueRefused

__all__ = [
    "FLOAT_TYPES",
    "IMMUTABLE",
    "INT_TYPES",
    "MAX_NAME",
    "JsonText",
    "check_name",
    "holds_as_text",
    "holds_dtype",
    "json_text",
    "storable",
]

MAX_NAME = 200
"""The longest name of a value, in characters."""

MAX_DEPTH = 100
"""The deepest nesting of lists and dicts: any JSON reader can follow it."""

MAX_DIMENSIONS = 31
"""HDF5 holds 32 dimensions, and one of them counts the runs."""

_ARRAY_KINDS = "biufc"
_MAX_ITEM_BYTES = 16
_SCALARS: tuple[Any, ...] = (bool, int, float, str, complex)
_NUMBERS = frozenset((int, float))
_INT64 = range(-(2**63), 2**63)

FLOAT_TYPES = frozenset((float, np.float16, np.float32, np.float64))
INT_TYPES = frozenset(
    (int, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
)
IMMUTABLE = FLOAT_TYPES | INT_TYPES | {bool, np.bool_, str, type(None)}
"""Types whose values may be kept as they are: they cannot change and can always be stored."""


class JsonText(str):
    """A value that is kept as JSON text."""

    __slots__ = ()


def check_name(name: Any) -> str:
    """Give a value's name back; ValueRefused when no dataset can be called so."""
    if type(name) is not str:
        raise ValueRefused(f"its name is of type {type(name).__name__}: names are text")
    if not 0 < len(name) <= MAX_NAME:
        raise ValueRefused(f"its name has {len(name)} characters: use 1 to {MAX_NAME}")
    if "/" in name or name == "." or not holds_as_text(name):
        raise ValueRefused(
            "its name cannot be stored: names have no '/', NUL or half characters and are not '.'"
        )
    return name


def holds_as_text(text: str) -> bool:
    """Tell whether HDF5 can hold a text as it is: valid Unicode without NUL."""
    if text.isascii():
        return "\0" not in text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def storable(value: Any) -> Any:
    """Give int, float, bool, str, complex, None, JsonText, or a contiguous array of numbers.

    An array is a copy of its own, little-endian. ValueRefused when the value cannot be stored.
    """
    if type(value) in IMMUTABLE:
        return value
    if isinstance(value, np.ndarray):
        return _from_array(value)
    if isinstance(value, np.generic):
        return _from_numpy_scalar(value)
    for plain in _SCALARS:
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, list | tuple):
        return _from_list(value)
    if isinstance(value, dict):
        return json_text(value)
    raise ValueRefused(_advice(value))


def json_text(value: Any) -> JsonText:
    """Write a value as ASCII JSON (NaN and Infinity as Python writes them); ValueRefused.

    Complex numbers become {"real": …, "imag": …}, arrays lists.
    """
    try:
        _check_keys(value)
        return JsonText(json.dumps(value, separators=(",", ":"), default=_plain))
    except (TypeError, ValueError) as error:
        raise ValueRefused(str(error)) from error


def holds_dtype(dtype: np.dtype[Any]) -> bool:
    """Tell whether arrays of this dtype can be stored."""
    return (
        dtype.kind in _ARRAY_KINDS
        and dtype.itemsize <= _MAX_ITEM_BYTES
        and (dtype.char not in "gG")
    )


def _advice(value: Any) -> str:
    kind = type(value)
    shown = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else (f"{kind.__module__}.{kind.__qualname__}")
    )
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{shown}: use numpy.frombuffer(value, dtype='uint8') or attach a file"
    return f"{shown}: use numbers, text, booleans, lists, dicts or numeric arrays"


def _from_array(value: np.ndarray[Any, Any]) -> Any:
    if isinstance(value, np.ma.MaskedArray):
        raise ValueRefused("a masked array: use .filled(…) and, if you need it, record its mask")
    if value.dtype.kind == "U":
        return json_text(value.tolist())
    if not holds_dtype(value.dtype):
        raise ValueRefused(
            f"an array of dtype {value.dtype}: use booleans, integers, floats up to "
            "64 bits or complex numbers up to 128"
        )
    if value.ndim == 0:
        return storable(value[()])
    if value.ndim > MAX_DIMENSIONS:
        raise ValueRefused(f"an array of {value.ndim} dimensions: use at most {MAX_DIMENSIONS}")
    return np.array(value, dtype=value.dtype.newbyteorder("<"), order="C", copy=True, subok=False)


def _from_numpy_scalar(value: np.generic) -> Any:
    plain = value.item()
    if isinstance(plain, np.generic) or not isinstance(plain, bool | int | float | complex | str):
        raise ValueRefused(_advice(value))
    return plain


def _from_list(value: list[Any] | tuple[Any, ...]) -> Any:
    array = _number_array(value)
    return json_text(value) if array is None else array


def _number_array(value: list[Any] | tuple[Any, ...]) -> np.ndarray[Any, Any] | None:
    """Give lists of numbers, rectangular when nested, as an array; None when it would lose."""
    flat: Any = value
    shape = [len(value)]
    while flat and all(isinstance(each, list | tuple) for each in flat):
        lengths = {len(each) for each in flat}
        if len(lengths) != 1:
            return None
        shape.append(lengths.pop())
        flat = [item for each in flat for item in each]
        if len(shape) > MAX_DIMENSIONS:
            return None
    numbers = [each.item() if isinstance(each, np.generic) else each for each in flat]
    types = set(map(type, numbers))
    if types == {bool}:
        dtype: type = np.bool_
    elif types == {int} and all(each in _INT64 for each in numbers):
        dtype = np.int64
    elif not types or (types <= _NUMBERS and _fit_float(numbers, types)):
        dtype = np.float64
    else:
        return None
    return np.array(numbers, dtype=dtype).reshape(shape)


def _fit_float(numbers: list[Any], types: set[type]) -> bool:
    return types == {float} or (
        float in types and all(type(n) is float or abs(n) <= 2**53 for n in numbers)
    )


def _check_keys(value: Any, depth: int = 0) -> None:
    """Refuse dicts whose keys JSON would silently turn into text, and what no reader can follow."""
    if depth > MAX_DEPTH:
        raise TypeError(f"a value nested more than {MAX_DEPTH} deep, or one that contains itself")
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a dict with the key {key!r}"[:100] + ": use text as keys")
            _check_keys(each, depth + 1)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_keys(each, depth + 1)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray) and holds_dtype(value.dtype):
        return value.tolist()
    if isinstance(value, np.generic):
        return _from_numpy_scalar(value)
    if isinstance(value, complex):
        return {"real": value.real, "imag": value.imag}
    raise TypeError(_advice(value))
