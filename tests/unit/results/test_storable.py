import collections
import datetime as dt
import enum
import json

import numpy as np
import pytest

from gapless.results.errors import ValueRefused
from gapless.results.storable import JsonText, check_name, storable


class Colour(enum.IntEnum):
    RED = 3


@pytest.mark.parametrize("value", [1, 2.5, True, "text", None, 1 + 2j, np.float32(0.5)])
def test_scalars_are_kept_as_they_are(value):
    assert storable(value) == value


def test_a_subclass_of_int_becomes_a_plain_int():
    assert type(storable(Colour.RED)) is int


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        ([1, 2, 3], np.int64, (3,)),
        ((1, 2.5), np.float64, (2,)),
        ([True, False], np.bool_, (2,)),
        ([[1, 2], [3, 4], [5, 6]], np.int64, (3, 2)),
        ([], np.float64, (0,)),
        ([np.float64(1), 2.0], np.float64, (2,)),
        (np.zeros((2, 3), dtype=">f4"), np.float32, (2, 3)),
        (np.array([1j], dtype=np.complex64), np.complex64, (1,)),
    ],
)
def test_lists_of_numbers_and_arrays_become_arrays(value, dtype, shape):
    array = storable(value)
    assert (array.dtype, array.shape) == (np.dtype(dtype), shape)
    assert np.array_equal(array, value)


def test_an_array_is_copied_when_it_is_recorded():
    buffer = np.zeros(3)
    kept = storable(buffer)
    buffer[0] = 9
    assert kept[0] == 0


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, {"b": None}]},
        [1, "two"],
        [[1], [2, 3]],
        [1, True],
        [1.5, 2**53 + 1],
        [2**70],
        ["x"],
        [],
        [None],
        {"deep": [[[1]]]},
    ],
)
def test_everything_else_json_knows_is_kept_exactly(value):
    kept = storable(value)
    back = json.loads(kept) if isinstance(kept, JsonText) else kept.tolist()
    assert json.dumps(back) == json.dumps(value)


def test_complex_numbers_and_arrays_inside_dicts_are_kept():
    kept = storable({"z": 1 + 2j, "a": np.arange(2), "s": np.int64(4)})
    assert json.loads(kept) == {"z": {"real": 1.0, "imag": 2.0}, "a": [0, 1], "s": 4}


def contains_itself():
    value: list = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (b"raw", "bytes"),
        (object(), "object"),
        (len, "builtin_function_or_method"),
        ({1, 2}, "set"),
        (np.array([object()]), "object"),
        (np.array(["2026-01-01"], dtype="M8[D]"), "datetime64"),
        (np.ma.MaskedArray([1], mask=[True]), "masked"),
        (np.longdouble(1), "longdouble"),
        ({1: 2}, "key 1"),
        ({"a": object()}, "object"),
        ([dt.date(2026, 1, 1)], "date"),
        (collections.deque([1]), "deque"),
        ([10**5000], "digits"),
    ],
)
def test_a_value_that_cannot_be_stored_is_refused_by_its_type(value, named):
    with pytest.raises(ValueRefused, match=named):
        storable(value)


def test_a_value_that_contains_itself_is_refused():
    with pytest.raises(ValueRefused, match="contains itself"):
        storable([contains_itself(), "text"])


@pytest.mark.parametrize("name", ["rms", "a.b", "..", "ß", "x" * 200, "with space"])
def test_names_hdf5_can_hold_are_accepted(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "a/b", "a\0", "x" * 201, "\ud800", 3, None])
def test_other_names_are_refused(name):
    with pytest.raises(ValueRefused, match="name"):
        check_name(name)
