"""How a node ends, and what it does while queue or storage are away."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from compute_node.agent import run_node
from compute_node.commands import UNFIT, ReceiveJobs, SendDelivery
from compute_node.errands import Errands
from compute_node.errors import NodeError
from compute_node.events import ReceiveEnded
from compute_node.outbox import Outbox
from gapless.declaration.messages import Delivery, Part
from gapless.declaration.runset import RunSet
from gapless.errors import GaplessError, UserMistake
from gapless.results.outcome import Outcome
from gapless.storage import layout
from queueing.errors import QueueError, QueueUnavailable
from queueing.memory import MemoryQueues

SIMPLE = """
    def f(x):
        return {"twice": 2 * x}
"""


class Flaky:
    """A service that is away, or has other trouble, for the first calls of some verbs."""

    def __init__(
        self, service: Any, error: type[GaplessError] = QueueUnavailable, **away: int
    ) -> None:
        self._service = service
        self._error = error
        self.away = away

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._service, verb)
        if verb not in self.away:
            return call

        def maybe(*arguments: Any, **named: Any) -> Any:
            if self.away[verb] > 0:
                self.away[verb] -= 1
                raise self._error(f"{verb}: away")
            return call(*arguments, **named)

        return maybe


def test_a_node_goes_on_when_the_queue_is_back(place: Any) -> None:
    place.submit(SIMPLE, runs=60, job_size=20)
    queues = Flaky(place.queues, send=2, receive=1, delete=1)
    assert run_node(place.settings(queues=queues)) == 0
    found = place.delivered()
    assert found.runs == list(range(60))
    assert place.jobs() == []


@pytest.mark.parametrize("trouble", [UserMistake, QueueError, GaplessError])
def test_no_trouble_with_the_queues_that_has_a_name_ends_a_node(
    place: Any, trouble: type[GaplessError], caplog: pytest.LogCaptureFixture
) -> None:
    place.submit(SIMPLE, runs=60, job_size=20)
    queues = Flaky(place.queues, trouble, send=3, receive=2, delete=2, replace=2, extend=2)
    with caplog.at_level(logging.INFO):
        assert run_node(place.settings(queues=queues)) == 0
    assert place.delivered().runs == list(range(60))
    assert place.jobs() == []
    assert caplog.text.count("no jobs can be received for now") == 1
    assert "receiving jobs works again" in caplog.text
    assert "delivering results works again" in caplog.text


def test_a_node_without_credentials_for_a_while_is_not_unfit(
    place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    place.submit(SIMPLE, runs=20)
    # The file of a sweep's objects is read by who prepares it, and by nobody else.
    blobs = Flaky(place.blobs, UserMistake, get=3)
    assert run_node(place.settings(blobs=blobs, control_s=0.1)) == 0
    assert place.delivered().runs == list(range(20))
    assert "cannot run sweep" not in caplog.text


def test_a_home_that_is_damaged_makes_a_node_unfit_for_its_sweep(
    place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    place.submit(SIMPLE, runs=20)
    place.blobs.put(layout.sweep(place.sweep), b"{")
    assert run_node(place.settings(idle_exit_s=None)) == UNFIT
    assert "is damaged" in caplog.text


def test_a_receive_that_failed_is_not_repeated_before_the_node_has_waited(place: Any) -> None:
    asked: list[float] = []

    class Watched:
        def receive(self, *_arguments: Any, **_named: Any) -> Any:
            asked.append(time.monotonic())
            raise QueueUnavailable("the reply was lost")

    errands = errands_of(place, queues=Watched(), outbox=Outbox(place.folder / "outbox"))
    ended = errands.receive(ReceiveJobs(("s-jobs",), 10), lambda _: None)
    assert isinstance(ended, ReceiveEnded)
    assert ended.problem == "the reply was lost"
    assert len(asked) == 1


def test_a_second_signal_ends_a_node_whose_queues_and_home_never_answer(
    place: Any, start_node: Callable[..., Any], until: Callable[..., None]
) -> None:
    place.submit("import time\ndef f(x): time.sleep(0.02)", runs=5000, job_size=50)
    node = start_node(grace_s=600.0, report_s=0.2, receive_wait_s=20.0)
    until(lambda: place.queues.facts(layout.results_queue(place.sweep)).visible > 0)
    node.hole.touch()
    node.stop()
    # Another one: two of a kind in the same instant are one.
    node.stop(signal.SIGINT)
    # Well below any timeout of a service: nothing but the node itself ends it.
    assert node.wait(20.0) == 0
    node.hole.unlink()


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


def test_a_cancelled_sweep_is_let_go_and_a_paused_one_is_given_back(
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
    node = start_node(control_s=0.05, lease_s=2.0)
    until(lambda: started.exists() and started.stat().st_size > 3)
    jobs = layout.jobs_queue(place.sweep)
    place.store.set_control(place.sweep, state=_state("paused"))
    until(lambda: place.queues.facts(jobs).visible == 1)
    paused_at = started.stat().st_size
    place.store.set_control(place.sweep, state=_state("running"))
    until(lambda: started.stat().st_size > paused_at)
    place.store.set_control(place.sweep, state=_state("cancelled"))
    # Not renewed, and not taken again: it is there for who goes on with the sweep.
    until(lambda: place.queues.facts(jobs).visible == 1)
    let_go_at = started.stat().st_size
    node.stop()
    assert node.wait() == 0
    assert started.stat().st_size == let_go_at < 400


def test_a_node_does_not_make_the_queues_of_a_cancelled_sweep_anew(
    place: Any, until: Callable[..., None]
) -> None:
    place.queues.close()
    place.queues = queues = MemoryQueues()
    place.submit("import time\ndef f(x): time.sleep(1000)", runs=10)
    jobs = layout.jobs_queue(place.sweep)
    settings = place.settings(workers=1, control_s=0.05, idle_exit_s=0.3)
    node = threading.Thread(target=run_node, args=(settings,))
    node.start()
    until(lambda: queues.facts(jobs).leased == 1)
    place.store.set_control(place.sweep, state=_state("cancelled"))
    queues.drop(jobs)
    queues.drop(layout.results_queue(place.sweep))
    node.join(30.0)
    assert not node.is_alive()
    assert not queues._queues


def test_a_node_that_ended_takes_in_none_of_the_events_that_wait(place: Any) -> None:
    asked = []

    def clock() -> float:
        # Read in the loop between two events: three of them wait from then on.
        while len(asked) < 3:
            asked.append(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        return time.time()

    # In a home without a sweep the first of them ends it, and what ended can be told no more.
    assert run_node(place.settings(sweep_ids=None, idle_exit_s=None, clock=clock)) == 0
    assert len(asked) == 3


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


def test_a_delivery_whose_blocks_somebody_removed_is_not_tried_for_ever(place: Any) -> None:
    outbox = Outbox(place.folder / "outbox", memory_bytes=0)
    block = outbox.add(b"a block")
    part = Part(runs=RunSet.of(1), epoch=0, digest="0" * 32)
    delivery = Delivery(sweep="s-00000000", delivery="d", node="n", parts=(part,))
    (place.folder / "outbox" / f"{block}.block").unlink()
    errands = errands_of(place, queues=place.queues, outbox=outbox)
    with pytest.raises(NodeError, match="gone from the outbox, its runs are done again"):
        errands.deliver(SendDelivery(delivery, (block,)))


def errands_of(place: Any, *, queues: Any, outbox: Outbox) -> Errands:
    """Give errands that hold no lease."""
    return Errands(
        blobs=place.blobs,
        queues=queues,
        keeper=None,  # type: ignore[arg-type]
        outbox=outbox,
        work_folder=place.folder / "work",
        lease_s=900.0,
        wait_s=0.0,
    )
