"""The same sweep on a folder home and on a home in a bucket: equal results, other libraries.

Separate submit, two nodes, an aggregator and reconcile on each, started by a Python that writes
down every module they import.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import gapless
from tests.acceptance.cloud_programs import CloudPrograms, made_home
from tests.services.servers import Service, aws_environment

SWEEP = """
name = "same"
function = "work:work"
replicates = 4
seed = 2026
[fixed]
offset = 10
[space.grid]
n = { range = [0, 40] }
x = ["scale", 0.1, { none = true }]
"""
RUNS = 40 * 3 * 4
WORK = """
import numpy as np
def work(n, x, *, offset, seed, run):
    run.set("before", n * n)
    if n == 13:
        raise ValueError(f"{x!r} is unlucky with {seed}")
    chance = np.random.default_rng(seed)
    return {"sum": n + offset, "seen": repr(x), "walk": chance.random(n % 5), "odd": n % 2 == 1}
"""
OF_THE_MACHINE = {"started", "duration", "node"}
"""Columns that no two executions share."""

_IMPORTED = re.compile(r"import time:\s+\d+ \|\s+\d+ \|\s+(\S+)")


@dataclass(frozen=True)
class Finished:
    """A home whose sweep is complete, and what its nodes and its aggregator loaded."""

    location: str
    imported: dict[str, set[str]]
    mapped: set[str]


@pytest.fixture(scope="module")
def homes(
    ministack: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Finished]]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws_environment(ministack.url).items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp("homes")
        yield {
            "folder": done(folder / "on-folder", str(folder / "home"), None),
            "bucket": done(folder / "on-bucket", made_home().url, ministack.url),
        }


def done(folder: Path, home: str, endpoint: str | None) -> Finished:
    folder.mkdir()
    programs = CloudPrograms(folder, home=home, endpoint=endpoint)
    programs.write("sweep.toml", SWEEP)
    programs.write("work.py", WORK)
    logging = ("-X", "importtime")
    try:
        programs.submit("--job-size", "16")
        started = [programs.node(1, python=logging), programs.node(2, python=logging)]
        started.append(programs.aggregator(python=logging))
        programs.wait_for_stored(RUNS // 4)
        mapped = mapped_by(programs.processes())
        programs.until_complete()
        programs.stop(*started)
        imported = {
            machine: set(_IMPORTED.findall(programs.log(machine)))
            for machine in ("node-1", "node-2", "aggregator")
        }
        return Finished(home, imported, mapped)
    finally:
        programs.stop_everything()


def mapped_by(processes: list[psutil.Process]) -> set[str]:
    """The files that processes have mapped into their memory: every compiled library."""
    found: set[str] = set()
    for process in processes:
        try:
            found |= {Path(each.path).name for each in process.memory_maps()}
        except psutil.NoSuchProcess:
            continue
    return found


def test_parameters_seeds_outcomes_and_values_are_equal_run_by_run(
    homes: dict[str, Finished],
) -> None:
    on_folder, in_bucket = (gapless.open(homes[kind].location) for kind in ("folder", "bucket"))
    assert on_folder.sweep_id == in_bucket.sweep_id
    a, b = on_folder.to_pandas(), in_bucket.to_pandas()
    assert a["run"].tolist() == b["run"].tolist() == list(range(RUNS))
    assert list(a.columns) == list(b.columns)
    assert set(a.columns) >= OF_THE_MACHINE | {
        "n",
        "x",
        "seed",
        "sum",
        "seen",
        "walk",
        "odd",
        "before",
    }
    for column in set(a.columns) - OF_THE_MACHINE:
        assert [plain(each) for each in a[column]] == [plain(each) for each in b[column]], column
    assert (a["outcome"] == "failed").sum() == 3 * 4
    assert set(a["seen"].dropna()) == {"'scale'", "0.1", "None"}


def plain(value: Any) -> object:
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def test_the_evidence_of_failed_runs_is_equal(homes: dict[str, Finished]) -> None:
    found = {
        kind: sorted((each.type, each.message) for each in gapless.open(home.location).errors())
        for kind, home in homes.items()
    }
    assert found["folder"] == found["bucket"]
    assert len(found["folder"]) == 3 * 4


@pytest.mark.parametrize("machine", ["node-1", "node-2", "aggregator"])
def test_no_node_and_no_aggregator_of_a_bucket_loads_sqlite_or_sqlalchemy(
    homes: dict[str, Finished], machine: str
) -> None:
    home = homes["bucket"]
    tops = {name.partition(".")[0] for name in home.imported[machine]}
    assert tops >= {"boto3", "queueing", "gapless"}
    assert not tops & {"sqlite3", "_sqlite3", "pysqlite3", "sqlalchemy", "alembic", "receipts"}
    assert any(name.startswith(("_ssl", "_socket")) for name in home.mapped)
    assert not [name for name in home.mapped if "sqlite" in name]


@pytest.mark.parametrize("machine", ["node-1", "node-2", "aggregator"])
def test_no_program_of_a_folder_loads_boto3(homes: dict[str, Finished], machine: str) -> None:
    home = homes["folder"]
    tops = {name.partition(".")[0] for name in home.imported[machine]}
    assert tops >= {"queueing", "gapless"}
    assert not tops & {"boto3", "botocore", "s3transfer", "urllib3"}
    assert [name for name in home.mapped if "sqlite" in name]
