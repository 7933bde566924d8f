"""Read a sweep file and pack the code that travels with it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from gapless.declaration.sweep import Sweep
from gapless.declaration.sweepfile import parse_sweep_file
from gapless.errors import UserMistake
from gapless.storage.bundle import Bundle, pack
from gapless.storage.code_folder import FileId
from gapless.storage.target_check import check_target

__all__ = ["Source", "check_code", "notes_on_space", "pack_code", "read_sweep"]


@dataclass(frozen=True, slots=True)
class Source:
    """A sweep as declared, and the file it was read from (None: declared in Python)."""

    sweep: Sweep
    file: Path | None = None

    @property
    def code_folder(self) -> Path:
        """The folder whose code travels; relative to the sweep file, else to where we stand."""
        stands_in = Path() if self.file is None else self.file.parent
        return stands_in / Path(self.sweep.code).expanduser()


def read_sweep(file: Path) -> Source:
    """Read a sweep file; UserMistake with every mistake in it, one a line."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UserMistake(f"{file}: cannot be read: {error.strerror}") from error

    def read(name: str) -> bytes:
        return (file.parent / name).read_bytes()

    return Source(parse_sweep_file(text, filename=str(file), read=read), file)


def pack_code(source: Source, *, being_written: Collection[FileId] = ()) -> Bundle:
    """Pack the code folder; UserMistake.

    The sweep file does not travel: its limits may change without the code being another. Nor do
    files `being_written`, such as the log of this program.
    """
    left_out = () if source.file is None else (source.file,)
    return pack(source.code_folder, without=left_out, being_written=being_written)


def check_code(source: Source, bundle: Bundle) -> None:
    """Check that the code holds what the sweep calls; UserMistake."""
    sweep = source.sweep
    mistake = check_target(bundle.files, sweep.target, sweep.parameters, source=sweep.source)
    if mistake is not None:
        raise mistake


def notes_on_space(source: Source) -> list[str]:
    """Say which axes name a value more than once; DeclarationError."""
    sweep = source.sweep
    return [
        f"{sweep.source}: space: {names}: {count:,} of the values stood before on this axis and "
        "are dropped (replicates repeat a point)"
        for names, count in sweep.space.repeated().items()
    ]
