"""What became of the files of a sweep's code between two bundles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gapless.storage.bundle import BundleFiles
from gapless.storage.errors import StorageError, StorageUnavailable

__all__ = ["BundleChanges", "changes_between", "changes_since"]

_MOST_NAMED = 5


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


def changes_between(stored: BundleFiles, found: BundleFiles) -> BundleChanges:
    """Compare the content and mode of every file."""
    return BundleChanges(
        changed=tuple(
            name
            for name in sorted(stored.keys() & found.keys())
            if stored[name] != found[name] or stored.executable(name) != found.executable(name)
        ),
        removed=tuple(sorted(stored.keys() - found.keys())),
        added=tuple(sorted(found.keys() - stored.keys())),
    )


def changes_since(
    stored_sha: str, data: bytes, fetch: Callable[[str], bytes]
) -> BundleChanges | None:
    """Compare a packed bundle with a stored one; None when that is lost or damaged.

    `fetch` gives an object of the home by its sha256; StorageUnavailable goes through.
    """
    try:
        stored = fetch(stored_sha)
    except StorageUnavailable:
        raise
    except StorageError:
        return None
    return changes_between(BundleFiles(stored), BundleFiles(data))
