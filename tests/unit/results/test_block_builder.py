import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapless.results.block import AttemptRecord, ErrorRecord, decode_block, encode_block
from gapless.results.block_builder import BlockBuilder
from gapless.results.columns import ColumnKind
from gapless.results.outcome import Outcome


def built(*rows):
    builder = BlockBuilder(0, "node-1", "c0de")
    for run, values in enumerate(rows):
        builder.add_ok(run, 10.0, 0.5, values)
    return decode_block(encode_block(builder.build()))


def column(*values):
    return built(*({"v": value} for value in values)).values["v"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, -2, 3], ColumnKind.INT64),
        ([1.5, float("inf"), 0.0], ColumnKind.FLOAT64),
        ([True, False], ColumnKind.BOOL),
        (["a", "", "ü€"], ColumnKind.STR),
        ([1, 2.5], ColumnKind.FLOAT64),
        ([np.float32(0.5), np.float64(2), 1.0], ColumnKind.FLOAT64),
        ([np.uint8(3), np.int64(4), 5], ColumnKind.INT64),
        ([np.bool_(True), False], ColumnKind.BOOL),
        ([1 + 2j, 3j], ColumnKind.ARRAY),
        ([2**63, 1], ColumnKind.JSON),
        ([np.uint64(2**63), np.uint64(1)], ColumnKind.JSON),
        ([2**53 + 1, 0.5], ColumnKind.JSON),
        ([1, True], ColumnKind.JSON),
        ([1, "one"], ColumnKind.JSON),
        (["with\0nul", "x"], ColumnKind.JSON),
        (["half \ud800", "x"], ColumnKind.JSON),
        (["\ud83d", "\ude00"], ColumnKind.JSON),
        ([{"a": 1}, {"b": [None]}], ColumnKind.JSON),
        ([[1], "one", 2.5], ColumnKind.JSON),
    ],
)
def test_a_column_gives_back_what_was_recorded(values, kind):
    found = column(*values)
    assert found.kind is kind
    assert found.tolist() == values
    assert [type(each) for each in found.tolist() if kind is ColumnKind.JSON] == [
        (int if isinstance(each, np.generic) else type(each))
        for each in values
        if kind is ColumnKind.JSON
    ]


def test_nan_is_a_value_like_any_other():
    found = column(float("nan"), 1.0)
    assert found.valid is None
    assert np.isnan(found.data[0])


def test_an_integer_too_long_for_decimal_digits_is_kept_in_hexadecimal():
    assert column(10**5000, 1).tolist() == [hex(10**5000), 1]


def test_arrays_of_one_shape_become_one_array():
    found = column(np.eye(2), [[1.0, 2.0], [3.0, 4.0]])
    assert found.kind is ColumnKind.ARRAY
    assert found.data.shape == (2, 2, 2)
    assert found.data[1].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_an_arrays_dtype_is_kept():
    assert column(np.arange(3, dtype=np.uint16)).data.dtype == np.uint16


def test_arrays_of_different_lengths_become_ragged():
    found = column([1, 2, 3], [], [4])
    assert found.kind is ColumnKind.RAGGED
    assert [each.tolist() for each in found.tolist()] == [[1, 2, 3], [], [4]]
    assert found.data.dtype == np.int64


def test_ragged_arrays_keep_their_further_dimensions():
    rows = [np.ones((2, 3)), np.zeros((0, 3)), np.full((1, 3), 7.0)]
    found = column(*rows)
    assert found.kind is ColumnKind.RAGGED
    assert all(np.array_equal(a, b) for a, b in zip(found.tolist(), rows, strict=True))


def test_arrays_of_different_dimensions_become_json():
    assert column([1, 2], [[1, 2]]).tolist() == [[1, 2], [[1, 2]]]


def test_integer_and_float_arrays_mix_only_while_that_is_exact():
    assert column([1, 2], [0.5, 1.5]).data.dtype == np.float64
    assert column([2**60 + 1, 2], [0.5, 1.5]).tolist() == [[2**60 + 1, 2], [0.5, 1.5]]


def test_a_value_that_some_runs_lack_gets_a_mask():
    block = built({"a": 1, "b": "x"}, {"a": 2}, {"b": "y"}, {"a": None, "b": None}, {})
    assert dict(zip(block.run.tolist(), block.values["a"].tolist(), strict=True)) == {
        0: 1,
        1: 2,
        2: None,
        3: None,
        4: None,
    }
    assert dict(zip(block.run.tolist(), block.values["b"].tolist(), strict=True)) == {
        0: "x",
        1: None,
        2: "y",
        3: None,
        4: None,
    }


def test_a_value_that_is_always_none_is_missing_everywhere():
    assert column(None, None).missing_everywhere


def test_missing_arrays_and_ragged_arrays_have_masks_too():
    assert [v if v is None else v.tolist() for v in column([1, 2], None).tolist()] == [[1, 2], None]
    found = column([1, 2], None, [3])
    assert [v if v is None else v.tolist() for v in found.tolist()] == [[1, 2], None, [3]]


def test_the_order_of_keys_makes_no_difference():
    block = built({"a": 1, "b": 2}, {"b": 3, "a": 4})
    rows = zip(block.run, block.values["a"].data, block.values["b"].data, strict=True)
    assert sorted(map(tuple, rows)) == [(0, 1, 2), (1, 4, 3)]


def test_a_list_changed_after_it_was_recorded_does_not_change_the_result():
    builder = BlockBuilder(0, "n", "c")
    trace = [1.0, 2.0]
    builder.add_ok(0, 0.0, 0.0, {"trace": trace})
    trace.append(3.0)
    builder.add_ok(1, 0.0, 0.0, {"trace": trace})
    assert [len(each) for each in builder.build().values["trace"].tolist()] == [2, 3]


def test_a_run_with_a_value_that_cannot_be_stored_fails_and_keeps_the_others():
    builder = BlockBuilder(0, "node-1", "c0de")
    assert builder.add_ok(1, 0.0, 0.0, {"good": 1, "bad": object()}) is Outcome.FAILED
    assert builder.add_ok(2, 0.0, 0.0, {"good": 2, "bad": 5}) is Outcome.OK
    block = decode_block(encode_block(builder.build()))
    row = block.run.tolist().index(1)
    assert block.outcome[row] == Outcome.FAILED
    assert not block.complete[row]
    assert block.values["good"].at(row) == 1
    assert block.values["bad"].at(row) is None
    (error,) = block.errors
    assert (error.run, error.kind, error.type) == (1, "value", "object")
    assert "'bad'" in error.message
    assert "object" in error.message


@pytest.mark.parametrize("name", ["a/b", "", ".", "nul\0", "x" * 201, 7])
def test_a_name_that_cannot_be_stored_fails_its_run_only(name):
    block = built({name: 1, "good": 2}, {"good": 3})
    assert sorted(block.outcome.tolist()) == [Outcome.OK, Outcome.FAILED]
    assert list(block.values) == ["good"]
    assert block.errors[0].kind == "value"


def test_a_timeout_with_a_bad_value_stays_a_timeout_and_says_both():
    builder = BlockBuilder(0, "n", "c")
    outcome = builder.add(
        4,
        outcome=Outcome.TIMEOUT,
        complete=False,
        attempt=2,
        started_s=1.0,
        duration_s=2.0,
        values={"bad": b"", "partial": 3},
        error=ErrorRecord(run=4, kind="timeout", message="after 2 s"),
    )
    block = builder.build()
    assert outcome is Outcome.TIMEOUT
    assert block.attempt.tolist() == [2]
    assert block.errors[0].kind == "timeout"
    assert "after 2 s" in block.errors[0].message
    assert "bytes" in block.errors[0].message


def test_texts_of_errors_are_made_storable():
    builder = BlockBuilder(0, "n", "c")
    builder.add(
        0,
        outcome=Outcome.FAILED,
        started_s=0.0,
        duration_s=0.0,
        error=ErrorRecord(run=0, kind="exception", message="nul \0 half \udcff"),
    )
    assert builder.build().errors[0].message == "nul \\x00 half \\udcff"


def test_attempts_travel_with_the_block():
    attempt = AttemptRecord(
        run=0, number=1, node="n", started_s=1.0, duration_s=2.0, outcome=Outcome.LOST, exit="-9"
    )
    builder = BlockBuilder(3, "n", "c")
    builder.add(0, outcome=Outcome.OK, attempt=2, started_s=4.0, duration_s=1.0, attempts=[attempt])
    block = decode_block(encode_block(builder.build()))
    assert block.attempts == (attempt,)
    assert block.epoch == 3


def test_an_empty_builder_builds_an_empty_block():
    block = built()
    assert (block.rows, block.values) == (0, {})


def test_the_size_estimate_is_above_the_encoded_size_and_not_absurd():
    builder = BlockBuilder(0, "n", "c")
    rng = np.random.default_rng(1)
    for run in range(2000):
        values = {"x": float(rng.random()), "name": f"text {rng.random()}", "a": rng.random(3)}
        builder.add_ok(run, float(rng.random()), float(rng.random()), values)
        assert builder.rows == run + 1
        if run % 500 == 0:
            assert builder.size_estimate_bytes > 0
    size = len(encode_block(builder.build()))
    assert size <= builder.size_estimate_bytes < 4 * size


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
VALUES = st.recursive(
    SCALARS | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), max_size=6)


def same(back, value):
    """Equal, as what storing promises: NaN is NaN, 1 is 1.0, and complex numbers in JSON a dict."""
    if isinstance(back, np.ndarray):
        back = back.tolist()
    if isinstance(value, list):
        return len(back) == len(value) and all(map(same, back, value))
    if isinstance(value, dict):
        return back.keys() == value.keys() and all(same(back[key], value[key]) for key in value)
    if isinstance(value, complex):
        if isinstance(back, complex):
            back = {"real": back.real, "imag": back.imag}
        return same(back, {"real": value.real, "imag": value.imag})
    if isinstance(value, bool) or isinstance(back, bool):
        return back is value
    return back == value or (isinstance(value, float) and math.isnan(value) and math.isnan(back))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS)
def test_whatever_is_recorded_comes_back_equal(rows):
    block = built(*rows)
    for position, run in enumerate(block.run.tolist()):
        back = {name: found.at(position) for name, found in block.values.items()}
        assert all(back.get(name) is None or name in rows[run] for name in back)
        for name, value in rows[run].items():
            assert same(back[name], value)
