import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from gapless.declaration.errors import NewerFormat
from gapless.results.block import AttemptRecord, ErrorRecord
from gapless.results.block_builder import BlockBuilder
from gapless.results.columns import ColumnKind
from gapless.results.errors import ShardDamaged
from gapless.results.manifest import manifest_of_shard
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome
from gapless.results.shard import encode_shard, read_shard, shard_id
from gapless.results.shard_seal import sealed
from tests.unit.results.samples import (
    DECLARATION,
    SWEEP,
    NumberedRuns,
    block_of,
    failed_block,
    shard_of,
)

GOLDEN = Path(__file__).parent / "golden" / "shard-1.h5"


def rows_of(data, name):
    shard = read_shard(data)
    return dict(zip(shard.rows.run.tolist(), shard.values[name].tolist(), strict=True))


def test_h5py_alone_rebuilds_the_table():
    shard = shard_of(
        block_of({5: {"rms": 0.5, "note": "a"}, 6: {"rms": 0.25, "tags": {"k": [1]}}}),
        failed_block([9]),
        block_of({7: {"trace": [1.0, 2.0]}, 8: {"trace": [3.0]}}, node="node-2", epoch=1),
    )
    with h5py.File(h5py.h5f.open_file_image(shard.data)) as file:
        assert file.attrs["format"] == "gapless.shard/1"
        assert file.attrs["sweep"] == SWEEP
        assert json.loads(file.attrs["declaration"])["name"] == "walk"

        def texts(dataset):
            names = h5py.check_enum_dtype(dataset.dtype)
            if names is None:
                return list(dataset.asstr()[...])
            of_number = {number: name for name, number in names.items()}
            return [of_number[number] for number in dataset[...].tolist()]

        table = {name: dataset[...].tolist() for name, dataset in file["runs"].items()}
        table |= {name: texts(file["runs"][name]) for name in ("outcome", "node", "code")}
        row = table["run"].index(6)
        assert {name: column[row] for name, column in table.items()} == {
            "run": 6,
            "replicate": 6,
            "epoch": 0,
            "outcome": "ok",
            "complete": True,
            "attempt": 1,
            "started": 1000.0,
            "duration": 0.5,
            "node": "node-1",
            "code": "c0de",
        }
        assert table["outcome"][table["run"].index(9)] == "failed"
        assert table["node"][table["run"].index(8)] == "node-2"
        assert file["params/n"][...].tolist() == table["run"]
        assert file["params/model"].asstr()[row] == "a"
        assert file["params/gamma"].attrs["encoding"] == "json"
        assert json.loads(file["params/gamma"].asstr()[row]) == "scale"
        assert file["values/rms"][row] == 0.25
        assert file["valid/rms"][...].sum() == 2
        assert file["valid/rms"][row]
        assert file["values/tags"].attrs["encoding"] == "json"
        assert json.loads(file["values/tags"].asstr()[row]) == {"k": [1]}
        ragged, last = file["values/trace"], table["run"].index(7)
        start, stop = ragged["offsets"][last : last + 2]
        assert ragged["data"][start:stop].tolist() == [1.0, 2.0]
        assert file["errors/run"][...].tolist() == [9]
        assert file["errors/message"].asstr()[0] == "it broke"
        assert table["run"][file["errors/row"][0]] == 9


def test_layout_has_every_dataset_of_the_format():
    with h5py.File(h5py.h5f.open_file_image(shard_of(block_of({1: {}})).data)) as file:
        assert set(file["runs"]) == {
            "run",
            "replicate",
            "epoch",
            "outcome",
            "complete",
            "attempt",
            "started",
            "duration",
            "node",
            "code",
        }
        assert set(file["attempts"]) == {
            "run",
            "number",
            "node",
            "started",
            "duration",
            "outcome",
            "exit",
            "peak_memory",
        }
        assert set(file["errors"]) == {"row"} | {
            "run",
            "kind",
            "type",
            "message",
            "traceback",
            "cause",
            "fingerprint",
            "transient",
        } | {"output_head", "output_tail"}
        assert h5py.check_enum_dtype(file["runs/outcome"].dtype) == {
            "ok": 0,
            "failed": 1,
            "timeout": 2,
            "lost": 3,
        }
        assert file["runs/outcome"].dtype.itemsize == 1
        assert file["runs/run"].compression == "lzf"
        assert file["runs/run"].shuffle


def test_everything_in_a_block_comes_back_from_its_shard():
    builder = BlockBuilder(4, "n", "c")
    error = ErrorRecord(run=3, kind="exit", type="", message="signal 9", transient=True)
    attempts = [
        AttemptRecord(
            run=3,
            number=k,
            node="n",
            started_s=float(k),
            duration_s=0.5,
            outcome=Outcome.LOST,
            exit="signal 9",
            peak_memory=2**40,
        )
        for k in (1, 2)
    ]
    builder.add(
        3,
        outcome=Outcome.LOST,
        complete=False,
        attempt=2,
        started_s=2.0,
        duration_s=0.5,
        values={"z": 1 + 2j, "grid": np.ones((2, 2), dtype=np.float32)},
        error=error,
        attempts=attempts,
    )
    shard = read_shard(shard_of(builder.build()).data)
    assert shard.errors == (error,)
    assert shard.error_rows == (0,)
    assert shard.attempts == tuple(attempts)
    assert shard.rows.epoch.tolist() == [4]
    assert shard.values["z"].tolist() == [1 + 2j]
    assert shard.values["grid"].data.dtype == np.float32
    assert shard.declaration_json == DECLARATION
    assert shard.params["gamma"].tolist() == ["scale"]


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (1, 2.5, ColumnKind.FLOAT64),
        (2**53 + 1, 2.5, ColumnKind.JSON),
        (True, 1, ColumnKind.JSON),
        (True, 0.5, ColumnKind.JSON),
        (1, "one", ColumnKind.JSON),
        ([1, 2], 3, ColumnKind.JSON),
        ([1, 2], "x", ColumnKind.JSON),
        ({"a": 1}, 3, ColumnKind.JSON),
        (2**70, 3, ColumnKind.JSON),
        (1j, 2, ColumnKind.JSON),
        (None, 3, ColumnKind.INT64),
    ],
)
def test_blocks_that_disagree_on_a_type_lose_no_value(first, second, kind):
    data = shard_of(block_of({1: {"v": first}}), block_of({2: {"v": second}})).data
    assert read_shard(data).values["v"].kind is kind
    found = rows_of(data, "v")
    back = {"real": 0.0, "imag": 1.0} if first == 1j else first
    assert (found[1], found[2]) == (back, second)


def test_arrays_of_blocks_with_different_shapes_become_ragged():
    blocks = block_of({1: {"v": [1, 2]}}), block_of({2: {"v": [3]}}), block_of({3: {}})
    shard = read_shard(shard_of(*blocks).data)
    assert shard.values["v"].kind is ColumnKind.RAGGED
    assert [each if each is None else each.tolist() for each in shard.values["v"].tolist()] == [
        [1, 2],
        [3],
        None,
    ]


def test_ragged_and_fixed_blocks_of_one_value_join():
    blocks = block_of({1: {"v": [1.5]}, 2: {"v": [2.5, 3.5]}}), block_of({3: {"v": [4, 5]}})
    found = rows_of(shard_of(*blocks).data, "v")
    assert {run: each.tolist() for run, each in found.items()} == {
        1: [1.5],
        2: [2.5, 3.5],
        3: [4.0, 5.0],
    }


def test_array_blocks_of_other_dimensions_join_as_json():
    blocks = block_of({1: {"v": [1, 2]}}), block_of({2: {"v": [[3], [4]]}})
    assert rows_of(shard_of(*blocks).data, "v") == {1: [1, 2], 2: [[3], [4]]}


def test_a_value_called_like_a_parameter_is_kept_apart():
    shard = read_shard(shard_of(block_of({3: {"n": "mine"}})).data)
    assert shard.values["n"].tolist() == ["mine"]
    assert shard.params["n"].tolist() == [3]


@pytest.mark.parametrize("name", ["..", "ß №", "a.b", " ", "x" * 200, "é" * 200])
def test_a_value_may_have_any_name_that_is_accepted(name):
    data = shard_of(block_of({1: {name: 1}, 2: {}}), block_of({3: {name: [1]}})).data
    assert rows_of(data, name) == {1: 1, 2: None, 3: [1]}


@pytest.mark.parametrize(
    "arrays",
    [
        [np.zeros((2, 0)), np.zeros((2, 0))],
        [np.zeros((2, 0)), np.zeros((3, 0))],
        [np.zeros((0, 3), dtype=np.uint8), np.ones((2, 3), dtype=np.uint8)],
        [np.ones((1,) * 31), np.ones((1,) * 31)],
        [np.ones((1,) * 31), np.ones((2,) + (1,) * 30)],
        [np.array([1, 2], dtype=np.float16), np.array([3], dtype=np.int8)],
    ],
)
def test_arrays_of_unusual_shapes_are_kept(arrays):
    inside = shard_of(block_of(dict(enumerate({"v": each} for each in arrays))))
    apart = shard_of(*(block_of({run: {"v": each}}) for run, each in enumerate(arrays)))
    for shard in (inside, apart):
        found = rows_of(shard.data, "v")
        assert all(np.array_equal(found[run], each) for run, each in enumerate(arrays))
        assert all(found[run].shape == each.shape for run, each in enumerate(arrays))


def test_more_nodes_than_an_enumeration_holds_become_texts():
    blocks = [block_of({k: {}}, node=f"{k:0>190}") for k in range(400)]
    shard = read_shard(shard_of(*blocks).data)
    assert shard.rows.node.tolist() == [f"{k:0>190}" for k in range(400)]


def test_a_node_without_a_name_is_kept():
    assert read_shard(shard_of(block_of({1: {}}, node="")).data).rows.node.tolist() == [""]


def test_a_declaration_beyond_the_limit_of_attributes_is_kept():
    long = json.dumps({"points": list(range(100_000))}).encode()
    shard = encode_shard(
        [block_of({1: {}})],
        sweep_id=SWEEP,
        declaration_json=long,
        runs=NumberedRuns(),
        origin=Origin.at(0.0, "a", 0),
    )
    assert read_shard(shard.data).declaration_json == long


def test_the_same_blocks_give_the_same_shard():
    assert shard_of(block_of({1: {"x": [1]}})).data == shard_of(block_of({1: {"x": [1]}})).data


def test_the_manifest_made_from_a_shard_is_the_one_made_while_writing():
    shard = shard_of(block_of({1: {}, 2: {}}), failed_block([2, 70_000]), block_of({1: {}, 3: {}}))
    assert manifest_of_shard(shard.data, shard.shard_id) == shard.manifest
    assert shard.manifest.counts[Outcome.OK] == 4
    assert shard.manifest.coverage[0, Outcome.OK].to_array().tolist() == [1, 2, 3]
    assert shard.manifest.coverage[0, Outcome.FAILED].to_array().tolist() == [2, 70_000]


def test_duplicates_never_cover_a_run_that_is_not_there():
    shard = shard_of(block_of({1: {}, 4: {}}), block_of({1: {}, 4: {}}))
    assert shard.manifest.coverage[0, Outcome.OK].to_array().tolist() == [1, 4]


@pytest.mark.parametrize("cut", [0, 10, 1000, -1])
def test_a_shard_cut_short_is_damaged(cut):
    shard = shard_of(block_of({1: {"x": 1.0}}))
    with pytest.raises(ShardDamaged):
        manifest_of_shard(shard.data[:cut], shard.shard_id)


def golden_shard():
    """Every kind of dataset: what a reader of format 1 must read."""
    builder = BlockBuilder(1, "node-ü", "c0de")
    attempt = AttemptRecord(
        run=9, number=1, node="node-ü", started_s=1.0, duration_s=2.0, outcome=Outcome.LOST
    )
    error = ErrorRecord(run=9, kind="exception", type="ValueError", message="no", transient=True)
    builder.add(
        9,
        outcome=Outcome.FAILED,
        complete=False,
        attempt=2,
        started_s=4.0,
        duration_s=0.5,
        error=error,
        attempts=[attempt],
    )
    rows = {k: {"f": k / 3, "i": -k, "b": k > 2, "t": f"№ {k}", "j": {"k": k}} for k in (1, 2, 3)}
    arrays = {k: {"a": np.full((2, 2), k, dtype=np.float32), "r": [1.5] * k} for k in (4, 5)}
    return shard_of(block_of(rows), block_of(arrays, node="node-2"), builder.build())


def test_a_shard_of_format_1_is_read_for_ever():
    old, new = read_shard(GOLDEN.read_bytes()), read_shard(golden_shard().data)
    assert old.errors == new.errors
    assert old.error_rows == new.error_rows
    assert old.attempts == new.attempts
    assert (old.sweep_id, old.shard_id, old.origin) == (new.sweep_id, new.shard_id, new.origin)
    for field in ("run", "replicate", "epoch", "outcome", "complete", "attempt"):
        assert getattr(old.rows, field).tolist() == getattr(new.rows, field).tolist()
    assert old.rows.started_s.tolist() == new.rows.started_s.tolist()
    assert old.rows.node.tolist() == new.rows.node.tolist()
    for group in ("params", "values"):
        before, now = getattr(old, group), getattr(new, group)
        assert before.keys() == now.keys()
        for name, column in before.items():
            assert column.kind is now[name].kind
            assert repr(column.tolist()) == repr(now[name].tolist())


def test_h5py_opens_a_sealed_shard_by_its_path(tmp_path):
    path = tmp_path / "shard.h5"
    path.write_bytes(shard_of(block_of({5: {"x": 2.5}})).data)
    with h5py.File(path) as file:
        assert file["values/x"][...].tolist() == [2.5]


def test_a_flipped_bit_anywhere_is_noticed_before_hdf5_sees_it():
    shard = shard_of(block_of({1: {"x": 1.0}}))
    for position in range(0, len(shard.data), 997):
        bad = bytearray(shard.data)
        bad[position] ^= 1
        with pytest.raises(ShardDamaged, match="seal"):
            manifest_of_shard(bytes(bad), shard.shard_id)
        with pytest.raises(ShardDamaged, match="seal"):
            read_shard(bytes(bad))


@pytest.mark.parametrize("data", [b"", b"noise", bytes(5000)])
def test_what_is_no_hdf5_is_damaged_even_when_sealed(data):
    with pytest.raises(ShardDamaged):
        manifest_of_shard(sealed(data), "x")


def test_a_file_that_is_no_shard_is_damaged():
    file = h5py.File("x", "w", driver="core", backing_store=False)
    file.flush()
    data = sealed(file.id.get_file_image())
    file.close()
    with pytest.raises(ShardDamaged):
        manifest_of_shard(data, "x")


def test_a_shard_under_another_name_is_damaged():
    with pytest.raises(ShardDamaged, match="it is shard"):
        manifest_of_shard(shard_of(block_of({1: {}})).data, "another")


def test_a_shard_of_a_later_format_is_not_read():
    file = h5py.File("x", "w", driver="core", backing_store=False)
    file.attrs["format"] = "gapless.shard/2"
    file.attrs["shard"] = "s"
    file.flush()
    data = sealed(file.id.get_file_image())
    file.close()
    with pytest.raises(NewerFormat):
        read_shard(data)


def test_shard_names_sort_by_time_and_origins_by_time_writer_and_number():
    origins = [Origin.at(time, name, k) for time in (1.5, 20.0) for name in "ab" for k in (1, 2)]
    assert sorted(origins) == origins
    assert sorted(map(shard_id, origins)) == list(map(shard_id, origins))
    assert origins[0].flushed_at == "1970-01-01T00:00:01.500000Z"
    assert Origin("2026-01-01T00:00:00.000000+00:00", "a", 1).flushed_at.endswith("Z")


@pytest.mark.parametrize(
    "fields",
    [("yesterday", "a", 1), ("2026-01-01T00:00:00.000000Z", "a/b", 1)],
)
def test_an_origin_that_would_make_a_bad_name_is_refused(fields):
    with pytest.raises(ValueError, match=r"flushed_at|aggregator"):
        Origin(*fields)
