"""What an error of boto3 means."""

from __future__ import annotations

import botocore.exceptions as raised
import pytest
from botocore.parsers import ResponseParserError
from urllib3.exceptions import ProtocolError

from gapless.aws import NoClient, Trouble, code_of, status_of, trouble_of


def answer(code: str, status: int = 400) -> raised.ClientError:
    return raised.ClientError(
        {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}},
        "GetObject",
    )


@pytest.mark.parametrize(
    "error",
    [
        raised.EndpointConnectionError(endpoint_url="http://x"),
        raised.ConnectTimeoutError(endpoint_url="http://x"),
        raised.ReadTimeoutError(endpoint_url="http://x"),
        raised.ConnectionClosedError(endpoint_url="http://x"),
        raised.SSLError(endpoint_url="http://x", error="handshake"),
        raised.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        raised.FlexibleChecksumError(error_msg="differs"),
        ResponseParserError("not the protocol"),
        ProtocolError("broken off"),
        ConnectionResetError(),
        ValueError("Invalid timestamp"),
        NoClient("the endpoint does not answer", Trouble.AWAY),
        answer("SlowDown", 503),
        answer("Throttling"),
        answer("SomethingNew", 500),
        answer("429", 429),
    ],
    ids=repr,
)
def test_what_may_be_over_soon_is_away(error: Exception) -> None:
    assert trouble_of(error) is Trouble.AWAY


@pytest.mark.parametrize(
    "error",
    [
        raised.NoCredentialsError(),
        raised.PartialCredentialsError(provider="env", cred_var="secret"),
        raised.CredentialRetrievalError(provider="role", error_msg="no"),
        raised.TokenRetrievalError(provider="sso", error_msg="expired"),
        raised.UnauthorizedSSOTokenError(),
        raised.SSOTokenLoadError(error_msg="none"),
        answer("ExpiredToken"),
        answer("RequestTimeTooSkewed", 403),
        # A HEAD, which says nothing more.
        answer("400", 400),
        answer("403", 403),
        NoClient("no keys", Trouble.CREDENTIALS),
        answer("InvalidAccessKeyId", 403),
    ],
    ids=repr,
)
def test_what_new_credentials_may_mend_is_about_credentials(error: Exception) -> None:
    assert trouble_of(error) is Trouble.CREDENTIALS


@pytest.mark.parametrize("error", [answer("AccessDenied", 403), answer("SomethingNew", 403)])
def test_what_somebody_has_to_allow_is_refused(error: Exception) -> None:
    assert trouble_of(error) is Trouble.REFUSED


@pytest.mark.parametrize(
    "error",
    [
        answer("NoSuchKey", 404),
        raised.ParamValidationError(report="no"),
        KeyError("x"),
        TypeError("x"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"),
    ],
    ids=repr,
)
def test_the_rest_is_about_the_request(error: Exception) -> None:
    assert trouble_of(error) is Trouble.OTHER


def test_code_and_status_are_those_of_an_answer() -> None:
    assert (code_of(answer("NoSuchKey", 404)), status_of(answer("NoSuchKey", 404))) == (
        "NoSuchKey",
        404,
    )
    assert (code_of(KeyError("x")), status_of(KeyError("x"))) == ("", 0)
