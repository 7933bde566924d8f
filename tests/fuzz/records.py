"""Targets: the small records of a home, each a JSON object that says its format."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gapless.declaration.canonical import canonical_json
from gapless.declaration.control import Asked, Control, ControlState, SelfPause
from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.factors import Kept
from gapless.declaration.frozen import FrozenSpace, points_in
from gapless.declaration.limits import Limits
from gapless.declaration.permutation import MAX_COUNT
from gapless.declaration.runs import Runs, Segment
from gapless.declaration.runset import MAX_RUNS, RunSet
from gapless.declaration.space import Space
from gapless.declaration.sweep import MAX_PRIORITY, Declaration, FrozenSweep, Sweep, is_sweep_name
from gapless.storage.home import HomeRecord
from gapless.storage.memory import MemoryBlobs
from gapless.storage.node_reports import NodeReport
from gapless.storage.quarantine import keep_message, read_kept
from tests.fuzz.messages import check_runs
from tests.fuzz.target import Target, holds

__all__ = ["RECORDS"]

_GOLDEN = Path(__file__).parents[1] / "unit"


def _read(decode: Callable[[bytes], Any], data: bytes) -> Any:
    """Give the record, None when it is refused."""
    try:
        return decode(data)
    except NewerFormat as error:
        holds(error.found != error.known, "a record of the known format is called newer")
    except DamagedMessage:
        pass
    return None


def _nested(kind: str) -> list[bytes]:
    """Make what every JSON decoder must survive."""
    head = f'{{"format":"gapless.{kind}/1","a":'.encode()
    return [
        head + b"[" * 10**6,
        head + b'{"a":' * 10**5,
        head + b"9" * 10**6 + b"}",
        head + b'"' + b"\\u0000" * 10**5 + b'"}',
        b'{"format":"gapless.' + kind.encode() + b"/" + b"1" * 10**6 + b'"}',
        b'{"format":"' + b"x" * 10**6 + b'"}',
        b" " * 10**6,
        b"",
    ]


# ------------------------------------------------------------------------- what is wanted


def _check_control(data: bytes) -> bool:
    control = _read(Control.decode, data)
    if control is None:
        return False
    holds(control.version >= 0, "a negative version")
    holds(isinstance(control.state, ControlState), "an unknown state")
    holds(abs(control.priority) <= MAX_PRIORITY, f"priority {control.priority}")
    holds(control.run_time_s is None or 0 < control.run_time_s < math.inf, "an odd run time")
    holds(math.isfinite(control.at_s), "asked at no time")
    holds(Control.decode(control.encode()) == control, "it reads back otherwise")
    following = control.changed(why="other")
    holds(following.version == control.version + 1, "its next version is another one")
    holds(Control.decode(following.encode()) == following, "its next version reads otherwise")
    return True


def _control_seeds() -> list[bytes]:
    limits = Limits(time_s=60.0, memory_bytes=10**9, attempts=5, max_failures="5%")
    return [
        Control().encode(),
        Control(version=3, state=ControlState.PAUSED, limits=limits, run_time_s=0.5).encode(),
        Control(code="ab" * 32, why="by é", at_s=1.5, priority=-3).encode(),
        Control(paused_itself=SelfPause(failures=7, epoch=1)).encode(),
    ]


def _check_asked(data: bytes) -> bool:
    asked = _read(Asked.decode, data)
    if asked is None:
        return False
    check_runs(asked.runs)
    holds(1 <= asked.epoch < 2**32, f"asked anew at epoch {asked.epoch}")
    holds(math.isfinite(asked.at_s), "asked at no time")
    holds(Asked.decode(asked.encode()) == asked, "it reads back otherwise")
    return True


def _asked_seeds() -> list[bytes]:
    runs = (RunSet.span(0, 9), RunSet.of(1, 3, 2**40))
    return [
        Asked(epoch=1 + n, runs=each, at_s=1.5, why="why").encode() for n, each in enumerate(runs)
    ]


# ------------------------------------------------------------------------- declarations


def _check_declaration(data: bytes) -> bool:
    declaration = _read(Declaration.decode, data)
    if declaration is None:
        return False
    holds(is_sweep_name(declaration.name), f"a sweep is called {declaration.name[:50]!r}")
    holds(1 <= declaration.replicates <= MAX_RUNS, f"{declaration.replicates} replicates")
    holds(0 <= declaration.seed < 2**63, f"the seed {declaration.seed}")
    again = Declaration.decode(declaration.encode())
    # As bytes: 1, 1.0 and True are equal in Python, and other values.
    holds(again.encode() == declaration.encode(), "it reads back otherwise")
    holds(again.id == declaration.id, "it reads back with another id")
    return True


def _check_segment(data: bytes) -> bool:
    segment = _read(Segment.decode, data)
    if segment is None:
        return False
    holds(segment.number >= 0 and segment.base >= 0, "a negative number")
    holds(segment.count >= 1 and segment.base + segment.count <= MAX_COUNT, "runs beyond numbers")
    holds(Segment.decode(segment.encode()).encode() == segment.encode(), "it reads back otherwise")
    if segment.base == 0 and segment.count <= 10**12:
        _check_numbering(segment)
    return True


def _check_numbering(segment: Segment) -> None:
    """Ask for some runs, as a node does."""
    try:
        runs = Runs(_DECLARED, [segment], _no_object)
        holds(runs.total == segment.count, "it numbers other runs than it counts")
        numbers = np.array([0, runs.total - 1, runs.total // 2], dtype=np.uint64)
        block = runs.block(numbers)
    except DamagedMessage:
        return
    holds(all(len(column) == 3 for column in block.parameters.values()), "values are missing")
    holds(int(block.seeds.min()) >= 0, "a negative seed")
    for part in segment.parts:
        holds(block.replicates.max() < max(p.replicate_stop for p in segment.parts), "replicates")
        holds(points_in(part.space) >= 1, "a part without points")


def _check_space(data: bytes) -> bool:
    try:
        written = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    try:
        space = FrozenSpace.from_json(written, _no_object)
        count = len(space)
        holds(1 <= count <= MAX_COUNT, f"a space of {count} points")
        first, last = space[0], space[count - 1]
        written_again = space.to_json()
    except DamagedMessage:
        return False
    holds([*first] == [*last] == list(space.names), "a point lacks a parameter")
    again = FrozenSpace.from_json(written_again, _no_object)
    holds(canonical_json(again.to_json()) == canonical_json(written_again), "it reads otherwise")
    holds(canonical_json(again[0]) == canonical_json(first), "its first point reads otherwise")
    return True


def _no_object(name: str) -> bytes:
    raise DamagedMessage(f"no object {name!r} here")


def _check_kept(data: bytes) -> bool:
    """Read a bitmap of points whose hash is right: whoever wrote the declaration wrote it too."""
    name = hashlib.sha256(data).hexdigest()
    for count in (1, 300, 70_000):
        kept = Kept.from_json({"count": count, "object": name}, lambda _: data, candidates=2**40)
        try:
            places = kept.select(np.array([0, count - 1, count // 2], dtype=np.int64))
        except DamagedMessage:
            continue
        holds(bool(kept.holds(places).all()), "it does not hold what it selects")
        holds(places.min() >= 0, "a candidate with a negative number")
        return True
    return False


def _kept_seeds() -> list[bytes]:
    sets = (RunSet.of(5), RunSet.span(3, 303), RunSet.span(0, 70_000))
    return [each.serialize() for each in sets]


def _frozen() -> list[FrozenSweep]:
    plain = Space.grid(n=[1, 2, 4], alpha=[0.5, 1.0, None], model=["a", {"b": [1]}])
    points = Space.points([{"x": 1, "y": "é"}, {"x": 2.5, "y": "b"}])
    union = Space.grid(x=[1, 2, 3]) + Space.grid(x=[3, 4, 5])
    return [
        Sweep(name="walk", space=plain, function="m:f", replicates=3, seed=7).freeze(),
        Sweep(
            name="two", space=points, command=("./w", "{x}"), order="declared", fixed={"k": [1.5]}
        ).freeze(),
        Sweep(name="one", space=Space.single(), function="m:f", seed_mode="common").freeze(),
        Sweep(name="union", space=union, function="m:f", replicates=10**6).freeze(),
    ]


_DECLARED = _frozen()[0].declaration


def _declaration_seeds() -> list[bytes]:
    golden = (_GOLDEN / "sweepfile/golden/sweep.json").read_bytes()
    return [*(each.declaration.encode() for each in _frozen()), golden]


def _segment_seeds() -> list[bytes]:
    golden = (_GOLDEN / "declaration_space/golden/segment-1.json").read_bytes()
    return [*(each.segment.encode() for each in _frozen()), golden]


def _space_seeds() -> list[bytes]:
    spaces = [each.declaration.space for each in _frozen()]
    return [msgspec.json.encode(each) for each in spaces if "kept" not in str(each)]


def _space_hostile() -> list[bytes]:
    factor = {"names": ["x"], "count": 10**9, "columns": [[1]]}
    lots = {"names": ["x"], "blocks": [{"factors": [factor]}] * 10_000}
    deep = {
        "names": [],
        "blocks": [{"factors": [{"names": [], "count": 2**62, "columns": []}] * 99}],
    }
    return [msgspec.json.encode(lots), msgspec.json.encode(deep), b"[" * 10**6, b"{}", b"[]", b"0"]


# ------------------------------------------------------------------------- home and nodes


def _check_home(data: bytes) -> bool:
    record = _read(HomeRecord.decode, data)
    if record is None:
        return False
    for each in (record.lease_s, record.retention_s, record.settle_s, record.rest_s):
        holds(math.isfinite(each) and each >= 0, "a time that cannot be")
    holds(HomeRecord.decode(record.encode()) == record, "it reads back otherwise")
    return True


def _home_seeds() -> list[bytes]:
    other = HomeRecord(id="x", lease_s=1, queue_prefix="gapless-0123abcd", queue_region="eu-west-1")
    return [HomeRecord().encode(), other.encode()]


def _check_report(data: bytes) -> bool:
    report = _read(NodeReport.decode, data)
    if report is None:
        return False
    holds(math.isfinite(report.heard_at_s), "heard at no time")
    holds(NodeReport.decode(report.encode()) == report, "it reads back otherwise")
    for sweep in report.sweeps:
        try:
            held = report.in_hand(sweep)
        except DamagedMessage:
            continue
        for epoch, runs in held.items():
            holds(0 <= epoch < 2**32, f"runs at epoch {epoch} in hand")
            check_runs(runs)
    return True


def _report_seeds() -> list[bytes]:
    sweeps = {"walk-1": {"0": [[0, 9]], "3": RunSet.of(1, 9, 2**40).to_wire()}, "b": {}}
    full = NodeReport(
        node="n", heard_at_s=1.5, mode="work", workers=2, busy=1, unfit={"b": "é"}, sweeps=sweeps
    )
    return [NodeReport(node="n", heard_at_s=0.0).encode(), full.encode()]


def _check_quarantine(data: bytes) -> bool:
    blobs = MemoryBlobs()
    blobs.put("quarantine/s/k", data)
    try:
        kept = read_kept(blobs, "quarantine/s/k")
    except (DamagedMessage, NewerFormat):
        return False
    assert kept is not None
    key = keep_message(blobs, queue="s-jobs", body=kept.body, reason=kept.reason)
    again = read_kept(blobs, key)
    assert again is not None
    holds((again.body, again.reason) == (kept.body, kept.reason), "it reads back otherwise")
    return True


def _quarantine_seeds() -> list[bytes]:
    blobs = MemoryBlobs()
    bodies = ("rubbish", "a\nb\ud800\0é", "")
    keys = [keep_message(blobs, queue="s-jobs", body=each, reason=f"é {each}") for each in bodies]
    return [blobs.get(key) for key in keys]


RECORDS = [
    Target(
        name="control",
        check=_check_control,
        seeds=_control_seeds,
        hostile=lambda: _nested("control"),
    ),
    Target(name="asked", check=_check_asked, seeds=_asked_seeds, hostile=lambda: _nested("asked")),
    Target(
        name="sweep-json",
        check=_check_declaration,
        seeds=_declaration_seeds,
        hostile=lambda: _nested("sweep"),
    ),
    Target(
        name="segment",
        check=_check_segment,
        seeds=_segment_seeds,
        hostile=lambda: _nested("segment"),
    ),
    Target(name="space", check=_check_space, seeds=_space_seeds, hostile=_space_hostile),
    Target(name="points-bitmap", check=_check_kept, seeds=_kept_seeds),
    Target(name="home-json", check=_check_home, seeds=_home_seeds, hostile=lambda: _nested("home")),
    Target(
        name="node-report",
        check=_check_report,
        seeds=_report_seeds,
        hostile=lambda: _nested("node"),
    ),
    Target(name="quarantine", check=_check_quarantine, seeds=_quarantine_seeds),
]
