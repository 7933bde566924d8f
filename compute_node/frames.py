"""What goes through the pipes between an agent and its worker: length-prefixed frames.

A frame is two little-endian 32-bit lengths, a msgpack header of a known type, and a body (the
base64 text of a block, else empty). Nothing is ever unpickled, and a length is checked before
memory is taken for it: user code runs in the process at the other end.
"""

from __future__ import annotations

import math
import os
import struct
from typing import Any

import msgspec

from compute_node.attempts import Attempt
from compute_node.errors import FrameError
from compute_node.full_output import RunFile

__all__ = [
    "Begin",
    "ChunkDone",
    "Leave",
    "Made",
    "Ready",
    "ToAgent",
    "ToWorker",
    "Unfit",
    "Withdraw",
    "Work",
    "agent_frames",
    "encode_frame",
    "worker_frames",
    "write_frame",
]

_LENGTHS = struct.Struct("<II")
_MOST_HEADER_BYTES = 64 * 2**20
_MOST_BODY_BYTES = 2**31


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag="begin"):
    """The first frame a worker gets: where everything lies on this machine."""

    node: str
    code: str
    sweep_folder: str
    code_folder: str
    run_folder: str
    files_folder: str
    memory_bytes: int | None = None


class Work(msgspec.Struct, frozen=True, kw_only=True, tag="work"):
    """A chunk: `runs` in wire form, and what became of earlier attempts of some of them."""

    chunk: int
    epoch: int
    runs: Any
    earlier: tuple[Attempt, ...] = ()
    attempts: int = 1
    retry_failed: bool = False
    retry_lost: bool = False


class Withdraw(msgspec.Struct, frozen=True, tag="withdraw"):
    """End every chunk sent before this frame after the run that is going on."""


class Leave(msgspec.Struct, frozen=True, tag="leave"):
    """Exit when all chunks are done."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The target was imported and can be called."""


class Unfit(msgspec.Struct, frozen=True, tag="unfit"):
    """The target cannot be imported, called or started here; the worker exits."""

    text: str


class Made(msgspec.Struct, frozen=True, kw_only=True, tag="made"):
    """A block of final results, with `files` of its runs; its base64 text is the frame's body.

    `opened_bytes`: what it takes in memory (`block_bytes`).
    """

    chunk: int
    epoch: int
    runs: Any
    digest: str
    busy_s: float
    opened_bytes: int = 0
    files: tuple[RunFile, ...] = ()


class ChunkDone(msgspec.Struct, frozen=True, kw_only=True, tag="chunk done"):
    """A chunk ended: what was not in a block before is in `retries`, or was not started."""

    chunk: int
    retries: tuple[Attempt, ...] = ()


ToWorker = Begin | Work | Withdraw | Leave
ToAgent = Ready | Unfit | Made | ChunkDone


def encode_frame(frame: ToWorker | ToAgent, body: bytes = b"") -> bytes:
    """Write a frame with its body."""
    header = msgspec.msgpack.encode(frame)
    return b"".join((_LENGTHS.pack(len(header), len(body)), header, body))


def write_frame(fd: int, frame: ToWorker | ToAgent, body: bytes = b"") -> None:
    """Write a frame to a blocking pipe, whole."""
    rest = memoryview(encode_frame(frame, body))
    while rest:
        rest = rest[os.write(fd, rest) :]


class _FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[Any]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()
        self._lengths: tuple[int, int] | None = None

    def feed(self, data: bytes) -> list[tuple[Any, bytes]]:
        """Take what was read; give the frames that are whole now. FrameError on anything else."""
        buffer = self._buffer
        buffer += data
        frames: list[tuple[Any, bytes]] = []
        position = 0
        while True:
            if self._lengths is None:
                if len(buffer) - position < _LENGTHS.size:
                    break
                head, body = _LENGTHS.unpack_from(buffer, position)
                if head > _MOST_HEADER_BYTES or body > _MOST_BODY_BYTES:
                    raise FrameError(f"a frame announces {head} and {body} bytes")
                self._lengths = (head, body)
                position += _LENGTHS.size
            head, body = self._lengths
            if len(buffer) - position < head + body:
                break
            with memoryview(buffer) as view:
                frames.append(
                    (
                        self._decode(bytes(view[position : position + head])),
                        bytes(view[position + head : position + head + body]),
                    )
                )
            position += head + body
            self._lengths = None
        del buffer[:position]
        return frames

    def _decode(self, header: bytes) -> Any:
        try:
            frame = self._decoder.decode(header)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise FrameError(f"a frame cannot be read: {error}"[:200]) from error
        if isinstance(frame, Made) and not 0 <= frame.busy_s < math.inf:
            raise FrameError(f"a frame says that its runs took {frame.busy_s} s")
        return frame


def agent_frames() -> _FrameReader:
    """Make the reader of an agent: frames from a worker."""
    return _FrameReader(msgspec.msgpack.Decoder(ToAgent))


def worker_frames() -> _FrameReader:
    """Make the reader of a worker: frames from its agent."""
    return _FrameReader(msgspec.msgpack.Decoder(ToWorker))
