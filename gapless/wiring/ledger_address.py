"""Where a ledger is (`--ledger`): what may be shown of its address, and whether it is there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from gapless.errors import UserMistake

__all__ = ["checked_ledger", "file_of_ledger", "holds_secret", "shown_ledger"]

_SQLITE = "sqlite:///"
_EXPECTED = "expected postgresql+psycopg://USER@HOST/DATABASE or sqlite:///FILE"
_SECRET_WORDS = frozenset({"password", "sslpassword"})
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


def checked_ledger(url: str) -> str:
    """Give the address back if it is one; UserMistake, which never shows a password."""
    text = url.strip()
    if not _SCHEME.match(text):
        # What it holds is not known, a password perhaps: it is not repeated.
        raise UserMistake(f"--ledger: this is no database's address; {_EXPECTED}")
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - it is read here, so that a wrong one is told here
    except ValueError as error:
        raise UserMistake(
            f"--ledger: the address cannot be read; {_EXPECTED} (signs such as @ and / of a "
            "password are written as %40 and %2F)"
        ) from error
    if parts.scheme == "sqlite" and not file_of_ledger(text):
        raise UserMistake(f"--ledger {text}: a ledger in memory is gone at once; {_EXPECTED}")
    return text


def shown_ledger(url: str) -> str:
    """Give the address for people: `***` stands for a password, and for what cannot be read."""
    if url.startswith("sqlite:"):
        return url
    parts = _read(url)
    if parts is None:
        return "***"
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    netloc = f"{name}{':***' if colon else ''}{at}{host}"
    return urlunsplit((parts.scheme, netloc, parts.path, _shown_query(parts), parts.fragment))


def holds_secret(url: str) -> bool:
    """Tell whether the address holds a password, or may hold one."""
    if url.startswith("sqlite:"):
        return False
    parts = _read(url)
    return (
        parts is None
        or ":" in parts.netloc.rpartition("@")[0]
        or _shown_query(parts) != (parts.query)
    )


def file_of_ledger(url: str) -> Path | None:
    """Give the file of an SQLite ledger's address; None for a server, or when it names no file."""
    path = url.removeprefix(_SQLITE)
    return Path(path) if url.startswith(_SQLITE) and path not in {"", ":memory:"} else None


def _read(url: str) -> SplitResult | None:
    if not _SCHEME.match(url):
        return None
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _shown_query(parts: SplitResult) -> str:
    shown = []
    for pair in parts.query.split("&"):
        key, equals, _ = pair.partition("=")
        hides = bool(equals) and unquote(key).lower() in _SECRET_WORDS
        shown.append(f"{key}=***" if hides else pair)
    return "&".join(shown)
