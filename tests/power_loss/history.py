"""What was done to a disk, told from the calls that were recorded.

Files and folders are told apart by what they are, not by what they are called: a path is followed
through the names as the programs saw them at that moment.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.power_loss.disk import UNIT, Ack, Cut, Image, Names, Operation, Order, Put, Tree
from tests.power_loss.recording import MARKS, Call

__all__ = ["History"]

_IMMATERIAL = re.compile(
    r"(^|/)(ledger\.locks|owners|logs)(/|$)|\.lock$|-shm$|(^|/)\.gaplessignore$", re.ASCII
)
_WRITE_LOCK = "l_start=120, l_len=1"
"""WAL_WRITE_LOCK in -shm (https://sqlite.org/walformat.html, section 2.4): byte 120."""


@dataclass(slots=True)
class History:
    """What was done below a root folder, in order: operations and acks, by time (an index)."""

    order: Order = Order.ANY
    operations: list[Operation] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    length: int = 0
    paths: dict[int, str] = field(default_factory=dict)
    """The last path of every file and folder, below the root."""

    _root: str = "/"
    _names: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    _sizes: dict[int, int] = field(default_factory=dict)
    _immaterial: set[int] = field(default_factory=set)
    _deleted: dict[str, int] = field(default_factory=dict)
    _pending: list[Operation] = field(default_factory=list)
    _returned: list[tuple[int, int]] = field(default_factory=list)
    _made: int = 0

    @classmethod
    def of(cls, calls: Iterable[Call], root: Path, order: Order = Order.ANY) -> History:
        """Read the calls on what is below `root`, which was an empty folder at the beginning."""
        history = cls(order=order)
        history._root = root.as_posix()
        for call in calls:
            history._read(call)
            history._returned.append((call.ended, history.length))
        return history

    def check_against(self, root: Path) -> None:
        """Compare what was replayed in full with what lies on the disk; AssertionError."""
        replayed = {path: data for path, data in self.full().items() if not path.endswith("/")}
        there = {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }
        for path in sorted({*replayed, *there}):
            if not _IMMATERIAL.search(path) and replayed.get(path) != there.get(path):
                raise AssertionError(
                    f"the record lacks something: {path} has {_size(there.get(path))} on the disk, "
                    f"{_size(replayed.get(path))} in the replay"
                )

    def full(self) -> Tree:
        """Give what lies on the disk when everything has reached it."""
        image = Image()
        for operation in self.operations:
            image.apply(operation.effect)
        return image.tree()

    def describe(self, operation: Operation) -> str:
        """Say what an operation does, for people."""
        effect = operation.effect
        if isinstance(effect, Put):
            what = f"{len(effect.data)} bytes at {effect.offset} of {self.paths.get(effect.file)}"
        elif isinstance(effect, Cut):
            what = f"{self.paths.get(effect.file)} cut to {effect.size}"
        else:
            what = " ".join(
                [f"-{self.paths.get(folder, '')}/{name}" for folder, name, _ in effect.gone]
                + [f"+{self.paths.get(folder, '')}/{name}" for folder, name, _ in effect.come]
            )
        return f"{operation.at}: {what}"

    # -- reading calls ---------------------------------------------------------------------

    def _read(self, call: Call) -> None:
        read = _READ.get(call.name)
        if read is not None:
            read(self, call)
        elif call.name in {"sync", "syncfs"}:
            raise AssertionError(f"{call.name} is not modelled")
        elif any(self._inside(each) for each in _all_paths(call.arguments)):
            raise AssertionError(f"{call.name} on a file of the home is not modelled")

    def _opened(self, call: Call) -> None:
        path = _path_arguments(call.arguments)[0]
        if path.startswith(MARKS):
            self._ack(path[len(MARKS) :])
            return
        if call.result < 0 or "O_TMPFILE" in call.arguments or not self._inside(path):
            return
        node = self._find(path)
        if node is None:
            if "O_CREAT" not in call.arguments and call.name != "creat":
                raise AssertionError(f"{path} was opened and never made")
            self._made += 1
            node = self._made
            self._sizes[node] = 0
            folder, last = self._place(path)
            self._change(Names(come=((folder, last, node),)), path)
        elif "O_TRUNC" in call.arguments and self._sizes.get(node):
            self._sizes[node] = 0
            self._add(Cut(node, 0), node in self._immaterial)

    def _wrote(self, call: Call) -> None:
        found = _DESCRIPTOR.match(call.arguments)
        if found is None or not call.result:
            return
        node = self._open_file(found)
        if node is None:
            return
        data = b"".join(_text(each) for each in _STRING.findall(call.arguments[found.end() :]))
        assert len(data) >= call.result, f"strace cut {call.name} short"
        data = data[: call.result]
        # `write` goes where the last one ended: nobody here seeks before it (see `check_against`).
        offset = self._sizes[node]
        if call.name.startswith("pwrite"):
            offset = int(call.arguments.rsplit(",", 1)[1])
        self._sizes[node] = max(self._sizes[node], offset + len(data))
        if node in self._immaterial:
            return
        start = 0
        while start < len(data):
            stop = min(len(data), start + UNIT - (offset + start) % UNIT)
            self._add(Put(node, offset + start, data[start:stop]))
            start = stop

    def _cut(self, call: Call) -> None:
        found = _DESCRIPTOR.match(call.arguments)
        node = self._open_file(found) if found else self._find(_path_arguments(call.arguments)[0])
        if node is not None:
            self._sizes[node] = int(call.arguments.rsplit(",", 1)[1])
            self._add(Cut(node, self._sizes[node]), node in self._immaterial)

    def _renamed(self, call: Call) -> None:
        old, new = _path_arguments(call.arguments)
        if not (self._inside(old) and self._inside(new)):
            if self._inside(old) or self._inside(new):
                raise AssertionError(f"{call.name} across the root: {old} {new}")
            return
        node, there = self._find(old), self._find(new)
        assert node is not None, f"{old} was never made"
        if there is not None:
            self._deleted[new] = there
        folder, last = self._place(new)
        if call.name.startswith("link"):
            self._change(Names(come=((folder, last, node),)), new)
        else:
            gone = ((*self._place(old), node),)
            self._change(Names(gone=gone, come=((folder, last, node),)), new)

    def _unlinked(self, call: Call) -> None:
        (path,) = _path_arguments(call.arguments)
        if self._inside(path):
            node = self._find(path)
            assert node is not None, f"{path} was never made"
            self._deleted[path] = node
            self._change(Names(gone=((*self._place(path), node),)), path)

    def _made_folder(self, call: Call) -> None:
        (path,) = _path_arguments(call.arguments)
        if self._inside(path):
            self._made += 1
            node = -self._made
            self._names[node] = {}
            folder, last = self._place(path)
            self._change(Names(come=((folder, last, node),)), path)

    def _flushed(self, call: Call) -> None:
        found = _DESCRIPTOR.match(call.arguments)
        assert found is not None
        path = _text(found.group(2)).decode()
        if not self._inside(path) and path != self._root:
            return
        node = self._open_file(found)
        if node is None:
            return
        # What had returned before the flush was asked for is covered, nothing else.
        known = bisect.bisect_left(self._returned, (call.began, -1))
        before = self._returned[known - 1][1] if known else 0
        now, self.length = self.length, self.length + 1
        covered = [each for each in self._pending if each.at < before and _is_of(each.effect, node)]
        for operation in covered:
            # A rename across two folders would need both flushed: it is taken for never flushed.
            if not isinstance(operation.effect, Names) or operation.effect.folders == {node}:
                operation.lasts_from = now
        last_names = max((each.at for each in covered if each.is_names), default=-1)
        if self.order is Order.JOURNAL:
            for operation in self._pending:
                if operation.is_names and operation.at <= last_names:
                    operation.lasts_from = now
        self._pending = [each for each in self._pending if each.lasts_from > now]

    def _unlocked(self, call: Call) -> None:
        if "F_UNLCK" in call.arguments and _WRITE_LOCK in call.arguments:
            found = _DESCRIPTOR.match(call.arguments)
            assert found is not None
            path = _text(found.group(2)).decode()
            if self._inside(path) and path.endswith("-shm") and not found.group(3):
                self._ack(f"commit:{self._relative(path).removesuffix('-shm')}")

    # -- the tree as the programs see it ---------------------------------------------------

    def _add(self, effect: Put | Cut | Names, is_immaterial: bool = False) -> None:
        operation = Operation(self.length, effect)
        self.length += 1
        self.operations.append(operation)
        if is_immaterial:
            operation.lasts_from = operation.at
        else:
            self._pending.append(operation)

    def _ack(self, text: str) -> None:
        self.acks.append(Ack(self.length, text))
        self.length += 1

    def _change(self, effect: Names, path: str) -> None:
        for folder, name, _ in effect.gone:
            del self._names[folder][name]
        is_immaterial = bool(_IMMATERIAL.search(self._relative(path)))
        for folder, name, node in effect.come:
            self._names[folder][name] = node
            self.paths[node] = self._relative(path)
            if is_immaterial:
                self._immaterial.add(node)
        self._add(effect, is_immaterial)

    def _inside(self, path: str) -> bool:
        return path.startswith(f"{self._root}/")

    def _relative(self, path: str) -> str:
        return path[len(self._root) + 1 :]

    def _find(self, path: str) -> int | None:
        node = 0
        for part in PurePosixPath(self._relative(path)).parts:
            found = self._names.get(node, {}).get(part)
            if found is None:
                return None
            node = found
        return node

    def _place(self, path: str) -> tuple[int, str]:
        parent, _, last = path.rpartition("/")
        folder = 0 if parent == self._root else self._find(parent)
        assert folder is not None, f"{parent} was never made"
        return folder, last

    def _open_file(self, found: re.Match[str]) -> int | None:
        path, is_deleted = _text(found.group(2)).decode(errors="replace"), found.group(3)
        if path == self._root:
            return 0
        if not self._inside(path):
            return None
        # A file without a name that was never given one (O_TMPFILE) is nobody's.
        return self._deleted.get(path) if is_deleted else self._find(path)


def _is_of(effect: Put | Cut | Names, node: int) -> bool:
    return node in effect.folders if isinstance(effect, Names) else effect.file == node


_READ: dict[str, Callable[[History, Call], None]] = {
    **dict.fromkeys(("open", "openat", "creat"), History._opened),
    **dict.fromkeys(("write", "pwrite64", "writev", "pwritev", "pwritev2"), History._wrote),
    **dict.fromkeys(("ftruncate", "truncate"), History._cut),
    **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat"), History._renamed),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), History._unlinked),
    **dict.fromkeys(("mkdir", "mkdirat"), History._made_folder),
    **dict.fromkeys(("fsync", "fdatasync"), History._flushed),
    "fcntl": History._unlocked,
}

_HEX = r"(?:\\x[0-9a-f]{2})*"
_DESCRIPTOR = re.compile(rf"(\d+)<({_HEX})>(\(deleted\))?", re.ASCII)
_STRING = re.compile(rf'"({_HEX})"', re.ASCII)
_PATH = re.compile(rf'(?:(?:AT_FDCWD|\d+)<({_HEX})>(?:\(deleted\))?, )?"({_HEX})"', re.ASCII)


def _text(hexadecimal: str) -> bytes:
    return bytes.fromhex(hexadecimal.replace("\\x", ""))


def _path_arguments(arguments: str) -> list[str]:
    return [
        str(PurePosixPath(_text(folder).decode()) / _text(path).decode())
        for folder, path in _PATH.findall(arguments)
    ]


def _all_paths(arguments: str) -> Sequence[str]:
    return [_text(path).decode(errors="replace") for _, path, _ in _DESCRIPTOR.findall(arguments)]


def _size(data: bytes | None) -> str:
    return "nothing" if data is None else f"{len(data)} bytes"
