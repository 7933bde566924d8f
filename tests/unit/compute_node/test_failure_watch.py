"""When a sweep of which too many runs end not ok pauses itself, and when not again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from compute_node.failure_watch import FailureWatch, failures_so_far
from gapless.declaration.control import Asked, Control, ControlState
from gapless.declaration.runset import RunSet
from gapless.declaration.sweep import Limits
from gapless.results.block_builder import BlockBuilder
from gapless.results.manifest import encode_manifest
from gapless.results.outcome import Outcome
from gapless.results.shard import Origin, encode_shard
from gapless.storage import layout

CODE = """
    def f(x):
        if x % 2: raise ValueError(x)
        return {"x": x}
"""


class Home:
    """A sweep of 100 runs whose results are stored by hand."""

    def __init__(self, place: Any, max_failures: str | int | None) -> None:
        place.submit(CODE, runs=100, limits=Limits(max_failures=max_failures))
        self.place, self.sweep, self.store = place, place.sweep, place.store
        self.shards = 0
        self.watch = self.another_watch()

    def another_watch(self) -> FailureWatch:
        return FailureWatch(self.store, self.place.blobs, lambda: 7.0)

    def end(self, start: int, stop: int, outcome: Outcome = Outcome.FAILED, epoch: int = 0) -> None:
        self.shards += 1
        builder = BlockBuilder(epoch=epoch, node="n", code="c")
        for run in range(start, stop):
            builder.add(
                run=run,
                outcome=outcome,
                complete=outcome is Outcome.OK,
                attempt=1,
                started_s=1.0,
                duration_s=1.0,
                values={},
                error=None,
                attempts=(),
            )
        stored = self.store.load(self.sweep)
        shard = encode_shard(
            [builder.build()],
            sweep_id=self.sweep,
            declaration_json=stored.declaration.encode(),
            runs=stored.runs,
            origin=Origin(
                flushed_at=f"2026-01-01T00:00:{self.shards:02}.000000Z", aggregator="a", number=1
            ),
        )
        self.place.blobs.put(layout.shard(self.sweep, shard.shard_id), shard.data)
        key = layout.manifest(self.sweep, shard.shard_id)
        self.place.blobs.put(key, encode_manifest(shard.manifest))

    def ask(self, runs: RunSet, epoch: int) -> None:
        self.store.ask(self.sweep, Asked(epoch=epoch, runs=runs, at_s=1.0))

    def resume(self) -> None:
        known = failures_so_far(self.store, self.place.blobs, self.sweep)
        self.store.set_control(self.sweep, state=ControlState.RUNNING, paused_itself=known)

    @property
    def control(self) -> Control:
        found: Control = self.store.control(self.sweep)
        return found


@pytest.fixture
def home(place: Any) -> Callable[[str | int | None], Home]:
    return lambda max_failures: Home(place, max_failures)


@pytest.mark.parametrize("max_failures", [5, "5%"])
def test_a_sweep_pauses_itself_when_more_runs_failed_than_allowed_and_not_before(
    home: Callable[..., Home], max_failures: str | int
) -> None:
    made = home(max_failures)
    made.end(0, 5)
    made.end(50, 60, Outcome.OK)
    assert made.watch.look(made.sweep) == ""
    assert made.control.state is ControlState.RUNNING
    made.end(5, 6, Outcome.LOST)
    said = made.watch.look(made.sweep)
    assert made.control.state is ControlState.PAUSED
    assert made.control.why == f"6 of 100 runs ended not ok, max_failures = {max_failures} allows 5"
    assert made.control.why in said
    assert made.store.why_paused(made.sweep) == made.control.why


def test_a_sweep_without_a_limit_never_pauses_itself(home: Callable[..., Home]) -> None:
    made = home(None)
    made.end(0, 99)
    assert made.watch.look(made.sweep) == ""
    assert made.control.version == 0


def test_a_complete_sweep_is_left_as_it_is(home: Callable[..., Home]) -> None:
    made = home(5)
    made.end(0, 100)
    assert made.watch.look(made.sweep) == ""
    assert made.control.state is ControlState.RUNNING


def test_two_nodes_write_one_pause(home: Callable[..., Home]) -> None:
    made = home(5)
    made.end(0, 6)
    assert made.watch.look(made.sweep)
    assert made.another_watch().look(made.sweep) == ""
    assert made.control.version == 1


def test_a_run_that_was_stored_ok_as_well_is_no_failure(home: Callable[..., Home]) -> None:
    made = home(5)
    made.end(0, 6)
    made.end(0, 1, Outcome.OK)
    assert made.watch.look(made.sweep) == ""


def test_a_resumed_sweep_pauses_again_only_when_more_failed_since(
    home: Callable[..., Home],
) -> None:
    made = home(5)
    made.end(0, 6)
    assert made.watch.look(made.sweep)
    made.end(6, 20)  # were under way when it paused itself
    made.resume()
    assert made.another_watch().look(made.sweep) == ""
    made.end(20, 25)
    assert made.watch.look(made.sweep) == ""
    made.end(25, 26)
    assert made.watch.look(made.sweep)
    why = "max_failures = 5 allows 5 besides those it was resumed with (up to 20)"
    assert made.control.why == f"26 of 100 runs ended not ok, {why}"


def test_changes_of_other_things_do_not_forget_what_was_accepted(
    home: Callable[..., Home],
) -> None:
    made = home(5)
    made.end(0, 6)
    assert made.watch.look(made.sweep)
    made.store.set_control(made.sweep, priority=3, why="submitted again")
    assert made.store.why_paused(made.sweep).startswith("6 of 100")
    made.resume()
    made.store.set_control(made.sweep, priority=4)
    assert made.watch.look(made.sweep) == ""
    assert made.store.why_paused(made.sweep) == ""


def test_runs_asked_for_anew_do_not_count_until_they_fail_again_and_then_they_do(
    home: Callable[..., Home],
) -> None:
    made = home(5)
    made.end(0, 30)
    assert made.watch.look(made.sweep)
    made.resume()
    made.ask(RunSet.span(0, 30), 1)
    assert made.watch.look(made.sweep) == ""
    made.end(0, 5, epoch=1)
    assert made.watch.look(made.sweep) == ""
    made.end(5, 6, epoch=1)
    assert made.watch.look(made.sweep)


def test_a_pause_by_a_person_has_no_reason_of_its_own(home: Callable[..., Home]) -> None:
    made = home(5)
    made.store.set_control(made.sweep, state=ControlState.PAUSED)
    made.store.set_control(made.sweep, priority=1, why="submitted again")
    assert made.store.why_paused(made.sweep) == ""


def test_a_running_node_pauses_its_sweep_and_gives_the_rest_back(
    place: Any, start_node: Callable[..., Any], until: Callable[..., None]
) -> None:
    place.submit(
        """
        import time
        def f(x):
            time.sleep(0.02)
            raise ValueError(x)
        """,
        runs=1000,
        limits=Limits(max_failures=3),
    )
    node = start_node(failures_s=0.05, control_s=3600.0, linger_s=0.05)
    results = layout.results_queue(place.sweep)
    until(lambda: place.queues.facts(results).visible > 1)
    began_s = time.monotonic()
    place.store_results()
    jobs = layout.jobs_queue(place.sweep)
    until(lambda: place.store.control(place.sweep).state is ControlState.PAUSED)
    until(lambda: place.queues.facts(jobs).visible == 1)
    assert time.monotonic() - began_s < 15
    (left,) = place.jobs()
    assert len(left.runs) > 500
    node.stop()
    assert node.wait() == 0
