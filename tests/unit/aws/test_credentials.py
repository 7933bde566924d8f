"""Credentials that end and cannot be had anew: trouble with a kind, never another error."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore.session
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from gapless.aws import RAISED, AwsClients, NoClient, Trouble, trouble_of
from gapless.errors import GaplessError, UserMistake
from tests.services.servers import aws_environment
from tests.unit.aws.lost_credentials import LOSSES, ProfileFile

MISTAKES = {"the profile is gone", "the file is half written"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens there: these tests send nothing.
    for name, value in aws_environment("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfileFile:
    return ProfileFile(tmp_path, monkeypatch)


@pytest.fixture
def clients() -> Iterator[AwsClients]:
    made = AwsClients("sqs")
    yield made
    made.close()


@pytest.mark.parametrize("way", LOSSES)
def test_credentials_that_are_lost_while_a_program_runs_are_trouble_and_no_mistake(
    clients: AwsClients, profile: ProfileFile, way: str
) -> None:
    clients.client()
    loss = LOSSES[way]
    loss.happen(profile)
    clients.renew()
    for _ in range(2):
        with pytest.raises(NoClient, match=loss.words) as caught:
            clients.client()
        assert isinstance(caught.value, RAISED)
        assert trouble_of(caught.value) is loss.trouble
    profile.environment.delenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", raising=False)
    profile.give()
    assert clients.client()._request_signer._credentials.access_key == "lab-key"


@pytest.mark.parametrize("way", LOSSES)
def test_credentials_that_never_were_are_a_mistake_only_where_settings_cannot_work(
    clients: AwsClients, profile: ProfileFile, way: str
) -> None:
    loss = LOSSES[way]
    loss.happen(profile)
    expected: type[GaplessError] = UserMistake if way in MISTAKES else NoClient
    with pytest.raises(expected, match=loss.words):
        clients.client()


def test_credentials_that_end_under_a_client_are_fetched_before_its_next_request(
    clients: AwsClients, profile: ProfileFile
) -> None:
    # So near their end that boto3 fetches new ones for every request.
    ends_at = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    good = (
        f'echo \'{{"Version": 1, "AccessKeyId": "k", "SecretAccessKey": "s", '
        f'"SessionToken": "t", "Expiration": "{ends_at}"}}\''
    )
    profile.let_a_process_say(good)
    before = clients.client()
    assert clients.client() is before
    profile.let_a_process_say("")
    with pytest.raises(NoClient, match="JSONDecodeError"):
        clients.client()
    profile.give()
    assert clients.client() is not before


def test_a_region_that_is_gone_while_a_program_runs_is_no_mistake(
    clients: AwsClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients.client()
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION")
    clients.renew()
    with pytest.raises(NoClient, match="specify a region"):
        clients.client()


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (EndpointConnectionError(endpoint_url="https://sts"), Trouble.AWAY),
        (ClientError({"Error": {"Code": "Throttling"}}, "AssumeRole"), Trouble.AWAY),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole"), Trouble.CREDENTIALS),
        (ClientError({"Error": {"Code": "ExpiredToken"}}, "AssumeRole"), Trouble.CREDENTIALS),
    ],
    ids=["away", "busy", "denied", "expired"],
)
def test_a_service_that_gives_credentials_is_away_or_somebody_has_to_act(
    error: Exception, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_session: object) -> None:
        raise error

    monkeypatch.setattr(botocore.session.Session, "get_credentials", refuse)
    with pytest.raises(NoClient) as caught:
        AwsClients("sqs").client()
    assert caught.value.trouble is trouble
