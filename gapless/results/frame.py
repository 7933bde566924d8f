"""Results as a pandas DataFrame (the extra `pandas`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gapless.results.columns import ColumnKind, ValueColumn
from gapless.results.outcome import Outcome
from gapless.results.row_index import RowIndex
from gapless.results.row_table import RunFacts, column_names
from gapless.results.shard_writing import parameter_value

__all__ = ["frame_of"]

# Before pandas 3, "str" means numpy's texts, among which a missing one becomes the text "None".
_TEXT: Any = "str" if int(pd.__version__.partition(".")[0]) >= 3 else object


def frame_of(index: RowIndex, runs: RunFacts) -> pd.DataFrame:
    """Make a DataFrame, a row a run, columns as `column_names` says."""
    rows = index.rows
    parameters = runs.parameters(rows.run)
    values = index.values(index.names, index.places)
    labels = [outcome.label for outcome in Outcome]
    columns: list[Any] = [
        # Signed: differences of run numbers may be negative.
        rows.run.astype(np.int64),
        *(_series(parameter_value(column)) for column in parameters.values()),
        rows.replicate,
        runs.seeds(rows.run),
        pd.Categorical.from_codes(rows.outcome.astype(np.int8), pd.Index(labels)),
        rows.complete,
        rows.attempt.astype(np.int64),
        rows.started_s,
        rows.duration_s,
        pd.Categorical.from_codes(rows.node.index.astype(np.int32), pd.Index(rows.node.names)),
        rows.epoch.astype(np.int64),
        *(_series(column) for column in values.values()),
    ]
    names = column_names(tuple(parameters), index.names)
    return pd.DataFrame(dict(zip(names, columns, strict=True)))


def _series(column: ValueColumn) -> Any:
    if column.kind is ColumnKind.FLOAT64:
        return column.data if column.valid is None else np.where(column.valid, column.data, np.nan)
    if column.kind is ColumnKind.INT64:
        return (
            column.data
            if column.valid is None
            else pd.arrays.IntegerArray(column.data, ~column.valid)
        )
    if column.kind is ColumnKind.BOOL:
        return (
            column.data
            if column.valid is None
            else pd.arrays.BooleanArray(column.data, ~column.valid)
        )
    if column.kind is ColumnKind.STR:
        return pd.array(column.tolist(), dtype=_TEXT)
    if column.kind is ColumnKind.ARRAY and column.data.ndim == 1 and column.data.dtype.kind == "c":
        return column.data if column.valid is None else np.where(column.valid, column.data, np.nan)
    objects = np.empty(len(column), dtype=object)
    for position, value in enumerate(column.tolist()):
        objects[position] = value
    return pd.Series(objects, dtype=object)
