"""Worlds that once failed, shrunk: each is played again by a test, with what it found.

`python -m tests.simulator SEED --shrink` prints a line for here. A seed is a world only as long as
the simulator throws its dice in the same order; what it found needs a test of its own besides.
Those whose dice are long thrown otherwise are kept by such a test alone:

- a shard written while its thread waited for a table of another (`encode_shard` re-entered):
  tests/unit/results/test_shard_writing.py
- a reconcile of a cancelled sweep left queues that a sleeper had made anew:
  tests/unit/receipts/test_reconcile.py
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FOUND", "Found"]


@dataclass(frozen=True, slots=True)
class Found:
    """A world that failed once: its seed, the faults left out of it, the bug it found."""

    seed: int
    left_out: frozenset[str]
    what: str


FOUND: tuple[Found, ...] = ()
