"""Targets: what user code and commands leave, and what goes through the pipes of a node."""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from typing import Any

import h5py
import msgspec
import numpy as np

from compute_node.attempts import Attempt
from compute_node.errors import FrameError
from compute_node.frames import (
    Begin,
    ChunkDone,
    Leave,
    Made,
    Ready,
    Unfit,
    Withdraw,
    Work,
    agent_frames,
    encode_frame,
    worker_frames,
)
from compute_node.hdf5_apart import read_hdf5_apart
from compute_node.output import HEAD_BYTES, TAIL_BYTES, read_open
from compute_node.recorded_values import (
    Recorded,
    ValuesUnreadable,
    decode_json,
    last_json_line,
)
from compute_node.values_file import read_stdout
from compute_node.values_wire import decode_recorded, encode_recorded
from gapless.results.block import decode_block, encode_block
from gapless.results.block_builder import BlockBuilder
from gapless.results.errors import ValueRefused
from tests.fuzz.target import MEBIBYTE, Target, holds

__all__ = ["COMMAND_OUTPUT"]


# ------------------------------------------------------------------------- values of a command


def _check_json(data: bytes) -> bool:
    try:
        recorded = decode_json(data)
    except ValuesUnreadable as error:
        holds(len(str(error)) < 500, "a reason told at great length")
        return False
    holds(not recorded.values.keys() & recorded.refused.keys(), "a value that is refused too")
    _check_recorded(recorded)
    return True


def _check_recorded(recorded: Recorded) -> None:
    """What was recorded passes to another process, and into a block, as what it is."""
    passed = decode_recorded(encode_recorded(recorded))
    # Of two names that are written alike the last one counts.
    given = dict(zip(_texts(recorded.values), recorded.values.values(), strict=True))
    for name, value in passed.values.items():
        holds(name in given, "a value from nowhere")
        holds(_same(value, given[name]), f"{name!r} is another value on the other side")
    holds(
        {*passed.values, *passed.refused} >= {*_texts(recorded.values), *_texts(recorded.refused)},
        "a value got lost between two processes",
    )
    builder = BlockBuilder(epoch=0, node="n", code="c")
    for run, (name, value) in enumerate(recorded.values.items()):
        if isinstance(value, np.ndarray) and value.nbytes > MEBIBYTE:
            continue
        with contextlib.suppress(ValueRefused):
            builder.add_ok(run, 1.0, 0.5, {name: value})
        if run > 20:
            break
    block = decode_block(encode_block(builder.build()))
    for name, column in block.values.items():
        holds(len(column.tolist()) == block.rows, f"{name!r} is not in every row")


def _texts(names: Any) -> list[str]:
    return [name.encode("utf-8", "backslashreplace").decode() for name in names]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and (one.tobytes() == other.tobytes())
        )
    return repr(one) == repr(other)


def _json_seeds() -> list[bytes]:
    return [
        b'{"rms": 0.31, "n": 7, "name": "x", "list": [1, 2.5, null], "deep": {"a": [true]}}',
        b'\xef\xbb\xbf{"nan": NaN, "inf": -Infinity, "big": 123456789012345678901234567890}',
        b'{"half": "\\ud800", "a\\u0000b": 1, "": 2}',
    ]


def _json_hostile() -> list[bytes]:
    return [
        b"[" * 10**6,
        b'{"a":' * 10**5,
        b'{"a": ' + b"9" * 10**6 + b"}",
        b'{"a": 1e' + b"9" * 1000 + b"}",
        b'{"a": [' + b"[]," * 300_000 + b"[]]}",
        b"{" + b",".join(b'"k%d":1' % number for number in range(100_000)) + b"}",
        b"{" + b",".join([b'"a":1'] * 100_000) + b"}",
        bytes(10**6),
        b"\xff" * 10**6,
        b'{"a": "' + b"\\ud800" * 10**5 + b'"}',
    ]


def _check_lines(data: bytes) -> bool:
    found = last_json_line(data)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        from_file = read_stdout(file.fileno())
        shown = read_open(file.fileno())
    holds((found is None) == (from_file is None), "a file of the same text holds other values")
    holds(len(shown.head) + len(shown.tail) <= HEAD_BYTES + TAIL_BYTES, "more output than is kept")
    shown.head.encode()
    if found is None:
        return False
    holds(repr(found) == repr(from_file), "a file of the same text holds other values")
    _check_recorded(found)
    return True


def _lines_hostile() -> list[bytes]:
    return [
        b"{" * 2**20,
        b"{}\n" * 300_000,
        b"{x}\n" * 300_000,
        b"\n" * 2**21,
        b'{"a":' * 10**5 + b"}" * 10**5,
        (b"{" + b"[" * 900 + b"}\n") * 1000,
    ]


def _check_wire(data: bytes) -> bool:
    try:
        recorded = decode_recorded(data)
    except ValuesUnreadable:
        return False
    for value in recorded.values.values():
        holds(isinstance(value, np.ndarray | complex) or _is_json(value), "a value of an odd type")
    again = decode_recorded(encode_recorded(recorded))
    for name, value in again.values.items():
        holds(_same(value, recorded.values[name]), f"{name!r} reads back otherwise")
    return True


def _is_json(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | dict)


def _wire_seeds() -> list[bytes]:
    values = {"a": np.arange(6.0).reshape(2, 3), "c": 1 + 2j, "p": [1, {"x": None}]}
    return [encode_recorded(Recorded(values, {"bad": "why"})), encode_recorded(Recorded())]


def _wire_hostile() -> list[bytes]:
    def array(dtype: str, shape: list[int], data: bytes) -> bytes:
        value = {"type": "array", "dtype": dtype, "shape": shape, "data": data}
        return msgspec.msgpack.encode({"values": {"a": value}})

    plain = {"type": "plain", "json": b"[" * 10**6}
    return [
        array("O", [1], bytes(8)),
        array("<f8", [2**60], bytes(8)),
        array("<f8", [-1, 0], b""),
        array("V" + "9" * 9, [1], bytes(8)),
        array("(", [1], bytes(8)),
        array("i4,(", [1], bytes(8)),
        array("<U9999999", [1], bytes(8)),
        msgspec.msgpack.encode({"values": {"a": plain}}),
        b"\x91" * 10**6,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
    ]


# ------------------------------------------------------------------------- HDF5 of a command


def _check_hdf5(data: bytes) -> bool:
    try:
        recorded = read_hdf5_apart(data, within_s=5.0)
    except ValuesUnreadable:
        return False
    _check_recorded(recorded)
    return True


def _hdf5(fill: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


def _hdf5_seeds() -> list[bytes]:
    def plain(file: h5py.File) -> None:
        file["rms"] = 0.31
        file["trace"] = np.arange(20.0).reshape(4, 5)
        file["name"] = "é"
        file["words"] = ["a", "b"]
        file.create_dataset("packed", data=np.arange(500), compression="gzip", chunks=(100,))
        file["none"] = h5py.Empty("f8")

    return [_hdf5(plain)]


def _hdf5_hostile() -> list[bytes]:
    def never_written(file: h5py.File) -> None:
        for number in range(40):
            file.create_dataset(f"d{number}", shape=(2**25 - 1,), dtype="f8", chunks=(2**20,))

    def huge(file: h5py.File) -> None:
        file.create_dataset("d", shape=(2**60,), dtype="f8", chunks=(2**10,))
        file["soft"] = h5py.SoftLink("/soft")
        file["external"] = h5py.ExternalLink("/etc/passwd", "/")

    return [_hdf5(never_written), _hdf5(huge), b"\x89HDF\r\n\x1a\n" + b"\xff" * 4096]


# ------------------------------------------------------------------------- pipes of a node


def _check_agent_frames(data: bytes) -> bool:
    return _check_frames(data, agent_frames)


def _check_worker_frames(data: bytes) -> bool:
    return _check_frames(data, worker_frames)


def _check_frames(data: bytes, reader: Any) -> bool:
    try:
        frames = reader().feed(data)
    except FrameError:
        frames = None
    # Cut in other places, the same frames come out, up to where the damage is.
    cut = reader()
    found: list[Any] = []
    try:
        for start in range(0, len(data), 7):
            found += cut.feed(data[start : start + 7])
    except FrameError:
        holds(frames is None, "a stream is refused only when it is cut")
        return False
    holds(frames is not None and repr(frames) == repr(found), "the cuts change the frames")
    for frame, body in found:
        if isinstance(frame, Made):
            holds(math.isfinite(frame.busy_s), "a time that is no number")
        again = reader().feed(encode_frame(frame, body))
        holds(repr(again) == repr([(frame, body)]), "a frame reads back otherwise")
    return bool(found)


_LOST = Attempt(run=4, number=1, outcome="lost", exit="killed", started_s=1.0, duration_s=2.0)


def _agent_seeds() -> list[bytes]:
    made = Made(chunk=3, epoch=1, runs=[[0, 5]], digest="ab", busy_s=0.5)
    return [
        encode_frame(Ready()) + encode_frame(made, b"dGV4dA==") + encode_frame(ChunkDone(chunk=3)),
        encode_frame(ChunkDone(chunk=3, retries=(_LOST,))),
        encode_frame(Unfit(text="no numpy")),
    ]


def _worker_seeds() -> list[bytes]:
    folders = {"sweep_folder": "/s", "code_folder": "/c", "run_folder": "/r", "files_folder": "/f"}
    return [
        encode_frame(Begin(node="n", code="c", **folders)),
        encode_frame(Work(chunk=1, epoch=0, runs=[[0, 9]], earlier=(_LOST,))),
        encode_frame(Withdraw()) + encode_frame(Leave()),
    ]


def _frames_hostile() -> list[bytes]:
    return [
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x00\x00\x04\xff\xff\xff\x7f" + bytes(100),
        (2**20).to_bytes(4, "little") + bytes(4) + b"\x91" * 2**20,
        b"\x05\0\0\0\0\0\0\0\xdd\xff\xff\xff\xff",
        bytes(10**5),
    ]


COMMAND_OUTPUT = [
    Target(
        name="values-json", check=_check_json, seeds=_json_seeds, hostile=_json_hostile, ratio=256
    ),
    Target(
        name="stdout",
        check=_check_lines,
        seeds=lambda: [b'noise\n{"rms": 1}\nmore\n', b'{"a": 1}\n{"b": 2}\n{broken}\n'],
        hostile=_lines_hostile,
        ratio=256,
    ),
    Target(name="values-wire", check=_check_wire, seeds=_wire_seeds, hostile=_wire_hostile),
    Target(
        name="values-hdf5",
        check=_check_hdf5,
        seeds=_hdf5_seeds,
        hostile=_hdf5_hostile,
        room_bytes=1536 * MEBIBYTE,
        apart=True,
    ),
    Target(
        name="frames-of-agent",
        check=_check_agent_frames,
        seeds=_agent_seeds,
        hostile=_frames_hostile,
    ),
    Target(
        name="frames-of-worker",
        check=_check_worker_frames,
        seeds=_worker_seeds,
        hostile=_frames_hostile,
    ),
]
