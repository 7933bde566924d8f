"""Recorded values between two processes of ours: msgpack, arrays as dtype, shape and bytes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np

from compute_node.recorded_values import Recorded, ValuesUnreadable

__all__ = ["decode_recorded", "encode_recorded", "encode_unreadable"]


class _Array(msgspec.Struct, frozen=True, tag="array"):
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class _Complex(msgspec.Struct, frozen=True, tag="complex"):
    real: float
    imag: float


class _Plain(msgspec.Struct, frozen=True, tag="plain"):
    json: bytes


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    values: dict[str, _Array | _Complex | _Plain] = {}
    refused: dict[str, str] = {}
    unreadable: str | None = None


_decoder = msgspec.msgpack.Decoder(_Answer)


def encode_recorded(recorded: Recorded) -> bytes:
    """Write what was recorded."""
    values: dict[str, _Array | _Complex | _Plain] = {}
    refused = {_text(name): _text(reason) for name, reason in recorded.refused.items()}
    for name, value in recorded.values.items():
        try:
            values[_text(name)] = _pack(value)
        except (RecursionError, ValueError, TypeError) as error:
            refused[_text(name)] = f"it cannot be kept: {error}"[:300]
    return msgspec.msgpack.encode(_Answer(values=values, refused=refused))


def encode_unreadable(reason: str) -> bytes:
    """Write that nothing can be had."""
    return msgspec.msgpack.encode(_Answer(unreadable=_text(reason)))


def decode_recorded(data: bytes) -> Recorded:
    """Read what was recorded; ValuesUnreadable."""
    try:
        answer = _decoder.decode(data)
        if answer.unreadable is not None:
            raise ValuesUnreadable(answer.unreadable)
        values = {name: _unpack(value) for name, value in answer.values.items()}
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError, SyntaxError) as error:
        raise ValuesUnreadable(f"was read by a process that answered nonsense: {error}") from None
    return Recorded(values, answer.refused)


def _pack(value: Any) -> _Array | _Complex | _Plain:
    if isinstance(value, np.ndarray):
        return _Array(value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes())
    if isinstance(value, complex):
        return _Complex(value.real, value.imag)
    return _Plain(json.dumps(value).encode("ascii"))


def _unpack(value: _Array | _Complex | _Plain) -> Any:
    match value:
        case _Array(dtype=dtype, shape=shape, data=data):
            return np.frombuffer(data, dtype=dtype).reshape(shape)
        case _Complex(real=real, imag=imag):
            return complex(real, imag)
        case _Plain(json=text):
            return json.loads(text)


def _text(text: str) -> str:
    """Write half characters out: msgpack holds none."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
