"""Clients of Amazon services: how they are made, kept, renewed, and what their errors mean.

Endpoint, region and credentials are boto3's usual ones (AWS_ENDPOINT_URL, AWS_REGION, profiles,
instance roles). Timeouts and retries are pinned here: the defaults of boto3 change between
versions, and since 1.44 a connection that fails is given up within a fraction of a second. What
outlasts these retries is the caller's, who keeps the work and tries again without end.
"""

from __future__ import annotations

import enum
import os
import threading
from collections import Counter
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from gapless.errors import UserMistake

__all__ = ["LONG_POLL_S", "AwsClients", "Trouble", "code_of", "status_of", "trouble_of"]

LONG_POLL_S = 20.0
"""Longest wait of one receive (Amazon SQS API Reference, ReceiveMessage, WaitTimeSeconds)."""

_CONNECT_TIMEOUT_S = 5
# A long poll answers after 20 s: a connection that says nothing for longer is dead.
_READ_TIMEOUT_S = {"sqs": LONG_POLL_S + 10, "s3": 60}
_ATTEMPTS = 4
_EXPIRED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "TokenRefreshRequired",
        "RequestExpired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "RequestTimeTooSkewed",
        "AuthFailure",
    }
)
_REFUSED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AllAccessDisabled",
        "AccountProblem",
        "InvalidSecurity",
        "NotAuthorized",
        "UnauthorizedOperation",
        "OptInRequired",
        "KmsAccessDenied",
        "KMS.AccessDeniedException",
    }
)
_BUSY = frozenset(
    {
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "RequestTimeout",
        "RequestTimeoutException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "KmsThrottled",
    }
)


class Trouble(enum.Enum):
    """What kind of trouble an error of boto3 is."""

    AWAY = "the service cannot be reached or is busy: later it may work"
    CREDENTIALS = "credentials are missing, expired or wrong: new ones may work"
    REFUSED = "the service refuses: somebody has to allow it"
    OTHER = "the answer is about the request itself"


def code_of(error: BaseException) -> str:
    """Give the error code of a service's answer, "" for anything else."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: BaseException) -> int:
    """Give the HTTP status of a service's answer, 0 for anything else."""
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def trouble_of(error: BaseException) -> Trouble:
    """Say what kind of trouble an error raised by a client is."""
    if isinstance(error, (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)):
        return Trouble.CREDENTIALS
    if not isinstance(error, ClientError):
        # No connection, an answer cut short, a checksum that is off: nothing about the request.
        return Trouble.AWAY if isinstance(error, BotoCoreError) else Trouble.OTHER
    code, status = code_of(error), status_of(error)
    if code in _EXPIRED:
        return Trouble.CREDENTIALS
    if code in _BUSY or status >= 500 or status == 429:
        return Trouble.AWAY
    if code in _REFUSED or status in {401, 403}:
        return Trouble.REFUSED
    return Trouble.OTHER


class AwsClients:
    """Clients of one service: one a thread of use, none across fork. Safe to use from any thread.

    `requests` counts what was sent, retries included, by operation ("SendMessageBatch").
    """

    def __init__(self, service: Literal["sqs", "s3"]) -> None:
        """Make nothing yet: the first `client` does."""
        self._service = service
        self._lock = threading.Lock()
        self._mine = threading.local()
        self._session: boto3.Session | None = None
        self._session_pid = 0
        self._generation = 0
        self.requests: Counter[str] = Counter()

    def client(self) -> Any:
        """Give this thread's client; UserMistake when boto3 knows no region."""
        mine = self._mine
        known = (os.getpid(), self._generation)
        if getattr(mine, "made_for", None) != known:
            # A client that came through fork shares its connections with the parent: left alone.
            mine.client = self._make(known)
            mine.made_for = known
        return mine.client

    def renew(self) -> None:
        """Let every thread's next client come from a new session, with credentials read anew."""
        with self._lock:
            self._generation += 1
            self._session = None

    def _make(self, known: tuple[int, int]) -> Any:
        # Making a client from a session is not safe in several threads at once (boto3's guide).
        with self._lock:
            if self._session is None or self._session_pid != known[0]:
                self._session = boto3.Session()
                self._session_pid = known[0]
            session = self._session
            try:
                client = session.client(
                    self._service,
                    region_name=session.region_name or os.environ.get("AWS_REGION"),
                    config=Config(
                        connect_timeout=_CONNECT_TIMEOUT_S,
                        read_timeout=_READ_TIMEOUT_S[self._service],
                        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                        tcp_keepalive=True,
                        user_agent_extra="gapless",
                    ),
                )
            except NoRegionError as error:
                raise UserMistake(
                    "boto3 knows no AWS region: set AWS_REGION, or a region in your AWS profile"
                ) from error
        client.meta.events.register(f"before-send.{self._service}", self._count)
        return client

    def _count(self, event_name: str, **_: object) -> None:
        with self._lock:
            self.requests[event_name.rpartition(".")[2]] += 1
