"""The sweep file: TOML read strictly, every mistake one line with file, key, found and expected.

First our own pass finds every unknown key; then msgspec checks each known value's type; then the
space is built block by block. All mistakes of these passes are reported together.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Annotated, Any, Literal

from msgspec import Meta

from gapless.declaration.document import (
    Key,
    Mistakes,
    Table,
    TableOrTables,
    unknown_keys,
)
from gapless.declaration.durations import (
    DURATION_EXPECTED,
    MEMORY_EXPECTED,
    parse_duration,
    parse_memory,
)
from gapless.declaration.errors import DeclarationError
from gapless.declaration.limits import RETRIABLE, Limits
from gapless.declaration.runset import MAX_RUNS
from gapless.declaration.space import Space
from gapless.declaration.spacefile import SPACE, TableReader, plain_table, read_space
from gapless.declaration.sweep import MAX_PRIORITY, NAME_EXPECTED, Sweep, is_sweep_name
from gapless.declaration.target import function_name
from gapless.declaration.wording import describe

__all__ = ["parse_sweep_file"]

_RETRIABLE = ", ".join(f'"{each}"' for each in RETRIABLE)

_LIMITS = Table(
    {
        "time": Key(float | str, DURATION_EXPECTED),
        "memory": Key(int | str, MEMORY_EXPECTED),
        "attempts": Key(Annotated[int, Meta(ge=1, le=1_000)], "a whole number from 1 to 1000"),
        "retry_on": Key(list[Literal["failed", "timeout", "lost"]], f"a list of {_RETRIABLE}"),
        "max_failures": Key(int | str, 'a number of runs or a share of them, like "5%"'),
    },
    "the table [limits]",
)

_FILE = Table(
    {
        "name": Key(str, NAME_EXPECTED),
        "function": Key(str, 'a function like "module:name"'),
        "command": Key(
            Annotated[list[str], Meta(min_length=1)],
            'a list of words, like ["./walk", "--alpha={alpha}"]',
        ),
        "code": Key(str, 'a folder, relative to this file, like "."'),
        "replicates": Key(
            Annotated[int, Meta(ge=1, le=MAX_RUNS)], f"a whole number from 1 to {MAX_RUNS}"
        ),
        "seed": Key(Annotated[int, Meta(ge=0, le=2**63 - 1)], "a whole number from 0 to 2**63 - 1"),
        "seed_mode": Key(Literal["point", "common"], '"point" or "common"'),
        "order": Key(Literal["shuffled", "declared"], '"shuffled" or "declared"'),
        "run_time": Key(float | str, DURATION_EXPECTED),
        "priority": Key(
            Annotated[int, Meta(ge=-MAX_PRIORITY, le=MAX_PRIORITY)],
            f"a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}, higher first",
        ),
        "fixed": Table(None, "the table [fixed]"),
        "space": TableOrTables(SPACE),
        "limits": _LIMITS,
    },
    "a sweep file",
)
assert _FILE.keys is not None
_TOP_KEYS = tuple(_FILE.keys)

_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def parse_sweep_file(text: bytes, *, filename: str, read: TableReader) -> Sweep:
    """Read a sweep file; DeclarationError with a line for each mistake.

    `read` gives the bytes of a table by its path relative to the sweep file (OSError when it
    cannot). The sweep's `code` is as written: relative to the file.
    """
    mistakes = Mistakes(filename)
    try:
        return _read(_toml(text, mistakes), mistakes, read)
    except RecursionError:
        # Dotted keys nest without end.
        mistakes.say("", "found values nested too deeply, expected fewer tables in tables")
    mistakes.raise_if_any()
    raise AssertionError


def _read(document: dict[str, Any], mistakes: Mistakes, read: TableReader) -> Sweep:
    for key, expected in unknown_keys(document, _FILE):
        mistakes.add(key, found="an unknown key", expected=expected)
    values = _known_values(document, _FILE, "", mistakes)
    _check_required(document, mistakes)
    _check_words(values, mistakes)
    limits = _limits(document.get("limits"), mistakes)
    run_time_s = _quantity("run_time", values.get("run_time"), parse_duration, mistakes)
    fixed = plain_table("fixed", document.get("fixed", {}), top_keys=_TOP_KEYS, mistakes=mistakes)
    # Without [space] there is one point, which replicates repeat.
    space: Space | None = Space.single()
    if "space" in document:
        space = read_space(document["space"], top_keys=_TOP_KEYS, read=read, mistakes=mistakes)
    mistakes.raise_if_any()
    assert space is not None
    chosen = {
        name: value
        for name, value in values.items()
        if name not in {"run_time", "fixed", "space", "limits", "command"}
    }
    command = values.get("command")
    return Sweep(
        **chosen,
        command=None if command is None else tuple(command),
        space=space,
        fixed=fixed,
        limits=limits,
        run_time_s=run_time_s,
        source=mistakes.source,
    )


def _toml(text: bytes, mistakes: Mistakes) -> dict[str, Any]:
    try:
        return tomllib.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        mistakes.say("", f"line {line}: found bytes that are no UTF-8, expected TOML in UTF-8")
    except tomllib.TOMLDecodeError as error:
        mistakes.say("", _toml_mistake(str(error), text))
    except ValueError as error:
        # Python reads no integer of more than some thousand digits.
        mistakes.say("", f"found a number that cannot be read ({error})"[:200])
    except RecursionError:
        mistakes.say("", "found values nested too deeply, expected TOML")
    mistakes.raise_if_any()
    raise AssertionError


def _toml_mistake(message: str, text: bytes) -> str:
    lines = text.decode("utf-8-sig").splitlines() or [""]
    place = _LINE.search(message)
    number = min(int(place[1]) if place else len(lines), len(lines))
    reason = message.partition(" (at ")[0]
    return f"line {number}: found {lines[number - 1].strip()[:80]!r}, expected TOML: {reason}"


def _known_values(
    document: dict[str, Any], table: Table, path: str, mistakes: Mistakes
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, rule in (table.keys or {}).items():
        if name not in document:
            continue
        key = f"{path}{name}"
        value = document[name]
        if isinstance(rule, Key):
            values[name] = mistakes.value(key, value, rule)
        elif isinstance(rule, Table) and not isinstance(value, dict):
            mistakes.add(key, found=describe(value), expected=rule.expected)
    return values


def _check_required(document: dict[str, Any], mistakes: Mistakes) -> None:
    if "name" not in document:
        mistakes.add("name", found="nothing", expected=f'name = "…": {NAME_EXPECTED}')
    if ("function" in document) == ("command" in document):
        found = "both" if "function" in document else "nothing"
        mistakes.add(
            "function, command",
            found=found,
            expected='one of them: function = "module:name" or command = ["…"]',
        )


def _check_words(values: dict[str, Any], mistakes: Mistakes) -> None:
    """Look at name and function as `Sweep` does, so that their mistakes come with the others."""
    name, function = values.get("name"), values.get("function")
    if name is not None and not is_sweep_name(name):
        mistakes.add("name", found=describe(name), expected=NAME_EXPECTED)
    if function is not None:
        try:
            function_name(function)
        except DeclarationError as error:
            mistakes.say("function", str(error))


def _limits(document: object, mistakes: Mistakes) -> Limits:
    if not isinstance(document, dict):
        return Limits()
    values = _known_values(document, _LIMITS, "limits.", mistakes)
    wanted: dict[str, Any] = {}
    if values.get("time") is not None:
        wanted["time_s"] = _quantity("limits.time", values["time"], parse_duration, mistakes)
    if values.get("memory") is not None:
        wanted["memory_bytes"] = _quantity(
            "limits.memory", values["memory"], parse_memory, mistakes
        )
    if values.get("attempts") is not None:
        wanted["attempts"] = values["attempts"]
    if values.get("retry_on") is not None:
        wanted["retry_on"] = tuple(values["retry_on"])
    most = values.get("max_failures")
    if most is not None:
        try:
            wanted["max_failures"] = Limits(max_failures=most).max_failures
        except ValueError:
            rule = (_LIMITS.keys or {})["max_failures"]
            assert isinstance(rule, Key)
            mistakes.add("limits.max_failures", found=describe(most), expected=rule.expected)
    return Limits(**wanted)


def _quantity(key: str, value: Any, parse: Callable[[Any], Any], mistakes: Mistakes) -> Any:
    if value is None:
        return None
    try:
        return parse(value)
    except DeclarationError as error:
        mistakes.say(key, str(error))
        return None
