"""What waits to be delivered: blocks as base64 text, in memory up to a bound, then on disk.

Nothing here must outlive the agent: until its delivery is acknowledged a run stays in its job, so
a crash costs doing it again. Hence no fsync, and leftovers are removed at the next start.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from compute_node.errors import NodeError
from compute_node.full_output import RunFile

__all__ = ["Outbox"]


class Outbox:
    """Blocks by key. Safe to use from several threads. All sizes in bytes."""

    def __init__(
        self,
        folder: Path,
        *,
        memory_bytes: int = 64 * 2**20,
        disk_bytes: int = 2 * 2**30,
        free_bytes: int = 256 * 2**20,
    ) -> None:
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._disk_bytes = disk_bytes
        self._free_bytes = free_bytes
        self._texts: dict[int, bytes] = {}
        self._files: dict[int, int] = {}
        self._in_memory = 0
        self._on_disk = 0
        self._next = 1
        self._run_files: dict[int, tuple[RunFile, ...]] = {}
        self._mutex = threading.Lock()
        shutil.rmtree(folder, ignore_errors=True)

    @property
    def waiting_bytes(self) -> int:
        """Count what waits."""
        with self._mutex:
            return self._in_memory + self._on_disk

    def room(self) -> bool:
        """Tell whether more results can be kept: if not, no work may be assigned."""
        with self._mutex:
            if self._in_memory < self._memory_bytes:
                return True
            if self._on_disk >= self._disk_bytes:
                return False
        try:
            return self._free() > self._free_bytes
        except OSError:
            # Full to the last block, read-only or gone: what waits in memory is still delivered.
            return False

    def add(self, text: bytes, files: Sequence[RunFile] = ()) -> int:
        """Keep a block's text, and files that go with it; give its key."""
        with self._mutex:
            key = self._next
            self._next += 1
            if files:
                self._run_files[key] = tuple(files)
            if self._in_memory + len(text) > self._memory_bytes and self._spool(key, text):
                self._files[key] = len(text)
                self._on_disk += len(text)
            else:
                # A disk that takes nothing more is no reason to drop results.
                self._texts[key] = text
                self._in_memory += len(text)
            return key

    def get(self, keys: Sequence[int]) -> list[str]:
        """Give the texts of blocks, in order."""
        texts = []
        for key in keys:
            with self._mutex:
                text = self._texts.get(key)
            if text is None:
                try:
                    text = self._path(key).read_bytes()
                except OSError as error:
                    raise NodeError(
                        f"block {key} is gone from the outbox, its runs are done again ({error}); "
                        "does another program tidy that folder?"
                    ) from error
            texts.append(text.decode("ascii"))
        return texts

    def files(self, keys: Sequence[int]) -> list[RunFile]:
        """Give the files that go with blocks and are not stored yet."""
        with self._mutex:
            return [file for key in keys for file in self._run_files.get(key, ())]

    def file_stored(self, file: RunFile) -> None:
        """Note that a file lies in the home, and remove it here."""
        with self._mutex:
            for key, files in list(self._run_files.items()):
                if file in files:
                    self._run_files[key] = tuple(each for each in files if each != file)
        Path(file.path).unlink(missing_ok=True)

    def forget(self, keys: Sequence[int]) -> None:
        """Remove blocks and their files; one that is not there is no error."""
        for key in keys:
            with self._mutex:
                files = self._run_files.pop(key, ())
                text = self._texts.pop(key, None)
                size = self._files.pop(key, None)
                self._in_memory -= len(text) if text is not None else 0
                self._on_disk -= size or 0
            if size is not None:
                self._path(key).unlink(missing_ok=True)
            for file in files:
                Path(file.path).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what is left on disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self._folder).free
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
            return shutil.disk_usage(self._folder).free

    def _spool(self, key: int, text: bytes) -> bool:
        path = self._path(key)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(text)
            temporary.replace(path)
        except OSError:
            return False
        return True

    def _path(self, key: int) -> Path:
        return self._folder / f"{key}.block"
