"""Results as a pandas DataFrame: the columns have the dtypes a person expects."""

import pandas as pd

from tests.unit.results.samples import block_of, failed_block
from tests.unit.results.test_reader import Home


def dtypes_of(frame):
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def test_columns_of_a_data_frame_have_the_dtypes_of_their_values():
    home = Home(n=[1, 2], alpha=[0, 0.5], model=["a", "b"], on=[True, False], w=[[1], {"a": 2}])
    values = {"f": 1.0, "i": 3, "b": True, "s": "x", "c": 1j, "v": [1, 2], "d": {"a": 1}}
    home.flush(
        block_of({0: {**values, "r": [1], "m": 1}, 1: {**values, "r": [1, 2], "m": "one"}}),
    )
    frame = home.open().to_pandas()
    text = "str" if pd.__version__ >= "3" else "object"
    assert dtypes_of(frame) == {
        "run": "int64",
        "n": "int64",
        "alpha": "float64",
        "model": text,
        "on": "bool",
        "w": "object",
        "replicate": "int64",
        "seed": "int64",
        "outcome": "category",
        "complete": "bool",
        "attempt": "int64",
        "started": "float64",
        "duration": "float64",
        "node": "category",
        "epoch": "int64",
        "f": "float64",
        "i": "int64",
        "b": "bool",
        "s": text,
        "c": "complex128",
        **dict.fromkeys(("v", "d", "r", "m"), "object"),
    }
    assert [each.tolist() for each in frame["r"]] == [[1], [1, 2]]
    assert frame["m"].tolist() == [1, "one"]
    assert (frame["run"] - 1).tolist() == [-1, 0]


def test_columns_of_a_data_frame_that_some_runs_lack_can_hold_that():
    home = Home()
    values = {"f": 1.5, "i": 3, "b": True, "s": "x", "c": 1j, "v": [1, 2], "r": [1], "d": {"a": 1}}
    home.flush(block_of({0: values, 1: {"r": [1, 2]}}), failed_block([2]))
    frame = home.open().to_pandas()
    found = dtypes_of(frame)
    assert [found[name] for name in "fibc"] == ["float64", "Int64", "boolean", "complex128"]
    assert [found[name] for name in "vrd"] == ["object"] * 3
    for name in values:
        assert frame[name].isna().tolist() == [False, name != "r", True], name
    assert frame["i"].sum() == 3
    assert frame["f"].mean() == 1.5
    assert frame["s"].dropna().tolist() == ["x"]
    assert frame["d"].tolist() == [{"a": 1}, None, None]


def test_a_data_frame_without_results_has_the_dtypes_of_its_parameters():
    found = dtypes_of(Home(n=[1, 2], alpha=[0, 0.5]).open().to_pandas())
    assert (found["run"], found["n"], found["alpha"]) == ("int64", "int64", "float64")
