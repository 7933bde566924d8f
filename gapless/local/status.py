"""How the sweeps of a home stand, at a glance: the home and the queues, without the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from gapless.declaration.runset import RunSet
from gapless.results.coverage import CoverageReader, counts, missing
from gapless.storage import layout
from gapless.storage.quarantine import count_kept
from gapless.wiring import Home
from queueing.errors import QueueError
from receipts.in_flight import InFlight, look_in_flight

__all__ = ["NodeHeard", "SweepStatus", "nodes_heard", "status_of"]

_HEARD_S = 600.0


@dataclass(frozen=True, slots=True)
class NodeHeard:
    """A node that wrote its report not long ago."""

    node: str
    heard_s_ago: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStatus:
    """One sweep. `left` runs lack a result; `in_flight` of them are in jobs or deliveries.

    `paused_itself` says why it did, "" when it did not.
    `in_flight`, `jobs` and `deliveries` are None when the queue cannot be read from here.
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
    shards: int
    quarantined: int
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Tell whether every run has the result it was last asked for."""
        return self.left == 0

    @property
    def stored(self) -> int:
        """Runs with a final result."""
        return sum(self.outcomes.values())


def status_of(home: Home, sweep_id: str) -> SweepStatus:
    """Look at one sweep: the queues first, then the manifests, as reconcile does."""
    stored = home.store.load(sweep_id)
    in_flight = _look(home, sweep_id)
    reader = CoverageReader(home.blobs, sweep_id)
    coverage = reader.refresh()
    declared, asked = stored.runs.all, home.store.asked(sweep_id)
    lacking = missing(declared, asked, coverage)
    moving: int | None = None
    if in_flight is not None:
        moving = sum(
            runs.overlap(in_flight.runs.get(epoch, RunSet())) for epoch, runs in lacking.items()
        )
    return SweepStatus(
        sweep_id=sweep_id,
        state=home.store.control(sweep_id).state.value,
        paused_itself=home.store.why_paused(sweep_id),
        total=len(declared),
        outcomes={each.label: count for each, count in counts(declared, asked, coverage).items()},
        left=sum(len(runs) for runs in lacking.values()),
        in_flight=moving,
        jobs=None if in_flight is None else in_flight.jobs,
        deliveries=None if in_flight is None else in_flight.deliveries,
        shards=len(reader.shards),
        quarantined=count_kept(home.blobs, sweep_id),
        problems=tuple(reader.problems.values()),
    )


def nodes_heard(home: Home, now_s: float) -> list[NodeHeard]:
    """Name the nodes that reported within the last 10 minutes before `now_s` (Unix seconds)."""
    prefix = layout.nodes_prefix()
    return [
        NodeHeard(
            node=blob.key.removeprefix(prefix).removesuffix(".json"),
            heard_s_ago=max(0.0, now_s - blob.written_at_s),
        )
        for blob in home.blobs.list(prefix)
        if now_s - blob.written_at_s < _HEARD_S
    ]


def _look(home: Home, sweep_id: str) -> InFlight | None:
    if not home.queue_file.exists():
        return None
    try:
        queues = home.queues()
    except QueueError:
        return None
    try:
        return look_in_flight(sweep_id, queues)
    except QueueError:
        return None
    finally:
        queues.close()
