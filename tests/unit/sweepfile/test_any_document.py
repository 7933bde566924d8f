"""Whatever a file holds, it is a sweep or a list of mistakes, one a line: never a traceback."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.declaration.errors import DeclarationError
from gapless.declaration.sweep import Sweep
from gapless.declaration.sweepfile import parse_sweep_file
from gapless.errors import MissingExtra

NAMES = [
    "name", "function", "command", "code", "replicates", "seed", "seed_mode", "order", "run_time",
    "priority", "fixed", "space", "limits", "where", "grid", "zip", "points", "table", "sample",
    "method", "n", "parameters", "time", "memory", "attempts", "retry_on", "max_failures",
    "linspace", "range", "geomspace", "logspace", "uniform", "choice", "none", "alpha", "beta",
    "seed ", "", "a.b", "é", "class",
]  # fmt: skip
TEXTS = ["walk:rms", "5 ms", "2 GB", "5%", "lost", "a.csv", "b.csv", "alpha > 1", "{alpha}", "{",
         "sobol", "shuffled", "common", "\0", "walk"]  # fmt: skip

scalars = st.one_of(
    st.sampled_from(TEXTS),
    st.text(alphabet='aé "\\\n{}%:.', max_size=8),
    st.booleans(),
    st.integers(-3, 30),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.just(dt.date(1979, 5, 27)),
    st.just(dt.time(7, 32)),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    ),
    max_leaves=12,
)
blocks = st.fixed_dictionaries(
    {},
    optional={
        "where": values,
        "grid": st.dictionaries(st.sampled_from(NAMES), values, max_size=3) | values,
        "zip": st.lists(st.dictionaries(st.sampled_from(NAMES), values, max_size=2)) | values,
        "points": st.lists(st.dictionaries(st.sampled_from(NAMES), values, max_size=2)) | values,
        "table": values,
        "sample": st.fixed_dictionaries(
            {},
            optional={
                "method": values,
                "n": values,
                "seed": values,
                "parameters": st.dictionaries(st.sampled_from(NAMES), values, max_size=2) | values,
            },
        )
        | values,
    },
)
documents = st.fixed_dictionaries(
    {"name": st.just("walk"), "function": st.just("walk:rms")},
    optional={
        "space": blocks | st.lists(blocks, max_size=3) | values,
        "fixed": st.dictionaries(st.sampled_from(NAMES), values, max_size=3) | values,
        "limits": st.dictionaries(st.sampled_from(NAMES), values, max_size=3) | values,
        **dict.fromkeys(NAMES[3:10], values),
        "command": values,
        "alpha": values,
    },
)


def toml(value: Any) -> str:  # noqa: PLR0911 - one answer a type
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return "nan" if math.isnan(value) else repr(value)
        case str():
            return json.dumps(value)
        case dt.date() | dt.time():
            return value.isoformat()
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    return str(value)


def read(name: str) -> bytes:
    if name == "a.csv":
        return b"alpha,beta\n1,x\n2,y\n"
    if "\0" in name:
        raise ValueError("embedded null byte")
    raise FileNotFoundError(2, "No such file or directory")


@settings(max_examples=300, deadline=None)
@given(documents)
def test_any_document_is_a_sweep_or_a_list_of_mistakes(document: dict[str, Any]) -> None:
    text = "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in document.items())
    try:
        found = parse_sweep_file(text.encode(), filename="sweep.toml", read=read)
    except MissingExtra:
        return
    except DeclarationError as error:
        lines = str(error).split("\n")
        assert all(line.startswith("sweep.toml: ") for line in lines), text
        assert all(line.isprintable() for line in lines), text
    else:
        assert isinstance(found, Sweep)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_few_bytes_are_a_list_of_mistakes(data: bytes) -> None:
    with pytest.raises(DeclarationError, match=r"\Asweep\.toml: "):
        parse_sweep_file(data, filename="sweep.toml", read=read)
