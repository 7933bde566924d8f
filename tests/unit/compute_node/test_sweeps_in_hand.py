"""What a node knows of one sweep: when it rests, what its workers are started for."""

from __future__ import annotations

from compute_node.commands import Deployment
from compute_node.events import SweepFacts, SweepState
from compute_node.jobs_in_hand import JobInHand
from compute_node.sweeps_in_hand import SweepInHand
from gapless.declaration.messages import Job
from gapless.declaration.runset import RunSet
from queueing.port import Lease


def sweep(**facts: object) -> SweepInHand:
    return SweepInHand(SweepFacts(sweep="s", **facts))  # type: ignore[arg-type]


def give(held: SweepInHand, runs: RunSet) -> None:
    job = Job(sweep="s", job="j", runs=runs)
    held.lane(0).add(JobInHand(1, Lease("s-jobs", "1"), job, runs, received_at=0.0, changed_at=0.0))


def test_a_sweep_rests_once_its_queue_was_seen_empty_for_so_long() -> None:
    held = sweep()
    assert not held.rests(600.0)
    held.saw_empty(100.0)
    held.saw_empty(699.0)
    assert not held.rests(600.0)
    held.saw_empty(700.0)
    assert held.rests(600.0)
    held.wake()
    held.saw_empty(5000.0)
    assert not held.rests(600.0)


def test_a_sweep_with_runs_in_hand_does_not_rest() -> None:
    held = sweep(state=SweepState.CANCELLED)
    assert held.rests(600.0)
    give(held, RunSet.of(3))
    assert not held.rests(600.0)


def test_workers_are_started_for_the_code_the_files_and_the_memory_that_are_wanted() -> None:
    held = sweep(code="c1", memory_bytes=1 << 30)
    assert held.deployment(0.0) is None
    held.total, held.prepared_code = 5, "c0"
    assert held.deployment(0.0) is None
    held.prepared_code = "c1"
    assert held.deployment(0.0) == Deployment("s", "c1", 5, memory_bytes=1 << 30)
    held.unfit_until = 10.0
    assert held.deployment(9.9) is None
    assert held.deployment(10.0) is not None


def test_no_run_can_be_done_before_the_files_are_here_the_first_one_neither() -> None:
    held = sweep()
    give(held, RunSet.of(0))
    assert held.available() == 0
    held.total = 1
    assert held.available() == 1
    assert held.lane(0) is held.lanes[0]
    assert (held.lane(0).sweep, held.lane(0).epoch) == ("s", 0)
