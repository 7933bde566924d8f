"""The numbers a node decides by: durations in seconds, sizes in bytes."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from queueing.port import MAX_MESSAGE_BYTES

__all__ = ["NodeRules", "Remainders"]


class Remainders(enum.Enum):
    """To whom a message belongs that this node puts in a job's place.

    Where it is anybody's (Amazon SQS gives a lease by a receive only), the runs under way would be
    begun by others too: a job is then not decremented while it is worked on, and what is cut off it
    is sent beside it.
    """

    LEASED = "to this node, if it wishes"
    ANYBODYS = "to whoever receives it"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRules:
    """What a node decides by; `only` names the sweeps it serves (empty: every sweep of the home).

    `id_prefix` must be unique to this start of the node: ids of deliveries and of new jobs follow
    from it. A sweep rests when there is nothing of it to do (`SweepInHand.rests`): it is looked at
    every `rest_s` only; 0: none ever rests.
    """

    node: str
    id_prefix: str
    workers: int
    only: tuple[str, ...] = ()
    lease_s: float = 900.0
    grace_s: float = 60.0
    farewell_s: float = 30.0
    stop_s: float = 1.5
    idle_exit_s: float | None = None
    linger_s: float = 1.0
    most_message_bytes: int = MAX_MESSAGE_BYTES
    most_in_flight: int = 4
    most_jobs: int = 40
    remainders: Remainders = Remainders.LEASED
    ahead_s: float = 1.0
    decrement_after_s: float = 60.0
    decrement_every_s: float = 60.0
    split_above_s: float = 600.0
    split_keep_s: float = 120.0
    steal_after_s: float = 2.0
    newer_delay_s: float = 900.0
    unfit_delay_s: float = 30.0
    retry_pause_s: float = 1.0
    look_up_s: float = 5.0
    rest_s: float = 0.0
    rest_after_s: float = 600.0
    rest_look_s: float = 1.0
    most_resting: int = 15
    halve_at_deaths: int = 3
    lost_at_deaths: int = 6
    barren_deaths: int = 5
