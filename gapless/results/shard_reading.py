"""Read a shard from its bytes; whatever is wrong with them is a ShardDamaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from gapless.declaration.errors import NewerFormat
from gapless.results.block import AttemptRecord, ErrorRecord
from gapless.results.columns import ValueColumn
from gapless.results.errors import ShardDamaged
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome
from gapless.results.shard_datasets import read_labels, read_texts, read_value
from gapless.results.shard_rows import RowColumns, ShardRows
from gapless.results.shard_seal import check_seal

__all__ = ["ShardFile", "read_shard"]

_MAJOR = 1
_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError)
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
        attributes = self._file.attrs
        name, _, major = str(attributes["format"]).partition("/")
        if name != "gapless.shard" or not (major.isascii() and major.isdigit()):
            raise ValueError("it is some other HDF5 file")
        if int(major) != _MAJOR:
            raise NewerFormat(kind="shard", found=int(major), known=_MAJOR)
        if attributes["shard"] != self.shard_id:
            raise ValueError(f"it is shard {attributes['shard']}")
        self.sweep_id = str(attributes["sweep"])
        self.declaration_json = str(attributes["declaration"]).encode("utf-8")
        self.origin = Origin(
            str(attributes["origin_flushed_at"]),
            str(attributes["origin_aggregator"]),
            int(attributes["origin_number"]),
        )
        self.replaces = tuple(str(each) for each in attributes.get("replaces", ()))

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
                run=group["run"][...].astype(np.uint64, copy=False),
                replicate=group["replicate"][...],
                epoch=group["epoch"][...].astype(np.uint32, copy=False),
                outcome=group["outcome"][...].astype(np.uint8),
                complete=group["complete"][...].astype(np.bool_, copy=False),
                attempt=group["attempt"][...],
                started_s=group["started"][...],
                duration_s=group["duration"][...],
                node=read_labels(group["node"]),
                code=read_labels(group["code"]),
            )
            lengths = {len(dataset) for dataset in group.values()}
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

    def parameters(self) -> dict[str, ValueColumn]:
        """Read the parameters of every row."""
        with self._reading():
            group = self._file["params"]
            return {name: read_value(group, name, None) for name in group}

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
