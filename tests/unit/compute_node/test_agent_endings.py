"""How a node ends, and what it does while queue or storage are away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from compute_node.agent import run_node
from gapless.results.outcome import Outcome
from gapless.storage import layout
from queueing.errors import QueueUnavailable

SIMPLE = """
    def f(x):
        return {"twice": 2 * x}
"""


class Flaky:
    """A queue service that is away for the first calls of some verbs."""

    def __init__(self, queues: Any, **away: int) -> None:
        self._queues = queues
        self._away = away

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._queues, verb)
        if verb not in self._away:
            return call

        def maybe(*arguments: Any, **named: Any) -> Any:
            if self._away[verb] > 0:
                self._away[verb] -= 1
                raise QueueUnavailable(f"{verb}: away")
            return call(*arguments, **named)

        return maybe


def test_a_node_goes_on_when_the_queue_is_back(place: Any) -> None:
    place.submit(SIMPLE, runs=60, job_size=20)
    queues = Flaky(place.queues, send=2, receive=1, delete=1)
    assert run_node(place.settings(queues=queues)) == 0
    found = place.delivered()
    assert found.runs == list(range(60))
    assert place.jobs() == []


def test_until_complete_ends_when_every_result_is_stored_and_not_before(place: Any) -> None:
    place.submit(SIMPLE, runs=30, job_size=10)
    ended: list[int] = []
    node = threading.Thread(
        target=lambda: ended.append(
            place.run_node(until_complete=True, idle_exit_s=None, completeness_s=0.05)
        )
    )
    node.start()
    deadline = time.monotonic() + 30
    queue = layout.results_queue(place.sweep)
    while place.queues.facts(layout.jobs_queue(place.sweep)).leased or not (
        place.queues.facts(queue).visible
    ):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    assert ended == []
    place.store_results()
    node.join(20)
    assert ended == [0]


def test_a_cancelled_sweep_is_dropped_and_a_paused_one_is_given_back(
    place: Any, start_node: Callable[..., Any], until: Callable[..., None]
) -> None:
    started = place.folder / "started"
    code = f"""
        import time
        def f(x):
            open({str(started)!r}, "a").write("x")
            time.sleep(0.1)
    """
    place.submit(code, runs=400)
    node = start_node(control_s=0.05)
    until(lambda: started.exists() and started.stat().st_size > 3)
    jobs = layout.jobs_queue(place.sweep)
    place.store.set_control(place.sweep, state=_state("paused"))
    until(lambda: place.queues.facts(jobs).visible == 1)
    paused_at = started.stat().st_size
    place.store.set_control(place.sweep, state=_state("running"))
    until(lambda: started.stat().st_size > paused_at)
    place.store.set_control(place.sweep, state=_state("cancelled"))
    until(lambda: place.queues.facts(jobs).visible + place.queues.facts(jobs).leased == 0)
    node.stop()
    assert node.wait() == 0


def test_a_single_run_that_took_its_nodes_with_it_is_recorded_as_lost(place: Any) -> None:
    place.submit(SIMPLE, runs=4)
    place.jobs()
    place.send(place.store.load(place.sweep).runs.all.first(1), deaths=6)
    assert place.run_node() == 0
    assert place.delivered().outcomes == {0: Outcome.LOST}


def test_a_killed_node_repeats_only_what_was_not_taken_off_its_job(
    place: Any, start_node: Callable[..., Any], until: Callable[..., None]
) -> None:
    started = place.folder / "started"
    code = f"""
        import os, time
        def f(x):
            with open({str(started)!r}, "a") as file: file.write(f"{{x}} ")
            time.sleep(0.02)
    """
    place.submit(code, runs=300)
    node = start_node(decrement_after_s=0.2, decrement_every_s=0.2, lease_s=900.0)
    until(lambda: place.queues.facts(layout.results_queue(place.sweep)).visible >= 8)
    node.process.kill()
    node.wait()
    before = set(place.delivered().runs)
    (rest,) = place.jobs()
    assert len(rest.runs) < 300
    assert set(range(300)) - set(rest.runs) <= before


def _state(name: str) -> Any:
    from gapless.declaration.control import ControlState

    return ControlState(name)
