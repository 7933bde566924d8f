"""What runs may record at most, and that all of it can be read again."""

from __future__ import annotations

import numpy as np
import pytest

from gapless.results.block import decode_block, encode_block
from gapless.results.block_builder import MOST_RUN_BYTES, BlockBuilder
from gapless.results.columns import ColumnKind, ValueColumn, spread
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome
from gapless.results.shard import read_shard
from gapless.results.shard_writing import encode_shard
from tests.unit.results.samples import DECLARATION, SWEEP, NumberedRuns
from tests.unit.results.test_block_encoding import assert_same

ORIGIN = Origin("2026-01-31T12:00:00.000000Z", "agg-1", 7)


def builder() -> BlockBuilder:
    return BlockBuilder(epoch=0, node="n", code="c")


@pytest.mark.parametrize("missing", ["left out", "none"])
def test_an_array_of_one_run_among_thousands_takes_no_room_for_the_others(missing: str) -> None:
    filled = builder()
    for run in range(3000):
        filled.add_ok(run, 1.0, 0.5, {"y": run} | ({} if missing == "left out" else {"big": None}))
    trace = np.arange(20_000.0).reshape(10, 2000)
    filled.add_ok(4000, 1.0, 0.5, {"y": 0, "big": trace})
    block = filled.build()
    read = decode_block(encode_block(block))
    assert_same(read, block)
    place = read.run.tolist().index(4000)
    assert np.array_equal(read.values["big"].at(place), trace)
    assert read.values["big"].at(0 if place else 1) is None


def test_few_missing_arrays_stay_in_a_column_of_one_shape() -> None:
    data = np.arange(3000.0).reshape(30, 100)
    valid = np.ones(32, dtype=np.bool_)
    valid[[3, 8]] = False
    column = spread(ValueColumn(ColumnKind.ARRAY, data), valid)
    assert (column.kind, column.data.shape) == (ColumnKind.ARRAY, (32, 100))


def test_blocks_with_an_array_each_among_thousands_of_runs_fit_one_shard() -> None:
    blocks = []
    for number in range(4):
        filled = builder()
        for run in range(number * 1000, number * 1000 + 999):
            filled.add_ok(run, 1.0, 0.5, {"y": run})
        filled.add_ok(number * 1000 + 999, 1.0, 0.5, {"big": np.full(100_000, number * 1.5)})
        blocks.append(filled.build())
    shard = encode_shard(
        blocks,
        sweep_id=SWEEP,
        declaration_json=DECLARATION,
        runs=NumberedRuns(4000),
        origin=ORIGIN,
    )
    rows = read_shard(shard.data)
    column = rows.values["big"]
    assert column.data.nbytes == 4 * 100_000 * 8
    for place, run in enumerate(rows.rows.run.tolist()):
        value = column.at(place)
        if run % 1000 == 999:
            assert value.tolist() == [run // 1000 * 1.5] * 100_000
        else:
            assert value is None


def test_a_run_that_records_more_than_any_block_may_hold_is_failed_with_advice() -> None:
    filled = builder()
    # Never touched pages: neither of the two costs memory here.
    too_large = np.broadcast_to(np.float64(1.0), (MOST_RUN_BYTES // 8 + 1,))
    outcome = filled.add_ok(1, 1.0, 0.5, {"y": 2, "big": too_large})
    assert outcome is Outcome.FAILED
    read = decode_block(encode_block(filled.build()))
    assert "keep a summary" in read.errors[0].message
    assert read.values["y"].at(0) == 2
    assert "big" not in read.values


def test_a_run_that_records_the_most_it_may_can_be_read_again() -> None:
    filled = builder()
    filled.add_ok(0, 1.0, 0.5, {"y": 1})
    assert filled.add_ok(1, 1.0, 0.5, {"big": np.ones(MOST_RUN_BYTES // 8)}) is Outcome.OK
    block = decode_block(encode_block(filled.build()))
    place = block.run.tolist().index(1)
    assert block.values["big"].at(place).nbytes == MOST_RUN_BYTES
