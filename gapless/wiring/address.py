"""Where a home is: a folder of this machine, or a bucket and a prefix of Amazon S3."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from gapless.errors import UserMistake
from gapless.storage.errors import HomeError, StorageError
from gapless.storage.keys import checked_key

__all__ = ["DEFAULT_HOME", "S3Address", "home_address"]

DEFAULT_HOME = "sweeps"
"""Where sweeps live, below the current folder, when neither --home nor GAPLESS_HOME says."""

_SCHEME = "s3://"
_LONGEST_PREFIX = 512
"""Keys below it stay within the 1,024 bytes of a key (Amazon S3 User Guide, "Creating object key
names"); ours take less than half."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""Amazon S3 User Guide, "General purpose bucket naming rules"."""


@dataclass(frozen=True, slots=True)
class S3Address:
    """A bucket and the prefix of a home's keys: "" or "a/b", no slash at either end."""

    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        """The one spelling of it."""
        return f"{_SCHEME}{self.bucket}/{self.prefix}" if self.prefix else _SCHEME + self.bucket

    @property
    def digest(self) -> str:
        """8 hexadecimal digits that tell this home from others."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:8]

    @property
    def queue_prefix(self) -> str:
        """How the names of its queues begin: no two homes of an account share one."""
        return f"gapless-{self.digest}"

    @property
    def slug(self) -> str:
        """A file name for what this machine keeps of it."""
        words = re.sub(r"[^A-Za-z0-9.-]+", "-", self.url.removeprefix(_SCHEME)).strip("-.")
        return f"{words[:60]}-{self.digest}"


def home_address(location: str | Path | None) -> Path | S3Address:
    """Read where a home is (None: GAPLESS_HOME, else ./sweeps), whether it is there or not.

    UserMistake for a URL of something else, HomeError for what is a file.
    """
    named = str(location) if location is not None else os.environ.get("GAPLESS_HOME", DEFAULT_HOME)
    if named.lower().startswith(_SCHEME):
        return _s3_address(named)
    # Path("s3://bucket") is s3:/bucket: it would make a folder of that name.
    if "://" in named or named.lower().startswith("s3:"):
        raise UserMistake(f"--home {named}: a home is a folder, or s3://BUCKET/PREFIX")
    try:
        folder = Path(named).expanduser().absolute()
        if ".." in folder.parts:
            # One home has one spelling: a state folder remembers whose it is.
            folder = folder.resolve()
        if folder.exists() and not folder.is_dir():
            raise HomeError(f"home {folder}: this is a file, a home is a folder")
    except (OSError, RuntimeError, ValueError) as error:
        # A name too long, a loop of links, NUL, ~ of somebody who is not there.
        reason = getattr(error, "strerror", None) or error
        raise UserMistake(f"--home {named[:200]!r} cannot be a folder: {reason}") from error
    return folder


def _s3_address(named: str) -> S3Address:
    bucket, _, rest = named[len(_SCHEME) :].partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UserMistake(
            f"--home {named}: {bucket!r} cannot be the name of a bucket; expected s3://BUCKET or "
            "s3://BUCKET/PREFIX"
        )
    prefix = "/".join(part for part in rest.split("/") if part)
    try:
        if prefix:
            checked_key(prefix)
    except StorageError as error:
        raise UserMistake(f"--home {named}: {error}") from error
    if len(prefix.encode()) > _LONGEST_PREFIX:
        raise UserMistake(
            f"--home {named}: the prefix is longer than {_LONGEST_PREFIX} bytes; choose another"
        )
    return S3Address(bucket, prefix)
