"""A sweep's declaration, numbers and code as files of this machine, for its workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gapless.declaration.runs import Runs
from gapless.storage import layout
from gapless.storage.sweeps import SweepStore
from gapless.storage.unpack import unpack

__all__ = ["code_folder", "prepare_sweep", "sweep_folder"]


def sweep_folder(work: Path, sweep: str) -> Path:
    """Name where a sweep's files lie on this machine."""
    return work / "sweeps" / sweep


def code_folder(work: Path, code: str) -> str:
    """Name where a bundle is unpacked; "" when the target needs none."""
    return str(work / "code" / code) if code else ""


def prepare_sweep(store: SweepStore, *, sweep: str, code: str, work: Path) -> int:
    """Write a sweep's files and unpack its code; give its number of runs. Safe to repeat.

    A crash leaves files that the next call replaces; workers are started only after it.
    """
    folder = sweep_folder(work, sweep)
    (folder / "segments").mkdir(parents=True, exist_ok=True)
    (folder / "objects").mkdir(exist_ok=True)

    declaration = store.declaration(sweep)
    segments = store.segments(sweep)
    _write(folder / "sweep.json", declaration.encode())
    for segment in segments:
        for sha256 in _objects(msgspec.to_builtins(segment.parts)):
            _write(folder / "objects" / sha256, store.get_object(sha256))
        _write(folder / "segments" / f"{segment.number}.json", segment.encode())
    total = Runs(declaration, segments, store.get_object).total
    if code:
        unpack(store.blobs.get(layout.object_(code)), code, work / "code")
    return total


def _objects(written: Any) -> Iterator[str]:
    """Give the hashes of the tables and bitmaps that a space's JSON form names."""
    if isinstance(written, dict):
        for key, value in written.items():
            if key == "object" and isinstance(value, str):
                yield value
            else:
                yield from _objects(value)
    elif isinstance(written, list | tuple):
        for each in written:
            yield from _objects(each)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
