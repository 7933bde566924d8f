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
import weakref
from collections import Counter
from typing import Any, Literal

from gapless.errors import MissingExtra, UserMistake

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        CredentialRetrievalError,
        LoginError,
        NoCredentialsError,
        NoRegionError,
        ParamValidationError,
        PartialCredentialsError,
        SSOError,
        TokenRetrievalError,
        ValidationError,
    )
    from botocore.parsers import ResponseParserError
except ModuleNotFoundError as error:
    raise MissingExtra(purpose="a home on Amazon S3 and SQS", extra="aws") from error

__all__ = [
    "BUSY_CODES",
    "LONG_POLL_S",
    "AwsClients",
    "Trouble",
    "code_of",
    "status_of",
    "trouble_of",
]

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
BUSY_CODES = frozenset(
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
"""Codes that mean: the service is busy or has a bad moment (S3 and SQS, "Error responses")."""

_WITHOUT_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    SSOError,
    LoginError,
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
    if isinstance(error, ClientError):
        return _trouble_of_answer(code_of(error), status_of(error))
    if isinstance(error, _WITHOUT_CREDENTIALS):
        return Trouble.CREDENTIALS
    if isinstance(error, (ParamValidationError, ValidationError)):
        return Trouble.OTHER
    # No connection, an answer cut short, a checksum that is off, a page of a proxy in place of the
    # answer: nothing about the request.
    is_away = isinstance(error, (BotoCoreError, ResponseParserError))
    return Trouble.AWAY if is_away else Trouble.OTHER


def _trouble_of_answer(code: str, status: int) -> Trouble:
    if code in _EXPIRED:
        return Trouble.CREDENTIALS
    if code in BUSY_CODES or status >= 500 or status == 429:
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
        # Clients of threads that have ended go with them.
        self._made: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self.requests: Counter[str] = Counter()

    def client(self) -> Any:
        """Give this thread's client; UserMistake when boto3's settings cannot work."""
        mine = self._mine
        known = (os.getpid(), self._generation)
        if getattr(mine, "made_for", None) != known:
            # A client that came through fork shares its connections with the parent: left alone.
            mine.client = self._make(known)
            mine.made_for = known
        return mine.client

    def renew(self) -> None:
        """Let every thread's next client come from a new session, with credentials read anew.

        Nothing when another thread has renewed since this one got its client: that is new already.
        """
        with self._lock:
            made_for = getattr(self._mine, "made_for", None)
            if made_for is None or made_for == (os.getpid(), self._generation):
                self._generation += 1
                self._session = None

    def close(self) -> None:
        """Close the connections of every thread; a later `client` opens new ones. Safe to repeat.

        A request under way in another thread may fail.
        """
        with self._lock:
            made = [client for client, pid in self._made.items() if pid == os.getpid()]
            self._made.clear()
            self._generation += 1
        for client in made:
            client.close()

    def _make(self, known: tuple[int, int]) -> Any:
        # Making a client from a session is not safe in several threads at once (boto3's guide).
        with self._lock:
            try:
                client = self._client_of(self._session_of(known[0]))
            except NoRegionError as error:
                raise UserMistake(
                    "boto3 knows no AWS region: set AWS_REGION, or a region in your AWS profile"
                ) from error
            except (BotoCoreError, ValueError) as error:
                # A profile that is not there, a file that cannot be read, an address that is none.
                raise UserMistake(
                    f"boto3 cannot work with its settings: {error}; see AWS_PROFILE, "
                    "AWS_ENDPOINT_URL, AWS_REGION and the files in ~/.aws"
                ) from error
            self._made[client] = known[0]
        client.meta.events.register(f"before-send.{self._service}", self._count)
        return client

    def _session_of(self, pid: int) -> boto3.Session:
        if self._session is None or self._session_pid != pid:
            self._session = boto3.Session()
            self._session_pid = pid
        return self._session

    def _client_of(self, session: boto3.Session) -> Any:
        return session.client(
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

    def _count(self, event_name: str, **_: object) -> None:
        with self._lock:
            self.requests[event_name.rpartition(".")[2]] += 1
