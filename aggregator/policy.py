"""When an aggregator flushes, how much it holds, when it leaves: values, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from queueing.port import MAX_BATCH

__all__ = ["Policy", "flush_age_s"]

_LEAST_AGE_S = 1.0
_GREATEST_AGE_S = 60.0
_AGE_SHARE = 0.1
_LEASE_SHARE = 0.45


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The bounds of one aggregator.

    `flush_age_s` None: a tenth of the running time, from 1 s to 60 s. `most_undeleted` keeps far
    below the 120,000 messages in flight past which a queue answers nothing (Amazon SQS Developer
    Guide, "message quotas"). `most_buffered_bytes` bounds memory: receiving stops above it.
    `sweep_ids` None: every sweep of the home. `most_remembered` deliveries a
    sweep are known again after they were stored. `stop_s` after it was asked to stop it leaves,
    whatever it has not stored.

    A sweep rests when nothing of it comes (`SweepBuffer.rests`); its queue and its control are then
    looked at every `rest_s` only (0: none ever rests), what is stored `rest_looks` times more
    seldom. `who` spreads the pauses of aggregators that met the same outage.
    """

    lease_s: float
    who: str = ""
    sweep_ids: tuple[str, ...] | None = None
    flush_rows: int = 500_000
    flush_bytes: int = 64_000_000
    flush_messages: int = 5_000
    flush_age_s: float | None = None
    most_undeleted: int = 10_000
    most_buffered_bytes: int = 128_000_000
    most_remembered: int = 20_000
    receive_most: int = MAX_BATCH
    poll_s: float = 5.0
    coverage_s: float = 30.0
    adopt_s: float = 300.0
    adopt_older_than_s: float = 60.0
    newer_format_delay_s: float = 900.0
    tries_when_stopping: int = 4
    stop_s: float = 80.0
    rest_s: float = 0.0
    rest_after_s: float = 600.0
    rest_look_s: float = 1.0
    rest_looks: int = 10
    most_resting: int = 15
    until_complete: bool = False
    idle_exit_s: float | None = None


def flush_age_s(policy: Policy, *, running_s: float) -> float:
    """Give the age at which a delivery is flushed, always below half the lease (fault 40)."""
    wanted = policy.flush_age_s
    if wanted is None:
        wanted = min(max(running_s * _AGE_SHARE, _LEAST_AGE_S), _GREATEST_AGE_S)
    return min(wanted, policy.lease_s * _LEASE_SHARE)
