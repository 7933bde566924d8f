"""Read a sweep file and pack the code that travels with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gapless.declaration.sweep import FrozenSweep, Sweep
from gapless.declaration.sweepfile import parse_sweep_file
from gapless.errors import UserMistake
from gapless.storage.bundle import Bundle, pack
from gapless.storage.target_check import check_target

__all__ = ["Source", "pack_code", "read_sweep"]


@dataclass(frozen=True, slots=True)
class Source:
    """A sweep as declared, and the file it was read from (None: declared in Python)."""

    sweep: Sweep
    file: Path | None = None


def read_sweep(file: Path) -> Source:
    """Read a sweep file; UserMistake with every mistake in it, one a line."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UserMistake(f"{file}: cannot be read: {error.strerror}") from error

    def read(name: str) -> bytes:
        return (file.parent / name).read_bytes()

    return Source(parse_sweep_file(text, filename=str(file), read=read), file)


def pack_code(source: Source, frozen: FrozenSweep) -> Bundle:
    """Pack the code folder and check that it holds what the sweep calls; UserMistake.

    The sweep file does not travel: its limits may change without the code being another.
    """
    stands_in = Path() if source.file is None else source.file.parent
    left_out = () if source.file is None else (source.file,)
    bundle = pack(stands_in / Path(frozen.code).expanduser(), without=left_out)
    mistake = check_target(
        bundle.files,
        frozen.declaration.target,
        source.sweep.parameters,
        source=frozen.source,
    )
    if mistake is not None:
        raise mistake
    return bundle
