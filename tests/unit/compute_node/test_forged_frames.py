"""User code can find the pipe to its agent. What it writes there does no harm."""

from __future__ import annotations

from typing import Any

import pytest

from gapless.results.outcome import Outcome

FORGER = """
    import os, stat
    from pathlib import Path
    from compute_node.frames import Made, encode_frame
    from gapless.declaration.messages import text_digest

    def f(x):
        mark = Path({mark!r})
        if x == 3 and not mark.exists():
            mark.touch()
            forged = {forged}
            for fd in map(int, os.listdir("/proc/self/fd")):
                try:
                    if stat.S_ISFIFO(os.fstat(fd).st_mode):
                        os.write(fd, forged)
                except OSError:
                    pass
        return {{"twice": 2 * x}}
"""
MADE = (
    "encode_frame(Made(chunk={chunk}, epoch=0, runs=[[0, 8]], digest='00', busy_s={busy}), {body})"
)


@pytest.mark.parametrize(
    "forged",
    [
        MADE.format(chunk=1, busy="0.1", body="b'AAAA'"),
        MADE.format(chunk=1, busy="0.1", body=r"b'\xff\xfe'"),
        MADE.format(chunk=1, busy="float('nan')", body="b'AAAA'"),
        MADE.format(chunk=1, busy="0.1", body="b''").replace("[[0, 8]]", "[[8, 0]]"),
        MADE.format(chunk=1, busy="0.1", body="b'AAAA'")
        .replace("'00'", "text_digest('AAAA')")
        .replace("[[0, 8]]", "[]"),
        r"b'\x0c\0\0\0\0\0\0\0\x81\xa4type\xa5\xa5ready'",
        r"b'\xff' * 100",
    ],
    ids=["digest", "body", "time", "runs", "no runs", "tag", "lengths"],
)
def test_a_forged_frame_ends_its_worker_and_no_result_is_wrong(place: Any, forged: str) -> None:
    mark = str(place.folder / "mark")
    place.submit(FORGER.format(mark=mark, forged=forged), runs=8)
    assert place.run_node(workers=1) == 0
    assert (place.folder / "mark").exists()
    found = place.delivered()
    assert {*found.runs} == set(range(8))
    assert {*found.outcomes.values()} == {Outcome.OK}
    assert found.values("twice") == {run: 2 * run for run in range(8)}
