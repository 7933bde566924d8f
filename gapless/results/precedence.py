"""Choose the one result of every run (invariant I4), from the set of rows alone.

Highest epoch; `ok` before all others. Among `ok` rows the least origin, then the earliest start,
then the least attempt. Among others the one that finished last, then the least origin and attempt.
Rows equal in all of that (of one flush) are told apart by their content, so that neither the order
of rows nor that of shards matters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapless.results.outcome import Outcome

__all__ = ["Choice", "RowKeys", "choose"]

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class RowKeys:
    """What decides, each of shape (n,). `origin` is the rank of a row's origin, least first."""

    run: NDArray[np.uint64]
    epoch: NDArray[np.uint32]
    outcome: NDArray[np.uint8]
    origin: NDArray[np.integer[Any]]
    started_s: NDArray[np.float64]
    duration_s: NDArray[np.float64]
    attempt: NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The winning rows by run ascending, and what else there was.

    `surplus` counts the rows beyond one for each run and epoch. `rivals` (m, 2) pairs a winning
    `ok` row with each other `ok` row of its run and epoch.
    """

    winners: Rows
    surplus: int
    rivals: Rows


def choose(keys: RowKeys, content: Callable[[Rows], Sequence[bytes]]) -> Choice:
    """Choose; `content` gives bytes that tell rows (positions) apart, asked for ties only."""
    order = np.argsort(keys.run, kind="stable")
    first = _starts(keys.run[order])
    if bool(first.all()):
        return Choice(order, 0, np.empty((0, 2), dtype=np.intp))
    group = np.cumsum(first) - 1
    contested = order[(np.bincount(group) > 1)[group]]
    ranked = _rank(keys, contested)
    ranked = _settle_ties(keys, ranked, content)
    heads = _starts(keys.run[ranked])
    winners = order[first]
    winners[np.searchsorted(keys.run[winners], keys.run[ranked[heads]])] = ranked[heads]
    return Choice(winners, _count_surplus(keys, ranked), _rivals(keys, ranked, heads))


def _starts(run: NDArray[np.uint64]) -> NDArray[np.bool_]:
    starts = np.ones(len(run), dtype=np.bool_)
    np.not_equal(run[1:], run[:-1], out=starts[1:])
    return starts


def _sort_keys(keys: RowKeys, rows: Rows) -> list[NDArray[Any]]:
    """Give the columns to sort by, most significant first."""
    ok = keys.outcome[rows] == Outcome.OK
    origin = keys.origin[rows].astype(np.float64)
    started = keys.started_s[rows]
    finished = started + keys.duration_s[rows]
    return [
        keys.run[rows],
        -keys.epoch[rows].astype(np.int64),
        ~ok,
        np.where(ok, origin, -finished),
        np.where(ok, started, origin),
        keys.attempt[rows],
        keys.outcome[rows],
        keys.duration_s[rows],
    ]


def _rank(keys: RowKeys, rows: Rows) -> Rows:
    """Sort rows by run, the best row of each run first."""
    return rows[np.lexsort(_sort_keys(keys, rows)[::-1])]


def _settle_ties(keys: RowKeys, ranked: Rows, content: Callable[[Rows], Sequence[bytes]]) -> Rows:
    """Order the rows that tie with the best of their run by content."""
    same = np.ones(max(len(ranked) - 1, 0), dtype=np.bool_)
    for column in _sort_keys(keys, ranked):
        same &= column[1:] == column[:-1]
    if not same.any():
        return ranked
    heads = _starts(keys.run[ranked])
    # A row ties with its run's best when every step back to it is a tie.
    broken = np.concatenate(([0], np.cumsum(~same)))
    head_of = np.maximum.accumulate(np.where(heads, np.arange(len(ranked)), 0))
    tied = broken == broken[head_of]
    sizes = np.bincount(head_of[tied], minlength=len(ranked))
    places = np.flatnonzero(tied & (sizes[head_of] > 1))
    if not len(places):
        return ranked
    contents = content(ranked[places])
    settled = ranked.copy()
    groups = head_of[places].tolist()
    by_content = sorted(range(len(places)), key=lambda each: (groups[each], contents[each]))
    settled[places] = ranked[places[by_content]]
    return settled


def _count_surplus(keys: RowKeys, ranked: Rows) -> int:
    run, epoch = keys.run[ranked], keys.epoch[ranked]
    return int(((run[1:] == run[:-1]) & (epoch[1:] == epoch[:-1])).sum())


def _rivals(keys: RowKeys, ranked: Rows, heads: NDArray[np.bool_]) -> Rows:
    best = ranked[np.maximum.accumulate(np.where(heads, np.arange(len(ranked)), 0))]
    rival = (
        ~heads
        & (keys.outcome[ranked] == Outcome.OK)
        & (keys.outcome[best] == Outcome.OK)
        & (keys.epoch[ranked] == keys.epoch[best])
    )
    return np.column_stack((best[rival], ranked[rival]))
