"""A short course of chaos on each kind of home; `python -m tests.chaos` runs longer ones."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.course import Bounds, course
from tests.chaos.places import Cloud, Folder, cloud_place, folder_place
from tests.services.servers import ServiceMissing

RUNS = 2_000
DISK_BYTES = 64_000_000
BOUNDS = Bounds(faults_s=10, healing_s=120, every_s=0.5)


@pytest.fixture(params=["folder", "ministack"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder | Cloud]:
    with contextlib.ExitStack() as stack:
        if request.param == "folder":
            yield stack.enter_context(folder_place(tmp_path, disk_bytes=DISK_BYTES))
            return
        try:
            found = stack.enter_context(cloud_place(tmp_path, disk_bytes=DISK_BYTES, seed=1))
        except ServiceMissing as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(str(missing))
            pytest.skip(str(missing))
        yield found


def test_chaos_loses_nothing_and_doubles_nothing(place: Folder | Cloud) -> None:
    report = course(place, runs=RUNS, seed=4, bounds=BOUNDS)
    print(report.text())
    assert report.lost == 0
    assert report.double_for_the_reader == 0
    assert report.wrong == 0
    assert report.good, report.problems
    assert report.executed >= RUNS
    # It was chaos: something was struck, however slow the machine is.
    assert report.disasters >= 3
    assert len(report.shards_spoilt) >= 3
