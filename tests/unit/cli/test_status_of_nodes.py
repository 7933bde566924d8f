"""What `sweep status` tells of nodes: who works, who left, who fell silent with work in hand."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gapless.cli.reading import _nodes_lines
from gapless.declaration.runset import RunSet
from gapless.local.status import NodeHeard, nodes_heard
from gapless.storage import layout
from gapless.storage.node_reports import NodeReport
from gapless.wiring import Home, open_home

NOW_S = time.time()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home", create=True)


def report(home: Home, node: str, *, ago_s: float, mode: str = "running", runs: int = 0) -> None:
    sweeps = {"walk-01234567": {"0": RunSet.span(0, runs).to_wire()}} if runs else {}
    told = NodeReport(node=node, heard_at_s=NOW_S - ago_s, mode=mode, sweeps=sweeps)
    home.blobs.put(layout.node(node), told.encode())


def heard(home: Home) -> dict[str, NodeHeard]:
    return {each.node: each for each in nodes_heard(home, ["walk-01234567"], NOW_S)}


def test_a_node_is_silent_when_it_missed_three_reports(home: Home) -> None:
    report(home, "works", ago_s=40.0, runs=3)
    report(home, "gone", ago_s=200.0, runs=30)
    report(home, "left", ago_s=200.0, mode="ended")
    found = heard(home)
    assert (found["works"].silent, found["works"].runs_in_hand) == (False, 3)
    assert (found["gone"].silent, found["gone"].runs_in_hand) == (True, 30)
    assert (found["left"].silent, found["left"].left) == (False, True)


def test_runs_of_a_silent_node_are_told_where_they_come_back_with_their_lease() -> None:
    gone = NodeHeard("gone", 200.0, runs_in_hand=30)
    (line, advice) = _nodes_lines([gone, NodeHeard("left", 5.0, left=True)], lease_s=900.0)
    assert "left (left 5 s ago)" in line
    assert advice.startswith("gone is silent with 30 runs in hand")
    assert "15 min" in advice
    assert len(_nodes_lines([gone], lease_s=None)) == 1
