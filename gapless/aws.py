"""Clients of Amazon services: how they are made, kept, renewed, and what their errors mean.

Endpoint, region and credentials are boto3's usual ones (AWS_ENDPOINT_URL, AWS_REGION, profiles,
instance roles). Timeouts and retries are pinned here: the defaults of boto3 change between
versions, and since 1.44 a connection that fails is given up within a fraction of a second. What
outlasts these retries is the caller's, who keeps the work and tries again without end.

Credentials are fetched here before each request that needs new ones, not while it is signed: what
fetches them (a process, a file, an endpoint of the machine) may raise anything, and all of it means
that there are none for now.
"""

from __future__ import annotations

import enum
import os
import threading
import weakref
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from gapless.errors import GaplessError, MissingExtra, UserMistake

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConfigNotFound,
        ConfigParseError,
        ConnectionError,  # noqa: A004 - botocore's
        CredentialRetrievalError,
        HTTPClientError,
        LoginError,
        MetadataRetrievalError,
        NoCredentialsError,
        NoRegionError,
        ParamValidationError,
        PartialCredentialsError,
        ProfileNotFound,
        SSOError,
        TokenRetrievalError,
        ValidationError,
    )
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError
except ModuleNotFoundError as error:
    raise MissingExtra(purpose="a home on Amazon S3 and SQS", extra="aws") from error

__all__ = [
    "BUSY_CODES",
    "LONG_POLL_S",
    "RAISED",
    "AwsClients",
    "NoClient",
    "Trouble",
    "code_of",
    "status_of",
    "trouble_of",
]

LONG_POLL_S = 20.0
"""Longest wait of one receive (Amazon SQS API Reference, ReceiveMessage, WaitTimeSeconds)."""

_CONNECT_TIMEOUT_S = 5
# A long poll answers after 20 s, S3 within a second or two: a connection that says nothing for
# longer is dead.
_READ_TIMEOUT_S = {"sqs": LONG_POLL_S + 10, "s3": 20}
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
_UNSAID = frozenset({"400", "403"})
"""S3 answers a HEAD without a body, so without a code: 400 is what expired credentials get, 403 is
also what keys get that are no longer there (S3 API Reference, HeadObject and "Error responses")."""
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


class NoClient(GaplessError):
    """No client can be made now, or it has no credentials: later it may work.

    `trouble` says whether what gives credentials is AWAY, or somebody has to mend something
    (CREDENTIALS): keys, a profile, a file.
    """

    def __init__(self, message: str, trouble: Trouble) -> None:
        super().__init__(message)
        self.trouble = trouble


RAISED = (
    *(NoClient, ClientError, BotoCoreError, ResponseParserError),
    # What boto3 lets through: a body that breaks off, a damaged answer that cannot be read.
    *(HTTPError, OSError, ValueError),
)
"""What `AwsClients.client` and a request with it may raise; anything else is a mistake of ours."""

_MISTAKES = (NoRegionError, ProfileNotFound, ConfigParseError, ConfigNotFound)
"""Settings of a person that cannot work as they stand."""


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
    """Say what kind of trouble an error raised by a client, or by making one, is."""
    if isinstance(error, NoClient):
        return error.trouble
    if isinstance(error, ClientError):
        return _trouble_of_answer(code_of(error), status_of(error))
    if isinstance(error, _WITHOUT_CREDENTIALS):
        return Trouble.CREDENTIALS
    if isinstance(error, (ParamValidationError, ValidationError, UnicodeError)):
        return Trouble.OTHER
    # No connection, an answer cut short, a checksum that is off, a page of a proxy in place of the
    # answer: nothing about the request.
    return Trouble.AWAY if isinstance(error, RAISED) else Trouble.OTHER


def _trouble_of_answer(code: str, status: int) -> Trouble:
    if code in _EXPIRED or code in _UNSAID:
        return Trouble.CREDENTIALS
    if code in BUSY_CODES or status >= 500 or status == 429:
        return Trouble.AWAY
    if code in _REFUSED or status in {401, 403}:
        return Trouble.REFUSED
    return Trouble.OTHER


def _trouble_of_credentials(error: Exception) -> Trouble:
    """Say why there are no credentials: AWAY when what gives them did not answer."""
    if isinstance(error, CredentialRetrievalError):
        # A process that ends with an error has said why: somebody is to log in.
        is_told = error.kwargs.get("provider") == "custom-process"
        return Trouble.CREDENTIALS if is_told else Trouble.AWAY
    if isinstance(error, (MetadataRetrievalError, HTTPClientError, ConnectionError)):
        return Trouble.AWAY
    if isinstance(error, ClientError) and trouble_of(error) is Trouble.AWAY:
        return Trouble.AWAY
    return Trouble.CREDENTIALS


@dataclass(frozen=True, slots=True)
class _Made:
    """A client, and the credentials it signs with."""

    client: Any
    credentials: Any


class AwsClients:
    """Clients of one service: one a thread of use, none across fork. Safe to use from any thread.

    `requests` counts what was sent, retries included, by operation ("SendMessageBatch").
    """

    def __init__(self, service: Literal["sqs", "s3"], *, region: str | None = None) -> None:
        """Make nothing yet: the first `client` does. `region` goes before boto3's settings."""
        self._service = service
        self._region = region
        self._lock = threading.Lock()
        # Apart: fetching credentials may take seconds, in which nobody waits to count or to close.
        self._making = threading.Lock()
        self._mine = threading.local()
        self._session: boto3.Session | None = None
        self._session_pid = 0
        self._generation = 0
        self._has_worked = False
        # Clients of threads that have ended go with them.
        self._made: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self.requests: Counter[str] = Counter()

    @property
    def region(self) -> str:
        """The region that requests go to; raises what `client` does."""
        return str(self.client().meta.region_name)

    def client(self, *, attempts: int = _ATTEMPTS) -> Any:
        """Give this thread's client whose requests are sent up to `attempts` times.

        UserMistake when boto3's settings cannot work; NoClient for what may work later, and for
        any settings once a client was made: somebody may be writing them just now.
        """
        mine = self._mine
        known = (os.getpid(), self._generation)
        if getattr(mine, "made_for", None) != known:
            # A client that came through fork shares its connections with the parent: left alone.
            mine.made, mine.made_for = {}, known
        made: _Made | None = mine.made.get(attempts)
        if made is None:
            made = mine.made[attempts] = self._make(known[0], attempts)
        try:
            made.credentials.get_frozen_credentials()
        except Exception as error:
            # What fetches them may have been set up anew meanwhile.
            self.renew()
            raise _without_credentials(error) from error
        return made.client

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

        Waits for nothing: a request under way in another thread may fail.
        """
        with self._lock:
            made = [client for client, pid in self._made.items() if pid == os.getpid()]
            self._made.clear()
            self._generation += 1
        for client in made:
            client.close()

    def _make(self, pid: int, attempts: int) -> _Made:
        # Making a client from a session is not safe in several threads at once (boto3's guide).
        with self._making:
            try:
                session = self._session_of(pid)
                credentials = _credentials_of(session)
                made = _Made(self._client_of(session, attempts), credentials)
            except (NoClient, BotoCoreError, ValueError, OSError) as error:
                # Kept, it would not see a file that is mended.
                self._session = None
                refusal = self._refusal_of(error)
                if refusal is error:
                    raise
                raise refusal from error
        made.client.meta.events.register(f"before-send.{self._service}", self._count)
        with self._lock:
            self._made[made.client] = pid
            self._has_worked = True
        return made

    def _session_of(self, pid: int) -> boto3.Session:
        # Read once: `renew` takes it away without waiting for a client that is being made.
        session = self._session
        if session is None or self._session_pid != pid:
            session = boto3.Session()
            self._session, self._session_pid = session, pid
        return session

    def _client_of(self, session: boto3.Session, attempts: int) -> Any:
        return session.client(
            self._service,
            region_name=self._region or session.region_name or os.environ.get("AWS_REGION"),
            config=Config(
                connect_timeout=_CONNECT_TIMEOUT_S,
                read_timeout=_READ_TIMEOUT_S[self._service],
                retries={"mode": "standard", "total_max_attempts": attempts},
                tcp_keepalive=True,
                user_agent_extra="gapless",
            ),
        )

    def _refusal_of(self, error: Exception) -> GaplessError:
        """Say why no client was made: a person's mistake only as long as none ever was."""
        cause = error.__cause__ if isinstance(error, NoClient) else error
        # botocore says of an address that is none, or a region, only that it is a wrong value.
        is_mistake = isinstance(cause, _MISTAKES) or isinstance(error, ValueError)
        if is_mistake and not self._has_worked:
            if isinstance(cause, NoRegionError):
                return UserMistake(
                    "boto3 knows no AWS region: set AWS_REGION, or a region in your AWS profile"
                )
            return UserMistake(
                f"boto3 cannot work with its settings: {cause}; see AWS_PROFILE, "
                "AWS_ENDPOINT_URL, AWS_REGION and the files in ~/.aws"
            )
        if isinstance(error, NoClient):
            return error
        return NoClient(
            f"boto3 cannot work with its settings: {_told(error)}", _trouble_of_credentials(error)
        )

    def _count(self, event_name: str, **_: object) -> None:
        with self._lock:
            self.requests[event_name.rpartition(".")[2]] += 1


def _credentials_of(session: boto3.Session) -> Any:
    """Find credentials, fetching them where they are not simply written down; NoClient."""
    try:
        found = session.get_credentials()
    except Exception as error:
        raise _without_credentials(error) from error
    if found is None:
        missing = NoCredentialsError()
        raise _without_credentials(missing) from missing
    return found


def _without_credentials(error: Exception) -> NoClient:
    return NoClient(f"boto3 got no credentials: {_told(error)}", _trouble_of_credentials(error))


def _told(error: Exception) -> str:
    # Words of boto3 stand for themselves; "[Errno 2] …" and "Expecting value: …" do not.
    is_in_words = isinstance(error, (BotoCoreError, ClientError))
    return str(error) if is_in_words else f"{type(error).__name__}: {error}"
