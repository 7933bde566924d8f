"""How often programs look at a home and at its queues: a folder's cost nothing, S3 and SQS bill.

Prices to choose by (Amazon S3 pricing, us-east-1): a listing or a put $5, a get $0.40 per million;
(Amazon SQS pricing) a receive $0.40 per million. A node of one sweep that looks at what is wanted
of it every 5 s lists 17,280 times a day: 9 cents. A receive that waits 20 s is made three times a
minute.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ALONE_ON_FOLDER", "ALONE_ON_S3", "UNDER_RUN_ON_FOLDER", "UNDER_RUN_ON_S3", "Pace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Waits, in seconds.

    `receive_wait_s`: how long one receive waits; a node that drains waits for its last one.
    `control_s`: between two looks at what is wanted of the sweeps. `completeness_s`, `failures_s`:
    between two looks at what is stored, with --until-complete and for sweeps with max_failures.
    `watch_s`, `first_watch_s`: between two looks of `sweep run` at what is stored, and in its first
    seconds.
    """

    receive_wait_s: float
    control_s: float
    completeness_s: float
    failures_s: float
    watch_s: float
    first_watch_s: float


ALONE_ON_FOLDER = Pace(
    receive_wait_s=0.25,
    control_s=5.0,
    completeness_s=2.0,
    failures_s=2.0,
    watch_s=0.5,
    first_watch_s=0.05,
)
UNDER_RUN_ON_FOLDER = Pace(
    receive_wait_s=0.25,
    control_s=0.25,
    completeness_s=2.0,
    failures_s=2.0,
    watch_s=0.5,
    first_watch_s=0.05,
)
ALONE_ON_S3 = Pace(
    receive_wait_s=20.0,
    control_s=5.0,
    completeness_s=15.0,
    failures_s=15.0,
    watch_s=1.0,
    first_watch_s=0.25,
)
UNDER_RUN_ON_S3 = Pace(
    # Short, so that `sweep run` ends soon after its last run.
    receive_wait_s=1.0,
    control_s=1.0,
    completeness_s=5.0,
    failures_s=5.0,
    watch_s=1.0,
    first_watch_s=0.25,
)
