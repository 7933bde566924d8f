"""The checks of a course of chaos can fail, and its disasters do what they say."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import boto3
import msgspec
import pandas as pd
import pytest

from queueing.sqlite_library import load
from tests.chaos.cloud_disasters import Duplicated
from tests.chaos.integrity import Integrity, Verdict
from tests.chaos.report import Report, machine_of_now
from tests.chaos.small_disk import NoSmallDisk, SmallDisk, small_disk
from tests.chaos.workload import COUNTS, Workload, executed, wrong_rows
from tests.services.proxy import FaultProxy, Rule
from tests.services.servers import Service


def work(counts: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the function as a worker has it."""
    monkeypatch.setenv(COUNTS, str(counts))
    names: dict[str, Any] = {}
    exec(Workload(runs=4, seed=1, nap_s=0).files()["work.py"], names)
    return names["work"]


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    (tmp_path / "counts").mkdir()
    return tmp_path / "counts"


@pytest.fixture
def table(counts: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    function = work(counts, monkeypatch)
    rows = []
    for number in range(20):
        seed = 2**62 + 977 * number
        values = function(number // 2, nap_s=0, seed=seed, run=SimpleNamespace(number=number))
        point = {"a": number // 2, "replicate": number % 2}
        rows.append({"run": number, **point, "seed": seed, "outcome": "ok", **values})
    return pd.DataFrame(rows)


def test_what_the_function_gives_is_right_and_each_call_is_counted(
    table: pd.DataFrame, counts: Path
) -> None:
    assert wrong_rows(table) == 0
    assert executed(counts) == 20


@pytest.mark.parametrize(
    ("column", "value"), [("mixed", 1), ("third", 0.5), ("name", "run 4"), ("seed", 2**62)]
)
def test_one_value_of_another_run_is_found(
    table: pd.DataFrame, column: str, value: float | str
) -> None:
    table.loc[7, column] = value
    assert wrong_rows(table) == 1


def test_two_runs_of_one_point_are_found(table: pd.DataFrame) -> None:
    table.loc[7, ["a", "replicate"]] = [0, 0]
    assert wrong_rows(table) == 1


def test_a_report_with_a_loss_a_double_a_wrong_value_or_a_problem_is_not_good() -> None:
    report = Report(
        home="folder",
        seed=1,
        machine=machine_of_now(),
        submitted=10,
        stored=10,
        lost=0,
        double_for_the_reader=0,
        wrong=0,
        not_ok=0,
        differing=0,
        executed=12,
        repeated_percent=20.0,
        disasters=3,
        disasters_by_kind={"kill -9 of a node": 3},
        requests_hit={},
        killed={"node": 3},
        ended_unasked={},
        reconcile_statuses={0: 1},
        reconciles_forced=0,
        integrity_checks={"whole": 2},
        shards_spoilt=[],
        executed_for_spoilt_shards=0,
        verified="status 0",
        seconds_with_faults=1.0,
        seconds_to_heal=1.0,
        seconds=2.0,
        impossible_here=[],
        problems=[],
    )
    assert report.good
    assert report.text().endswith("\ngood")
    for name in ("lost", "double_for_the_reader", "wrong", "not_ok", "differing"):
        assert not msgspec.structs.replace(report, **{name: 1}).good
    spoilt = msgspec.structs.replace(report, problems=["a database is damaged"])
    assert not spoilt.good
    assert "PROBLEM: a database is damaged" in spoilt.text()
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "queue.db"
    with contextlib.closing(load().connect(path)) as handle, handle:
        handle.execute("PRAGMA journal_mode=WAL")
        handle.execute("CREATE TABLE things (name TEXT)")
        handle.executemany("INSERT INTO things VALUES (?)", [("x" * 500,)] * 200)
    return path


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096)


def test_a_database_is_found_whole_damaged_or_missing(database: Path) -> None:
    integrity = Integrity()
    assert integrity.look(database) is Verdict.WHOLE
    damage(database)
    assert integrity.look(database) is Verdict.BAD
    assert len(integrity.bad) == 1
    assert integrity.look(database.with_name("ledger.db")) is Verdict.MISSING
    assert integrity.verdicts.total() == 3


def test_damage_of_our_own_is_no_finding(database: Path) -> None:
    integrity = Integrity()
    integrity.spoil(database)
    damage(database)
    assert integrity.look(database) is Verdict.SPOILT
    assert integrity.bad == []


def test_a_database_whose_lock_a_stopped_program_holds_is_left_alone(database: Path) -> None:
    with database.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert Integrity().look(database) is Verdict.UNSEEN


def mounted(stack: contextlib.ExitStack, folder: Path) -> SmallDisk:
    try:
        return stack.enter_context(
            small_disk(folder / "disk", size_bytes=2_000_000, keep_in=folder / "kept")
        )
    except NoSmallDisk as error:
        pytest.skip(str(error))


def test_a_full_disk_takes_no_byte_until_it_is_freed(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        disk = mounted(stack, tmp_path)
        disk.fill()
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (disk.folder / "more").write_bytes(b"x")
        disk.free()
        (disk.folder / "more").write_bytes(b"x")
    assert not (tmp_path / "disk").is_mount()


def test_a_shut_folder_is_read_only_until_it_is_reopened(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        disk = mounted(stack, tmp_path)
        folder = disk.folder / "shards"
        folder.mkdir()
        disk.shut(folder)
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            (folder / "more").write_bytes(b"x")
        disk.reopen(folder)
        (folder / "more").write_bytes(b"x")


def test_what_a_disk_holds_is_kept_when_its_body_fails(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(ZeroDivisionError))
        disk = mounted(stack, tmp_path)
        (disk.folder / "evidence").write_bytes(b"x")
        raise ZeroDivisionError
    assert (tmp_path / "kept" / "evidence").read_bytes() == b"x"
    assert not (tmp_path / "disk").is_mount()


def test_a_duplicated_request_is_done_twice(
    on_ministack: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(on_ministack.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="duplicated-by-the-proxy")["QueueUrl"]
        rule = proxy.add(Rule(Duplicated(), operations={"SendMessage"}))
        sqs.send_message(QueueUrl=url, MessageBody="once")
        assert rule.hits == 1
        found = sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        assert cast("str", found["Attributes"]["ApproximateNumberOfMessages"]) == "2"
