"""Worlds that once failed: each is played again by a test, with what it found.

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


FOUND: tuple[Found, ...] = (
    Found(
        1057,
        frozenset(),
        "the person of the simulator insisted for ever on pausing a sweep that was cancelled",
    ),
    Found(
        7002065,
        frozenset(),
        "a shard stored again beside the manifest its loss had left was none for the truth",
    ),
    Found(
        180484076617958,
        frozenset(),
        "a shard destroyed before its manifest was written counted as stored for the truth",
    ),
)
