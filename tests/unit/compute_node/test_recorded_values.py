"""Decoding what a command recorded: values, or words; never a crash, never a hang."""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_node.hdf5_apart import read_hdf5_apart
from compute_node.recorded_values import (
    Recorded,
    ValuesUnreadable,
    decode_json,
    is_hdf5,
    last_json_line,
)
from compute_node.values_wire import decode_recorded, encode_recorded, encode_unreadable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def same(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)


def hdf5(fill: Callable[[h5py.File], None]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


@given(st.dictionaries(st.text(), JSON))
def test_any_json_object_gives_its_values(values: dict[str, Any]) -> None:
    recorded = decode_json(json.dumps(values).encode())
    assert same(recorded.values, values)
    assert recorded.refused == {}


@given(st.dictionaries(st.text(), JSON), st.data())
def test_a_part_of_an_object_is_never_taken_for_the_whole(
    values: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(values).encode()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ValuesUnreadable):
        decode_json(text[:cut])


@given(st.binary(max_size=300))
def test_garbage_is_refused_in_words_or_is_json(data: bytes) -> None:
    try:
        recorded = decode_json(data)
    except ValuesUnreadable as error:
        said = str(error)
    else:
        assert isinstance(recorded, Recorded)
        return
    assert said.startswith(("is ", "holds "))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"[1, 2]", "holds a JSON list, expected an object"),
        (b"null", "holds a JSON null"),
        (b'"x"', "holds a JSON text"),
        (b"3", "holds a JSON number"),
        (b'{"a": 1}\n{"a": 2}\n', "no complete JSON object"),
        (b'{"a": 1', "no complete JSON object"),
        (b'{"a": 01}', "no complete JSON object"),
        (b"\xff\xfe{", "no complete JSON object"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_object_is_said_in_words(text: bytes, said: str) -> None:
    with pytest.raises(ValuesUnreadable, match=said):
        decode_json(text)


def test_numbers_that_are_none_and_marks_of_the_encoding_are_taken() -> None:
    found = decode_json(b'\xef\xbb\xbf{"a": NaN, "b": -Infinity, "c": 1e999, "d": -0.0}').values
    assert math.isnan(found["a"])
    assert found["b"] == -math.inf
    assert found["c"] == math.inf
    assert math.copysign(1.0, found["d"]) == -1.0


def test_an_integer_nobody_can_read_costs_its_own_value_only() -> None:
    text = '{"good": 1, "bad": [0, {"deep": %s}]}' % ("9" * 1_000_000)
    recorded = decode_json(text.encode())
    assert recorded.values == {"good": 1}
    assert "1,000,000 digits" in recorded.refused["bad"]


def test_a_name_that_stands_twice_costs_its_own_value_only() -> None:
    recorded = decode_json(b'{"a": 1, "b": {"c": 1, "c": 2}, "a": 2}')
    assert recorded.values == {"b": {"c": 2}}
    assert "twice" in recorded.refused["a"]


def test_many_names_of_which_some_stand_twice_are_told_apart() -> None:
    names = [f'"n{index % 150_000}": {index}' for index in range(200_000)]
    recorded = decode_json(("{" + ",".join(names) + "}").encode())
    assert len(recorded.refused) == 50_000


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b'noise\n{"a": 1}\n{"a": 2}\ndone\n', {"a": 2}),
        (b'{"a": 1}\n{"a": 2', {"a": 1}),
        (b'  {"a": 1}  \r\n', {"a": 1}),
        (b'{"a": 1}', {"a": 1}),
        (b"{}\n", {}),
    ],
)
def test_the_last_line_that_is_an_object_counts(text: bytes, values: dict[str, Any]) -> None:
    recorded = last_json_line(text)
    assert recorded is not None
    assert recorded.values == values


@pytest.mark.parametrize("text", [b"", b"\n\n", b"hello\n[1]\n{no}\n", b"{oops}\n" * 50_000])
def test_output_without_an_object_gives_none(text: bytes) -> None:
    assert last_json_line(text) is None


def test_hdf5_gives_scalars_strings_and_arrays() -> None:
    def fill(file: h5py.File) -> None:
        file["f"] = 0.1
        file["i"] = np.int32(7)
        file["b"] = True
        file["z"] = 1 + 2j
        file["s"] = "grün"
        file["fixed"] = np.bytes_(b"abc")
        file["names"] = ["a", "bc"]
        file["array"] = np.arange(6, dtype="u1").reshape(2, 3)
        file["none"] = h5py.Empty("f8")
        file.create_dataset("packed", data=np.ones((50, 50)), compression="gzip")

    data = hdf5(fill)
    assert is_hdf5(data)
    found = read_hdf5_apart(data).values
    array, packed = found.pop("array"), found.pop("packed")
    assert found == {
        "f": 0.1,
        "i": 7,
        "b": True,
        "z": 1 + 2j,
        "s": "grün",
        "fixed": "abc",
        "names": ["a", "bc"],
        "none": None,
    }
    assert array.dtype == np.uint8
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert packed.sum() == 2500


def test_what_hdf5_holds_beside_values_is_refused_by_name() -> None:
    def fill(file: h5py.File) -> None:
        file["good"] = 1
        file["group/inner"] = 1
        file["compound"] = np.zeros(2, dtype=[("a", "f8"), ("b", "i4")])
        file["soft"] = h5py.SoftLink("/good")
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/x")
        file.create_dataset("huge", shape=(2**40,), dtype="f8", chunks=(1024,))

    recorded = read_hdf5_apart(hdf5(fill))
    assert recorded.values == {"good": 1}
    assert set(recorded.refused) == {"group", "compound", "soft", "elsewhere", "huge"}
    assert "the most is" in recorded.refused["huge"]


def test_damaged_hdf5_files_never_take_this_process_with_them() -> None:
    def fill(file: h5py.File) -> None:
        file["a"] = np.arange(100)
        file["s"] = "text"
        file.create_dataset("c", data=np.ones((20, 20)), compression="gzip")

    good = hdf5(fill)
    chance = random.Random(5)
    outcomes = set()
    for turn in range(60):
        data = bytearray(good)
        if turn % 3 == 0:
            del data[chance.randrange(8, len(data)) :]
        else:
            for _ in range(chance.choice((1, 4, 40))):
                data[chance.randrange(8, len(data))] = chance.randrange(256)
        try:
            read_hdf5_apart(bytes(data), within_s=10.0)
            outcomes.add("read")
        except ValuesUnreadable as error:
            outcomes.add("refused" if "HDF5" in str(error) else str(error))
    assert outcomes == {"read", "refused"}


@given(st.dictionaries(st.text(), JSON))
def test_values_go_from_process_to_process_as_they_are(values: dict[str, Any]) -> None:
    clean = {name.encode("utf-8", "ignore").decode(): value for name, value in values.items()}
    assert same(decode_recorded(encode_recorded(Recorded(clean))).values, clean)


@given(st.binary(max_size=200))
def test_nonsense_from_a_process_is_refused(data: bytes) -> None:
    with pytest.raises(ValuesUnreadable):
        decode_recorded(data + b"\xc1")


def test_why_nothing_can_be_read_goes_along() -> None:
    with pytest.raises(ValuesUnreadable, match="too bad"):
        decode_recorded(encode_unreadable("too bad"))
