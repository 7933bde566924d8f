from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_node.attempts import Attempt
from compute_node.errors import FrameError
from compute_node.frames import (
    Begin,
    ChunkDone,
    Leave,
    Made,
    Ready,
    Withdraw,
    Work,
    agent_frames,
    encode_frame,
    worker_frames,
)

MADE = Made(chunk=3, epoch=1, runs=[[0, 5]], digest="ab", busy_s=0.5)
LOST = Attempt(run=4, number=1, outcome="lost", exit="killed", started_s=1.0, duration_s=2.0)


@given(st.lists(st.integers(min_value=1, max_value=40), min_size=1), st.binary(max_size=300))
def test_frames_come_out_whole_however_the_pipe_cuts_them(cuts: list[int], body: bytes) -> None:
    frames = [(Ready(), b""), (MADE, body), (ChunkDone(chunk=3, retries=(LOST,)), b"")]
    stream = b"".join(encode_frame(frame, data) for frame, data in frames)
    reader = agent_frames()
    got = []
    position = index = 0
    while position < len(stream):
        step = cuts[index % len(cuts)]
        got += reader.feed(stream[position : position + step])
        position += step
        index += 1
    assert got == frames


def test_a_worker_reads_every_frame_of_its_agent() -> None:
    frames = [
        Begin(
            node="n", code="c", sweep_folder="s", code_folder="k", run_folder="r", files_folder="f"
        ),
        Work(chunk=1, epoch=0, runs="AAAA", earlier=(LOST,), attempts=3),
        Withdraw(),
        Leave(),
    ]
    got = worker_frames().feed(b"".join(encode_frame(frame) for frame in frames))
    assert [frame for frame, _ in got] == frames


def test_a_length_beyond_reason_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(FrameError, match="announces"):
        agent_frames().feed(b"\xff" * 8)


def test_what_is_no_frame_is_refused() -> None:
    header = msgspec.msgpack.encode({"type": "unheard of"})
    stream = len(header).to_bytes(4, "little") + bytes(4) + header
    with pytest.raises(FrameError, match="cannot be read"):
        agent_frames().feed(stream)
