"""Checks of what nodes have in hand: each run of a job is done there, and let go once it is stored.

No invariant over queues and shards sees a node that keeps a job for ever: as long as the job is on
its queue nothing is lost, and once somebody else has stored its runs the sweep is complete.
"""

from __future__ import annotations

from compute_node.jobs_in_hand import Intent, Lane
from compute_node.state import NodeState
from gapless.declaration.runset import RunSet
from queueing.leases import Renewals
from tests.simulator.world import Violation

__all__ = ["check_all_is_done", "still_held"]


def check_all_is_done(node: str, state: NodeState) -> None:
    """Check that what a node works on lacks no run that is neither to do there nor under way."""
    for sweep in state.sweeps.values():
        for lane in sweep.lanes.values():
            forgotten = _forgotten(lane)
            if forgotten:
                raise Violation(
                    f"{node} keeps runs {[*forgotten]} of {lane.sweep} at epoch {lane.epoch} in "
                    "its hands, and does not do them"
                )


def _forgotten(lane: Lane) -> RunSet:
    jobs = lane.jobs.values()
    # Asked at every tick: a job with runs to do is looked at once these are done.
    waiting = [x.remaining for x in jobs if x.intent is Intent.WORK and x.remaining and not x.todo]
    if not waiting:
        return RunSet()
    cared_for = RunSet.union([lane.taken(), *(job.handed_over for job in jobs)])
    return RunSet.union(waiting) - cared_for


def still_held(state: NodeState, renewals: Renewals, *, waiting_bytes: int) -> str:
    """Say what a node has not let go; empty: nothing. `waiting_bytes`: results on its disk."""
    for name, sweep in state.sweeps.items():
        if any(lane.jobs for lane in sweep.lanes.values()):
            return f"a job of {name}"
    for lease in renewals.held:
        return f"the lease of a job of {lease.queue}"
    return f"{waiting_bytes} bytes of results" if waiting_bytes else ""
