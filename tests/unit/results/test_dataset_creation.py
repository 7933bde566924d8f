"""Datasets made with few calls are those that h5py's own `create_dataset` makes."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

from gapless.results.columns import text_array
from gapless.results.dataset_creation import (
    create_numbers,
    create_text_attribute,
    create_texts,
)
from gapless.results.shard_datasets import OUTCOME_DTYPE, read_text_attribute


def _file(name: str) -> h5py.File:
    return h5py.File(name, "w", driver="core", backing_store=False)


def _facts(dataset: h5py.Dataset) -> dict[str, Any]:
    properties = dataset.id.get_create_plist()
    return {
        "type": dataset.id.get_type(),
        "dtype": dataset.dtype,
        "labels": h5py.check_enum_dtype(dataset.dtype),
        "text": h5py.check_string_dtype(dataset.dtype),
        "shape": dataset.shape,
        "maxshape": dataset.maxshape,
        "chunks": dataset.chunks,
        "filters": [properties.get_filter(n) for n in range(properties.get_nfilters())],
        "times": properties.get_obj_track_times(),
        "order": properties.get_attr_creation_order(),
        "fill": properties.fill_value_defined(),
        "attributes": dict(dataset.attrs),
        "bytes": dataset.id.get_storage_size(),
    }


@pytest.mark.parametrize(
    ("data", "dtype", "chunk"),
    [
        (np.arange(10_000, dtype=np.uint64), None, (4_096,)),
        (np.linspace(0.0, 1.0, 60).reshape(20, 3), None, (7, 3)),
        (np.array([True, False, True]), None, (3,)),
        (np.array([1.5 + 2.0j, -1.0j]), None, (2,)),
        (np.arange(12, dtype=np.int64)[::2], None, (6,)),
        (np.array([0, 3, 1, 0], dtype=np.uint8), OUTCOME_DTYPE, (4,)),
        (np.empty(0, dtype=np.float64), None, None),
        (np.empty(0, dtype=np.uint8), OUTCOME_DTYPE, None),
        (np.empty((0, 4), dtype=np.int16), None, None),
    ],
    ids=str,
)
def test_numbers_are_stored_as_h5py_would(
    data: np.ndarray, dtype: np.dtype[Any] | None, chunk: tuple[int, ...] | None
) -> None:
    kind = data.dtype if dtype is None else dtype
    packed = {} if chunk is None else {"chunks": chunk, "shuffle": True, "compression": "lzf"}
    with _file("ours") as ours, _file("theirs") as theirs:
        mine = create_numbers(ours, "größe", data, dtype=kind, chunk=chunk)
        plain = theirs.create_dataset("größe", data=data, dtype=kind, track_times=False, **packed)
        assert _facts(h5py.Dataset(mine)) == _facts(plain)
        np.testing.assert_array_equal(ours["größe"][()], data)
        np.testing.assert_array_equal(ours["größe"][()], theirs["größe"][()])


@pytest.mark.parametrize("texts", [["", "a", "naïve ✓", "x" * 5_000], []], ids=len)
def test_texts_are_stored_as_h5py_would(texts: list[str]) -> None:
    data = text_array(texts)
    with _file("ours") as ours, _file("theirs") as theirs:
        mine = create_texts(ours, "text", data)
        plain = theirs.create_dataset(
            "text", data=data, dtype=h5py.string_dtype("utf-8"), track_times=False
        )
        assert _facts(h5py.Dataset(mine)) == _facts(plain)
        assert ours["text"].asstr()[()].tolist() == texts


@pytest.mark.parametrize("text", ["", "s", "größe ✓", "x" * 5_000], ids=len)
def test_a_text_attribute_is_stored_as_h5py_would(text: str) -> None:
    def stored(file: h5py.File) -> tuple[Any, ...]:
        found = h5py.h5a.open(file.id, b"units")
        return found.get_type(), found.shape, found.get_storage_size(), file.attrs["units"]

    with _file("ours") as ours, _file("theirs") as theirs:
        create_text_attribute(ours.id, "units", text)
        theirs.attrs["units"] = text
        assert stored(ours) == stored(theirs)
        assert read_text_attribute(ours, "units") == text


def test_a_dataset_takes_attributes_as_any_other() -> None:
    with _file("ours") as ours:
        made = create_numbers(
            ours, "started", np.arange(3.0), dtype=np.dtype(np.float64), chunk=(3,)
        )
        create_text_attribute(made, "units", "s")
        assert dict(ours["started"].attrs) == {"units": "s"}


def test_an_attribute_that_is_no_text_is_not_read_as_one() -> None:
    with _file("ours") as ours:
        for name, value in (
            ("number", 1),
            ("list", ["a", "b"]),
            ("bytes", np.bytes_(b"a")),
            ("nothing", h5py.Empty("f8")),
            ("no text", h5py.Empty(h5py.string_dtype())),
        ):
            ours.attrs[name] = value
            with pytest.raises((OSError, ValueError)):
                read_text_attribute(ours, name)
        with pytest.raises(KeyError):
            read_text_attribute(ours, "missing")


def test_enumerations_of_one_integer_are_told_apart() -> None:
    kinds = [h5py.enum_dtype({name: 0}, basetype="u1") for name in ("ok", "fine")]
    data = np.zeros(2, dtype=np.uint8)
    with _file("ours") as ours:
        made = [
            create_numbers(ours, str(n), data, dtype=kind, chunk=(2,))
            for n, kind in enumerate(kinds)
        ]
        assert [h5py.check_enum_dtype(each.dtype) for each in made] == [{"ok": 0}, {"fine": 0}]
