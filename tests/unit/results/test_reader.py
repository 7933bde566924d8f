import csv
import io
import subprocess
import sys

import h5py
import numpy as np
import pytest

from gapless.declaration.space import Space
from gapless.declaration.sweep import Sweep
from gapless.results.block_builder import BlockBuilder
from gapless.results.columns import ColumnKind
from gapless.results.errors import ShardDamaged, ShardGone, UnknownValue
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome
from gapless.results.reader import Results
from gapless.results.shard import encode_shard, read_shard
from gapless.storage import layout
from gapless.storage.memory import MemoryBlobs
from gapless.storage.sweeps import SweepStore
from tests.unit.results.samples import block_of, failed_block, put_shard


class Home:
    """A sweep of 12 runs (6 points, 2 replicates) in memory, and flushes into it."""

    def __init__(self, **axes):
        axes = axes or {"n": [1, 2, 3], "model": ["a", "b"]}
        frozen = Sweep(
            name="walk",
            function="walk:step",
            space=Space.grid(axes),
            replicates=2,
            order="declared",
        ).freeze()
        self.blobs = MemoryBlobs(clock=lambda: 0.0)
        self.store = SweepStore(self.blobs)
        self.store.store(frozen, None, 0.0)
        self.stored = self.store.load(frozen.id)
        self.id = frozen.id
        self.flushes = 0

    def flush(self, *blocks, flushed_at_s=None):
        self.flushes += 1
        moment = 1000.0 + self.flushes if flushed_at_s is None else flushed_at_s
        shard = encode_shard(
            blocks,
            sweep_id=self.id,
            declaration_json=self.stored.declaration.encode(),
            runs=self.stored.runs,
            origin=Origin.at(moment, "agg-1", self.flushes),
        )
        put_shard(self.blobs, shard, self.id)
        return shard

    def open(self, **options):
        return Results(self.blobs, self.id, **options)


@pytest.fixture
def home():
    return Home()


def by_run(results, name):
    return dict(zip(results.runs.tolist(), results.values(name).tolist(), strict=True))


def test_a_sweep_without_results_is_empty(home):
    results = home.open()
    assert results.stored == "0 of 12 runs"
    assert len(results) == 0
    assert results.errors() == []
    assert results.names == ()
    assert results.duplicates.count == 0
    assert results.table().rows == []
    assert list(results.to_pandas().columns[:3]) == ["run", "n", "model"]


def test_it_says_how_much_of_the_sweep_it_holds(home):
    home.flush(block_of({0: {"x": 1.0}, 5: {"x": 2.0}}), failed_block([3]))
    results = home.open()
    assert results.stored == "3 of 12 runs"
    assert "3 of 12 runs" in str(results)
    assert home.id in repr(results)
    assert (results.total, results.stored_count) == (12, 3)


def test_values_of_several_shards_stand_by_run(home):
    home.flush(block_of({7: {"x": 7.0}, 1: {"x": 1.0}}))
    home.flush(block_of({4: {"x": 4.0}}))
    results = home.open()
    assert results.runs.tolist() == [1, 4, 7]
    assert results.values("x").tolist() == [1.0, 4.0, 7.0]


def test_a_view_stays_as_it_was_until_it_is_refreshed(home):
    home.flush(block_of({1: {"x": 1.0}}))
    results = home.open()
    home.flush(block_of({2: {"x": 2.0}}))
    assert results.runs.tolist() == [1]
    assert results.stored == "1 of 12 runs"
    results.refresh()
    assert results.runs.tolist() == [1, 2]
    assert results.stored == "2 of 12 runs"


def test_a_missing_float_is_nan_a_missing_text_none_a_missing_integer_masked(home):
    home.flush(block_of({0: {"f": 1.0, "t": "a", "i": 3, "v": [1, 2], "r": [1]}}))
    home.flush(block_of({1: {"r": [1, 2]}}))
    results = home.open()
    assert np.isnan(results.values("f")[1])
    assert results.values("t").tolist() == ["a", None]
    assert results.values("i").tolist() == [3, None]
    assert np.ma.is_masked(results.values("i")[1])
    assert results.values("v").tolist() == [[1, 2], [None, None]]
    assert [each.tolist() for each in results.values("r")] == [[1], [1, 2]]


def test_types_that_differ_between_shards_lose_nothing(home):
    home.flush(block_of({0: {"x": 1, "y": 1, "z": [1]}}))
    home.flush(block_of({1: {"x": 0.5, "y": "one", "z": [1, 2]}}))
    results = home.open()
    assert results.values("x").tolist() == [1.0, 0.5]
    assert results.values("y").tolist() == [1, "one"]
    assert [each.tolist() for each in results.values("z")] == [[1], [1, 2]]


def test_an_unknown_value_names_the_known_ones(home):
    home.flush(block_of({0: {"rms": 1.0, "bias": 2.0}}))
    with pytest.raises(UnknownValue, match=r"'rmse'; recorded: bias, rms"):
        home.open().values("rmse")


def test_an_ok_result_beats_a_failure_stored_before(home):
    home.flush(failed_block([3], started_s=9999.0))
    home.flush(block_of({3: {"x": 1.0}}))
    results = home.open()
    assert results.outcomes.tolist() == [Outcome.OK]
    assert results.errors() == []
    assert results.duplicates.count == 1
    assert results.duplicates.differing == 0


def test_the_first_stored_ok_result_stays_and_a_differing_one_is_counted(home):
    later = home.flush(block_of({3: {"x": 2.0}, 4: {"x": 5.0}}), flushed_at_s=2000.0)
    home.flush(block_of({3: {"x": 1.0}, 4: {"x": 5.0}}), flushed_at_s=1000.0)
    results = home.open()
    assert by_run(results, "x") == {3: 1.0, 4: 5.0}
    duplicates = results.duplicates
    assert (duplicates.count, duplicates.differing) == (2, 1)
    assert duplicates.by_origin == {later.manifest.origin: 1}


@pytest.mark.parametrize(
    ("one", "other", "differing"),
    [
        ({"x": float("nan")}, {"x": float("nan")}, 0),
        ({"x": 1}, {"x": 1.0}, 0),
        ({"x": 1}, {"x": 2}, 1),
        ({"x": 1}, {"x": True}, 1),
        ({"x": 1}, {}, 1),
        ({"x": None}, {}, 0),
        ({"x": [1, 2]}, {"x": [1, 2]}, 0),
        ({"x": [1.0, float("nan")]}, {"x": [1.0, float("nan")]}, 0),
        ({"x": [1, 2]}, {"x": [1, 3]}, 1),
        ({"x": [1, 2]}, {"x": [1]}, 1),
        ({"x": {"a": [1, None]}}, {"x": {"a": [1, None]}}, 0),
        ({"x": {"a": 1}}, {"x": {"b": 1}}, 1),
        ({"x": "a"}, {"x": "b"}, 1),
        ({"x": 1j}, {"x": 1j}, 0),
        ({"x": complex("nan")}, {"x": complex("nan")}, 0),
    ],
)
def test_values_are_compared_exactly_and_nan_is_nan(home, one, other, differing):
    home.flush(block_of({3: one}))
    home.flush(block_of({3: other}))
    assert home.open().duplicates.differing == differing


def test_a_higher_epoch_wins_and_is_no_duplicate(home):
    home.flush(block_of({3: {"x": 1.0}}))
    home.flush(failed_block([3], epoch=1, message="now broken"))
    results = home.open()
    assert results.outcomes.tolist() == [Outcome.FAILED]
    assert results.errors()[0].message == "now broken"
    assert results.duplicates.count == 0


def test_among_failures_the_one_that_finished_last_is_shown(home):
    home.flush(failed_block([3], message="late", started_s=50.0))
    home.flush(failed_block([3], message="early", started_s=10.0))
    assert [each.message for each in home.open().errors()] == ["late"]


def test_failures_of_one_run_in_one_shard_keep_their_own_messages(home):
    home.flush(
        failed_block([3], message="last", started_s=50.0),
        failed_block([3], message="first", started_s=10.0),
        failed_block([3], message="anew", epoch=1, started_s=5.0),
    )
    assert [each.message for each in home.open().errors()] == ["anew"]


def test_a_run_lost_without_a_record_still_shows_as_an_error(home):
    builder = BlockBuilder(0, "n", "c")
    builder.add(6, outcome=Outcome.LOST, complete=False, started_s=0.0, duration_s=0.0)
    home.flush(builder.build())
    assert [(each.run, each.kind) for each in home.open().errors()] == [(6, "lost")]


def test_rows_of_one_flush_that_tie_are_told_apart_by_content_in_any_order():
    found = []
    for values in ([{"x": 1.0}, {"x": 2.0}], [{"x": 2.0}, {"x": 1.0}]):
        home = Home()
        home.flush(*(block_of({3: each}) for each in values))
        results = home.open()
        found.append(results.values("x").tolist())
        assert results.duplicates.differing == 1
    assert found[0] == found[1]


def test_shards_replaced_by_another_are_not_read_twice(home):
    old = home.flush(block_of({1: {"x": 1.0}}))
    new = home.flush(block_of({1: {"x": 1.0}, 2: {"x": 2.0}}))
    key = layout.manifest(home.id, new.shard_id)
    told = home.blobs.get(key).replace(
        b'"replaces": []', b'"replaces": ["%s"]' % old.shard_id.encode()
    )
    home.blobs.put(key, told)
    results = home.open()
    assert results.duplicates.count == 0
    assert results.runs.tolist() == [1, 2]


def test_a_shard_with_a_flipped_bit_is_named_or_skipped(home):
    good = home.flush(block_of({1: {"x": 1.0}}))
    bad = home.flush(block_of({2: {"x": 2.0}}))
    data = bytearray(bad.data)
    data[len(data) // 2] ^= 1
    home.blobs.put(layout.shard(home.id, bad.shard_id), bytes(data))
    with pytest.raises(ShardDamaged, match=bad.shard_id) as raised:
        home.open().values("x")
    assert "damaged='skip'" in raised.value.__notes__[0]
    results = home.open(damaged="skip")
    assert results.runs.tolist() == [1]
    assert results.skipped == (bad.shard_id,)
    assert good.shard_id not in results.skipped


def test_a_shard_removed_under_the_view_asks_to_refresh(home):
    shard = home.flush(block_of({1: {"x": 1.0}}))
    results = home.open()
    home.blobs.delete(layout.shard(home.id, shard.shard_id))
    with pytest.raises(ShardGone, match="refresh"):
        results.values("x")
    results.refresh()
    assert results.stored == "0 of 12 runs"
    assert "is gone" in results.problems[shard.shard_id]


def test_to_pandas_has_the_columns_in_order_and_the_rows_by_run(home):
    home.flush(block_of({0: {"x": 1.0, "k": 4, "d": {"a": 1}}, 7: {"x": 2.0}}), failed_block([3]))
    frame = home.open().to_pandas()
    assert list(frame.columns) == [
        *("run", "n", "model", "replicate", "seed", "outcome", "complete", "attempt"),
        *("started", "duration", "node", "epoch", "x", "k", "d"),
    ]
    assert frame["run"].tolist() == [0, 3, 7]
    assert frame["n"].tolist() == [1, 1, 2]
    assert frame["model"].tolist() == ["a", "b", "b"]
    assert frame["outcome"].tolist() == ["ok", "failed", "ok"]
    assert frame["seed"].tolist() == home.stored.runs.seeds(frame["run"].to_numpy()).tolist()
    assert frame["k"].isna().tolist() == [False, True, True]
    assert frame["k"][0] == 4
    assert frame["d"][0] == {"a": 1}
    assert frame["x"].mean() == 1.5
    assert len(frame[frame["outcome"] == "ok"]) == 2


def test_columns_that_share_a_name_are_told_apart():
    home = Home(node=[1, 2], gamma=["scale", 0.1])
    home.flush(block_of({0: {"gamma": 5, "epoch": 6, "free": 7}}))
    columns = list(home.open().to_pandas().columns)
    assert columns[1:3] == ["params/node", "gamma"]
    assert columns[-3:] == ["values/gamma", "values/epoch", "free"]
    assert len(set(columns)) == len(columns)


def test_a_parameter_of_mixed_types_is_given_as_it_was_declared():
    home = Home(gamma=["scale", 0.1, [1, 2]])
    home.flush(block_of({k: {} for k in range(6)}))
    assert home.open().to_pandas()["gamma"].tolist() == [
        *("scale", "scale"),
        *(0.1, 0.1),
        *([1, 2], [1, 2]),
    ]


def test_a_table_shows_the_first_runs(home):
    home.flush(block_of({5: {"x": [1, 2]}, 2: {"x": [3, 4]}, 9: {"x": [5, 6]}}))
    table = home.open().table(limit=2)
    assert table.columns[:3] == ("run", "n", "model")
    assert [row[0] for row in table.rows] == [2, 5]
    assert [row[-1] for row in table.rows] == [[3, 4], [1, 2]]
    assert len(table) == 2


def test_csv_has_a_line_a_run(home):
    home.flush(block_of({2: {"x": 0.1, "d": {"a": 1}}, 5: {"x": float("nan")}}))
    file = io.StringIO(newline="")
    home.open().write_csv(file)
    lines = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert [line["run"] for line in lines] == ["2", "5"]
    assert [line["x"] for line in lines] == ["0.1", "nan"]
    assert [line["d"] for line in lines] == ['{"a":1}', ""]
    assert [line["outcome"] for line in lines] == ["ok", "ok"]


def test_without_pandas_the_message_says_what_to_install(home):
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from gapless.errors import MissingExtra\n"
        "from tests.unit.results.test_reader import Home\n"
        "try: Home().open().to_pandas()\n"
        "except MissingExtra as error: print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert "pip install 'gapless[pandas]'" in found.stdout


def test_integers_among_floats_are_one_column_of_floats_in_every_shard_and_reader():
    home = Home(alpha=[0, 0.5, 1])
    shards = [home.flush(block_of({k: {"x": 1.0}})) for k in range(6)]
    for shard in shards:
        with h5py.File(io.BytesIO(shard.data)) as file:
            assert file["params/alpha"].dtype == np.float64
    column = read_shard(shards[0].data).params["alpha"]
    assert column.kind is ColumnKind.FLOAT64
    results = home.open()
    frame = results.to_pandas()
    assert frame["alpha"].dtype == np.float64
    assert frame["alpha"].tolist() == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    assert [repr(row[1]) for row in results.table().rows] == ["0.0", "0.0", "0.5", "0.5"] + [
        "1.0"
    ] * 2
    file = io.StringIO(newline="")
    results.write_csv(file)
    lines = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert [line["alpha"] for line in lines] == ["0.0", "0.0", "0.5", "0.5", "1.0", "1.0"]
    # What the function is called with stays as it was declared.
    assert home.stored.runs.describe(0).parameters == {"alpha": 0}
    assert type(home.stored.runs.describe(0).parameters["alpha"]) is int


@pytest.mark.parametrize("other", [None, True, 2**53 + 1])
def test_numbers_beside_something_else_stay_json(other):
    home = Home(alpha=[0, 0.5, other])
    shard = home.flush(block_of({k: {} for k in range(6)}))
    assert read_shard(shard.data).params["alpha"].kind is ColumnKind.JSON
    found = home.open().to_pandas()["alpha"]
    assert found.dtype == object
    assert found.tolist() == [0, 0, 0.5, 0.5, other, other]
