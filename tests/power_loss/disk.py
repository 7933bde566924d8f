"""What a disk may hold after a loss of power, given what was asked of it.

POSIX promises little: what was not flushed may be there, in part, or not at all, in any order. File
systems differ in what they add (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014,
table 1 and section 3; Mohan et al., "Finding Crash-Consistency Bugs with Bounded Black-Box Crash
Testing", OSDI 2018). The model takes what any of them may do:

- bytes written to a file reach the disk in any order and any subset, in units of 4 KiB; of a unit
  perhaps only its first sectors of 512 bytes; or its length without its bytes (zeros). fsync and
  fdatasync of the file end that for all that was written to it before;
- a change of a folder (create, link, rename, unlink, mkdir, rmdir) is atomic, a rename across both
  its names; it lasts from an fsync of that folder on. Flushing a file does not flush its name;
- `Order.ANY`: changes of folders not yet flushed reach the disk in any subset. `Order.JOURNAL`:
  in the order in which they were made, as on ext4, XFS and btrfs, and an fsync of any folder takes
  along all that were made before it.

Sectors that were not written to stay as they are (what SQLite calls powersafe overwrite), and what
was flushed stays: a drive that lies about its cache is outside of the model.

Left out, as if always on the disk, because nobody reads them after a restart: locks, owners of
leases (their locks are gone with their processes), logs, and -shm (see `recording`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

__all__ = ["SECTOR", "UNIT", "Ack", "Cut", "Image", "Names", "Operation", "Order", "Put", "Tree"]

UNIT = 4096
SECTOR = 512
_NEVER = 1 << 62

Tree = dict[str, bytes]
"""Files by path below the root."""


class Order(enum.Enum):
    """In which order changes of folders reach the disk."""

    ANY = "any"
    JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class Put:
    """Bytes written to a file within one unit."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """A file made shorter or longer."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Names:
    """One atomic change of folders: names that go (if they still lead there), names that come."""

    gone: tuple[tuple[int, str, int], ...] = ()
    come: tuple[tuple[int, str, int], ...] = ()

    @property
    def folders(self) -> set[int]:
        """The folders that are changed."""
        return {folder for folder, _, _ in (*self.gone, *self.come)}


@dataclass(slots=True)
class Operation:
    """What one call did, or a part of it; `lasts_from` is the time from which it is on the disk."""

    at: int
    effect: Put | Cut | Names
    lasts_from: int = _NEVER

    @property
    def is_names(self) -> bool:
        """Tell whether it changes folders."""
        return isinstance(self.effect, Names)


@dataclass(frozen=True, slots=True)
class Ack:
    """Somebody was told: a mark, or "commit:<path>" when SQLite let go of its write lock."""

    at: int
    text: str


@dataclass(slots=True)
class Image:
    """What lies on a disk: the bytes of files (numbers > 0) and the names in folders (<= 0)."""

    files: dict[int, bytes] = field(default_factory=dict)
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})

    def copy(self) -> Image:
        """Give another one, to be changed apart."""
        return Image(dict(self.files), {key: dict(names) for key, names in self.folders.items()})

    def apply(self, effect: Put | Cut | Names) -> None:
        """Let one operation reach the disk."""
        if isinstance(effect, Names):
            for folder, name, node in effect.gone:
                names = self.folders.setdefault(folder, {})
                if names.get(name) == node:
                    del names[name]
            for folder, name, node in effect.come:
                self.folders.setdefault(folder, {})[name] = node
            return
        data = self.files.get(effect.file, b"")
        if isinstance(effect, Cut):
            self.files[effect.file] = data[: effect.size].ljust(effect.size, b"\0")
            return
        end = effect.offset + len(effect.data)
        before = data[: effect.offset].ljust(effect.offset, b"\0")
        self.files[effect.file] = before + effect.data + data[end:]

    def tree(self) -> Tree:
        """Give the files that can be reached; an empty folder is given as its path with a slash."""
        found: Tree = {}
        self._walk(0, "", found)
        return found

    def _walk(self, folder: int, prefix: str, found: Tree) -> None:
        for name, node in self.folders.get(folder, {}).items():
            if node > 0:
                found[prefix + name] = self.files.get(node, b"")
                continue
            below = len(found)
            self._walk(node, f"{prefix}{name}/", found)
            if len(found) == below:
                found[f"{prefix}{name}/"] = b""
