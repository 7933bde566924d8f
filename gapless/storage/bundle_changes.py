"""What became of the files of a sweep's code between two bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from gapless.storage.bundle import BundleFiles
from gapless.storage.code_folder import IGNORE_FILES
from gapless.storage.errors import StorageError, StorageUnavailable

__all__ = ["BundleChanges", "CodeFiles", "changes_between", "changes_since"]

_MOST_NAMED = 5


class CodeFiles(Protocol):
    """Files by name, of a bundle or of a folder; read only when their content is asked for."""

    def __getitem__(self, name: str, /) -> bytes:
        """Read a file."""

    def __iter__(self) -> Iterator[str]:
        """Name the files."""

    def keys(self) -> AbstractSet[str]:
        """Name the files, as a set."""

    def head(self, name: str) -> bytes:
        """Read the beginning of a file."""

    def size_bytes(self, name: str) -> int:
        """Give the size of a file without reading it."""

    def executable(self, name: str) -> bool:
        """Tell whether a file may be run as a program."""


@dataclass(frozen=True, slots=True)
class BundleChanges:
    """Files by what became of them, each by name ascending; a file's mode is part of it.

    What is no code is told apart: `rewritten` are ignore files and tables of results that changed,
    `left_out` files that are still in the folder and do not travel any more.
    """

    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.additions_only or bool(self.added)

    @property
    def additions_only(self) -> bool:
        """Tell whether every file that was there is still there as it was."""
        return self.code_as_it_was and not self.rewritten and not self.left_out

    @property
    def code_as_it_was(self) -> bool:
        """Tell whether no file that was there and may be code changed or is gone."""
        return not self.changed and not self.removed

    def beside(self, folder: Path) -> BundleChanges:
        """Tell apart, of the removed files, those that are in the code folder and left out."""
        left_out = {name for name in self.removed if (folder / name).is_file()}
        return replace(
            self,
            removed=tuple(name for name in self.removed if name not in left_out),
            left_out=tuple(sorted({*self.left_out, *left_out})),
        )

    def __str__(self) -> str:
        """Name the first few: `walk.py changed, old.py removed, … (12 files)`."""
        every = [
            *(f"{name} changed" for name in self.changed),
            *(f"{name} removed" for name in self.removed),
            *(f"{name} rewritten" for name in self.rewritten),
            *(f"{name} left out" for name in self.left_out),
            *(f"{name} added" for name in self.added),
        ]
        if len(every) <= _MOST_NAMED:
            return ", ".join(every)
        return f"{', '.join(every[:_MOST_NAMED])}, … ({len(every):,} files)"


def _never(_head: bytes) -> bool:
    return False


def changes_between(
    stored: BundleFiles, found: CodeFiles, *, is_table: Callable[[bytes], bool] = _never
) -> BundleChanges:
    """Compare the content and mode of every file; what differs in size is not read.

    `is_table` tells by the head of a CSV file whether it is a table of results.
    """
    differing = [n for n in sorted(stored.keys() & found.keys()) if _differs(n, stored, found)]
    rewritten = tuple(name for name in differing if _is_no_code(name, stored, found, is_table))
    return BundleChanges(
        changed=tuple(name for name in differing if name not in rewritten),
        rewritten=rewritten,
        removed=tuple(sorted(stored.keys() - found.keys())),
        added=tuple(sorted(found.keys() - stored.keys())),
    )


def _differs(name: str, stored: BundleFiles, found: CodeFiles) -> bool:
    return (
        stored.size_bytes(name) != found.size_bytes(name)
        or stored.executable(name) != found.executable(name)
        or stored[name] != found[name]
    )


def _is_no_code(
    name: str, stored: BundleFiles, found: CodeFiles, is_table: Callable[[bytes], bool]
) -> bool:
    if name.rpartition("/")[2] in IGNORE_FILES:
        return True
    return name.endswith(".csv") and is_table(stored.head(name)) and is_table(found.head(name))


def changes_since(
    stored_sha: str,
    found: CodeFiles,
    fetch: Callable[[str], bytes],
    *,
    is_table: Callable[[bytes], bool] = _never,
) -> BundleChanges | None:
    """Compare files with those of a stored bundle; None when that is lost or damaged.

    `fetch` gives an object of the home by its sha256; StorageUnavailable goes through.
    """
    try:
        stored = fetch(stored_sha)
    except StorageUnavailable:
        raise
    except StorageError:
        return None
    return changes_between(BundleFiles(stored), found, is_table=is_table)
