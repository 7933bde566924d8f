"""A block: the results of many runs of one epoch and node, in columns, and its encoding.

A block is a fixed prefix (magic, version, sizes, checksum), a msgpack header, and raw little-endian
buffers (see `buffers`). A worker encodes, an aggregator decodes; what is decoded may be damaged or
hostile, so every size is checked before memory is taken for it, and nothing is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.results.buffers import Buffer, BufferReader, BufferWriter
from gapless.results.columns import ColumnKind, ValueColumn, text_array
from gapless.results.errors import ValueRefused
from gapless.results.outcome import Outcome
from gapless.results.storable import check_name, holds_as_text

__all__ = ["AttemptRecord", "Block", "ErrorRecord", "block_bytes", "decode_block", "encode_block"]

_MAGIC = b"gaplessB"
_VERSION = 1
_PREFIX = struct.Struct("<8sHHIQ16s")
_MAX_HEADER = 64 * 2**20
_MAX_ROWS = 2**26
_TEXT_LENGTHS = "<u4"


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run did not end well; `kind` is exception, value, timeout, lost, exit or the like."""

    run: int
    kind: str
    type: str = ""
    message: str = ""
    traceback: str = ""
    cause: str = ""
    fingerprint: str = ""
    transient: bool = False
    output_head: str = ""
    output_tail: str = ""


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One try at a run, kept for runs with more than one or not ok. `peak_memory` in bytes."""

    run: int
    number: int
    node: str
    started_s: float
    duration_s: float
    outcome: Outcome
    exit: str = ""
    peak_memory: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Final results of `run` (n,) at one epoch, by one node running one version of the code.

    `started_s` is Unix time, `duration_s` seconds. Rows are in no particular order.
    """

    epoch: int
    node: str
    code: str
    run: NDArray[np.uint64]
    outcome: NDArray[np.uint8]
    complete: NDArray[np.bool_]
    attempt: NDArray[np.uint16]
    started_s: NDArray[np.float64]
    duration_s: NDArray[np.float64]
    values: dict[str, ValueColumn] = field(default_factory=dict)
    errors: tuple[ErrorRecord, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()

    @property
    def rows(self) -> int:
        """How many results it holds."""
        return len(self.run)


class _ValueHeader(msgspec.Struct, array_like=True):
    name: str
    kind: str
    shape: tuple[int, ...]
    data: Buffer
    valid: Buffer | None
    lengths: Buffer | None


class _Header(msgspec.Struct):
    epoch: int
    node: str
    code: str
    rows: int
    run: Buffer
    outcome: Buffer
    complete: Buffer
    attempt: Buffer
    started: Buffer
    duration: Buffer
    values: list[_ValueHeader]
    errors: list[ErrorRecord]
    attempts: list[AttemptRecord]


_write_header = msgspec.msgpack.Encoder()
_read_header = msgspec.msgpack.Decoder(_Header)


def block_bytes(block: Block) -> int:
    """Say what the columns of a block take in memory (texts: their references only)."""
    columns: list[NDArray[Any]] = [column.data for column in block.values.values()]
    columns += [block.run, block.outcome, block.complete, block.attempt]
    columns += [block.started_s, block.duration_s]
    return sum(column.nbytes for column in columns)


def encode_block(block: Block) -> bytes:
    """Write a block; the same block gives the same bytes."""
    buffers = BufferWriter()
    header = _Header(
        epoch=block.epoch,
        node=block.node,
        code=block.code,
        rows=block.rows,
        run=buffers.add(block.run, "<u8"),
        outcome=buffers.add(block.outcome, "|u1"),
        complete=buffers.add(block.complete, "|b1"),
        attempt=buffers.add(block.attempt, "<u2"),
        started=buffers.add(block.started_s, "<f8"),
        duration=buffers.add(block.duration_s, "<f8"),
        values=[_write_value(name, column, buffers) for name, column in block.values.items()],
        errors=list(block.errors),
        attempts=list(block.attempts),
    )
    head = _write_header.encode(header)
    body = b"".join((head, *buffers.stored))
    fields = (_MAGIC, _VERSION, 0, len(head), len(body))
    return _PREFIX.pack(*fields, _checksum(fields, body)) + body


def decode_block(data: bytes) -> Block:
    """Read a block; DamagedMessage, or NewerFormat when a later program wrote it."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, ValueRefused, ValueError, RecursionError, OverflowError) as error:
        raise DamagedMessage(f"not a block of results: {error}"[:300]) from error


def _decode(data: bytes) -> Block:
    if len(data) < _PREFIX.size:
        raise DamagedMessage(f"not a block of results: {len(data)} bytes")
    magic, version, flags, head_size, body_size, checksum = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise DamagedMessage("not a block of results: it starts otherwise")
    body = memoryview(data)[_PREFIX.size :]
    if version > _VERSION:
        raise NewerFormat(kind="block", found=version, known=_VERSION)
    if version != _VERSION or flags:
        raise DamagedMessage(f"a block of version {version}, flags {flags} was never written")
    if len(body) != body_size or head_size > min(body_size, _MAX_HEADER):
        raise DamagedMessage(f"a block has {len(body)} bytes and announces {body_size}")
    if _checksum((magic, version, flags, head_size, body_size), body) != checksum:
        raise DamagedMessage("a block's checksum differs: it was damaged on the way")
    header = _read_header.decode(body[:head_size])
    reader = BufferReader(body[head_size:])
    block = _read_rows(header, reader)
    reader.close()
    _check_records(block)
    return block


def _checksum(fields: tuple[Any, ...], body: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(_PREFIX.pack(*fields, bytes(16)), digest_size=16)
    digest.update(body)
    return digest.digest()


def _write_value(name: str, column: ValueColumn, buffers: BufferWriter) -> _ValueHeader:
    shape: tuple[int, ...] = ()
    lengths: NDArray[Any] | None = None
    if column.kind in (ColumnKind.STR, ColumnKind.JSON):
        data, lengths = _join_texts(column.data)
    else:
        data = column.data.reshape(-1)
        shape = column.data.shape[1:]
        if column.offsets is not None:
            lengths = np.diff(column.offsets)
    return _ValueHeader(
        name=name,
        kind=column.kind.value,
        shape=shape,
        data=buffers.add(data, data.dtype.newbyteorder("<").str),
        valid=None if column.valid is None else buffers.add(column.valid, "|b1"),
        lengths=None if lengths is None else buffers.add(lengths, _TEXT_LENGTHS),
    )


def _join_texts(texts: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Give the UTF-8 of all texts and the length of each, in bytes."""
    blob = "".join(texts).encode("utf-8")
    if sum(map(len, texts)) == len(blob):
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    else:
        sizes = (len(text.encode("utf-8")) for text in texts)
        lengths = np.fromiter(sizes, dtype=np.int64, count=len(texts))
    return np.frombuffer(blob, dtype=np.uint8), lengths


def _read_rows(header: _Header, reader: BufferReader) -> Block:
    rows = header.rows
    if not 0 <= rows <= _MAX_ROWS or not 0 <= header.epoch < 2**32:
        raise DamagedMessage(f"a block announces {rows} rows at epoch {header.epoch}")
    run = reader.read(header.run, "<u8", rows)
    outcome = reader.read(header.outcome, "|u1", rows)
    complete = reader.read(header.complete, "|b1", rows)
    attempt = reader.read(header.attempt, "<u2", rows)
    started = reader.read(header.started, "<f8", rows)
    duration = reader.read(header.duration, "<f8", rows)
    if rows and (int(run.max()) >= 2**63 or int(outcome.max()) > max(Outcome)):
        raise DamagedMessage("a block has a run number or an outcome that cannot be")
    if len(np.unique(run)) != rows:
        raise DamagedMessage("a block has two results of one run")
    if not (np.isfinite(started).all() and np.isfinite(duration).all()):
        raise DamagedMessage("a block has a time that is no number")
    values: dict[str, ValueColumn] = {}
    for value in header.values:
        if check_name(value.name) in values:
            raise DamagedMessage("a block names a value twice")
        values[value.name] = _read_value(value, rows, reader)
    return Block(
        epoch=header.epoch,
        node=header.node,
        code=header.code,
        run=run,
        outcome=outcome,
        complete=complete,
        attempt=attempt,
        started_s=started,
        duration_s=duration,
        values=values,
        errors=tuple(header.errors),
        attempts=tuple(header.attempts),
    )


_SCALARS = {ColumnKind.INT64: "<i8", ColumnKind.FLOAT64: "<f8", ColumnKind.BOOL: "|b1"}


def _read_value(value: _ValueHeader, rows: int, reader: BufferReader) -> ValueColumn:
    kind = ColumnKind(value.kind)
    by_length = kind in (ColumnKind.STR, ColumnKind.JSON, ColumnKind.RAGGED)
    if by_length != (value.lengths is not None):
        raise DamagedMessage("a block has a column whose parts do not fit its kind")
    if any(size < 0 for size in value.shape) or len(value.shape) > 31:
        raise DamagedMessage("a block has a column of an impossible shape")
    if kind in _SCALARS:
        data = reader.read(value.data, _SCALARS[kind], rows)
        return ValueColumn(kind, data, _read_valid(value, rows, reader))
    if kind is ColumnKind.ARRAY:
        data = reader.read(value.data, None, _product(rows, value.shape))
        return ValueColumn(kind, data.reshape(rows, *value.shape), _read_valid(value, rows, reader))
    # The writer puts data, mask and lengths in this order; the sum of the lengths is checked after.
    data = reader.read(value.data, None if kind is ColumnKind.RAGGED else "|u1", None)
    valid = _read_valid(value, rows, reader)
    assert value.lengths is not None
    lengths = reader.read(value.lengths, _TEXT_LENGTHS, rows)
    offsets = np.zeros(rows + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if _product(int(offsets[-1]), value.shape) != len(data):
        raise DamagedMessage("a block has a column whose lengths do not add up")
    if kind is ColumnKind.RAGGED:
        return ValueColumn(kind, data.reshape(int(offsets[-1]), *value.shape), valid, offsets)
    return ValueColumn(kind, _split_texts(data, offsets, kind), valid)


def _product(rows: int, shape: tuple[int, ...]) -> int:
    for size in shape:
        rows *= size
    return rows


def _read_valid(value: _ValueHeader, rows: int, reader: BufferReader) -> NDArray[np.bool_] | None:
    return None if value.valid is None else reader.read(value.valid, "|b1", rows)


def _split_texts(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], kind: ColumnKind
) -> NDArray[Any]:
    blob = data.tobytes()
    bounds = offsets.tolist()
    if blob.isascii():
        whole = blob.decode("ascii")
        texts = [whole[a:b] for a, b in pairwise(bounds)]
    else:
        texts = [blob[a:b].decode("utf-8") for a, b in pairwise(bounds)]
    if "\0" in "".join(texts):
        raise DamagedMessage("a block has a text with NUL")
    if kind is ColumnKind.JSON:
        for text in texts:
            json.loads(text)
    return text_array(texts)


def _texts(record: ErrorRecord | AttemptRecord) -> list[str]:
    texts = (getattr(record, name) for name in record.__struct_fields__)
    return [text for text in texts if isinstance(text, str)]


def _check_records(block: Block) -> None:
    runs = set(block.run.tolist()) if block.errors or block.attempts else set()
    records: tuple[ErrorRecord | AttemptRecord, ...] = (*block.errors, *block.attempts)
    for record in records:
        if record.run not in runs:
            raise DamagedMessage(f"a block has a record of run {record.run}, which it lacks")
        if not all(holds_as_text(text) for text in _texts(record)):
            raise DamagedMessage(f"a block has a record of run {record.run} with NUL in a text")
    for attempt in block.attempts:
        if not (0 <= attempt.number < 2**16 and 0 <= attempt.peak_memory < 2**63):
            raise DamagedMessage(f"a block has an impossible attempt of run {attempt.run}")
    if len(block.node) > 200 or len(block.code) > 200:
        raise DamagedMessage("a block has an overlong name of node or code")
    if not holds_as_text(block.node + block.code):
        raise DamagedMessage("a block has a name of node or code that cannot be stored")
