"""What a node knows of a sweep it serves: its control record, its files, its pace, its fitness."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from compute_node.commands import Deployment
from compute_node.events import SWEEP_TRANSITIONS, SweepFacts, SweepState
from compute_node.jobs_in_hand import Lane
from compute_node.pacing import Pace

__all__ = ["SweepInHand"]


@dataclass(slots=True)
class SweepInHand:
    """A sweep this node serves, or has served.

    `total` is None until its files are on this machine; `prepared_code` is the bundle they are of.
    `doubted`: the jobs that were here when its files were last asked for, which the answer judges.
    `unfit_until`: this node cannot do its runs before that moment (`unfit_text` says why), after
    having waited `unfit_s` (0.0: none of its workers was unfit since one was ready).
    `looked_at`: when its control record was last read. Its queue was seen empty from `empty_since`
    (None: not since its last message) to `empty_at`; `complete`: so was the sweep.
    """

    facts: SweepFacts
    pace: Pace = field(default_factory=Pace)
    lanes: dict[int, Lane] = field(default_factory=dict)
    total: int | None = None
    prepared_code: str = ""
    preparing: bool = False
    doubted: frozenset[int] = frozenset()
    prepare_at: float = 0.0
    prepare_tries: int = 0
    unfit_until: float = 0.0
    unfit_s: float = 0.0
    unfit_text: str = ""
    barren_deaths: int = 0
    looked_at: float = 0.0
    empty_since: float | None = None
    empty_at: float = -math.inf
    complete: bool = False

    def learn(self, facts: SweepFacts) -> None:
        """Note what is wanted of it now."""
        before, after = self.facts.state, facts.state
        assert after is before or after in SWEEP_TRANSITIONS[before], (before, after)
        self.facts = facts

    def open(self, now: float) -> bool:
        """Tell whether this node may work on it now."""
        return self.facts.state is SweepState.RUNNING and now >= self.unfit_until

    def rests(self, rest_after_s: float) -> bool:
        """Tell whether there is nothing of it to do, and has not been for a while.

        Only receives that found its queue empty tell that, not the time alone: a node in a long run
        receives nothing.
        """
        if not all(lane.empty for lane in self.lanes.values()):
            return False
        if self.facts.state is SweepState.CANCELLED or self.complete:
            return True
        since = self.empty_since
        return since is not None and self.empty_at - since >= rest_after_s

    def saw_empty(self, now: float) -> None:
        """Note that a receive found its queue empty."""
        self.empty_since = now if self.empty_since is None else self.empty_since
        self.empty_at = now

    def wake(self) -> None:
        """Note that there is something of it to do, or may be."""
        self.empty_since, self.complete = None, False

    def deployment(self, now: float) -> Deployment | None:
        """Say what its workers are to be started for; None when there is nothing to start."""
        if not self.open(now) or self.total is None or self.prepared_code != self.facts.code:
            return None
        return Deployment(
            self.facts.sweep, self.facts.code, self.total, memory_bytes=self.facts.memory_bytes
        )

    def lane(self, epoch: int) -> Lane:
        """Give the lane of an epoch."""
        lane = self.lanes.get(epoch)
        if lane is None:
            lane = self.lanes[epoch] = Lane(self.facts.sweep, epoch)
        return lane

    def available(self) -> int:
        """Count the runs that wait for a worker and can be done."""
        total = self.total or 0
        return sum(lane.available(total) for lane in self.lanes.values())

    def chunk_count(self) -> int:
        """Count the chunks at workers."""
        return sum(len(lane.chunks) for lane in self.lanes.values())
