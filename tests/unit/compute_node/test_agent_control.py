"""What a person changes while a node runs counts for the next job, with real worker processes.

The watch of control records is as good as switched off: only what is read with a job can tell.
"""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compute_node.agent import run_node
from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from gapless.storage.bundle import pack
from gapless.storage.errors import StorageUnavailable

CODE = """
    def f(x):
        return {{"answer": {answer}}}
"""
SELDOM_S = 3600.0


class AwayControl:
    """A home whose control records cannot be read while `away` is set."""

    def __init__(self, blobs: Any) -> None:
        self._blobs = blobs
        self.away = threading.Event()
        self.asked = threading.Event()

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._blobs, verb)

        def maybe(key: str, *arguments: Any) -> Any:
            if verb in {"get", "list"} and "/control/" in key and self.away.is_set():
                self.asked.set()
                raise StorageUnavailable("the home is away")
            return call(key, *arguments)

        return maybe


@pytest.fixture
def start(place: Any) -> Iterator[Callable[..., threading.Thread]]:
    """Start a node that ends when nothing is left for it."""
    started: list[threading.Thread] = []

    def begin(**changes: Any) -> threading.Thread:
        given = {"control_s": SELDOM_S, "idle_exit_s": 2.0, "workers": 1} | changes
        node = threading.Thread(target=lambda: run_node(place.settings(**given)))
        started.append(node)
        node.start()
        return node

    yield begin
    for each in started:
        each.join(60)
        assert not each.is_alive()


def store_code(place: Any, *, answer: int) -> None:
    folder: Path = place.folder / f"source-{answer}"
    folder.mkdir()
    (folder / "work.py").write_text(textwrap.dedent(CODE).format(answer=answer))
    bundle = pack(folder)
    place.store.put_object(bundle.data)
    place.store.set_control(place.sweep, code=bundle.sha256)


def delivered(place: Any) -> bool:
    return place.queues.facts(layout.results_queue(place.sweep)).visible > 0


def test_a_job_sent_after_new_code_was_stored_is_done_with_it(
    place: Any, start: Callable[..., threading.Thread], until: Callable[..., None]
) -> None:
    place.submit(CODE.format(answer=1), runs=40, job_size=10)
    node = start()
    until(lambda: delivered(place))
    until(lambda: place.queues.facts(layout.jobs_queue(place.sweep)).leased == 0)
    assert set(place.delivered().values("answer").values()) == {1}
    store_code(place, answer=2)
    place.send(RunSet.span(0, 40))
    node.join(60)
    assert place.delivered().values("answer") == dict.fromkeys(range(40), 2)


@pytest.mark.parametrize("state", [ControlState.PAUSED, ControlState.CANCELLED])
def test_a_job_sent_after_its_sweep_was_halted_is_not_begun(
    place: Any,
    start: Callable[..., threading.Thread],
    until: Callable[..., None],
    state: ControlState,
) -> None:
    place.submit(CODE.format(answer=1), runs=20)
    node = start()
    until(lambda: delivered(place))
    until(lambda: place.queues.facts(layout.jobs_queue(place.sweep)).leased == 0)
    place.delivered()
    place.store.set_control(place.sweep, state=state)
    place.send(RunSet.span(0, 20))
    node.join(60)
    assert place.delivered().runs == []
    left = [job.runs for job in place.jobs()]
    assert left == ([RunSet.span(0, 20)] if state is ControlState.PAUSED else [])


def test_a_job_whose_control_record_cannot_be_read_waits_and_is_done_with_what_it_says_then(
    place: Any,
    start: Callable[..., threading.Thread],
    until: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    place.submit(CODE.format(answer=1), runs=20)
    blobs = AwayControl(place.blobs)
    node = start(blobs=blobs, control_s=0.1, idle_exit_s=4.0)
    until(lambda: delivered(place))
    until(lambda: place.queues.facts(layout.jobs_queue(place.sweep)).leased == 0)
    place.delivered()
    blobs.away.set()
    store_code(place, answer=2)
    until(blobs.asked.is_set)
    place.send(RunSet.span(0, 20))
    until(lambda: place.queues.facts(layout.jobs_queue(place.sweep)).leased == 1)
    until(lambda: "jobs of sweep" in caplog.text)
    assert not delivered(place)
    blobs.away.clear()
    node.join(60)
    assert place.delivered().values("answer") == dict.fromkeys(range(20), 2)
