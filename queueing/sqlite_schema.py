"""The tables of queue.db, and how a new file is built and an old one is looked at.

`messages.head` is the first line of a body and `tails.text` the lines after it: renewing a lease
rewrites the row of a message, and must not rewrite a delivery of a mebibyte; and reconcile reads
first lines only.

`visible_at` is 0 for a message that is ready, else the Unix time at which it becomes ready again.
So one index finds the next ready message (priority, then seq) and the earliest moment at which a
hidden one becomes ready, each in O(log n), however many messages are leased or delayed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from queueing.errors import QueueError
from queueing.sqlite_library import load

__all__ = ["DAMAGED", "NotAQueue", "build", "connect", "look"]

_APPLICATION_ID = 0x67706C71
_VERSION = 1
_OPEN_TIMEOUT_S = 5.0

_TABLES = """
CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    created_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    head TEXT NOT NULL,
    priority INTEGER NOT NULL,
    visible_at REAL NOT NULL,
    token TEXT,
    receive_count INTEGER NOT NULL DEFAULT 0,
    leased_at REAL,
    owner TEXT,
    sent_at REAL NOT NULL
);
CREATE INDEX messages_order ON messages (queue, visible_at, priority DESC, seq);
CREATE INDEX messages_owner ON messages (owner) WHERE owner IS NOT NULL;
CREATE TABLE tails (
    seq INTEGER PRIMARY KEY,
    text TEXT NOT NULL
);
"""

_MESSAGE_LOOK = """
SELECT seq, queue, head, priority, visible_at, token, receive_count, leased_at, owner, sent_at
FROM messages ORDER BY seq DESC LIMIT 1
"""
_LOOKS = (
    "SELECT name, created_at FROM queues LIMIT 1",
    _MESSAGE_LOOK,
    "SELECT seq, text FROM tails LIMIT 1",
)


class NotAQueue(Exception):
    """The file is a sound SQLite database, or an empty file, but not a queue of this program."""


DAMAGED = frozenset({10, 11, 26})
"""SQLite's result codes IOERR, CORRUPT and NOTADB: the file, or one beside it, is damaged."""


def connect(path: Path) -> Any:
    """Open an existing file; any thread may close the connection, only one uses it at a time."""
    handle = load().connect(
        f"file:{quote(str(path.absolute()))}?mode=rw",
        uri=True,
        timeout=_OPEN_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=200,
    )
    try:
        handle.execute("PRAGMA synchronous=FULL")
        # On macOS fsync alone leaves data in the drive's cache; elsewhere these do nothing.
        handle.execute("PRAGMA fullfsync=ON")
        handle.execute("PRAGMA checkpoint_fullfsync=ON")
        handle.execute("PRAGMA cache_size=-8192")
    except BaseException:
        handle.close()
        raise
    return handle


def build(path: Path) -> None:
    """Make a new, empty file at `path`, durable when this returns; the path must be free."""
    path.touch()
    handle = connect(path)
    try:
        handle.execute("PRAGMA journal_mode=WAL")
        handle.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        handle.execute(f"PRAGMA user_version={_VERSION}")
        handle.executescript(_TABLES)
    finally:
        # The last connection writes everything into the file itself and removes -wal and -shm.
        handle.close()


def look(handle: Any) -> None:
    """Check that a file just opened is a queue: NotAQueue, QueueError when newer, or SQLite's."""
    (application_id,) = handle.execute("PRAGMA application_id").fetchone()
    (version,) = handle.execute("PRAGMA user_version").fetchone()
    if application_id != _APPLICATION_ID:
        raise NotAQueue(f"its application id is {application_id}")
    if version > _VERSION:
        raise QueueError(
            f"the queue file has format {version}, this program knows up to {_VERSION}: "
            "update gapless here"
        )
    (mode,) = handle.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        raise NotAQueue(f"its journal mode is {mode}")
    for each in _LOOKS:
        handle.execute(each).fetchone()
