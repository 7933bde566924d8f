"""Which files of a folder are code to ship, and which cannot be shipped."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from gapless.errors import UserMistake
from gapless.storage.bundle_names import MARKER, travels

__all__ = ["IGNORE_FILES", "CodeFile", "FileId", "code_files"]

FileId = tuple[int, int]
"""Device and inode: the same file under whichever name."""

IGNORE_FILES = (".gitignore", ".gaplessignore")
"""Read in every folder; of two that match, the deeper one decides, then .gaplessignore."""

_NEVER = {".git", ".hg", ".svn", "__pycache__", ".ipynb_checkpoints", ".DS_Store"}
_BY_THEMSELVES = ("*.log", "nohup.out")
"""What appears beside code while it runs; an ignore file may take one back (`!data.log`)."""
_HOME_FORMAT = b'"gapless.home/'


@dataclass(frozen=True, slots=True)
class CodeFile:
    """One file to ship: its name in the bundle, where its content lies, size in bytes, mode, id."""

    name: str
    path: Path
    size_bytes: int
    executable: bool
    id: FileId


@dataclass(frozen=True, slots=True)
class _Rules:
    """The ignore files of one folder; `place` is the folder's path from the top, "" or "a/b/"."""

    place: str
    spec: GitIgnoreSpec


def code_files(root: Path) -> list[CodeFile]:
    """List the files to ship, by name ascending; UserMistake with a line for each that cannot be.

    Ignore files above `root` count too, up to the top of its git repository.
    """
    if not root.is_dir():
        raise UserMistake(f"the code folder {root} is not a folder: expected one with your code")
    if _is_home(root):
        raise UserMistake(
            f"the code folder {root} is a home of sweeps too: put the home elsewhere (--home), "
            "or the code into a folder of its own"
        )
    walk = _Walk(root.resolve())
    files = sorted(walk.files(), key=lambda file: file.name)
    if walk.problems:
        raise UserMistake("\n".join(sorted(walk.problems)))
    return files


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[str] = []
        top = _repository_of(root)
        self._prefix = "" if top == root else root.relative_to(top).as_posix() + "/"
        self._outer: list[_Rules] = []
        place = ""
        for part in ("", *root.relative_to(top).parts):
            place = f"{place}{part}/" if part else place
            if top / place != root:
                self._outer += self._rules(top / place, place)
        if _ignored(self._prefix, self._outer):
            # A folder that is named as code is wanted, though its repository ignores it.
            self._outer = []
        self._outer.insert(0, _Rules(self._prefix, GitIgnoreSpec.from_lines(_BY_THEMSELVES)))

    def files(self) -> Iterator[CodeFile]:
        yield from self._folder(self.root, "", self._outer, (self.root,))

    def _folder(
        self, folder: Path, name: str, rules: list[_Rules], inside: tuple[Path, ...]
    ) -> Iterator[CodeFile]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self.problems.append(f"{folder} cannot be read: {error.strerror}")
            return
        rules = [*rules, *self._rules(folder, self._prefix + name)]
        for entry in entries:
            path = Path(entry.path)
            if self._left_out(path, entry.name):
                continue
            is_folder = entry.is_dir()
            if _ignored(self._prefix + name + entry.name + ("/" if is_folder else ""), rules):
                continue
            target = self._inside(path) if entry.is_symlink() else path
            if target is None:
                continue
            if is_folder:
                yield from self._subfolder(path, target, f"{name}{entry.name}/", rules, inside)
            else:
                yield from self._file(path, name + entry.name)

    def _subfolder(
        self, path: Path, target: Path, name: str, rules: list[_Rules], inside: tuple[Path, ...]
    ) -> Iterator[CodeFile]:
        if target in inside:
            self.problems.append(
                f"{path} links to {target}, which it lies in: name it in .gaplessignore"
            )
            return
        yield from self._folder(path, name, rules, (*inside, target))

    def _file(self, path: Path, name: str) -> Iterator[CodeFile]:
        try:
            status = path.stat()
        except OSError as error:
            self.problems.append(f"{path} cannot be read: {error.strerror}")
            return
        if not stat.S_ISREG(status.st_mode):
            # Sockets, pipes and devices hold nothing that could travel.
            return
        try:
            path.open("rb").close()
        except OSError as error:
            self.problems.append(
                f"{path} cannot be read ({error.strerror}): allow it, or name it in .gaplessignore"
            )
            return
        executable = bool(status.st_mode & stat.S_IXUSR)
        yield CodeFile(
            name=name,
            path=path,
            size_bytes=status.st_size,
            executable=executable,
            id=(status.st_dev, status.st_ino),
        )

    def _left_out(self, path: Path, name: str) -> bool:
        if name in _NEVER or name == MARKER or name.startswith((".#", ".tmp-")):
            return True
        try:
            if (path / "pyvenv.cfg").is_file() or _is_home(path):
                return True
        except OSError:
            return False
        if not travels(name):
            self.problems.append(
                f"{str(path)!r} has a name that cannot travel (a backslash, a control character, "
                "a drive or no UTF-8): rename it, or name it in .gaplessignore"
            )
            return True
        return False

    def _inside(self, path: Path) -> Path | None:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            self.problems.append(
                f"{path} is a link to nothing: mend it, or name it in .gaplessignore"
            )
            return None
        if not target.is_relative_to(self.root):
            self.problems.append(
                f"{path} links to {target}, outside the code folder: put a copy in its place, or "
                "name it in .gaplessignore"
            )
            return None
        return target

    def _rules(self, folder: Path, place: str) -> Iterator[_Rules]:
        for name in IGNORE_FILES:
            try:
                lines = (folder / name).read_text("utf-8").splitlines()
            except FileNotFoundError:
                continue
            except (OSError, UnicodeError) as error:
                self.problems.append(f"{folder / name} cannot be read: {error}")
                continue
            try:
                yield _Rules(place, GitIgnoreSpec.from_lines(lines))
            except ValueError as error:
                self.problems.append(f"{folder / name} has a pattern that cannot be read: {error}")


def _ignored(name: str, rules: list[_Rules]) -> bool:
    for each in reversed(rules):
        found = each.spec.check_file(name[len(each.place) :]).include
        if found is not None:
            return found
    return False


def _repository_of(root: Path) -> Path:
    for folder in (root, *root.parents):
        if (folder / ".git").exists():
            return folder
    return root


def _is_home(folder: Path) -> bool:
    try:
        with (folder / "home.json").open("rb") as file:
            return _HOME_FORMAT in file.read(65_536)
    except OSError:
        return False
