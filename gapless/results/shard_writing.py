"""Write a shard: blocks of results and what their run numbers mean, as one HDF5 file in memory.

HDF5's own flush is no commit (a killed writer leaves a file nobody can open), so the file is made
whole in memory, sealed (see `shard_seal`) and handed to storage, which makes it durable at once or
not at all.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from gapless.results.block import AttemptRecord, Block, ErrorRecord
from gapless.results.columns import ColumnKind, ValueColumn, text_array
from gapless.results.dataset_creation import create_text_attribute
from gapless.results.manifest import Manifest
from gapless.results.origin import Origin, shard_id
from gapless.results.shard_datasets import (
    OUTCOME_DTYPE,
    write_labels,
    write_numbers,
    write_texts,
    write_value,
)
from gapless.results.shard_rows import Labels, RowColumns
from gapless.results.shard_seal import sealed
from gapless.results.storable import json_text
from gapless.results.widening import join_columns

__all__ = ["EncodedShard", "ParameterColumn", "RunLookup", "encode_shard", "parameter_value"]

_FORMAT = "gapless.shard/1"

_GROWTH_BYTES = 64 * 2**10
_PARAMETER_KINDS = {
    "int": ColumnKind.INT64,
    "float": ColumnKind.FLOAT64,
    "number": ColumnKind.FLOAT64,
    "bool": ColumnKind.BOOL,
    "str": ColumnKind.STR,
}
_ERROR_TEXTS = (
    *("kind", "type", "message", "traceback", "cause"),
    *("fingerprint", "output_head", "output_tail"),
)


class ParameterColumn(Protocol):
    """The values of one parameter: what shards need of a declaration's Column."""

    @property
    def values(self) -> NDArray[Any]:
        """Shape (n,)."""

    @property
    def kind(self) -> str:
        """One of int, float, number (integers and floats), bool, str, json."""

    def tolist(self) -> list[Any]:
        """Give plain Python values."""


class RunLookup(Protocol):
    """What run numbers mean: the part of a declaration's Runs that shards need."""

    def parameters(self, numbers: NDArray[np.uint64]) -> Mapping[str, ParameterColumn]:
        """Give the parameters of runs."""

    def replicates(self, numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Give the replicates of runs."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedShard:
    """A shard ready to be stored: first `data`, then, once that is durable, the manifest."""

    shard_id: str
    data: bytes
    manifest: Manifest


def encode_shard(
    blocks: Sequence[Block],
    *,
    sweep_id: str,
    declaration_json: bytes,
    runs: RunLookup,
    origin: Origin,
) -> EncodedShard:
    """Write all rows of the blocks into one shard; the same blocks give the same bytes."""
    name = shard_id(origin)
    rows = _join_rows(blocks, runs)
    # Before the file is open: it may read a table of the space from storage.
    parameters = runs.parameters(rows.run)
    with _file_in_memory() as file:
        for key, text in (
            ("format", _FORMAT),
            ("sweep", sweep_id),
            ("shard", name),
            ("declaration", declaration_json.decode("utf-8")),
            ("origin_flushed_at", origin.flushed_at),
            ("origin_aggregator", origin.aggregator),
        ):
            create_text_attribute(file.id, key, text)
        file.attrs["origin_number"] = origin.number
        _write_rows(file, rows)
        _write_parameters(file, parameters)
        _write_values(file, blocks)
        _write_errors(file, blocks)
        _write_attempts(file, [attempt for block in blocks for attempt in block.attempts])
        file.flush()
        data = sealed(file.id.get_file_image())
    manifest = Manifest(
        sweep=sweep_id,
        shard=name,
        origin=origin,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        rows=len(rows.run),
        counts=rows.counts(),
        coverage=rows.coverage(),
    )
    return EncodedShard(name, data, manifest)


def parameter_value(column: ParameterColumn) -> ValueColumn:
    """Give a parameter's column as a column of values.

    Integers among floats become floats; other mixed values, and nested ones, JSON text.
    """
    kind = _PARAMETER_KINDS.get(column.kind)
    if kind is ColumnKind.FLOAT64:
        return ValueColumn(kind, column.values.astype(np.float64, copy=False))
    if kind is not None:
        return ValueColumn(kind, column.values)
    texts = [str(json_text(value)) for value in column.tolist()]
    return ValueColumn(ColumnKind.JSON, text_array(texts))


@contextmanager
def _file_in_memory() -> Iterator[h5py.File]:
    # HDF5 refuses a second open file of the same name, in memory too: a name a thread.
    name = f"shard-{threading.get_ident()}"
    file = h5py.File(name, "w", driver="core", backing_store=False, block_size=_GROWTH_BYTES)
    try:
        yield file
    finally:
        file.close()


def _join_rows(blocks: Sequence[Block], runs: RunLookup) -> RowColumns:
    run = _joined([block.run for block in blocks], np.uint64)
    epochs = np.array([block.epoch for block in blocks], dtype=np.uint32)
    return RowColumns(
        run=run,
        replicate=runs.replicates(run),
        epoch=np.repeat(epochs, [block.rows for block in blocks]),
        outcome=_joined([block.outcome for block in blocks], np.uint8),
        complete=_joined([block.complete for block in blocks], np.bool_),
        attempt=_joined([block.attempt for block in blocks], np.uint16),
        started_s=_joined([block.started_s for block in blocks], np.float64),
        duration_s=_joined([block.duration_s for block in blocks], np.float64),
        node=Labels.of([(block.node, block.rows) for block in blocks]),
        code=Labels.of([(block.code, block.rows) for block in blocks]),
    )


def _joined(parts: list[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)


def _write_rows(file: h5py.File, rows: RowColumns) -> None:
    group = file.create_group("runs")
    write_numbers(group, "run", rows.run)
    write_numbers(group, "replicate", rows.replicate)
    write_numbers(group, "epoch", rows.epoch)
    write_numbers(group, "outcome", rows.outcome, OUTCOME_DTYPE)
    write_numbers(group, "complete", rows.complete)
    write_numbers(group, "attempt", rows.attempt)
    # In one line: the numbers reach the file when nobody holds their dataset any more.
    since_1970 = "s since 1970-01-01 UTC"
    create_text_attribute(write_numbers(group, "started", rows.started_s), "units", since_1970)
    create_text_attribute(write_numbers(group, "duration", rows.duration_s), "units", "s")
    write_labels(group, "node", rows.node)
    write_labels(group, "code", rows.code)


def _write_parameters(file: h5py.File, parameters: Mapping[str, ParameterColumn]) -> None:
    group = file.create_group("params")
    for name, column in parameters.items():
        write_value(group, name, parameter_value(column), group)


def _write_values(file: h5py.File, blocks: Sequence[Block]) -> None:
    group = file.create_group("values", track_order=True)
    valid = file.create_group("valid")
    names = dict.fromkeys(name for block in blocks for name in block.values)
    for name in names:
        column = join_columns([(block.rows, block.values.get(name)) for block in blocks])
        write_value(group, name, column, valid)


def _write_errors(file: h5py.File, blocks: Sequence[Block]) -> None:
    """Write /errors; `row` says which row of /runs an error belongs to (a run may have several)."""
    errors: list[ErrorRecord] = []
    rows: list[int] = []
    start = 0
    for block in blocks:
        if block.errors:
            position = _rows_of_runs(block)
            errors.extend(block.errors)
            rows.extend(start + position[error.run] for error in block.errors)
        start += block.rows
    group = file.create_group("errors")
    write_numbers(group, "run", np.array([error.run for error in errors], dtype=np.uint64))
    write_numbers(group, "row", np.array(rows, dtype=np.uint64))
    for name in _ERROR_TEXTS:
        write_texts(group, name, [getattr(error, name) for error in errors])
    write_numbers(
        group, "transient", np.array([error.transient for error in errors], dtype=np.bool_)
    )


def _rows_of_runs(block: Block) -> dict[int, int]:
    """Give the row of each run, the one that is not ok when a run has several."""
    order = np.argsort(block.outcome, kind="stable").tolist()
    runs = block.run.tolist()
    return {runs[row]: row for row in order}


def _write_attempts(file: h5py.File, attempts: list[AttemptRecord]) -> None:
    group = file.create_group("attempts")

    def numbers(field: str, dtype: Any, stored_as: Any = None, name: str | None = None) -> None:
        data = np.array([getattr(attempt, field) for attempt in attempts], dtype=dtype)
        write_numbers(group, name or field, data, stored_as)

    numbers("run", np.uint64)
    numbers("number", np.uint16)
    numbers("started_s", np.float64, name="started")
    numbers("duration_s", np.float64, name="duration")
    numbers("outcome", np.uint8, OUTCOME_DTYPE)
    numbers("peak_memory", np.int64)
    write_texts(group, "node", [attempt.node for attempt in attempts])
    write_texts(group, "exit", [attempt.exit for attempt in attempts])
