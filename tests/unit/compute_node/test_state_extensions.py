"""Jobs of runs that were added to a sweep while its files were on their way here."""

from __future__ import annotations

from compute_node.commands import PrepareSweep, PutQuarantine
from compute_node.events import SweepPrepared
from tests.unit.compute_node.a_node import Node, S, span


def test_a_job_that_came_while_the_files_were_fetched_is_not_judged_by_them() -> None:
    node = Node(total=10)
    node.receive(span(10, 12))
    assert len(node.all(PrepareSweep)) == 1
    node.receive(span(12, 14))
    node.tell(SweepPrepared(S, "", 12))
    assert not node.all(PutQuarantine)
    assert len(node.all(PrepareSweep)) == 2
    node.tell(SweepPrepared(S, "", 14))
    assert not node.all(PutQuarantine)


def test_a_job_that_is_still_beyond_the_files_fetched_for_it_is_set_aside() -> None:
    node = Node(total=10)
    node.receive(span(10, 12))
    node.receive(span(12, 14))
    node.tell(SweepPrepared(S, "", 12))
    node.tell(SweepPrepared(S, "", 12))
    (aside,) = node.all(PutQuarantine)
    assert "run 13" in aside.reason
