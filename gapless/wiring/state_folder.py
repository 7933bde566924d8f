"""Folders of this machine that belong to a home: state, and where nodes work."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from gapless.storage.disk import Disk, folders_above
from gapless.storage.errors import HomeError

__all__ = ["claim_state", "is_writable", "make_writable", "taken_state", "work_folder"]

_STATE_MARK = "home-of-this-state.txt"


def taken_state(state: Path, home: str) -> Path:
    """Take a state folder (--state) for a home, made when missing; HomeError."""
    folder = state.expanduser().absolute()
    make_writable(folder, "state folder", "choose another with --state")
    claim_state(folder, home)
    return folder


def make_writable(folder: Path, what: str, advice: str) -> None:
    """Make the folder if missing and check that files can be made in it; HomeError when not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(f"{what} {folder}: cannot be made: {error.strerror}; {advice}") from error
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise HomeError(
            f"{what} {folder}: cannot be written ({error.strerror}); {advice}"
        ) from error


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in a folder, by its permissions and mount: writes nothing."""
    return os.access(folder, os.W_OK | os.X_OK)


def claim_state(folder: Path, home: str) -> None:
    """Hold a state folder to one home: two homes in one queue would mix sweeps of one id."""
    mark, disk = folder / _STATE_MARK, Disk()
    try:
        if not mark.exists():
            # Before the mark, which says that it was done: queue and ledger are to last in here.
            for above in folders_above(folder):
                # Who may not open a folder made none in it.
                with contextlib.suppress(PermissionError):
                    disk.flush_folder(above)
        disk.write_new(mark, f"{home}\n".encode())
        disk.flush_folder(folder)
        # Should it lie in a code folder, it is no code. What a person wrote there stays.
        with contextlib.suppress(FileExistsError), (folder / ".gaplessignore").open("x") as f:
            f.write("*\n")
    except FileExistsError:
        # A loss of power before its fsync may leave zeros, which are nobody's.
        owner = mark.read_text(encoding="utf-8").strip("\0").strip()
        if owner not in {home, ""}:
            raise HomeError(
                f"state folder {folder} belongs to the home {owner}, not to {home}; choose "
                f"another with --state, or, if the home was moved, remove {mark}"
            ) from None


def work_folder(state: Path | None) -> Path:
    """Choose where nodes unpack bundles and keep what waits: never inside a home."""
    chosen = os.environ.get("GAPLESS_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if state is not None:
        return state / "node"
    from platformdirs import user_cache_path  # noqa: PLC0415

    return user_cache_path("gapless")
