"""What became of the files of a sweep's code between two bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from gapless.storage.bundle import BundleFiles
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

    def size_bytes(self, name: str) -> int:
        """Give the size of a file without reading it."""

    def executable(self, name: str) -> bool:
        """Tell whether a file may be run as a program."""


@dataclass(frozen=True, slots=True)
class BundleChanges:
    """Files by what became of them, each by name ascending; a file's mode is part of it."""

    changed: tuple[str, ...]
    removed: tuple[str, ...]
    added: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.added)

    @property
    def additions_only(self) -> bool:
        """Tell whether every file that was there is still there as it was."""
        return not self.changed and not self.removed

    def __str__(self) -> str:
        """Name the first few: `walk.py changed, old.py removed, … (12 files)`."""
        every = [
            *(f"{name} changed" for name in self.changed),
            *(f"{name} removed" for name in self.removed),
            *(f"{name} added" for name in self.added),
        ]
        if len(every) <= _MOST_NAMED:
            return ", ".join(every)
        return f"{', '.join(every[:_MOST_NAMED])}, … ({len(every):,} files)"


def changes_between(stored: BundleFiles, found: CodeFiles) -> BundleChanges:
    """Compare the content and mode of every file; what differs in size is not read."""
    return BundleChanges(
        changed=tuple(
            name for name in sorted(stored.keys() & found.keys()) if _differs(name, stored, found)
        ),
        removed=tuple(sorted(stored.keys() - found.keys())),
        added=tuple(sorted(found.keys() - stored.keys())),
    )


def _differs(name: str, stored: BundleFiles, found: CodeFiles) -> bool:
    return (
        stored.size_bytes(name) != found.size_bytes(name)
        or stored.executable(name) != found.executable(name)
        or stored[name] != found[name]
    )


def changes_since(
    stored_sha: str, found: CodeFiles, fetch: Callable[[str], bytes]
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
    return changes_between(BundleFiles(stored), found)
