"""Opening homes on S3 in this process: see gapless/wiring."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from gapless.errors import UserMistake
from gapless.storage import layout
from gapless.storage.errors import HomeError
from gapless.storage.home import HomeRecord
from gapless.wiring import Home, S3Address, open_home, read_home
from queueing.port import Entry
from receipts.errors import LedgerLacksSweep
from tests.services.servers import Service
from tests.unit.cli.s3_places import client, make_bucket


@pytest.fixture
def bucket(on_moto: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("GAPLESS_CACHE", raising=False)
    return make_bucket(on_moto)


def test_a_home_is_made_once_and_agrees_on_the_names_of_its_queues(bucket: str) -> None:
    made = open_home(f"s3://{bucket}/h/", create=True)
    again = open_home(f"s3://{bucket}/h", create=False)
    assert (made.is_new, again.is_new) == (True, False)
    assert made.location == again.location == f"s3://{bucket}/h"
    assert again.record == made.record
    assert made.record.queue_prefix == S3Address(bucket, "h").queue_prefix
    assert made.is_there()
    assert made.is_remote


def test_two_homes_of_a_bucket_share_nothing(bucket: str) -> None:
    one, other = (open_home(f"s3://{bucket}{part}", create=True) for part in ("/one", "/h"))
    for home, text in ((one, "for one"), (other, "for the other")):
        with closing(home.queues()) as queues:
            queues.send("x-jobs", [Entry(text)])
    for home, text in ((one, "for one"), (other, "for the other")):
        with closing(home.queues()) as queues:
            received = queues.receive(["x-jobs"], most=10, wait_s=0.0, lease_s=60.0)
        assert [message.body for message in received] == [text]


@pytest.mark.parametrize(("outer", "inner"), [("", "/h"), ("/a", "/a/sweeps/x/h"), ("/a", "/a/b")])
def test_no_home_is_made_within_another_one(
    outer: str, inner: str, bucket: str, on_moto: Service
) -> None:
    open_home(f"s3://{bucket}{outer}", create=True)
    said = f"s3://{bucket}{inner}: it would lie within the home s3://{bucket}{outer}, "
    with pytest.raises(HomeError, match=said):
        open_home(f"s3://{bucket}{inner}", create=True)
    found = client(on_moto, "s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert [each["Key"] for each in found] == [f"{outer}/home.json".lstrip("/")]


def test_a_home_beside_another_one_or_within_one_that_came_later_is_opened(bucket: str) -> None:
    for part in ("/a/b", "/a", "/ab", ""):
        assert open_home(f"s3://{bucket}{part}", create=True).is_new
    assert not open_home(f"s3://{bucket}/a/b", create=True).is_new


def test_a_home_json_of_another_program_is_told_with_where_it_lies(
    bucket: str, on_moto: Service
) -> None:
    client(on_moto, "s3").put_object(Bucket=bucket, Key=f"h/{layout.HOME}", Body=b"{}")
    with pytest.raises(HomeError, match=rf"s3://{bucket}/h: its home\.json is no record of a home"):
        open_home(f"s3://{bucket}/h", create=True)


def test_queues_are_made_as_the_home_says(bucket: str, on_moto: Service) -> None:
    record = HomeRecord(queue_prefix="mine", lease_s=77.0, retention_s=3600.0, encryption="none")
    client(on_moto, "s3").put_object(Bucket=bucket, Key=layout.HOME, Body=record.encode())
    home = open_home(f"s3://{bucket}", create=True)
    with closing(home.queues()) as queues:
        queues.create("x-jobs")
    sqs = client(on_moto, "sqs")
    url = sqs.get_queue_url(QueueName="mine-x-jobs")["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (found["VisibilityTimeout"], found["MessageRetentionPeriod"]) == ("77", "3600")


def test_a_home_json_that_names_no_queues_gets_those_of_its_place(
    bucket: str, on_moto: Service
) -> None:
    client(on_moto, "s3").put_object(Bucket=bucket, Key=layout.HOME, Body=HomeRecord().encode())
    with closing(open_home(f"s3://{bucket}", create=False).queues()) as queues:
        queues.create("x-jobs")
    name = f"{S3Address(bucket, '').queue_prefix}-x-jobs"
    assert client(on_moto, "sqs").get_queue_url(QueueName=name)


def test_a_home_that_is_not_there_is_told_and_not_made(bucket: str, on_moto: Service) -> None:
    for opening in (read_home, lambda place: open_home(place, create=False)):
        with pytest.raises(HomeError, match="no home is there"):
            opening(f"s3://{bucket}/h")
    assert "Contents" not in client(on_moto, "s3").list_objects_v2(Bucket=bucket)


def test_a_bucket_that_is_not_there_is_told_with_what_makes_it(on_moto: Service) -> None:
    with pytest.raises(HomeError, match="aws s3 mb s3://no-such-bucket`") as told:
        open_home("s3://no-such-bucket/h", create=True)
    assert "CloudFormation" in str(told.value)


def test_lacking_credentials_are_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(HomeError, match=f"s3://{bucket}/h: .*credentials"):
        open_home(f"s3://{bucket}/h", create=True)


def test_a_lacking_region_is_told_before_anything_is_written(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    with pytest.raises(UserMistake, match="AWS_REGION"):
        open_home(f"s3://{bucket}/h", create=True).queues()


def test_a_service_that_is_away_is_an_error_unless_somebody_waits_for_it(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(HomeError, match=r"s3://.*for now"):
        open_home(f"s3://{bucket}/h", create=False)


def test_a_home_of_a_newer_format_is_told(bucket: str, on_moto: Service) -> None:
    body = HomeRecord().encode().replace(b"home/1", b"home/2")
    client(on_moto, "s3").put_object(Bucket=bucket, Key=layout.HOME, Body=body)
    with pytest.raises(HomeError, match="update gapless"):
        open_home(f"s3://{bucket}", create=False)


def test_a_home_that_is_away_is_not_there(bucket: str, on_moto: Service) -> None:
    home = open_home(f"s3://{bucket}/h", create=True)
    client(on_moto, "s3").delete_object(Bucket=bucket, Key=f"h/{layout.HOME}")
    assert not home.is_there()


def test_the_ledger_of_a_home_on_s3_lies_in_a_folder_of_its_own(
    bucket: str, tmp_path: Path
) -> None:
    home = open_home(f"s3://{bucket}/h", create=True)
    assert home.state_folder.parent == tmp_path / "data" / "gapless" / "homes"
    assert not home.has_ledger()
    assert not (tmp_path / "data").exists()
    home.ledger().close()
    assert home.has_ledger()
    assert home.ledger_file == home.state_folder / "ledger.db"
    # Not the home's own: a sweep of this id may be in another home.
    assert open_home(f"s3://{bucket}", create=True).state_folder != home.state_folder


def test_a_state_folder_belongs_to_one_home_of_either_kind(bucket: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    home = open_home(f"s3://{bucket}/h", state=state, create=True)
    assert (home.state_folder, home.node_work_folder) == (state, state / "node")
    assert home.options == ("--home", f"s3://{bucket}/h", "--state", str(state))
    for other in (f"s3://{bucket}/other", tmp_path / "folder"):
        with pytest.raises(HomeError, match=f"belongs to the home s3://{bucket}/h"):
            open_home(other, state=state, create=True)


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_ledger_named_by_its_address_is_used_for_homes_of_both_kinds(
    kind: str, bucket: str, tmp_path: Path
) -> None:
    place = tmp_path / "home" if kind == "folder" else f"s3://{bucket}/h"
    home: Home = open_home(place, ledger=f"sqlite:///{tmp_path}/l.db", create=True)
    assert home.ledger_file == tmp_path / "l.db"
    assert not home.has_ledger()
    home.ledger().close()
    assert home.has_ledger()
    assert not (home.state_folder / "ledger.db").exists()


def test_a_ledger_on_a_server_is_taken_to_be_there_and_shown_without_its_password(
    tmp_path: Path,
) -> None:
    home = open_home(tmp_path / "h", ledger="postgresql+psycopg://me:pw@host/db", create=True)
    assert home.has_ledger()
    assert home.ledger_file is None
    assert home.ledger_shown == "postgresql+psycopg://me:***@host/db"


def test_asking_for_a_ledger_that_is_not_there_makes_none(bucket: str, tmp_path: Path) -> None:
    from gapless.local.accounting import reconcile_once

    home = open_home(f"s3://{bucket}/h", ledger=f"sqlite:///{tmp_path}/l.db", create=True)
    with pytest.raises(LedgerLacksSweep, match=f"sqlite:///{tmp_path}/l.db"):
        reconcile_once(home, "walk-12345678")
    assert not (tmp_path / "l.db").exists()


def test_programs_wait_long_for_messages_on_s3_and_shortly_in_a_folder(
    bucket: str, tmp_path: Path
) -> None:
    remote, local = (open_home(at, create=True) for at in (f"s3://{bucket}/h", tmp_path / "h"))
    assert remote.pace.receive_wait_s == 20.0
    assert remote.pace_under_run.receive_wait_s <= 2.0
    assert local.pace.receive_wait_s < 1.0
    assert remote.pace.control_s == local.pace.control_s == 5.0
    assert remote.pace.completeness_s > local.pace.completeness_s


def test_requests_are_counted_by_service_and_operation(bucket: str, tmp_path: Path) -> None:
    home = open_home(f"s3://{bucket}/h", create=True)
    with closing(home.queues()) as queues:
        queues.create("x-jobs")
    told = home.told_requests()
    assert "requests to SQS: CreateQueue 1" in told
    assert "requests to S3: " in told
    assert "PutObject 1" in told
    assert open_home(tmp_path / "h", create=True).told_requests() == ""


def test_the_queues_are_in_the_region_in_which_the_home_was_made(
    bucket: str, on_moto: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = open_home(f"s3://{bucket}/h", create=True)
    assert made.record.queue_region == client(on_moto, "sqs").meta.region_name
    with closing(made.queues()) as queues:
        queues.send("x-jobs", [Entry("for everybody")])
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    with closing(open_home(f"s3://{bucket}/h", create=False).queues()) as queues:
        received = queues.receive(["x-jobs"], most=10, wait_s=0.0, lease_s=60.0)
    assert [message.body for message in received] == ["for everybody"]


def test_the_queues_of_a_home_that_names_no_region_are_where_the_settings_say(
    bucket: str, on_moto: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = HomeRecord(queue_prefix="mine").encode()
    client(on_moto, "s3").put_object(Bucket=bucket, Key=layout.HOME, Body=body)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    home = open_home(f"s3://{bucket}", create=True)
    with closing(home.queues()) as queues:
        queues.create("x-jobs")
    assert home.sqs.client().meta.region_name == "us-west-2"
