"""Makes deliveries, events and a state machine that has already met a sweep."""

from __future__ import annotations

from aggregator.commands import Command
from aggregator.events import (
    Buffered,
    CoverageRead,
    DeliveriesReceived,
    OrphansAdopted,
    SweepsPolled,
    SweepState,
)
from aggregator.policy import Policy
from aggregator.proof import DurableShard, DurableWaste
from aggregator.state import AggregatorState
from gapless.declaration.messages import Delivery, Part
from gapless.declaration.runset import RunSet
from gapless.storage.layout import results_queue
from queueing.port import Lease

SWEEP = "demo-00000000"
QUEUE = results_queue(SWEEP)
SHARD = DurableShard(shard_id="s", sha256="0" * 64, manifest_key="sweeps/x/shards/s.json")
WASTE = DurableWaste(key="quarantine/x/y")


def buffered(
    start: int,
    stop: int,
    *,
    token: str | None = None,
    sweep: str = SWEEP,
    name: str | None = None,
    epoch: int = 0,
    size_bytes: int = 100,
    queue: str = QUEUE,
) -> Buffered:
    """Make a delivery of the runs start <= run < stop; the state never opens its body."""
    runs = RunSet.span(start, stop)
    name = name or f"delivery-{start}-{stop}-{epoch}"
    part = Part(runs=runs, epoch=epoch, digest="d")
    return Buffered(
        lease=Lease(queue, token or f"token-{name}"),
        delivery=Delivery(sweep=sweep, delivery=name, node="n", parts=(part,)),
        body=f"body of {name}",
        rows=len(runs),
        size_bytes=size_bytes,
    )


def received(*deliveries: Buffered) -> DeliveriesReceived:
    return DeliveriesReceived(deliveries)


def all_of(kind: type, commands: list[Command]) -> list:
    return [each for each in commands if isinstance(each, kind)]


def one_of(kind: type, commands: list[Command]):
    found = all_of(kind, commands)
    assert len(found) == 1, commands
    return found[0]


def met(
    total: int = 1000,
    *,
    now: float = 0.0,
    missing: RunSet | None = None,
    state: SweepState = SweepState.RUNNING,
    **policy: object,
) -> AggregatorState:
    """Give a machine that has read the home: one sweep, whose coverage it knows."""
    policy.setdefault("lease_s", 900.0)
    machine = AggregatorState(Policy(**policy), now)  # type: ignore[arg-type]
    machine.handle(SweepsPolled({SWEEP: state}), now)
    runs = RunSet.span(0, total)
    machine.handle(OrphansAdopted(SWEEP, 0), now)
    machine.handle(CoverageRead(SWEEP, runs, {0: runs if missing is None else missing}), now)
    return machine
