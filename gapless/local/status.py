"""How the sweeps of a home stand, at a glance: the home and the queues, without the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.results.coverage import CoverageReader, counts, missing
from gapless.storage import layout
from gapless.storage.node_reports import read_recent, runs_in_hand
from gapless.storage.quarantine import count_kept
from gapless.wiring import Home
from queueing.errors import QueueError
from queueing.port import QueueFacts, Queues
from receipts.in_flight import look_in_flight
from receipts.ports import snapshots_of

__all__ = ["NodeHeard", "SweepStatus", "nodes_heard", "status_of"]

_ENDED = "ended"
_SILENT_S = 90.0
"""A node reports every 30 s: after three times that it is told as silent."""


@dataclass(frozen=True, slots=True)
class NodeHeard:
    """A node that wrote its report not long ago.

    `left`: it ended in order. `runs_in_hand`: of the sweeps looked at.
    """

    node: str
    heard_s_ago: float
    left: bool = False
    runs_in_hand: int = 0

    @property
    def silent(self) -> bool:
        """Tell whether it should have been heard since: it may be gone."""
        return not self.left and self.heard_s_ago > _SILENT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStatus:
    """One sweep. `left` runs lack a result; `in_flight` of them are in jobs or deliveries.

    `paused_itself` says why it did, "" when it did not. `in_flight`, `jobs` and `deliveries` are
    None when the queue cannot be read from here; a remote queue only counts its messages, about
    (`approximate`), and does not say which runs they hold.
    """

    sweep_id: str
    state: str
    paused_itself: str
    total: int
    outcomes: dict[str, int]
    left: int
    in_flight: int | None
    jobs: int | None
    deliveries: int | None
    approximate: bool
    shards: int
    quarantined: int
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Tell whether every run has the result it was last asked for."""
        return self.left == 0

    @property
    def nothing_queued(self) -> bool:
        """Tell whether runs are left and none of them is on a queue, as far as that can be told."""
        if not self.left or self.state != ControlState.RUNNING.value:
            return False
        if self.approximate:
            return self.jobs == self.deliveries == 0
        return self.in_flight == 0

    @property
    def stored(self) -> int:
        """Runs with a final result."""
        return sum(self.outcomes.values())


def status_of(
    home: Home, sweep_ids: Sequence[str], *, tell: Callable[[str], None]
) -> list[SweepStatus]:
    """Look at sweeps: of each the queues first, then the manifests, as reconcile does.

    `tell` takes why queues that are here cannot be read.
    """
    told: set[str] = set()

    def tell_once(text: str) -> None:
        if text not in told:
            told.add(text)
            tell(text)

    with contextlib.ExitStack() as leaving:
        queues: Queues | None = None
        try:
            if home.has_queues():
                queues = leaving.enter_context(contextlib.closing(home.queues()))
        except QueueError as error:
            tell_once(str(error))
        return [_status_of(home, sweep_id, queues, tell_once) for sweep_id in sweep_ids]


def _status_of(
    home: Home, sweep_id: str, queues: Queues | None, tell: Callable[[str], None]
) -> SweepStatus:
    stored = home.store.load(sweep_id)
    state = home.store.control(sweep_id).state
    if home.is_remote and state is ControlState.CANCELLED:
        # Its queues are dropped, and any verb would make them anew.
        seen = _Seen(None, 0, 0)
    else:
        seen = _look(queues, sweep_id, tell)
    reader = CoverageReader(home.blobs, sweep_id)
    coverage = reader.refresh()
    declared, asked = stored.runs.all, home.store.asked(sweep_id)
    lacking = missing(declared, asked, coverage)
    moving: int | None = None
    if seen.runs is not None:
        moving = sum(
            runs.overlap(seen.runs.get(epoch, RunSet())) for epoch, runs in lacking.items()
        )
    return SweepStatus(
        sweep_id=sweep_id,
        state=state.value,
        paused_itself=home.store.why_paused(sweep_id),
        total=len(declared),
        outcomes={each.label: count for each, count in counts(declared, asked, coverage).items()},
        left=sum(len(runs) for runs in lacking.values()),
        in_flight=moving,
        jobs=seen.jobs,
        deliveries=seen.deliveries,
        approximate=home.is_remote,
        shards=len(reader.shards),
        quarantined=count_kept(home.blobs, sweep_id),
        problems=tuple(reader.problems.values()),
    )


def nodes_heard(home: Home, sweep_ids: Sequence[str], now_s: float) -> list[NodeHeard]:
    """Name the nodes that reported within the last 10 minutes before `now_s` (Unix seconds)."""
    return [
        NodeHeard(
            node=report.node,
            heard_s_ago=max(0.0, now_s - report.heard_at_s),
            left=report.mode == _ENDED,
            runs_in_hand=sum(
                len(runs)
                for sweep_id in sweep_ids
                for runs in runs_in_hand([report], sweep_id).values()
            ),
        )
        for report in read_recent(home.blobs, now_s=now_s)
    ]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the queues said: None where they said nothing."""

    runs: Mapping[int, RunSet] | None = None
    jobs: int | None = None
    deliveries: int | None = None


def _look(queues: Queues | None, sweep_id: str, tell: Callable[[str], None]) -> _Seen:
    if queues is None:
        return _Seen()
    try:
        return _seen(queues, sweep_id)
    except QueueError as error:
        tell(str(error))
        return _Seen()


def _seen(queues: Queues, sweep_id: str) -> _Seen:
    snapshots = snapshots_of(queues)
    if snapshots is not None:
        found = look_in_flight(sweep_id, snapshots)
        return _Seen(found.runs, found.jobs, found.deliveries)
    jobs, deliveries = (
        queues.facts(name(sweep_id)) for name in (layout.jobs_queue, layout.results_queue)
    )
    return _Seen(None, _messages(jobs), _messages(deliveries))


def _messages(facts: QueueFacts) -> int:
    return facts.visible + facts.leased + facts.delayed
