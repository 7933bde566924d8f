"""Mistakes in a document, each one line: where, key, what was found, what was expected.

All of them are collected before any is reported, so that a person mends a file once.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gapless.declaration.errors import DeclarationError
from gapless.declaration.wording import describe

__all__ = ["Key", "Mistakes", "Table", "TableOrTables", "nearest", "unknown_keys"]

_LONGEST_LINE = 1_000


@dataclass(frozen=True, slots=True)
class Key:
    """A key that holds one value: its type for msgspec, and the words for it."""

    type: Any
    expected: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table and every key it may hold; `keys` is None where the keys are the user's own."""

    keys: Mapping[str, Key | Table | TableOrTables] | None
    expected: str


@dataclass(frozen=True, slots=True)
class TableOrTables:
    """A table that may be written once, or several times as [[…]]."""

    table: Table


@dataclass(slots=True)
class Mistakes:
    """The mistakes found so far in `source` (a file's name)."""

    source: str
    lines: list[str] = field(default_factory=list)

    def add(self, key: str, *, found: str, expected: str) -> None:
        """Note one mistake; `key` is its whole dotted path."""
        self.say(key, f"found {found}, expected {expected}")

    def say(self, key: str, text: str) -> None:
        """Note one mistake in other words."""
        place = f"{self.source}: {key}" if key else self.source
        # Names and texts of the person's own may hold line ends.
        line = " ".join(f"{place}: {text}".splitlines())
        self.lines.append(line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + "…")

    def raise_if_any(self) -> None:
        """Raise DeclarationError with every line."""
        if self.lines:
            raise DeclarationError("\n".join(self.lines))

    def value(self, key: str, value: object, rule: Key) -> Any:
        """Give the value in its type, or note a mistake and give None."""
        try:
            return msgspec.convert(value, rule.type, strict=True)
        except msgspec.ValidationError as error:
            inner = _inner_path(str(error))
            self.add(key + inner, found=describe(_at(value, inner)), expected=rule.expected)
            return None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Give the known word most like `word`, or None when none is like it."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def unknown_keys(document: Mapping[str, object], table: Table) -> Iterator[tuple[str, str]]:
    """Give the path of every key that `table` does not know, with what was expected there."""
    yield from _unknown(document, table, path="", top=table)


def _unknown(
    document: Mapping[str, object], table: Table, *, path: str, top: Table
) -> Iterator[tuple[str, str]]:
    if table.keys is None:
        return
    for name, value in document.items():
        place = f"{path}.{_quoted(name)}" if path else _quoted(name)
        rule = table.keys.get(name)
        if rule is None:
            yield place, _expected(name, table.keys, top)
            continue
        inner = rule.table if isinstance(rule, TableOrTables) else rule
        if isinstance(inner, Table) and isinstance(value, Mapping):
            yield from _unknown(value, inner, path=place, top=top)
        elif isinstance(rule, TableOrTables) and isinstance(value, list):
            for index, each in enumerate(value):
                if isinstance(each, Mapping):
                    yield from _unknown(each, rule.table, path=f"{place}[{index}]", top=top)


def _expected(name: str, known: Mapping[str, object], top: Table) -> str:
    close = nearest(name, known)
    if close is not None and name not in (top.keys or {}):
        return f'"{close}"'
    elsewhere = [place for place, keys in _tables(top, "") if name in keys and keys is not known]
    if elsewhere:
        return f'"{name}" {elsewhere[0]}'
    if close is not None:
        return f'"{close}"'
    return "one of " + ", ".join(sorted(known))


def _tables(table: Table, path: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    if table.keys is None:
        return
    yield (f"in [{path}]" if path else "at the top, before the first [table]"), table.keys
    for name, rule in table.keys.items():
        inner = rule.table if isinstance(rule, TableOrTables) else rule
        if isinstance(inner, Table):
            yield from _tables(inner, f"{path}.{name}" if path else name)


def _quoted(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else json.dumps(name, ensure_ascii=False)


def _inner_path(message: str) -> str:
    _, found, rest = message.partition(" - at `$")
    return rest.rstrip("`") if found and "..." not in rest else ""


def _at(value: Any, inner: str) -> Any:
    for step in inner.replace("]", "").split("[")[1:]:
        value = value[int(step)]
    return value
