"""What nodes report: who is heard, and what they have in hand."""

from __future__ import annotations

import pytest

from gapless.declaration.errors import DamagedMessage
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from gapless.storage.memory import MemoryBlobs
from gapless.storage.node_reports import HEARD_S, NodeReport, read_recent, runs_in_hand

SWEEP = "walk-01234567"
NOW_S = 1_000_000.0


def put(node: str, *, heard_at_s: float, written_at_s: float, blobs: MemoryBlobs) -> None:
    report = NodeReport(node=node, heard_at_s=heard_at_s)
    blobs._clock = lambda: written_at_s
    blobs.put(layout.node(node), report.encode())


def heard(*, heard_at_s: float, written_at_s: float) -> bool:
    blobs = MemoryBlobs()
    put("n1", heard_at_s=heard_at_s, written_at_s=written_at_s, blobs=blobs)
    return bool(read_recent(blobs, now_s=NOW_S))


def test_a_report_is_read_as_it_was_written() -> None:
    report = NodeReport(
        node="n1",
        heard_at_s=7.5,
        mode="running",
        workers=2,
        busy=1,
        waiting_bytes=9,
        unfit={SWEEP: "no numpy"},
        sweeps={SWEEP: {"0": [[0, 5]]}},
    )
    assert NodeReport.decode(report.encode()) == report
    assert b'"format":"gapless.node/1"' in report.encode()


def test_a_report_of_before_this_format_was_fixed_is_read() -> None:
    data = (
        b'{"format":"gapless.node/1","node":"n1","heard_at_s":5.0,"mode":"running","workers":1,'
        b'"busy":0,"waiting_bytes":0,"unfit":{},"sweeps":{"walk-01234567":{"1":[[3,5]]}}}'
    )
    assert NodeReport.decode(data).in_hand(SWEEP) == {1: RunSet.span(3, 5)}


def test_a_node_is_heard_for_ten_minutes() -> None:
    assert heard(heard_at_s=NOW_S - HEARD_S, written_at_s=NOW_S - HEARD_S)
    assert not heard(heard_at_s=NOW_S - HEARD_S - 1, written_at_s=NOW_S - HEARD_S - 1)


@pytest.mark.parametrize("skew_s", [-800.0, 800.0])
def test_a_node_or_a_storage_with_a_wrong_clock_is_heard_all_the_same(skew_s: float) -> None:
    assert heard(heard_at_s=NOW_S + skew_s, written_at_s=NOW_S)
    assert heard(heard_at_s=NOW_S, written_at_s=NOW_S + skew_s)


def test_a_dead_node_with_a_wrong_clock_is_not_heard_for_ever() -> None:
    assert not heard(heard_at_s=NOW_S + 1e6, written_at_s=NOW_S - HEARD_S - 1)


def test_reports_of_nodes_long_gone_are_not_read() -> None:
    class Counting(MemoryBlobs):
        read = 0

        def get(self, key: str) -> bytes:
            self.read += 1
            return super().get(key)

    blobs = Counting()
    for number in range(5):
        put(f"n{number}", heard_at_s=NOW_S, written_at_s=NOW_S - 86_400.0 * number, blobs=blobs)
    assert [report.node for report in read_recent(blobs, now_s=NOW_S)] == ["n0"]
    assert blobs.read == 1


@pytest.mark.parametrize(
    "data", [b"", b"?", b"{}", b'{"format":"gapless.node/9","node":"n1","heard_at_s":1}', b"\xff"]
)
def test_a_report_that_cannot_be_read_is_left_out(data: bytes) -> None:
    blobs = MemoryBlobs(clock=lambda: NOW_S)
    blobs.put(layout.node("n1"), data)
    put("n2", heard_at_s=NOW_S, written_at_s=NOW_S, blobs=blobs)
    assert [report.node for report in read_recent(blobs, now_s=NOW_S)] == ["n2"]


def test_what_nodes_have_in_hand_is_joined_by_epoch() -> None:
    reports = [
        NodeReport(node="a", heard_at_s=1.0, sweeps={SWEEP: {"0": [[0, 5]], "2": [[9, 10]]}}),
        NodeReport(node="b", heard_at_s=1.0, sweeps={SWEEP: {"0": [[3, 8]]}, "other": {"0": []}}),
        NodeReport(node="c", heard_at_s=1.0, sweeps={SWEEP: {"0": "?"}}),
        NodeReport(node="d", heard_at_s=1.0, sweeps={SWEEP: {"-1": [[0, 99]]}}),
    ]
    assert runs_in_hand(reports, SWEEP) == {0: RunSet.span(0, 8), 2: RunSet.of(9)}
    with pytest.raises(DamagedMessage, match="an epoch is '-1'"):
        reports[3].in_hand(SWEEP)
