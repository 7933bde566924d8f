"""Read a shard from its bytes; whatever is wrong with them is a ShardDamaged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from gapless.declaration.errors import NewerFormat
from gapless.results.block import AttemptRecord, ErrorRecord
from gapless.results.columns import ValueColumn
from gapless.results.errors import ShardDamaged, ShardMisnamed
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome
from gapless.results.shard_datasets import (
    read_labels,
    read_numbers,
    read_text_attribute,
    read_texts,
    read_value,
)
from gapless.results.shard_rows import RowColumns, ShardRows
from gapless.results.shard_seal import check_seal

__all__ = ["ShardFile", "read_shard"]

_MAJOR = 1
_PIECE_BYTES = 4 * 2**20
_TEXT_BYTES = 512
_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError)
_ROWS = frozenset(
    (
        *("run", "replicate", "epoch", "outcome", "complete", "attempt"),
        *("started", "duration", "node", "code"),
    )
)
_ERROR_TEXTS = (
    *("kind", "type", "message", "traceback", "cause"),
    *("fingerprint", "output_head", "output_tail"),
)


class ShardFile:
    """An open shard: its parts are read when asked for. Close it, or use it in `with`.

    The caller has checked the bytes, by the manifest's hash or the seal.
    """

    def __init__(self, data: bytes, shard_id: str) -> None:
        self.shard_id = shard_id
        with self._reading():
            self._file = h5py.File(h5py.h5f.open_file_image(data))
            try:
                self._read_attributes()
            except BaseException:
                self._file.close()
                raise

    def _read_attributes(self) -> None:
        file = self._file
        name, _, major = read_text_attribute(file, "format").partition("/")
        if name != "gapless.shard" or not (major.isascii() and major.isdigit()):
            raise ValueError("it is some other HDF5 file")
        if int(major) != _MAJOR:
            raise NewerFormat(kind="shard", found=int(major), known=_MAJOR)
        found = read_text_attribute(file, "shard")
        if found != self.shard_id:
            raise ShardMisnamed(self.shard_id, found)
        self.sweep_id = read_text_attribute(file, "sweep")
        self.declaration_json = read_text_attribute(file, "declaration").encode("utf-8")
        self.origin = Origin(
            read_text_attribute(file, "origin_flushed_at"),
            read_text_attribute(file, "origin_aggregator"),
            int(file.attrs["origin_number"]),
        )
        self.replaces = tuple(str(each) for each in file.attrs.get("replaces", ()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory."""
        self._file.close()

    def rows(self) -> RowColumns:
        """Read /runs."""
        with self._reading():
            group = self._file["runs"]
            rows = RowColumns(
                run=read_numbers(group, "run").astype(np.uint64, copy=False),
                replicate=read_numbers(group, "replicate"),
                epoch=read_numbers(group, "epoch").astype(np.uint32, copy=False),
                outcome=read_numbers(group, "outcome").astype(np.uint8),
                complete=read_numbers(group, "complete").astype(np.bool_, copy=False),
                attempt=read_numbers(group, "attempt"),
                started_s=read_numbers(group, "started"),
                duration_s=read_numbers(group, "duration"),
                node=read_labels(group, "node"),
                code=read_labels(group, "code"),
            )
            numbers: list[NDArray[Any]] = [
                *(rows.run, rows.replicate, rows.epoch, rows.outcome, rows.complete, rows.attempt),
                *(rows.started_s, rows.duration_s, rows.node.index, rows.code.index),
            ]
            lengths = {len(column) for column in numbers}
            lengths |= {len(group[name]) for name in group if name not in _ROWS}
            if len(lengths) != 1 or (rows.outcome > max(Outcome)).any():
                raise ValueError("its rows do not fit together")
            return rows

    @property
    def value_names(self) -> list[str]:
        """The names of its values, in the order they came."""
        with self._reading():
            return list(self._file["values"])

    def value(self, name: str) -> ValueColumn:
        """Read one value of every row."""
        with self._reading():
            column = read_value(self._file["values"], name, self._file["valid"])
            if len(column) != len(self._file["runs/run"]):
                raise ValueError(f"value {name} has another number of rows")
            return column

    def parameters(self, rows: slice = slice(None)) -> dict[str, ValueColumn]:
        """Read the parameters of every row, or of some."""
        with self._reading():
            group = self._file["params"]
            return {name: read_value(group, name, None, rows) for name in group}

    def read_through(self) -> None:
        """Read values, errors and attempts, a piece at a time, and keep none of it."""
        with self._reading():
            for part in ("values", "valid", "errors", "attempts"):
                self._file[part].visititems(_read_in_pieces)
            rows = len(self._file["runs/run"])
            for name, item in (*self._file["values"].items(), *self._file["valid"].items()):
                count = len(item["offsets"]) - 1 if isinstance(item, h5py.Group) else len(item)
                if count != rows:
                    raise ValueError(f"value {name} has another number of rows")

    def errors(self) -> list[tuple[int, ErrorRecord]]:
        """Read /errors as (row, error)."""
        with self._reading():
            group = self._file["errors"]
            texts = [read_texts(group[name]).tolist() for name in _ERROR_TEXTS]
            facts = zip(
                group["row"][...].tolist(),
                group["run"][...].tolist(),
                group["transient"][...].tolist(),
                *texts,
                strict=True,
            )
            return [
                (
                    row,
                    ErrorRecord(
                        run=run,
                        transient=transient,
                        **dict(zip(_ERROR_TEXTS, each, strict=True)),
                    ),
                )
                for row, run, transient, *each in facts
            ]

    def attempts(self) -> list[AttemptRecord]:
        """Read /attempts."""
        with self._reading():
            group = self._file["attempts"]
            numbers: list[list[Any]] = [
                group[name][...].tolist()
                for name in ("run", "number", "started", "duration", "outcome", "peak_memory")
            ]
            texts = [read_texts(group[name]).tolist() for name in ("node", "exit")]
            return [
                AttemptRecord(
                    run=run,
                    number=number,
                    started_s=started,
                    duration_s=duration,
                    outcome=Outcome(outcome),
                    peak_memory=peak,
                    node=node,
                    exit=exit_,
                )
                for run, number, started, duration, outcome, peak, node, exit_ in zip(
                    *numbers, *texts, strict=True
                )
            ]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise ShardDamaged(self.shard_id, str(error)[:200]) from error


def _read_in_pieces(_name: str, item: h5py.Group | h5py.Dataset) -> None:
    if isinstance(item, h5py.Dataset) and item.shape:
        # A text may be a whole traceback.
        item_bytes = _TEXT_BYTES if item.dtype.kind == "O" else item.dtype.itemsize
        row_bytes = max(1, item_bytes * math.prod(item.shape[1:]))
        step = max(1, _PIECE_BYTES // row_bytes)
        for start in range(0, len(item), step):
            item[start : start + step]


def read_shard(data: bytes) -> ShardRows:
    """Read everything in a shard into memory; its seal is checked first."""
    check_seal(data, "(read from bytes)")
    with ShardFile(data, _name_inside(data)) as file:
        placed = file.errors()
        return ShardRows(
            shard_id=file.shard_id,
            sweep_id=file.sweep_id,
            declaration_json=file.declaration_json,
            origin=file.origin,
            replaces=file.replaces,
            rows=file.rows(),
            params=file.parameters(),
            values={name: file.value(name) for name in file.value_names},
            errors=tuple(error for _, error in placed),
            error_rows=tuple(row for row, _ in placed),
            attempts=tuple(file.attempts()),
        )


def _name_inside(data: bytes) -> str:
    try:
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            return str(file.attrs["shard"])
    except _DAMAGE as error:
        raise ShardDamaged("(unnamed)", str(error)[:200]) from error
