"""What is read off both queues of a sweep at one instant."""

from __future__ import annotations

from gapless.declaration.messages import Job, encode_job
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from queueing.memory import MemoryQueues
from queueing.port import Entry
from receipts.in_flight import look_in_flight
from receipts.ledger import open_ledger
from tests.unit.receipts.world import World

SWEEP = "walk-00000000"


def job(number: int, *, epoch: int = 0) -> str:
    runs = RunSet.of(number)
    return encode_job(Job(sweep=SWEEP, job=f"j{number}", runs=runs, epoch=epoch))


def with_jobs(bodies: list[str]) -> MemoryQueues:
    queues = MemoryQueues()
    for start in range(0, len(bodies), 10):
        entries = [Entry(body) for body in bodies[start : start + 10]]
        assert all(each.ok for each in queues.send(layout.jobs_queue(SWEEP), entries))
    return queues


def test_messages_of_a_newer_format_are_counted_and_hide_nothing_behind_them() -> None:
    newer = job(1).replace("gapless.job/1", "gapless.job/7")
    found = look_in_flight(SWEEP, with_jobs([newer, newer, job(2)]))
    assert found.newer == 2
    assert found.runs == {0: RunSet.of(2)}
    assert (found.jobs, found.deliveries, found.damaged) == (3, 0, ())


def test_newer_messages_of_both_queues_are_counted_together() -> None:
    queues = with_jobs([job(1).replace("gapless.job/1", "gapless.job/7")])
    ledger = open_ledger("sqlite://")
    world = World(ledger)
    world.queues = queues
    world.deliver(SWEEP, RunSet.of(5))
    (body,) = queues.heads([layout.results_queue(SWEEP)])[layout.results_queue(SWEEP)]
    changed = Entry(body.replace("gapless.delivery/1", "gapless.delivery/7"))
    assert queues.send(layout.results_queue(SWEEP), [changed])[0].ok
    found = look_in_flight(SWEEP, queues)
    ledger.close()
    assert found.newer == 2
    assert found.runs == {0: RunSet.of(5)}
    assert (found.jobs, found.deliveries) == (1, 2)


def test_damaged_messages_are_told_with_their_queue_and_hide_nothing_behind_them() -> None:
    stranger = job(1).replace(SWEEP, "other-00000000")
    found = look_in_flight(SWEEP, with_jobs(["no job", stranger, job(2)]))
    assert found.runs == {0: RunSet.of(2)}
    first, second = found.damaged
    assert first.startswith(f"{layout.jobs_queue(SWEEP)}: ")
    assert second.startswith(f"{layout.jobs_queue(SWEEP)}: a message of sweep 'other-00000000'")


def test_the_runs_of_thousands_of_jobs_are_all_found() -> None:
    bodies = [job(number, epoch=number % 2) for number in range(8_300)]
    found = look_in_flight(SWEEP, with_jobs(bodies))
    assert found.jobs == 8_300
    assert found.runs == {epoch: RunSet.from_numbers(range(epoch, 8_300, 2)) for epoch in (0, 1)}
