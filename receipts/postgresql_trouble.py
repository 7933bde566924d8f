"""What an error of PostgreSQL means for the ledger: try again, mend something, make it anew.

The codes are SQLSTATEs (PostgreSQL documentation, appendix A, "PostgreSQL Error Codes").
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from receipts.errors import (
    LedgerBusy,
    LedgerDamaged,
    LedgerError,
    LedgerInterrupted,
    LedgerLost,
    LedgerRefused,
    LedgerUnavailable,
)

__all__ = ["Trouble", "translated", "translated_commit", "trouble_of"]

_SHOWN_CHARACTERS = 300


class Trouble(enum.Enum):
    """What is to be done about an error."""

    AGAIN = "again"
    """The server rolled the transaction back; the same may go through now."""
    AWAY = "away"
    """There is no connection, or it broke."""
    UNKNOWN_HOST = "unknown_host"
    """The host's name is known to nobody: misspelt, or this machine is not in its network."""
    PERSON = "person"
    """The server answers and refuses: a name, a password, a permission."""
    LOST = "lost"
    """The ledger's tables are not there any more."""
    DAMAGED = "damaged"
    OTHER = "other"


_BY_CODE = {
    "40001": Trouble.AGAIN,  # serialization_failure
    "40P01": Trouble.AGAIN,  # deadlock_detected
    "55P03": Trouble.AGAIN,  # lock_not_available
    "57014": Trouble.AGAIN,  # query_canceled: by an administrator
    "53300": Trouble.AWAY,  # too_many_connections
    "57P01": Trouble.AWAY,  # admin_shutdown
    "57P02": Trouble.AWAY,  # crash_shutdown
    "57P03": Trouble.AWAY,  # cannot_connect_now
    "57P05": Trouble.AWAY,  # idle_session_timeout
    "25P03": Trouble.AWAY,  # idle_in_transaction_session_timeout
    "28000": Trouble.PERSON,  # invalid_authorization_specification
    "28P01": Trouble.PERSON,  # invalid_password
    "3D000": Trouble.PERSON,  # invalid_catalog_name: no such database
    "42501": Trouble.PERSON,  # insufficient_privilege
    "42P01": Trouble.LOST,  # undefined_table
    "3F000": Trouble.LOST,  # invalid_schema_name
    "XX001": Trouble.DAMAGED,  # data_corrupted
    "XX002": Trouble.DAMAGED,  # index_corrupted
}
_CONNECTION_CLASS = "08"
# EAI_NONAME and EAI_NODATA as glibc, macOS and musl say them (getaddrinfo(3)); EAI_AGAIN may pass.
_UNKNOWN_HOST = re.compile(
    "Name or service not known|No address associated with hostname|nodename nor servname provided|"
    "Name does not resolve"
)

# libpq gives no code when a connection could not be made; in a server's other languages these are
# not recognised, and the error is taken for one that may pass.
_ADVICE_BY_TEXT = (
    (r'database ".*" does not exist', "make it with `createdb`, or name another in --ledger"),
    (r'role ".*" does not exist', "name another user in --ledger, or have the role made"),
    (r"password authentication failed|no password supplied|empty password",
     "put the right password into ~/.pgpass or PGPASSWORD"),
    (r"(peer|ident|certificate|gssapi|ldap|radius|pam) authentication failed|no pg_hba\.conf entry",
     "name another user or host in --ledger, or have the server's pg_hba.conf changed"),
    (r'permission denied for database|role ".*" is not permitted to log in',
     "have the right to connect granted"),
    (r"SSL was required|certificate verify failed|root certificate file|does not match host name",
     "see to sslmode and sslrootcert (in --ledger, or PGSSLMODE and PGSSLROOTCERT)"),
    (r"session is (not )?read-only|server is (not )?in hot standby",
     "name the primary server in --ledger"),
)  # fmt: skip
_ADVICE_BY_CODE = {
    "42501": "have the schema's tables and sequences granted to this role (docs/how-to/"
    "keep-the-ledger-in-postgresql.md)",
}


def trouble_of(error: BaseException) -> Trouble:
    """Tell what an error of the driver means."""
    code = getattr(error, "sqlstate", None)
    if code is not None:
        if code.startswith(_CONNECTION_CLASS):
            return Trouble.AWAY
        return _BY_CODE.get(code, Trouble.OTHER)
    if isinstance(error, psycopg.OperationalError):
        if _UNKNOWN_HOST.search(str(error)):
            return Trouble.UNKNOWN_HOST
        return Trouble.AWAY if _advice(error) is None else Trouble.PERSON
    if isinstance(error, psycopg.ProgrammingError):
        # "invalid connection option": found before anything was sent.
        return Trouble.PERSON
    return Trouble.OTHER


@contextmanager
def translated(location: str, *, locked: str | None = None) -> Iterator[None]:
    """Turn the driver's errors into the ledger's; nothing of what is done within was recorded.

    `locked`: what this connection's lock is on. The lock goes with the connection, so the work
    under it cannot go on with another one.
    """
    try:
        yield
    except sa.exc.IntegrityError:
        raise
    except sa.exc.DBAPIError as error:
        raise _translation(error.orig, location=location, locked=locked) from error
    except psycopg.Error as error:
        raise _translation(error, location=location, locked=locked) from error


@contextmanager
def translated_commit(location: str, *, locked: str | None = None) -> Iterator[None]:
    """Turn the driver's errors of a COMMIT into the ledger's: some leave open what became of it."""
    try:
        with translated(location, locked=locked):
            yield
    except LedgerError as error:
        cause = error.__cause__
        original = cause.orig if isinstance(cause, sa.exc.DBAPIError) else cause
        if original is not None and trouble_of(original) is Trouble.AGAIN:
            raise
        unknown = "whether this step was recorded is not known"
        if original is not None and trouble_of(original) is Trouble.AWAY:
            raise LedgerInterrupted(
                location,
                reason=_text(original),
                meaning=f" in the very moment of recording; {unknown}",
            ) from error
        raise LedgerUnavailable(
            f"the ledger {location} failed in the very moment of recording ({_text(original)}): "
            f"{unknown}. See to the PostgreSQL server and its disk, then run the same command "
            "again, which is safe either way"
        ) from error


def _translation(error: BaseException | None, *, location: str, locked: str | None) -> LedgerError:
    trouble = Trouble.OTHER if error is None else trouble_of(error)
    text = _text(error)
    match trouble:
        case Trouble.AWAY if locked is not None:
            return LedgerInterrupted(
                location,
                reason=text,
                meaning=f", and with it the lock on {locked}; nothing of this step was recorded",
            )
        case Trouble.AWAY | Trouble.AGAIN:
            return LedgerBusy(location, reason=text)
        case Trouble.PERSON:
            advice = _advice(error) or "see to the address in --ledger"
            return LedgerRefused(f"the ledger {location} refuses: {text}; {advice}")
        case Trouble.LOST:
            return LedgerLost(location)
        case Trouble.DAMAGED:
            return LedgerDamaged(location, reason=text)
        case Trouble.OTHER | Trouble.UNKNOWN_HOST:
            # Not LedgerBusy: nobody is to wait for a name that was misspelt.
            mend = (
                "the name of the host in --ledger (GAPLESS_LEDGER), and to this machine's network"
                if trouble is Trouble.UNKNOWN_HOST
                else "the PostgreSQL server and its disk"
            )
            return LedgerUnavailable(
                f"the ledger {location} cannot be used now ({text}); nothing of this step was "
                f"recorded: see to {mend}, then run the same command again"
            )


def _advice(error: BaseException | None) -> str | None:
    code = getattr(error, "sqlstate", None)
    if code in _ADVICE_BY_CODE:
        return _ADVICE_BY_CODE[code]
    text = str(error)
    return next(
        (advice for pattern, advice in _ADVICE_BY_TEXT if re.search(pattern, text, re.IGNORECASE)),
        None,
    )


def _text(error: BaseException | None) -> str:
    said = " ".join(str(error).split()).removeprefix("connection failed: ")
    return said if len(said) <= _SHOWN_CHARACTERS else said[:_SHOWN_CHARACTERS] + "…"
