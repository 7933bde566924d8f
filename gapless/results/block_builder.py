"""Collect the results of a worker, run by run, into a block.

`add_ok` is what a worker does once a run, so it does next to nothing: it looks at the types of the
values and puts them on one flat list (a row after another; columns are strides of it). Rows whose
values have the same names share such a list. Values that could change later are copied at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from gapless.results.block import AttemptRecord, Block, ErrorRecord
from gapless.results.buffers import MAX_RAW_BYTES
from gapless.results.columns import ValueColumn, column_of
from gapless.results.errors import ValueRefused
from gapless.results.outcome import Outcome
from gapless.results.storable import IMMUTABLE, JsonText, check_name, storable
from gapless.results.widening import join_columns

__all__ = ["MOST_RUN_BYTES", "BlockBuilder"]

_ROW_BYTES = 30
_VALUE_BYTES = 8
_can_be_kept = IMMUTABLE.issuperset


class _Layout:
    """Rows of one set of names: `flat` holds run, started, duration, values… of each row."""

    __slots__ = ("extend", "facts", "flat", "names", "stride")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.flat: list[Any] = []
        self.extend = self.flat.extend
        self.stride = len(names) + 3
        self.facts: dict[int, tuple[Outcome, bool, int]] = {}

    @property
    def rows(self) -> int:
        return len(self.flat) // self.stride

    def column(self, position: int) -> list[Any]:
        return self.flat[position :: self.stride]


class BlockBuilder:
    """Results of one epoch, of one node, of one version of the code."""

    def __init__(self, epoch: int, node: str, code: str) -> None:
        self._epoch = epoch
        self._node = node
        self._code = code
        self._errors: list[ErrorRecord] = []
        self._attempts: list[AttemptRecord] = []
        self._heavy_bytes = 0
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self._measured: dict[tuple[str, ...], int] = {}
        self._names: tuple[Any, ...] = ()
        self._layout = self._layout_of(())

    def add_ok(
        self, run: int, started_s: float, duration_s: float, values: Mapping[str, Any]
    ) -> Outcome:
        """Record a run that ended well at its first attempt.

        Give the outcome recorded: `failed` when a value cannot be stored (the others are kept).
        """
        row = values.values()
        if _can_be_kept(map(type, row)) and (
            (*values,) == self._names or self._switch(tuple(values))
        ):
            self._layout.extend((run, started_s, duration_s, *row))
            return Outcome.OK
        return self.add(
            run, outcome=Outcome.OK, started_s=started_s, duration_s=duration_s, values=values
        )

    def add(  # noqa: PLR0913 - one row is these facts
        self,
        run: int,
        *,
        outcome: Outcome,
        complete: bool = True,
        attempt: int = 1,
        started_s: float,
        duration_s: float,
        values: Mapping[str, Any] | None = None,
        error: ErrorRecord | None = None,
        attempts: Sequence[AttemptRecord] = (),
    ) -> Outcome:
        """Record any final result; give the outcome recorded (`failed` when a value is refused)."""
        kept: dict[str, Any] = {}
        refused: list[str] = []
        room = MOST_RUN_BYTES
        for name, value in (values or {}).items():
            try:
                stored = storable(value)
                room -= _heavy_bytes(stored, room)
                kept[check_name(name)] = stored
            except ValueRefused as refusal:
                refused.append(f"the value {ascii(name)[:80]}: {refusal}")
        if refused:
            complete = False
            if outcome is Outcome.OK:
                outcome = Outcome.FAILED
            error = _value_error(run, refused, error, values or {})
        if error is not None:
            self._errors.append(_tidy(error))
        self._attempts.extend(map(_tidy, attempts))
        self._heavy_bytes += sum(_heavy_bytes(value) for value in kept.values())
        layout = self._layout_of(tuple(kept))
        if (outcome, complete, attempt) != _PLAIN_FACTS:
            layout.facts[layout.rows] = (outcome, complete, attempt)
        layout.extend((run, started_s, duration_s, *kept.values()))
        return outcome

    @property
    def rows(self) -> int:
        """How many results were added."""
        return sum(layout.rows for layout in self._layouts.values())

    @property
    def size_estimate_bytes(self) -> int:
        """About how long the encoded block would be at most; costs O(rows since asked last)."""
        self._measure_texts()
        cells = sum(len(layout.flat) for layout in self._layouts.values())
        records = sum(map(_record_bytes, self._errors)) + 150 * len(self._attempts)
        return _ROW_BYTES * self.rows + _VALUE_BYTES * cells + self._heavy_bytes + records

    def build(self) -> Block:
        """Give the block of everything added."""
        layouts = [layout for layout in self._layouts.values() if layout.rows]
        outcome, complete, attempt = _facts(layouts)
        return Block(
            epoch=self._epoch,
            node=self._node,
            code=self._code,
            run=_numbers(layouts, 0, np.uint64),
            outcome=outcome,
            complete=complete,
            attempt=attempt,
            started_s=_finite(_numbers(layouts, 1, np.float64)),
            duration_s=_finite(_numbers(layouts, 2, np.float64)),
            values=_values(layouts),
            errors=tuple(self._errors),
            attempts=tuple(self._attempts),
        )

    def _switch(self, names: tuple[Any, ...]) -> bool:
        """Make the rows of these names current; tell whether all names can be stored."""
        if names not in self._layouts:
            try:
                for name in names:
                    check_name(name)
            except ValueRefused:
                return False
        self._layout = self._layout_of(names)
        self._names = names
        return True

    def _layout_of(self, names: tuple[str, ...]) -> _Layout:
        layout = self._layouts.get(names)
        if layout is None:
            layout = self._layouts[names] = _Layout(names)
            self._measured[names] = 0
            self._heavy_bytes += sum(len(name) + 60 for name in names)
        return layout

    def _measure_texts(self) -> None:
        for names, layout in self._layouts.items():
            fresh = layout.flat[self._measured[names] :]
            self._measured[names] = len(layout.flat)
            if str in set(map(type, fresh)):
                self._heavy_bytes += sum(len(cell) for cell in fresh if type(cell) is str)


MOST_RUN_BYTES = MAX_RAW_BYTES - 64 * 2**20
"""What the values of one run may take: a block of only this run is still one that is read."""
_MOST_MISSING_BYTES = 2**20
"""What runs without an array may take in its column of a block. Among thousands of quick runs one
may record an array of many kilobytes, and a block unpacks to at most MAX_RAW_BYTES."""
_TOO_LARGE = (
    f"with it the values of this run have more than {MOST_RUN_BYTES:,} bytes, the most that one "
    "run may record: keep a summary, or attach a file"
)
_PLAIN_FACTS = (Outcome.OK, True, 1)


def _numbers(layouts: list[_Layout], position: int, dtype: type[Any]) -> NDArray[Any]:
    parts = [np.array(layout.column(position), dtype=dtype) for layout in layouts]
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)


def _finite(times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nan_to_num(times, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _facts(
    layouts: list[_Layout],
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.uint16]]:
    rows = sum(layout.rows for layout in layouts)
    outcomes = np.zeros(rows, dtype=np.uint8)
    complete = np.ones(rows, dtype=np.bool_)
    attempts = np.ones(rows, dtype=np.uint16)
    start = 0
    for layout in layouts:
        for row, facts in layout.facts.items():
            outcomes[start + row], complete[start + row] = facts[0], facts[1]
            attempts[start + row] = min(facts[2], 2**16 - 1)
        start += layout.rows
    return outcomes, complete, attempts


def _values(layouts: list[_Layout]) -> dict[str, ValueColumn]:
    names = dict.fromkeys(name for layout in layouts for name in layout.names)
    values: dict[str, ValueColumn] = {}
    for name in names:
        pieces: list[tuple[int, ValueColumn | None]] = []
        for layout in layouts:
            column = None
            if name in layout.names:
                cells = layout.column(3 + layout.names.index(name))
                column = column_of(cells, _MOST_MISSING_BYTES)
            pieces.append((layout.rows, column))
        only = pieces[0][1]
        values[name] = (
            join_columns(pieces, _MOST_MISSING_BYTES) if len(pieces) > 1 or only is None else only
        )
    return values


def _value_error(
    run: int, refused: list[str], error: ErrorRecord | None, values: Mapping[str, Any]
) -> ErrorRecord:
    message = "; ".join(refused)
    if error is not None:
        joined = f"{error.message}\n(also: {message})" if error.message else message
        return msgspec.structs.replace(error, message=joined)
    first = next((value for value in values.values() if _is_refused(value)), None)
    return ErrorRecord(
        run=run,
        kind="value",
        type=type(first).__qualname__ if first is not None else "str",
        message=message,
        fingerprint=f"value:{refused[0][:120]}",
    )


def _is_refused(value: Any) -> bool:
    try:
        storable(value)
    except ValueRefused:
        return True
    return False


def _heavy_bytes(value: Any, room: int = MOST_RUN_BYTES) -> int:
    """Count what a value takes beyond its cell (texts are counted later, with all others).

    ValueRefused when that is more than `room`.
    """
    size = len(value) if isinstance(value, JsonText) else 0
    if isinstance(value, np.ndarray):
        size = value.nbytes
    if size > room:
        raise ValueRefused(_TOO_LARGE)
    return size


def _record_bytes(error: ErrorRecord) -> int:
    texts = (error.message, error.traceback, error.cause, error.output_head, error.output_tail)
    return 200 + sum(map(len, texts))


_Record = TypeVar("_Record", ErrorRecord, AttemptRecord)


def _tidy(record: _Record) -> _Record:
    """Make every text storable: no NUL, no half characters."""
    cleaned = {
        name: _tidy_text(text)
        for name in record.__struct_fields__
        if isinstance(text := getattr(record, name), str)
    }
    return msgspec.structs.replace(record, **cleaned)


def _tidy_text(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
