"""Requests to one bucket: what boto3 raises comes out as errors of storage, with advice.

boto3 has tried again within seconds before anything is raised here (`gapless.aws`). Credentials
that were refused are read anew once: keys in a file or an environment may have been changed since.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from botocore.exceptions import ClientError, FlexibleChecksumError

from gapless.aws import RAISED, AwsClients, Trouble, code_of, trouble_of
from gapless.storage.errors import ArrivedDamaged, StorageError, StorageRefused, StorageUnavailable

__all__ = [
    "CONFLICT",
    "EXISTS",
    "NO_SUCH_KEY",
    "NO_SUCH_RANGE",
    "NO_SUCH_UPLOAD",
    "DamagedOnTheWay",
    "S3Answer",
    "S3Requests",
    "WrongChecksum",
]

NO_SUCH_KEY = "NoSuchKey"
NO_SUCH_RANGE = "InvalidRange"
NO_SUCH_UPLOAD = "NoSuchUpload"
EXISTS = "PreconditionFailed"
"""412: the key exists (Amazon S3 User Guide, "How to prevent object overwrites")."""
CONFLICT = "ConditionalRequestConflict"
"""409: another request about this key is under way (the same page)."""

_Result = TypeVar("_Result")

# A HEAD has no body, so that its code is the bare status.
_BY_STATUS = {"404": NO_SUCH_KEY, "412": EXISTS, "416": NO_SUCH_RANGE}
_ELSEWHERE = frozenset(
    {
        "301",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
    }
)
_OURS = frozenset(
    {
        "EntityTooLarge",
        "EntityTooSmall",
        "InvalidDigest",
        "InvalidURI",
        "KeyTooLongError",
        "MalformedXML",
        "MetadataTooLarge",
        "MissingContentLength",
        "MissingRequestBodyError",
    }
)
"""Codes that are about what a request of ours holds: no bucket would ever take it. Any other one,
also one that is new, may be about the bucket (its encryption, a lock, an archive), which somebody
may set right while programs keep their work."""
_DAMAGED = frozenset({"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"})
_ACTIONS = {
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
}
"""The permission an operation needs where it is not called the same (Service Authorization
Reference, "Actions defined by Amazon S3")."""


class S3Answer(Exception):
    """The service answered with a code that the caller knows what to do with.

    `was_sent_before`: the request had been sent before without an answer that can be relied on, so
    that it may have been done then.
    """

    def __init__(self, code: str, *, was_sent_before: bool) -> None:
        super().__init__(code)
        self.code = code
        self.was_sent_before = was_sent_before


class DamagedOnTheWay(StorageUnavailable):
    """What arrived is not what is stored: cut short, or with another checksum."""


class WrongChecksum(DamagedOnTheWay, ArrivedDamaged):
    """All of it arrived, and is not what was stored once."""


class S3Requests:
    """Sends requests to one bucket. Safe to use from several threads."""

    def __init__(self, bucket: str, clients: AwsClients) -> None:
        self.bucket = bucket
        self.clients = clients

    def send(
        self, request: Callable[[Any], _Result], *, what: str, expected: frozenset[str]
    ) -> _Result:
        """Do `request` with a client; `what` says for people what it is for ("store …").

        A code of `expected` comes as S3Answer; anything else that goes wrong as StorageUnavailable
        (it may work later), StorageRefused (somebody has to allow it) or StorageError.
        """
        renewed = False
        while True:
            try:
                return request(self.clients.client())
            except RAISED as error:
                code = code_of(error)
                code = _BY_STATUS.get(code, code)
                if code in expected:
                    sent_before = renewed or _attempts_before(error) > 0
                    raise S3Answer(code, was_sent_before=sent_before) from error
                if trouble_of(error) is not Trouble.CREDENTIALS or renewed:
                    raise self._translated(error, what) from error
            self.clients.renew()
            renewed = True

    def read_body(self, answer: dict[str, Any]) -> bytes:
        """Read the body of an answer to its end; DamagedOnTheWay when it breaks off or is wrong."""
        try:
            data: bytes = answer["Body"].read()
        except FlexibleChecksumError as error:
            raise WrongChecksum(f"an object of {self.bucket} arrived damaged: {error}") from error
        except RAISED as error:
            # boto3 sends nothing again once the body has begun.
            raise DamagedOnTheWay(f"an object of {self.bucket} broke off: {error}") from error
        return data

    def _translated(self, error: BaseException, what: str) -> StorageError:
        code, trouble = code_of(error), trouble_of(error)
        is_of_ours = code in _OURS or not isinstance(error, ClientError)
        if trouble is Trouble.OTHER and is_of_ours:
            return StorageError(f"cannot {what}: {error}")
        advice = self._advice(error)
        if advice is not None:
            return StorageRefused(f"cannot {what}: {error}; {advice}")
        if code in _DAMAGED:
            return DamagedOnTheWay(f"cannot {what} for now, it arrived damaged: {error}")
        if trouble is Trouble.OTHER:
            return StorageRefused(
                f"cannot {what}: {error}; see the settings of the bucket {self.bucket!r}"
            )
        return StorageUnavailable(f"cannot {what} for now: {error}")

    def _advice(self, error: BaseException) -> str | None:
        """Say what somebody has to mend, None when it is nothing of that kind."""
        by_code = {
            "NoSuchBucket": f"make the bucket {self.bucket!r}, or name another home with --home",
            "InvalidObjectState": "the object was archived: restore it",
            "RequestTimeTooSkewed": "set the clock of this machine",
            **dict.fromkeys(
                _ELSEWHERE,
                "the bucket seems to lie in another region: set AWS_REGION to its region",
            ),
        }
        # "403" may be about either; the permission is what is missing more often.
        trouble = Trouble.REFUSED if code_of(error) == "403" else trouble_of(error)
        by_trouble = {
            Trouble.CREDENTIALS: "give this program valid AWS credentials (AWS_PROFILE, variables "
            "of the environment, or the machine's role)",
            Trouble.REFUSED: self._permission(error),
        }
        return by_code.get(code_of(error)) or by_trouble.get(trouble)

    def _permission(self, error: BaseException) -> str:
        operation = getattr(error, "operation_name", "")
        action = _ACTIONS.get(operation, operation)
        where = self.bucket if action == "ListBucket" else f"{self.bucket}/*"
        return f"whose credentials these are needs s3:{action} on arn:aws:s3:::{where}"


def _attempts_before(error: BaseException) -> int:
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0))
