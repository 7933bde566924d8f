"""How often programs look at a home and at its queues: a folder's cost nothing, S3 and SQS bill.

Prices to choose by (Amazon S3 pricing, us-east-1): a listing or a put $5, a get $0.40 per million;
(Amazon SQS pricing) a receive $0.40 per million. Every 5 s a program lists the names of the sweeps
(17,280 times a day: 9 cents), and for each sweep there is something to do of, its control records
(9 cents) and reads a byte (under 1 cent). Records that never change are read once. A receive that
waits 20 s is made three times a minute.

A sweep rests when it is cancelled or complete (as far as a program knows), or when its queue was
found empty for ten minutes: it is listed, read and received from once a minute only, which costs a
program about 1 cent a day; what is done to it from then on is noticed within that minute.
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
    `rest_s`: between two looks at a sweep that rests; 0: none does, a look costs nothing.
    `watch_s`, `first_watch_s`: between two looks of `sweep run` at what is stored, and in its first
    seconds.
    """

    receive_wait_s: float
    control_s: float
    completeness_s: float
    failures_s: float
    rest_s: float
    watch_s: float
    first_watch_s: float


ALONE_ON_FOLDER = Pace(
    receive_wait_s=0.25,
    control_s=5.0,
    completeness_s=0.5,
    failures_s=2.0,
    rest_s=0.0,
    watch_s=0.5,
    first_watch_s=0.05,
)
UNDER_RUN_ON_FOLDER = Pace(
    receive_wait_s=0.25,
    control_s=0.25,
    completeness_s=0.5,
    failures_s=2.0,
    rest_s=0.0,
    watch_s=0.5,
    first_watch_s=0.05,
)
ALONE_ON_S3 = Pace(
    receive_wait_s=20.0,
    control_s=5.0,
    completeness_s=15.0,
    failures_s=15.0,
    rest_s=60.0,
    watch_s=1.0,
    first_watch_s=0.25,
)
UNDER_RUN_ON_S3 = Pace(
    # Short, so that `sweep run` ends soon after its last run.
    receive_wait_s=1.0,
    control_s=1.0,
    completeness_s=5.0,
    failures_s=5.0,
    rest_s=0.0,
    watch_s=1.0,
    first_watch_s=0.25,
)
