"""The numbers a node decides by when nobody says otherwise."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from compute_node.commands import ReceiveJobs, ReplaceJob, SendDelivery
from compute_node.events import ReceiveEnded
from compute_node.settings import NodeSettings
from gapless.declaration.messages import Job, decode_job, encode_job
from gapless.storage.folder import FolderBlobs
from queueing.port import Lease, Message
from queueing.sqlite import SqliteQueues
from tests.unit.compute_node.a_node import Node, S, span


def test_rules_and_settings_of_one_name_are_equal_when_nobody_says_otherwise(
    tmp_path: Path,
) -> None:
    queues = SqliteQueues(tmp_path / "queue.db")
    settings = NodeSettings(
        node_id="n", blobs=FolderBlobs(tmp_path), queues=queues, work_folder=tmp_path
    )
    queues.close()
    rules = Node().state.rules
    shared = {field.name for field in dataclasses.fields(settings)} & {
        field.name for field in dataclasses.fields(rules)
    }
    assert {"lease_s", "grace_s", "idle_exit_s", "rest_after_s"} <= shared
    for name in sorted(shared):
        assert getattr(rules, name) == getattr(settings, name), name


def test_a_node_holds_at_most_forty_jobs_however_short_their_runs_are() -> None:
    node = Node()
    node.state.sweeps[S].pace.measure(runs=1000, busy_s=0.001)
    for number in range(1, 41):
        body = encode_job(Job(sweep=S, job=f"j{number}", runs=span(number, number + 1)))
        message = Message(Lease(f"{S}-jobs", str(number)), body, 1)
        node.commands.clear()
        node.tell(ReceiveEnded((message,), unread=frozenset({S})))
        assert bool(node.all(ReceiveJobs)) is (number < 40)


def test_at_most_four_deliveries_are_on_their_way_at_a_time() -> None:
    node = Node()
    sent = []
    for number in range(6):
        node.receive(span(number, number + 1))
        node.finish()
        sent += node.all(SendDelivery)
        node.commands.clear()
    assert len(sent) == 4


@pytest.mark.parametrize(("runs", "cut"), [(600, False), (601, True)])
def test_of_a_job_of_more_than_ten_minutes_a_worker_keeps_two(runs: int, cut: bool) -> None:
    node = Node()
    node.state.sweeps[S].pace.measure(runs=1, busy_s=1.0)
    node.receive(span(0, runs))
    replaces = node.all(ReplaceJob)
    assert bool(replaces) is cut
    for each in replaces:
        kept, *_ = [decode_job(one.body).runs for one in each.replacements]
        assert kept == span(0, 120)
