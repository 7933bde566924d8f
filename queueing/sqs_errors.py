"""What Amazon SQS answers when something is off, in the words of the port.

One error has several spellings: the name of its shape, the older code of the query protocol (which
botocore puts first, keeping the shape's in QueryErrorCode), and either with a namespace before it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from gapless.aws import NoClient, Trouble, trouble_of
from queueing.errors import QueueError, QueueRefused, QueueUnavailable

__all__ = [
    "EntryTrouble",
    "QueueDiffers",
    "QueueMissing",
    "RequestRefused",
    "ServiceAway",
    "error_for",
    "is_lost",
    "trouble_of_entry",
]

_SAME_AS = {
    # Amazon SQS API Reference, "Common errors"; the right side is the name of the shape.
    "NonExistentQueue": "QueueDoesNotExist",
    "QueueAlreadyExists": "QueueNameExists",
}
_LOST = frozenset({"ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidIdFormat"})
# Reasons of InvalidParameterValue that mean a dead token: "The receipt handle has expired",
# "Message does not exist or is not available for visibility timeout change", "Total
# VisibilityTimeout for the message is beyond the limit".
_LOST_WORDS = ("expired", "not available for visibility timeout change", "beyond the limit")


_ABOUT_ENTRIES = frozenset(
    {
        "BatchRequestTooLong",
        "InvalidAttributeValue",
        "InvalidIdFormat",
        "InvalidMessageContents",
        "InvalidParameterValue",
        "MessageNotInflight",
        "MissingParameter",
        "ReceiptHandleIsInvalid",
        "UnsupportedOperation",
    }
)
"""Codes that are about what a request holds: sending the same again does not help."""


class QueueMissing(QueueUnavailable):
    """The queue does not exist; whoever sees this makes it and does the verb again."""


class QueueDiffers(QueueUnavailable):
    """A queue of this name exists with other attributes; it is used as it is."""


class ServiceAway(QueueUnavailable):
    """Nothing answered: no other queue would do better now."""


_BARRED = (
    "queue {queue} was deleted less than 60 s ago, and Amazon SQS does not let it be made again so "
    "soon; the next try after that makes it"
)
_OVER = (
    "queue {queue} has as many messages in flight as Amazon SQS allows (120,000): start an "
    "aggregator, or see what keeps the running one from storing"
)
_ABOUT_QUEUES: dict[str, tuple[type[QueueUnavailable], str]] = {
    "QueueDoesNotExist": (QueueMissing, "queue {queue} does not exist"),
    "QueueDeletedRecently": (QueueUnavailable, _BARRED),
    "QueueNameExists": (QueueDiffers, "queue {queue} exists with other attributes"),
    "OverLimit": (QueueUnavailable, _OVER),
}


_MEND = "give boto3 valid ones (profile, environment or role)"


class RequestRefused(QueueRefused):
    """A whole request was refused for what it says: perhaps for one of its entries."""

    def __init__(self, text: str, *, code: str, message: str) -> None:
        super().__init__(text)
        self.code = code
        self.message = message


class EntryTrouble(enum.Enum):
    """Why an entry of a batch was not done."""

    LOST = "its lease token is outdated"
    AGAIN = "the service could not: trying again may help"
    REFUSED = "the service refuses the entry itself"


def error_for(error: Exception, *, operation: str, queue: str) -> QueueError:
    """Translate an error that a client, or making one, raised for a whole request."""
    doing = f"{operation} of queue {queue}"
    if not isinstance(error, ClientError):
        return _without_answer(error, doing)
    codes = _codes_of(error)
    for code, (kind, text) in _ABOUT_QUEUES.items():
        if code in codes:
            return kind(text.format(queue=queue))
    message = str(error.response.get("Error", {}).get("Message", ""))
    words = f"{error.response.get('Error', {}).get('Code', '')}: {message}"
    trouble = trouble_of(error)
    if trouble is Trouble.AWAY:
        return QueueUnavailable(f"Amazon SQS is busy ({doing}): {words}")
    if trouble is Trouble.CREDENTIALS:
        return QueueRefused(
            f"Amazon SQS does not take the credentials ({doing}): {words}; {_MEND} and see that "
            "the clock is right"
        )
    text = f"Amazon SQS refuses {doing}: {words}"
    about = codes & _ABOUT_ENTRIES
    return RequestRefused(text, code=min(about), message=message) if about else QueueRefused(text)


def _without_answer(error: Exception, doing: str) -> QueueError:
    words = str(error) if isinstance(error, NoClient) else f"{type(error).__name__}: {error}"
    match trouble_of(error):
        case Trouble.AWAY if isinstance(error, NoClient):
            return ServiceAway(f"{doing} was not sent: {words}")
        case Trouble.AWAY:
            return ServiceAway(f"Amazon SQS cannot be reached ({doing}): {words}")
        case Trouble.CREDENTIALS:
            return QueueRefused(f"{doing} was not sent: {words}; {_MEND}")
        case _:
            return QueueError(f"{doing} was not sent: {words}")


def trouble_of_entry(failed: Mapping[str, Any]) -> EntryTrouble:
    """Say why an entry that a batch names under `Failed` was not done."""
    code, message = _short(str(failed.get("Code", ""))), str(failed.get("Message", ""))
    if is_lost(code, message):
        return EntryTrouble.LOST
    if failed.get("SenderFault", False) and code in _ABOUT_ENTRIES:
        return EntryTrouble.REFUSED
    # Also what this program does not know: nothing is given up for a code that is new.
    return EntryTrouble.AGAIN


def is_lost(code: str, message: str) -> bool:
    """Tell whether a code and its message mean that a lease token is outdated."""
    if code in _LOST:
        return True
    return code == "InvalidParameterValue" and any(word in message for word in _LOST_WORDS)


def _codes_of(error: ClientError) -> frozenset[str]:
    """Give the codes of a service's answer, each by the name of its shape."""
    answer = error.response.get("Error", {})
    found = (answer.get("Code", ""), answer.get("QueryErrorCode", ""))
    return frozenset(_short(str(each)) for each in found if each)


def _short(code: str) -> str:
    name = code.rpartition("#")[2].rpartition(".")[2]
    return _SAME_AS.get(name, name)
