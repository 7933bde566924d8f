"""What a submit would do (--dry-run): counted, never written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gapless.declaration.errors import DeclarationError
from gapless.declaration.sweep import Sweep
from gapless.local.source import Source, check_code, notes_on_space, pack_code
from gapless.local.submission import own_output
from queueing.port import MAX_BATCH
from receipts.jobs import job_size_for

__all__ = ["Plan", "plan_submit"]

_SHOWN = 3
_DOLLARS_A_REQUEST = 0.40 / 1_000_000
"""Amazon SQS pricing, standard queues, us-east-1, past the first million a month."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The size of a submit. `exact` tells whether the points were counted, not estimated.

    `requests` are those that a remote queue would take: a job is sent in a batch, received, and
    deleted in a batch, and so is its delivery. `hours` are of one core, None without a run_time.
    `sweep_id` is None where it is not known: points only estimated, or an `objection`, which says
    why submit would refuse the sweep.
    """

    name: str
    sweep_id: str | None
    points: int
    exact: bool
    replicates: int
    jobs: int
    job_size: int
    requests: int
    hours: float | None
    first_points: tuple[dict[str, Any], ...]
    objection: str
    notes: tuple[str, ...]
    """What a person may not have meant, and submit takes."""

    @property
    def runs(self) -> int:
        """Points x replicates."""
        return self.points * self.replicates

    @property
    def requests_dollars(self) -> float:
        """What Amazon SQS bills for the requests, roughly, in US dollars."""
        return self.requests * _DOLLARS_A_REQUEST


def plan_submit(source: Source, *, job_size: int | None) -> Plan:
    """Count what submitting a sweep makes; at once, whatever its size. UserMistake.

    The code is looked at as a submit does it.
    """
    sweep = source.sweep
    check_code(source, pack_code(source, being_written=own_output()))
    points, exact = _estimate(sweep)
    sweep_id, objection = None, ""
    try:
        if exact:
            sweep_id = sweep.freeze().id
        else:
            sweep.check_estimate(points)
    except DeclarationError as error:
        objection = str(error)
    runs = points * sweep.replicates
    size = job_size or job_size_for(runs, run_time_s=sweep.run_time_s)
    jobs = -(-runs // size)
    # The points of an estimate are not known without walking through all candidates.
    shown = min(_SHOWN, points) if exact else 0
    return Plan(
        name=sweep.name,
        sweep_id=sweep_id,
        points=points,
        exact=exact,
        replicates=sweep.replicates,
        jobs=jobs,
        job_size=size,
        requests=2 * jobs + 4 * -(-jobs // MAX_BATCH),
        hours=None if sweep.run_time_s is None else runs * sweep.run_time_s / 3600,
        first_points=tuple(sweep.space[each] for each in range(shown)),
        objection=objection,
        notes=() if objection else tuple(notes_on_space(source)),
    )


def _estimate(sweep: Sweep) -> tuple[int, bool]:
    try:
        return sweep.space.estimate()
    except DeclarationError as error:
        lines = str(error).splitlines()
        raise DeclarationError(
            "\n".join(f"{sweep.source}: space: {line}" for line in lines)
        ) from error
