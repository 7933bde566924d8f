"""What the queues of a sweep hold at one instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.messages import decode_delivery, decode_job
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from receipts.ports import SnapshotQueues

__all__ = ["NOTHING_SEEN", "InFlight", "look_in_flight"]

_JOINED_AT_ONCE = 32
"""Of messages of up to 1 MiB each. 60,000 jobs of 100 runs are joined in 0.1 s, as with 4,096."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """The runs of jobs and deliveries, by epoch; messages that could not be read count for none."""

    runs: Mapping[int, RunSet]
    jobs: int
    deliveries: int
    damaged: tuple[str, ...]
    """Why each message that nobody can decode could not be read."""
    newer: int
    """Messages of a newer format: what they hold is not known here."""


NOTHING_SEEN = InFlight(runs={}, jobs=0, deliveries=0, damaged=(), newer=0)
"""For queues that were not looked at."""


def look_in_flight(sweep_id: str, queues: SnapshotQueues) -> InFlight:
    """Read the heads of both queues of a sweep, in one read transaction."""
    jobs_queue, results_queue = layout.jobs_queue(sweep_id), layout.results_queue(sweep_id)

    def read(queue: str, heads: Iterator[str]) -> _Held:
        return _held_in(queue, heads, sweep_id=sweep_id, is_job=queue == jobs_queue)

    found = queues.read_heads([jobs_queue, results_queue], read)
    jobs, deliveries = found[jobs_queue], found[results_queue]
    return InFlight(
        runs={
            epoch: RunSet.union([*jobs.sets.get(epoch, ()), *deliveries.sets.get(epoch, ())])
            for epoch in {*jobs.sets, *deliveries.sets}
        },
        jobs=jobs.messages,
        deliveries=deliveries.messages,
        damaged=(*jobs.damaged, *deliveries.damaged),
        newer=jobs.newer + deliveries.newer,
    )


@dataclass(slots=True)
class _Held:
    """What one queue holds; of each epoch a few sets to be joined."""

    sets: dict[int, list[RunSet]] = field(default_factory=dict)
    messages: int = 0
    damaged: list[str] = field(default_factory=list)
    newer: int = 0


def _held_in(queue: str, heads: Iterator[str], *, sweep_id: str, is_job: bool) -> _Held:
    held = _Held()
    for head in heads:
        held.messages += 1
        try:
            found = _runs_of(head, sweep_id=sweep_id, is_job=is_job)
        except DamagedMessage as error:
            held.damaged.append(f"{queue}: {error}")
            continue
        except NewerFormat:
            held.newer += 1
            continue
        for epoch, runs in found:
            sets = held.sets.setdefault(epoch, [])
            sets.append(runs)
            if len(sets) == _JOINED_AT_ONCE:
                sets[:] = [RunSet.union(sets)]
    return held


def _runs_of(head: str, *, sweep_id: str, is_job: bool) -> list[tuple[int, RunSet]]:
    if is_job:
        job = decode_job(head)
        named, found = job.sweep, [(job.epoch, job.runs)]
    else:
        delivery = decode_delivery(head)
        named, found = delivery.sweep, [(part.epoch, part.runs) for part in delivery.parts]
    if named != sweep_id:
        raise DamagedMessage(f"a message of sweep {named[:80]!r}")
    return found
