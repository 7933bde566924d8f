"""The folder of code that travels with a sweep: a zip that is the same on every machine.

Entries are sorted and stored without compression (compressors differ by version), with one fixed
time and the modes 0644 and 0755, so that the sha256 names the code and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gapless.errors import UserMistake
from gapless.storage.code_folder import CodeFile, FileId, code_files

__all__ = ["MAX_BUNDLE_BYTES", "Bundle", "BundleFiles", "CodeTooLarge", "FolderFiles", "pack"]

MAX_BUNDLE_BYTES = 50_000_000
"""The most a bundle may hold: it is fetched by every node."""

HEAD_BYTES = 65_536
"""As much of a file as tells what it is."""

_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


class BundleFiles(Mapping[str, bytes]):
    """The files of a bundle by their names (with slashes), read from it when asked for."""

    def __init__(self, data: bytes) -> None:
        self._zip = zipfile.ZipFile(io.BytesIO(data))
        self._names = tuple(self._zip.namelist())

    def __getitem__(self, name: str) -> bytes:
        return self._zip.read(name)

    def head(self, name: str) -> bytes:
        """Read the beginning of a file, HEAD_BYTES at most."""
        with self._zip.open(name) as file:
            return file.read(HEAD_BYTES)

    def size_bytes(self, name: str) -> int:
        """Give the size of a file without reading it."""
        return self._zip.getinfo(name).file_size

    def executable(self, name: str) -> bool:
        """Tell whether a file may be run as a program."""
        return bool(self._zip.getinfo(name).external_attr >> 16 & stat.S_IXUSR)

    def __contains__(self, name: object) -> bool:
        return name in self._zip.NameToInfo

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class FolderFiles(Mapping[str, bytes]):
    """The files of a code folder by the names they would travel under, read when asked for."""

    def __init__(self, files: Iterable[CodeFile]) -> None:
        self._files = {file.name: file for file in files}

    def __getitem__(self, name: str) -> bytes:
        return _content(self._files[name])

    def head(self, name: str) -> bytes:
        """Read the beginning of a file, HEAD_BYTES at most."""
        return _content(self._files[name], HEAD_BYTES)

    def size_bytes(self, name: str) -> int:
        """Give the size of a file without reading it."""
        return self._files[name].size_bytes

    def executable(self, name: str) -> bool:
        """Tell whether a file may be run as a program."""
        return self._files[name].executable

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class CodeTooLarge(UserMistake):
    """A code folder holds more than can travel; `files` are those that would.

    `sha256` (hexadecimal) hashes their names, sizes and modes only.
    """

    def __init__(self, root: Path, files: list[CodeFile]) -> None:
        total = sum(file.size_bytes for file in files)
        largest = sorted(files, key=lambda file: (-file.size_bytes, file.name))[:5]
        listed = "\n".join(f"  {file.size_bytes / 1e6:10,.1f} MB  {file.name}" for file in largest)
        super().__init__(
            f"the code folder {root} holds {total / 1e6:,.1f} MB, more than the "
            f"{MAX_BUNDLE_BYTES / 1e6:.0f} MB that travel with a sweep; its largest files:\n"
            f"{listed}\n"
            "name what the runs do not need in .gaplessignore (written like .gitignore), or give a "
            "smaller folder as `code`"
        )
        self.files = FolderFiles(files)
        facts = [(file.name, file.size_bytes, file.executable) for file in files]
        self.sha256 = hashlib.sha256(repr(facts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A packed folder: the zip, its sha256 (hexadecimal), and what is in it."""

    sha256: str
    data: bytes
    files: BundleFiles


def pack(
    folder: Path | str, *, without: Collection[Path] = (), being_written: Collection[FileId] = ()
) -> Bundle:
    """Pack a folder, without what .gitignore and .gaplessignore name and the files `without`.

    Files `being_written`, such as the log of the very program that packs, are left out too. Never
    packed: homes, .git, virtual environments, __pycache__; logs unless .gaplessignore takes them
    back (`!data.log`). UserMistake when the folder cannot be packed (each reason a line),
    CodeTooLarge, before anything is read, when it holds more than MAX_BUNDLE_BYTES.
    """
    root = Path(folder)
    left_out = {each.resolve() for each in without}
    files = [
        each
        for each in code_files(root)
        if each.id not in being_written and each.path.resolve() not in left_out
    ]
    if sum(file.size_bytes for file in files) > MAX_BUNDLE_BYTES:
        raise CodeTooLarge(root, files)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.name, _TIME)
            entry.create_system = _UNIX
            entry.external_attr = (0o100755 if file.executable else 0o100644) << 16
            archive.writestr(entry, _content(file))
    data = buffer.getvalue()
    return Bundle(sha256=hashlib.sha256(data).hexdigest(), data=data, files=BundleFiles(data))


def _content(file: CodeFile, most_bytes: int = -1) -> bytes:
    try:
        with file.path.open("rb") as opened:
            return opened.read(most_bytes)
    except OSError as error:
        raise UserMistake(f"{file.path} cannot be read: {error.strerror}") from error
