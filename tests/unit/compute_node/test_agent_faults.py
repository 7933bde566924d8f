"""What a node does when what it depends on is away, hangs or dies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from compute_node.agent import run_node
from compute_node.commands import UNFIT
from gapless.storage import layout
from queueing.errors import QueueUnavailable

BULKY = """
    import hashlib
    def f(x):
        return {"text": hashlib.sha512(str(x).encode()).hexdigest() * 4}
"""
SLOW = """
    import time
    def f(x):
        time.sleep(0.05)
"""


class Away:
    """Queues whose sends fail until somebody lets them through."""

    def __init__(self, queues: Any) -> None:
        self._queues = queues
        self.back = threading.Event()
        self.refused = 0

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._queues, verb)

    def send(self, queue: str, entries: Any) -> Any:
        if not self.back.is_set():
            self.refused += 1
            raise QueueUnavailable("the result queue is away")
        return self._queues.send(queue, entries)


class Breaking:
    """Queues whose receive breaks with what no service says, after it gave a job."""

    def __init__(self, queues: Any) -> None:
        self._queues = queues
        self._given = False

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._queues, verb)

    def receive(self, *arguments: Any, **named: Any) -> Any:
        if self._given:
            raise RuntimeError("an answer nobody expected")
        messages = self._queues.receive(*arguments, **named)
        self._given = bool(messages)
        return messages


def test_results_wait_on_disk_while_the_result_queue_is_away_and_arrive_once(
    place: Any, until: Callable[..., None]
) -> None:
    place.submit(BULKY, runs=2000, job_size=100)
    queues = Away(place.queues)
    ended: list[int] = []
    settings = place.settings(queues=queues, memory_bytes=2_000)
    node = threading.Thread(target=lambda: ended.append(run_node(settings)))
    node.start()
    folder = place.folder / "work" / "nodes"
    try:
        until(lambda: any(folder.glob("*/outbox/*.block")) and queues.refused > 3)
        assert place.delivered().runs == []
    finally:
        queues.back.set()
        node.join(60.0)
    assert ended == [0]
    assert place.delivered().runs == list(range(2000))
    assert place.jobs() == []


def test_a_part_that_dies_ends_the_node_with_status_1_after_its_work_was_given_back(
    place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    place.submit(SLOW, runs=200, job_size=20)
    settings = place.settings(queues=Breaking(place.queues), idle_exit_s=None)
    assert run_node(settings) == 1
    assert "receiver ended with an error: RuntimeError: an answer nobody expected" in caplog.text
    facts = place.queues.facts(layout.jobs_queue(place.sweep))
    assert facts.leased == 0
    done = place.delivered().runs
    rest = place.jobs()
    assert sorted([*done, *(run for job in rest for run in job.runs)]) == list(range(200))
    assert {job.deaths for job in rest} == {0}


def test_a_module_that_hangs_at_its_import_is_told_with_what_it_printed(
    place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    code = """
        import sys, time
        print("waiting for the licence server", file=sys.stderr)
        time.sleep(1000)
        def f(x): pass
    """
    place.submit(code, runs=5)
    assert place.run_node(idle_exit_s=None, workers=1, worker_start_s=5.0) == UNFIT
    assert "was not ready after 5 s" in caplog.text
    assert "waiting for the licence server" in caplog.text
    facts = place.queues.facts(layout.jobs_queue(place.sweep))
    assert (facts.visible + facts.delayed, facts.leased) == (1, 0)


def test_runs_of_a_job_that_came_back_are_not_done_again_when_they_are_stored(
    place: Any,
) -> None:
    place.submit(SLOW, runs=30)
    assert place.run_node() == 0
    shard = place.store_results()
    everything = place.store.load(place.sweep).runs.all
    place.send(everything, deaths=1)
    assert place.run_node() == 0
    assert place.delivered().runs == []
    assert place.jobs() == []
    place.blobs.delete(layout.shard(place.sweep, shard))
    place.send(everything, deaths=1)
    assert place.run_node() == 0
    assert place.delivered().runs == list(range(30))
