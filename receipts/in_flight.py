"""What the queues of a sweep hold at one instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.messages import decode_delivery, decode_job
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from receipts.ports import SnapshotQueues

__all__ = ["InFlight", "look_in_flight"]

_JOINED_AT_ONCE = 4096


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


def look_in_flight(sweep_id: str, queues: SnapshotQueues) -> InFlight:
    """Read the heads of both queues of a sweep, in one read transaction."""
    jobs_queue, results_queue = layout.jobs_queue(sweep_id), layout.results_queue(sweep_id)
    heads = queues.heads([jobs_queue, results_queue])
    sets: dict[int, list[RunSet]] = {}
    damaged: list[str] = []
    newer = 0
    for queue in (jobs_queue, results_queue):
        for head in heads[queue]:
            try:
                found = _runs_of(head, sweep_id=sweep_id, is_job=queue == jobs_queue)
            except DamagedMessage as error:
                damaged.append(f"{queue}: {error}")
                continue
            except NewerFormat:
                newer += 1
                continue
            for epoch, runs in found:
                held = sets.setdefault(epoch, [])
                held.append(runs)
                if len(held) == _JOINED_AT_ONCE:
                    held[:] = [RunSet.union(held)]
    return InFlight(
        runs={epoch: RunSet.union(each) for epoch, each in sets.items()},
        jobs=len(heads[jobs_queue]),
        deliveries=len(heads[results_queue]),
        damaged=tuple(damaged),
        newer=newer,
    )


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
