"""The raw columns of a block: little-endian, made smaller where that is quick.

A buffer whose elements are all equal is stored once. Else its bytes are transposed (all first
bytes, all second bytes, …: shuffled), the integers behind run numbers and times are replaced by
their differences, and zlib level 1 packs it if a sample of it shrinks. Everything is reversible to
the bit: floats are treated as the integers of the same bits.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gapless.declaration.errors import DamagedMessage

__all__ = ["MAX_RAW_BYTES", "Buffer", "BufferReader", "BufferWriter"]

MAX_RAW_BYTES = 256 * 2**20
"""The most memory the buffers of one block may take, unpacked."""

_CONSTANT = 1
_DELTA = 2
_SHUFFLED = 4
_PACKED = 8

_DTYPES = frozenset(
    (
        *("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8"),
        *("<f2", "<f4", "<f8", "<c8", "<c16"),
    )
)
_SAMPLE = 4096
_WORTH = 0.9


class Buffer(msgspec.Struct, array_like=True, frozen=True):
    """Where a column lies among the buffers: `stored` bytes that unpack to `count` elements."""

    dtype: str
    count: int
    codec: int
    stored: int


class BufferWriter:
    """Collect columns; `stored` are their bytes in order."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []

    def add(self, column: NDArray[Any], dtype: str) -> Buffer:
        """Store one column of shape (n,) as `dtype`."""
        array = np.ascontiguousarray(column, dtype=np.dtype(dtype))
        codec, data = _shrink(array)
        self.stored.append(data)
        return Buffer(dtype, len(array), codec, len(data))


class BufferReader:
    """Give columns back in the order they were added."""

    def __init__(self, data: memoryview) -> None:
        self._rest = data
        self._raw_left = MAX_RAW_BYTES

    def read(self, buffer: Buffer, dtype: str | None, count: int | None) -> NDArray[Any]:
        """Read a column of `count` elements of `dtype` (None: what the buffer says)."""
        if buffer.dtype not in _DTYPES or dtype not in (None, buffer.dtype):
            raise DamagedMessage(f"a block has a column of type {buffer.dtype[:20]!r}")
        if buffer.count < 0 or count not in (None, buffer.count):
            raise DamagedMessage(f"a block has a column of {buffer.count} elements, not {count}")
        element = np.dtype(buffer.dtype)
        raw_size = buffer.count * element.itemsize
        self._raw_left -= raw_size
        if self._raw_left < 0:
            raise DamagedMessage(f"a block unpacks to more than {MAX_RAW_BYTES} bytes")
        if not 0 <= buffer.stored <= len(self._rest):
            raise DamagedMessage("a block ends within a column")
        stored, self._rest = self._rest[: buffer.stored], self._rest[buffer.stored :]
        array = _restore(stored, buffer, element, raw_size)
        if element.kind == "b" and array.size and int(array.view(np.uint8).max()) > 1:
            raise DamagedMessage("a block has a truth value that is neither true nor false")
        return array

    def close(self) -> None:
        """Check that every byte was read."""
        if len(self._rest):
            raise DamagedMessage(f"a block has {len(self._rest)} bytes too many")


def _shrink(array: NDArray[Any]) -> tuple[int, bytes]:
    if len(array) < 2:
        return 0, array.tobytes()
    size = array.dtype.itemsize
    words = array.view(np.dtype(f"<u{size}")) if size <= 8 else array.view("<u8")
    if size <= 8 and bool((words == words[0]).all()):
        return _CONSTANT, words[:1].tobytes()
    codec = 0
    if size == 8 and _slowly_growing(words):
        codec |= _DELTA
        words = np.diff(words, prepend=words.dtype.type(0))
    raw = words.tobytes()
    if words.itemsize > 1:
        codec |= _SHUFFLED
        raw = words.view(np.uint8).reshape(-1, words.itemsize).T.tobytes()
    if not _worth_packing(raw):
        return (codec, raw) if codec & _DELTA else (0, array.tobytes())
    packed = zlib.compress(raw, 1)
    if len(packed) >= len(raw):
        return 0, array.tobytes()
    return codec | _PACKED, packed


def _slowly_growing(words: NDArray[np.uint64]) -> bool:
    """Tell whether the differences are small: run numbers and start times are like that."""
    sample = words[:256]
    steps = np.diff(sample)
    return int(np.median(steps)) < int(np.median(sample)) >> 16


def _worth_packing(raw: bytes) -> bool:
    """Try on four samples spread over the data (shuffled data differs from plane to plane)."""
    if len(raw) <= 4 * _SAMPLE:
        return True
    step = len(raw) // 4
    sample = b"".join(raw[start : start + _SAMPLE // 4] for start in range(0, 4 * step, step))
    return len(zlib.compress(sample, 1)) < len(sample) * _WORTH


def _restore(
    stored: memoryview, buffer: Buffer, element: np.dtype[Any], raw_size: int
) -> NDArray[Any]:
    codec = buffer.codec
    if codec == _CONSTANT:
        if len(stored) != element.itemsize or element.itemsize > 8:
            raise DamagedMessage("a block has a damaged constant column")
        return np.full(buffer.count, np.frombuffer(stored, dtype=element)[0], dtype=element)
    if codec & ~(_DELTA | _SHUFFLED | _PACKED) or (codec & _DELTA and element.itemsize != 8):
        raise DamagedMessage(f"a block has a column of coding {codec}")
    raw: bytes | memoryview = stored
    if codec & _PACKED:
        raw = _unpack(stored, raw_size)
    if len(raw) != raw_size:
        raise DamagedMessage("a block has a column of another size than it says")
    word = np.dtype(f"<u{min(element.itemsize, 8)}")
    if codec & _SHUFFLED:
        planes = np.frombuffer(raw, dtype=np.uint8).reshape(word.itemsize, -1)
        words = np.ascontiguousarray(planes.T).reshape(-1).view(word)
    else:
        words = np.frombuffer(raw, dtype=word).copy()
    if codec & _DELTA:
        words = np.cumsum(words, dtype=word)
    return words.view(element)


def _unpack(stored: memoryview, raw_size: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(stored, max_length=raw_size + 1)
    except zlib.error as error:
        raise DamagedMessage(f"a block has a damaged column: {error}") from error
    if not unpacker.eof or unpacker.unused_data or len(raw) != raw_size:
        raise DamagedMessage("a block has a column of another size than it says")
    return raw
