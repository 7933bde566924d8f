"""What each verb does inside one transaction on queue.db. Nothing here waits, retries or commits.

Times are Unix seconds. A lease token is `<seq>.<random>`: it finds its row by the primary key.

A message is ready (`visible_at` 0) or hidden until `visible_at`. A hidden one whose time has come
is made ready by the next receive; so is one hidden beyond the longest lease from now, which only a
clock that was set back can make. The token of a lease that ended stays good until somebody else
receives the message: the work of its holder is not thrown away for being late.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from queueing.port import (
    MAX_LEASE_S,
    Answer,
    AnswerStatus,
    Entry,
    Extension,
    Lease,
    Message,
    QueueFacts,
    ReplaceAnswer,
    Replacement,
)

__all__ = [
    "Outlook",
    "count",
    "delete",
    "drop_some",
    "end_leases_of",
    "ensure",
    "extend",
    "first_lines",
    "forget_queue",
    "last_seq",
    "look_ahead",
    "owners_of_leases",
    "release",
    "replace",
    "send",
    "take",
]

_DONE = Answer()
_LOST = Answer(AnswerStatus.LEASE_LOST, "the lease is outdated: the message has moved on")


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a receive would find: something now, or the earliest time at which it would."""

    ready: bool
    all_known: bool
    next_at: float | None


def ensure(handle: Any, queues: Iterable[str], *, now: float) -> None:
    """Make the queues that are missing."""
    handle.executemany(
        "INSERT OR IGNORE INTO queues (name, created_at) VALUES (?, ?)",
        [(queue, now) for queue in queues],
    )


def send(handle: Any, queue: str, entries: Iterable[Entry], *, now: float) -> None:
    """Put messages at the end of a queue."""
    ensure(handle, [queue], now=now)
    for entry in entries:
        _insert(
            handle,
            queue,
            entry.body,
            priority=entry.priority,
            visible_at=now + entry.delay_s if entry.delay_s else 0.0,
            now=now,
        )


def look_ahead(handle: Any, queues: Sequence[str], *, now: float) -> Outlook:
    """See what a receive would find; reads three index entries a queue."""
    ready, all_known, next_at = False, True, None
    for queue in queues:
        known, least, first, last = handle.execute(
            "SELECT EXISTS (SELECT 1 FROM queues WHERE name = ?1),"
            " (SELECT visible_at FROM messages WHERE queue = ?1 ORDER BY visible_at LIMIT 1),"
            " (SELECT visible_at FROM messages WHERE queue = ?1 AND visible_at > 0"
            "  ORDER BY visible_at LIMIT 1),"
            " (SELECT visible_at FROM messages WHERE queue = ?1 AND visible_at > 0"
            "  ORDER BY visible_at DESC LIMIT 1)",
            (queue,),
        ).fetchone()
        all_known = all_known and bool(known)
        if least == 0.0 or _is_due(first, last, now):
            ready = True
        if first is not None and first > now and (next_at is None or first < next_at):
            next_at = first
    return Outlook(ready=ready, all_known=all_known, next_at=next_at)


def take(
    handle: Any, queues: Sequence[str], *, most: int, lease_s: float, owner: str, now: float
) -> list[Message]:
    """Lease up to `most` ready messages: queues as named, then by priority, then by seq."""
    ensure(handle, queues, now=now)
    messages: list[Message] = []
    for queue in queues:
        _make_ready(handle, queue, now=now)
        rows = handle.execute(
            "SELECT m.seq, m.head, t.text, m.receive_count FROM messages AS m"
            " LEFT JOIN tails AS t ON t.seq = m.seq"
            " WHERE m.queue = ? AND m.visible_at = 0"
            " ORDER BY m.priority DESC, m.seq LIMIT ?",
            (queue, most - len(messages)),
        ).fetchall()
        leases: list[tuple[Any, ...]] = []
        for seq, head, text, receive_count in rows:
            token = _new_token(seq)
            leases.append((now + lease_s, token, now, owner, seq))
            body = head if text is None else f"{head}\n{text}"
            messages.append(Message(Lease(queue, token), body, receive_count + 1))
        handle.executemany(
            "UPDATE messages SET visible_at = ?, token = ?, receive_count = receive_count + 1,"
            " leased_at = ?, owner = ? WHERE seq = ?",
            leases,
        )
        if len(messages) >= most:
            break
    return messages


def extend(handle: Any, extensions: Iterable[Extension], *, owner: str, now: float) -> list[Answer]:
    """Renew leases, each cut to what is left of the longest lease since its receive."""
    return [_extend_one(handle, each, owner=owner, now=now) for each in extensions]


def release(handle: Any, leases: Sequence[Lease], *, delay_s: float, now: float) -> list[Answer]:
    """Give messages back; each keeps its place among the ready ones."""
    ensure(handle, {lease.queue for lease in leases}, now=now)
    handle.executemany(
        "UPDATE messages SET visible_at = ?, token = NULL, owner = NULL"
        " WHERE seq = ? AND token = ? AND queue = ?",
        [
            (now + delay_s if delay_s else 0.0, _seq_of(lease.token), lease.token, lease.queue)
            for lease in leases
        ],
    )
    return [_DONE] * len(leases)


def delete(handle: Any, leases: Sequence[Lease], *, now: float) -> list[Answer]:
    """Delete the messages whose leases are not outdated."""
    ensure(handle, {lease.queue for lease in leases}, now=now)
    for lease in leases:
        _delete_one(handle, lease)
    return [_DONE] * len(leases)


def replace(
    handle: Any,
    lease: Lease,
    replacements: Sequence[Replacement],
    *,
    owner: str,
    now: float,
) -> ReplaceAnswer:
    """Put messages in a leased one's place: the first one takes its seq, the others go last."""
    ensure(handle, [lease.queue], now=now)
    seq = _seq_of(lease.token)
    row = handle.execute(
        "SELECT priority FROM messages WHERE seq = ? AND token = ? AND queue = ?",
        (seq, lease.token, lease.queue),
    ).fetchone()
    if row is None:
        return ReplaceAnswer(_LOST)
    _delete_one(handle, lease)
    leases: list[Lease | None] = []
    for index, replacement in enumerate(replacements):
        hidden_s = replacement.lease_s or replacement.delay_s
        number = _insert(
            handle,
            lease.queue,
            replacement.body,
            priority=replacement.priority or row[0],
            visible_at=now + hidden_s if hidden_s else 0.0,
            now=now,
            seq=seq if index == 0 else None,
        )
        if not replacement.lease_s:
            leases.append(None)
            continue
        token = _new_token(number)
        handle.execute(
            "UPDATE messages SET token = ?, receive_count = 1, leased_at = ?, owner = ?"
            " WHERE seq = ?",
            (token, now, owner, number),
        )
        leases.append(Lease(lease.queue, token))
    return ReplaceAnswer(_DONE, tuple(leases))


def owners_of_leases(handle: Any) -> list[str]:
    """Name every owner of a lease; reads one index entry an owner, not one a lease."""
    rows = handle.execute(
        "WITH RECURSIVE each(owner) AS ("
        " SELECT (SELECT owner FROM messages WHERE owner IS NOT NULL ORDER BY owner LIMIT 1)"
        " UNION ALL"
        " SELECT (SELECT m.owner FROM messages AS m WHERE m.owner IS NOT NULL"
        "  AND m.owner > each.owner ORDER BY m.owner LIMIT 1)"
        " FROM each WHERE each.owner IS NOT NULL)"
        " SELECT owner FROM each WHERE owner IS NOT NULL"
    ).fetchall()
    return [owner for (owner,) in rows]


def end_leases_of(handle: Any, owners: Iterable[str]) -> int:
    """Make every message leased to these owners ready; give how many."""
    ended = 0
    for owner in owners:
        ended += handle.execute(
            "UPDATE messages SET visible_at = 0, token = NULL, owner = NULL WHERE owner = ?",
            (owner,),
        ).rowcount
    return ended


def count(handle: Any, queue: str, *, now: float) -> QueueFacts | None:
    """Count a queue's messages; None when there is no such queue."""
    created = handle.execute("SELECT created_at FROM queues WHERE name = ?", (queue,)).fetchone()
    if created is None:
        return None
    (ready,) = handle.execute(
        "SELECT count(*) FROM messages WHERE queue = ? AND visible_at = 0", (queue,)
    ).fetchone()
    due, leased, delayed = handle.execute(
        "SELECT coalesce(sum(NOT hidden), 0), coalesce(sum(hidden AND leased), 0),"
        " coalesce(sum(hidden AND NOT leased), 0) FROM ("
        "SELECT visible_at > ?2 AND visible_at <= ?3 AS hidden, token IS NOT NULL AS leased"
        " FROM messages WHERE queue = ?1 AND visible_at > 0)",
        (queue, now, now + MAX_LEASE_S),
    ).fetchone()
    return QueueFacts(created_at_s=created[0], visible=ready + due, leased=leased, delayed=delayed)


def first_lines(handle: Any, queue: str) -> Iterator[tuple[int, str]]:
    """Give seq and first line of every message of a queue, in no order: sorting takes memory."""
    return iter(handle.execute("SELECT seq, head FROM messages WHERE queue = ?", (queue,)))


def last_seq(handle: Any, queue: str) -> int:
    """Give the greatest seq of a queue (0 when it is empty)."""
    (seq,) = handle.execute("SELECT max(seq) FROM messages WHERE queue = ?", (queue,)).fetchone()
    return int(seq or 0)


def drop_some(handle: Any, queue: str, *, up_to: int, most: int) -> int:
    """Delete up to `most` messages with seq <= `up_to`; give how many."""
    rows = handle.execute(
        "SELECT seq FROM messages WHERE queue = ? AND seq <= ? LIMIT ?", (queue, up_to, most)
    ).fetchall()
    handle.executemany("DELETE FROM tails WHERE seq = ?", rows)
    handle.executemany("DELETE FROM messages WHERE seq = ?", rows)
    return len(rows)


def forget_queue(handle: Any, queue: str) -> None:
    """Delete the queue itself: the next verb makes it anew, with a new time of creation."""
    handle.execute("DELETE FROM queues WHERE name = ?", (queue,))


def _is_due(first: float | None, last: float | None, now: float) -> bool:
    return first is not None and (first <= now or (last or 0.0) > now + MAX_LEASE_S)


def _make_ready(handle: Any, queue: str, *, now: float) -> None:
    # Two ranges of the index, each bounded once at either end: of two lower bounds SQLite would
    # search by one and scan for the other. The token stays, see above.
    handle.execute(
        "UPDATE messages SET visible_at = 0, owner = NULL"
        " WHERE queue = ? AND visible_at > 0 AND visible_at <= ?",
        (queue, now),
    )
    handle.execute(
        "UPDATE messages SET visible_at = 0, owner = NULL WHERE queue = ? AND visible_at > ?",
        (queue, now + MAX_LEASE_S),
    )


def _extend_one(handle: Any, extension: Extension, *, owner: str, now: float) -> Answer:
    lease = extension.lease
    seq = _seq_of(lease.token)
    row = handle.execute(
        "SELECT leased_at FROM messages WHERE seq = ? AND token = ? AND queue = ?",
        (seq, lease.token, lease.queue),
    ).fetchone()
    if row is None:
        return _LOST
    left_s = MAX_LEASE_S - max(0.0, now - row[0])
    if left_s <= 0.0:
        return Answer(
            AnswerStatus.LEASE_LOST,
            f"the message was received {now - row[0]:.0f} s ago, a lease lasts "
            f"{MAX_LEASE_S:.0f} s in all",
        )
    handle.execute(
        "UPDATE messages SET visible_at = ?, owner = ? WHERE seq = ?",
        (now + min(extension.lease_s, left_s), owner, seq),
    )
    return _DONE


def _insert(
    handle: Any,
    queue: str,
    body: str,
    *,
    priority: int,
    visible_at: float,
    now: float,
    seq: int | None = None,
) -> int:
    head, line_end, text = body.partition("\n")
    number = handle.execute(
        "INSERT INTO messages (seq, queue, head, priority, visible_at, sent_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (seq, queue, head, priority, visible_at, now),
    ).lastrowid
    if line_end:
        handle.execute("INSERT INTO tails (seq, text) VALUES (?, ?)", (number, text))
    return int(number)


def _delete_one(handle: Any, lease: Lease) -> None:
    seq = _seq_of(lease.token)
    deleted = handle.execute(
        "DELETE FROM messages WHERE seq = ? AND token = ? AND queue = ?",
        (seq, lease.token, lease.queue),
    ).rowcount
    if deleted:
        handle.execute("DELETE FROM tails WHERE seq = ?", (seq,))


def _new_token(seq: int) -> str:
    return f"{seq}.{secrets.token_hex(8)}"


def _seq_of(token: str) -> int:
    """Read the seq of a token; -1, which no row has, for what is no token of this backend."""
    digits = token.partition(".")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else -1
