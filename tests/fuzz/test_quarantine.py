"""A message is decoded or it is quarantined: through the queue and the programs that receive it.

Whatever lies on a queue of a sweep ends in one of three ways: used, durably in quarantine and then
deleted, or (of a newer major version) back on its queue with a delay. None goes in circles, none
goes without a trace, and the sweep is completed among them, every value as it was sent.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.decoding import open_blocks, read_message
from aggregator.events import Buffered, NewerFormatReceived
from compute_node.commands import AssignChunk, PrepareSweep, PutQuarantine, ReleaseJob
from compute_node.errands import Errands
from compute_node.events import ReceiveEnded, SweepPrepared
from compute_node.outbox import Outbox
from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.messages import Job, decode_job, encode_job
from gapless.declaration.runset import RunSet
from gapless.results.reader import Results
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.folder import FolderBlobs
from gapless.storage.memory import MemoryBlobs
from gapless.storage.quarantine import kept_messages, read_kept
from queueing.leases import LeaseKeeper
from queueing.memory import MemoryQueues
from queueing.port import MAX_BATCH, Entry, Lease, Message, Queues
from queueing.sqlite import SqliteQueues
from tests.fuzz.mutation import mutated
from tests.unit.aggregator.homes import Running, delivery_body, store_sweep
from tests.unit.compute_node.a_node import Node, S
from tests.unit.compute_node.conftest import Place

RUNS = 20
TOTAL = 10_000
WAIT_S = 60.0
tries = settings(
    max_examples=12, derandomize=True, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
numbers = st.integers(0, 2**64 - 1)


def hostile(valid: list[str], random: Random, count: int) -> list[str]:
    """Change valid bodies into what a queue may hold: ASCII, not empty, of at most 1 MiB.

    Control characters are refused by the queues themselves.
    """
    seeds = tuple(each.encode() for each in valid)
    bodies = dict.fromkeys([valid[0].replace('/1"', '/2"', 1)])
    while len(bodies) < count:
        data = mutated(random.choice(seeds), random, others=seeds)
        text = data.decode("ascii", "replace")
        if len(data) <= 2**20 and text.replace("\n", "x").isprintable() and text.isascii() and text:
            bodies[text] = None
    return [*bodies]


def send(queues: Queues, queue: str, bodies: list[str]) -> None:
    for start in range(0, len(bodies), MAX_BATCH):
        batch = [Entry(body) for body in bodies[start : start + MAX_BATCH]]
        if sum(len(each.body) for each in batch) <= 2**20:
            assert all(each.ok for each in queues.send(queue, batch))
        else:
            assert all(queues.send(queue, [each])[0].ok for each in batch)


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "a message goes in circles, or a program stopped"
        pause.wait(0.01)


def kept_bodies(blobs: Blobs, sweep: str) -> list[str]:
    found = [read_kept(blobs, key) for key in kept_messages(blobs, sweep)]
    return sorted(each.body for each in found if each is not None)


# ------------------------------------------------------------------------- the result queue


def fate_of_delivery(body: str, sweep: str, blobs: Blobs) -> str:
    read = read_message(Message(Lease(layout.results_queue(sweep), "t"), body, 1))
    if isinstance(read, NewerFormatReceived):
        return "newer"
    if not isinstance(read, Buffered) or read.delivery.sweep != sweep:
        return "quarantined"
    try:
        open_blocks(read, blobs)
    except NewerFormat:
        return "newer"
    except DamagedMessage:
        return "quarantined"
    return "used" if read.delivery.runs.issubset(RunSet.span(0, RUNS)) else "quarantined"


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_every_delivery_is_stored_or_quarantined_or_given_back(where: str, tmp_path: Path) -> None:
    @(tries if where == "memory" else settings(tries, max_examples=3))
    @given(numbers)
    def check(number: int) -> None:
        blobs: Any = MemoryBlobs()
        queues: Any = MemoryQueues()
        if where == "disk":
            place = tmp_path / str(number)
            blobs, queues = FolderBlobs(place / "home"), SqliteQueues(place / "queue.db")
        sweep = store_sweep(blobs, points=RUNS)
        queue = layout.results_queue(sweep)
        valid = [
            delivery_body(sweep, 0, 5),
            delivery_body(sweep, 5, RUNS),
            delivery_body(sweep, 3, 9, blobs=blobs, name="claimed"),
        ]
        bodies = hostile(valid, Random(number), 25)
        send(queues, queue, [*bodies, *valid])
        fates = {body: fate_of_delivery(body, sweep, blobs) for body in bodies}
        wanted = Counter(fates.values())
        running = Running(blobs, queues, flush_age_s=0.05)

        def done() -> bool:
            facts = queues.facts(queue)
            return facts.visible + facts.leased == 0 and facts.delayed == wanted["newer"]

        wait_until(done)
        assert running.stop() == 0
        assert kept_bodies(blobs, sweep) == sorted(
            body for body, fate in fates.items() if fate == "quarantined"
        )
        # Complete, and no value is another one, whatever was among the messages.
        assert Results(blobs, sweep).values("y").tolist() == list(range(RUNS))
        queues.close()

    check()


# ------------------------------------------------------------------------- the work queue


def jobs_of(sweep: str) -> list[str]:
    runs = (RunSet.span(0, 40), RunSet.of(1, 5, 8000), RunSet.from_numbers(range(0, 5000, 7)))
    return [encode_job(Job(sweep=sweep, job=f"{n:016x}", runs=each)) for n, each in enumerate(runs)]


def fate_of_job(body: str, sweep: str, total: int) -> str:
    try:
        job = decode_job(body)
    except NewerFormat:
        return "newer"
    except DamagedMessage:
        return "quarantined"
    return "used" if job.sweep == sweep and job.runs.greatest < total else "quarantined"


def as_kept(body: str) -> str:
    """Give a job as a node keeps it: a message it could read, as the job it read."""
    try:
        return encode_job(decode_job(body))
    except (DamagedMessage, NewerFormat):
        return body


def check_jobs_kept(blobs: Blobs, sweep: str, fates: dict[str, str]) -> None:
    kept = {as_kept(body) for body in kept_bodies(blobs, sweep)}
    assert kept == {as_kept(body) for body, fate in fates.items() if fate == "quarantined"}


def test_every_job_is_held_or_quarantined_or_given_back(tmp_path: Path) -> None:
    @settings(tries, max_examples=40)
    @given(numbers)
    def check(number: int) -> None:
        blobs, queues = MemoryBlobs(), MemoryQueues()
        queue = layout.jobs_queue(S)
        bodies = hostile(jobs_of(S), Random(number), 20)
        send(queues, queue, bodies)
        keeper = LeaseKeeper(queues, lease_s=900.0, on_lost=lambda _: None)
        errands = Errands(
            blobs=blobs, queues=queues, keeper=keeper, outbox=Outbox(tmp_path / "outbox"),
            work_folder=tmp_path, lease_s=900.0, wait_s=0.0,
        )  # fmt: skip
        node = Node(total=TOTAL)
        try:
            held = receive_all(node, errands, queues, queue)
        finally:
            keeper.close()
        fates = {body: fate_of_job(body, S, TOTAL) for body in bodies}
        check_jobs_kept(blobs, S, fates)
        facts = queues.facts(queue)
        wanted = Counter(fates.values())
        assert (facts.delayed, facts.visible) == (wanted["newer"], 0)
        # What can be used is in the node's hands, under its lease, and nothing else is.
        assert facts.leased == wanted["used"] == held

    check()


def receive_all(node: Node, errands: Errands, queues: MemoryQueues, queue: str) -> int:
    """Let a node receive what is on its queue and do what it says of messages; count its jobs."""
    while messages := queues.receive([queue], most=10, wait_s=0.0, lease_s=900.0):
        node.tell(ReceiveEnded(tuple(messages)))
        while node.commands:
            command = node.commands.pop(0)
            match command:
                case PutQuarantine():
                    node.tell(errands.quarantine(command))
                case ReleaseJob():
                    assert command.delay_s > 0, "a message that is given back at once circles"
                    node.tell(errands.release(command))
                case PrepareSweep():
                    node.tell(SweepPrepared(S, command.code, TOTAL))
                case AssignChunk():
                    # Its worker takes for ever: the job stays in hand.
                    pass
    return sum(len(lane.jobs) for lane in node.state.sweeps[S].lanes.values())


def test_a_node_goes_on_among_hostile_messages_and_completes_its_sweep(tmp_path: Path) -> None:
    place = Place(tmp_path)
    try:
        place.submit('def f(x):\n    return {"twice": 2 * x}\n', runs=100)
        queue = layout.jobs_queue(place.sweep)
        valid = encode_job(Job(sweep=place.sweep, job="0" * 16, runs=RunSet.span(0, 100)))
        bodies = hostile([valid], Random(4), 60)
        send(place.queues, queue, bodies)
        fates = {body: fate_of_job(body, place.sweep, 100) for body in bodies}
        assert len({*fates.values()}) == 3
        assert place.run_node() == 0
        found = place.delivered()
        assert {*found.runs} == set(range(100))
        assert found.values("twice") == {run: 2 * run for run in range(100)}
        check_jobs_kept(place.blobs, place.sweep, fates)
        facts = place.queues.facts(queue)
        newer = sum(fate == "newer" for fate in fates.values())
        assert (facts.visible, facts.leased, facts.delayed) == (0, 0, newer)
    finally:
        place.queues.close()
