"""What a key may look like: the same rule for every backend, so that a home can move."""

from __future__ import annotations

import re

from gapless.storage.errors import StorageError

__all__ = ["TEMPORARY", "checked_key", "checked_prefix"]

TEMPORARY = ".tmp-"
"""How the name of a file begins that is not complete yet: no key may hold such a part."""

_LONGEST_BYTES = 1024
"""Amazon S3 User Guide, "Creating object key names": at most 1,024 bytes of UTF-8."""
_LONGEST_PART_BYTES = 255
"""NAME_MAX of the usual file systems."""

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*", re.ASCII)


def checked_key(key: str) -> str:
    """Give the key back, or refuse it: relative, no empty, `.` or `..` part, no control signs."""
    # Nearly every key is short and plain: looked at in one go.
    if len(key) <= _LONGEST_PART_BYTES and _PLAIN.fullmatch(key):
        return key
    reason = _wrong_with(key)
    if reason:
        raise StorageError(f"{key[:200]!r} cannot be a key of storage: {reason}")
    return key


def checked_prefix(prefix: str) -> str:
    """Give the prefix of a listing back, or refuse it; "" and a trailing slash are fine."""
    if prefix and (prefix != "/"):
        checked_key(prefix.removesuffix("/"))
    elif prefix:
        raise StorageError("'/' cannot be a prefix of keys: keys are relative")
    return prefix


def _wrong_with(key: str) -> str:  # noqa: PLR0911 - one answer a reason
    if not key:
        return "it is empty"
    if key.startswith("/"):
        return "it begins with a slash"
    if not key.isprintable() or "\\" in key:
        return "it holds a backslash or a control character"
    if len(key.encode("utf-8")) > _LONGEST_BYTES:
        return f"it is longer than {_LONGEST_BYTES} bytes"
    for part in key.split("/"):
        if part in {"", ".", ".."}:
            return f"it has the part {part!r}"
        if part.startswith(TEMPORARY):
            return f"{TEMPORARY}… names a file that is not complete"
        if len(part.encode("utf-8")) > _LONGEST_PART_BYTES:
            return f"one part is longer than {_LONGEST_PART_BYTES} bytes"
    return ""
