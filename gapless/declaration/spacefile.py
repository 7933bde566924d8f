"""The [space] of a sweep file, and the values a TOML file may give to parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from operator import mul
from typing import Annotated, Any, Literal

from msgspec import Meta

from gapless.declaration.csvtable import parse_table
from gapless.declaration.document import Key, Mistakes, Table, TableOrTables, nearest
from gapless.declaration.errors import DeclarationError
from gapless.declaration.space import Space
from gapless.declaration.wording import describe

__all__ = ["SPACE", "TableReader", "plain_table", "read_space"]

TableReader = Callable[[str], bytes]

_ZIP = Key(list[dict[str, Any]], "a list of tables: zip = [{ a = [1, 2], b = [3, 4] }]")
_POINTS = Key(list[dict[str, Any]], "a list of tables: points = [{ a = 1, b = 2 }]")
_SAMPLE_KEYS: dict[str, Key | Table | TableOrTables] = {
    "method": Key(
        Literal["random", "sobol", "lhs", "halton"], '"random", "sobol", "lhs" or "halton"'
    ),
    "n": Key(Annotated[int, Meta(ge=1)], "a whole number above 0"),
    "seed": Key(Annotated[int, Meta(ge=0, le=2**63 - 1)], "a whole number from 0 to 2**63 - 1"),
    "parameters": Table(None, "the table [space.sample.parameters]"),
}
_SAMPLE = Table(_SAMPLE_KEYS, "the table [space.sample]")
_GRID = Table(None, "the table [space.grid] with a list of values for each parameter")
_WHERE = Key(str, 'an expression on the parameters, like "n * alpha < 12"')
_TABLE = Key(str, 'the path of a CSV file, like "corners.csv"')

SPACE = Table(
    {
        "where": _WHERE,
        "grid": _GRID,
        "zip": _ZIP,
        "points": _POINTS,
        "table": _TABLE,
        "sample": _SAMPLE,
    },
    "the table [space], or [[space]] several times",
)
_SPACE_KEYS = ("where", "grid", "zip", "points", "table", "sample")
_FORMULAS = ("linspace", "logspace", "geomspace", "range")
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


def read_space(
    document: object, *, top_keys: Collection[str], read: TableReader, mistakes: Mistakes
) -> Space | None:
    """Build the space of [space], or the union of several [[space]]; None after a mistake."""
    if isinstance(document, dict):
        return _Block("space", top_keys, read, mistakes).read(document)
    if not isinstance(document, list) or not document:
        mistakes.add("space", found=describe(document), expected=SPACE.expected)
        return None
    spaces: list[Space | None] = []
    for index, each in enumerate(document):
        key = f"space[{index}]"
        if isinstance(each, dict):
            spaces.append(_Block(key, top_keys, read, mistakes).read(each))
        else:
            mistakes.add(key, found=describe(each), expected="a table")
    union: Space | None = None
    for index, space in enumerate(spaces):
        if space is None or (index and union is None):
            return None
        try:
            union = space if union is None else union + space
        except DeclarationError as error:
            mistakes.say(f"space[{index}]", str(error))
            return None
    return union


def plain_table(
    key: str, document: object, *, top_keys: Collection[str], mistakes: Mistakes
) -> dict[str, Any]:
    """Give a table's values as plain ones, { none = true } as None; what cannot be is a mistake."""
    if not isinstance(document, dict):
        return {}
    for name in document:
        _check_place(f"{key}.{name}", name, top_keys, mistakes)
    return {name: _plain(f"{key}.{name}", value, mistakes) for name, value in document.items()}


class _Block:
    """One [space]: the product of its parts in the order grid, zip, points, table, sample."""

    def __init__(
        self, key: str, top_keys: Collection[str], read: TableReader, mistakes: Mistakes
    ) -> None:
        self._key = key
        self._top_keys = top_keys
        self._read = read
        self._mistakes = mistakes

    def read(self, document: Mapping[str, Any]) -> Space | None:
        before = len(self._mistakes.lines)
        parts: list[Space | None] = []
        for name, reader in (
            ("grid", self._grid),
            ("zip", self._zip),
            ("points", self._points),
            ("table", self._table),
            ("sample", self._sample),
        ):
            if name in document:
                parts += reader(document[name])
        if not parts and len(self._mistakes.lines) == before:
            self._mistakes.add(
                self._key,
                found="an empty space",
                expected="at least one of [space.grid], zip, points, table, [space.sample]",
            )
        space = self._product([part for part in parts if part is not None])
        if "where" not in document:
            return space
        where = self._mistakes.value(f"{self._key}.where", document["where"], _WHERE)
        if space is None or where is None or len(self._mistakes.lines) > before:
            return space
        return self._built("where", lambda: space.where(where))

    def _product(self, parts: list[Space]) -> Space | None:
        product: Space | None = None
        for part in parts:
            left = product
            if left is None:
                product = part
                continue
            product = self._built("", partial(mul, left, part))
            if product is None:
                return None
        return product

    def _grid(self, document: object) -> list[Space | None]:
        key = f"{self._key}.grid"
        axes = self._axes(key, document, _GRID.expected)
        if axes is None:
            return [None]
        if not axes:
            self._mistakes.add(key, found="an empty table", expected="at least one parameter")
            return [None]
        return [self._built("grid", partial(Space.grid, axes))]

    def _zip(self, document: object) -> list[Space | None]:
        blocks = self._mistakes.value(f"{self._key}.zip", document, _ZIP)
        if blocks == []:
            self._mistakes.add(f"{self._key}.zip", found="an empty list", expected=_ZIP.expected)
        spaces: list[Space | None] = []
        for index, block in enumerate(blocks or ()):
            name = f"zip[{index}]"
            axes = self._axes(f"{self._key}.{name}", block, "a table with a list a parameter")
            if axes == {}:
                self._mistakes.add(
                    f"{self._key}.{name}", found="an empty table", expected="at least one parameter"
                )
            elif axes is not None:
                spaces.append(self._built(name, partial(Space.zip_, axes)))
        return spaces or [None]

    def _axes(self, key: str, document: object, expected: str) -> dict[str, Any] | None:
        """Give each parameter's values, checked one by one; None after a mistake."""
        if not isinstance(document, dict):
            self._mistakes.add(key, found=describe(document), expected=expected)
            return None
        before = len(self._mistakes.lines)
        axes: dict[str, Any] = {}
        for name, value in document.items():
            place = f"{key}.{name}"
            if not _check_place(place, name, self._top_keys, self._mistakes):
                continue
            if _belongs_to_space(name, value):
                self._mistakes.say(
                    place,
                    f"found {describe(value)}, expected in [space] itself: write {name} before "
                    "[space.grid]",
                )
                continue
            axes[name] = self._axis(place, value)
        if len(self._mistakes.lines) > before:
            return None
        place = key.removeprefix(self._key + ".")
        for name, value in axes.items():
            self._built(f"{place}.{name}", partial(Space.grid, {name: value}))
        return axes if len(self._mistakes.lines) == before else None

    def _axis(self, key: str, value: object) -> Any:
        expected = (
            "a list of values, or { linspace = [start, stop, count] }, range, logspace, geomspace"
        )
        if isinstance(value, dict):
            if len(value) != 1 or next(iter(value)) not in _FORMULAS:
                close = nearest(next(iter(value), ""), _FORMULAS)
                wanted = f"{{ {close} = […] }}" if close else expected
                self._mistakes.add(key, found=describe(value), expected=wanted)
            return _plain(key, value, self._mistakes)
        if not isinstance(value, list):
            expected += "; one value alone belongs in [fixed]"
        elif value:
            return _plain(key, value, self._mistakes)
        self._mistakes.add(key, found=describe(value), expected=expected)
        return None

    def _points(self, document: object) -> list[Space | None]:
        key = f"{self._key}.points"
        rows = self._mistakes.value(key, document, _POINTS)
        if rows is None:
            return [None]
        if not rows:
            self._mistakes.add(key, found="an empty list", expected=_POINTS.expected)
            return [None]
        before = len(self._mistakes.lines)
        for name in rows[0]:
            _check_place(f"{key}[0].{name}", name, self._top_keys, self._mistakes)
        plain = [_plain(f"{key}[{index}]", row, self._mistakes) for index, row in enumerate(rows)]
        if len(self._mistakes.lines) > before:
            return [None]
        return [self._built("points", lambda: Space.points(plain))]

    def _table(self, document: object) -> list[Space | None]:
        key = f"{self._key}.table"
        path = self._mistakes.value(key, document, _TABLE)
        if path is None:
            return [None]
        try:
            data = self._read(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self._mistakes.add(
                key,
                found=f'"{path}", which cannot be read ({reason})',
                expected="a CSV file, its path relative to this file",
            )
            return [None]
        try:
            names, columns = parse_table(data, filename=path)
        except DeclarationError as error:
            for line in str(error).splitlines():
                self._mistakes.say(key, line)
            return [None]
        before = len(self._mistakes.lines)
        for name in names:
            _check_place(f"{key}: {path}: column {name}", name, self._top_keys, self._mistakes)
        if len(self._mistakes.lines) > before:
            return [None]
        return [self._built("table", lambda: Space.table(names, columns))]

    def _sample(self, document: object) -> list[Space | None]:
        key = f"{self._key}.sample"
        if not isinstance(document, dict):
            self._mistakes.add(key, found=describe(document), expected=_SAMPLE.expected)
            return [None]
        before = len(self._mistakes.lines)
        chosen: dict[str, Any] = {}
        for name in ("method", "n", "seed"):
            rule = _SAMPLE_KEYS[name]
            assert isinstance(rule, Key)
            if name in document:
                chosen[name] = self._mistakes.value(f"{key}.{name}", document[name], rule)
            elif name != "seed":
                self._mistakes.add(f"{key}.{name}", found="nothing", expected=rule.expected)
        parameters = document.get("parameters")
        if not isinstance(parameters, dict) or not parameters:
            found = "nothing" if parameters is None else describe(parameters)
            self._mistakes.add(
                f"{key}.parameters",
                found=found,
                expected="[space.sample.parameters] with { uniform = [0, 1] } and the like",
            )
            return [None]
        given = plain_table(
            f"{key}.parameters", parameters, top_keys=self._top_keys, mistakes=self._mistakes
        )
        if len(self._mistakes.lines) > before:
            return [None]
        return [self._built("sample", lambda: Space.sample(given, **chosen))]

    def _built(self, name: str, build: Callable[[], Space]) -> Space | None:
        try:
            return build()
        except DeclarationError as error:
            key = f"{self._key}.{name}" if name else self._key
            for line in str(error).splitlines():
                self._mistakes.say(key, line)
            return None


def _belongs_to_space(name: str, value: object) -> bool:
    if name not in _SPACE_KEYS:
        return False
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, dict) for each in value)
    return not (isinstance(value, dict) and len(value) == 1 and next(iter(value)) in _FORMULAS)


def _check_place(key: str, name: str, top_keys: Collection[str], mistakes: Mistakes) -> bool:
    if name not in top_keys:
        return True
    mistakes.say(
        key,
        f'found the parameter "{name}", expected {name} at the top of the file: move it before '
        "the first [table]; a parameter must be named otherwise",
    )
    return False


def _plain(  # noqa: PLR0911 - one answer a type
    key: str, value: Any, mistakes: Mistakes
) -> Any:
    match value:
        case {"none": True, **rest} if not rest:
            return None
        case dict():
            return {name: _plain(f"{key}.{name}", each, mistakes) for name, each in value.items()}
        case list():
            return [_plain(f"{key}[{index}]", each, mistakes) for index, each in enumerate(value)]
        case bool() | str():
            return value
        case int() if _INT_MIN <= value <= _INT_MAX:
            return value
        case float() if math.isfinite(value):
            return value
    expected = "text, a finite number within 64 bits, true, false, a list or a table"
    if isinstance(value, float):
        expected += "; { none = true } for a missing value"
    mistakes.add(key, found=describe(value), expected=expected)
    return None
