"""Choose the adapters of a home: here and nowhere else.

A folder home keeps its blobs in the folder, its queues in `queue.db` and its ledger in `ledger.db`,
both in the folder or in a state folder on a local disk. Heavy libraries load only when asked for:
a node or an aggregator never loads the ledger's.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.errors import UserMistake
from gapless.storage import layout
from gapless.storage.errors import HomeError
from gapless.storage.folder import FolderBlobs
from gapless.storage.home import HomeRecord, open_home_record
from gapless.storage.sweeps import SweepStore

if TYPE_CHECKING:
    from queueing.sqlite import SqliteQueues
    from receipts.ledger import Ledger

__all__ = [
    "DEFAULT_HOME",
    "Home",
    "clock",
    "core_count",
    "home_folder",
    "new_id",
    "open_home",
    "program_id",
    "read_home",
]

DEFAULT_HOME = "sweeps"
"""Where sweeps live, below the current folder, when neither --home nor GAPLESS_HOME says."""

_STATE_MARK = "home-of-this-state.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """An open home: its adapters, and where its files lie on this machine.

    `is_new` tells that opening made it.
    """

    folder: Path
    state_folder: Path
    node_work_folder: Path
    blobs: FolderBlobs
    store: SweepStore
    record: HomeRecord
    is_new: bool = False

    def is_there(self) -> bool:
        """Tell whether the home is where it was: its disk may be away for a while."""
        return (self.folder / layout.HOME).is_file()

    @property
    def queue_file(self) -> Path:
        """Where the embedded queue lies."""
        return self.state_folder / "queue.db"

    @property
    def ledger_file(self) -> Path:
        """Where the ledger lies."""
        return self.state_folder / "ledger.db"

    @property
    def logs_folder(self) -> Path:
        """Where `sweep run` keeps what its node and aggregator say."""
        return self.state_folder / "logs"

    def queues(self) -> SqliteQueues:
        """Open the home's queues; the caller closes them."""
        from queueing.sqlite import SqliteQueues  # noqa: PLC0415

        return SqliteQueues(self.queue_file)

    def ledger(self) -> Ledger:
        """Open the home's ledger (loads SQLAlchemy); the caller closes it."""
        from receipts.ledger import open_ledger  # noqa: PLC0415

        return open_ledger(self.state_folder)


def clock() -> float:
    """Tell the time, Unix seconds: for what is stored."""
    return time.time()


def new_id() -> str:
    """Make a random id (32 hexadecimal digits)."""
    return secrets.token_hex(16)


def core_count() -> int:
    """Count the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def program_id(kind: str) -> str:
    """Name a program of this machine for people and manifests: kind, host name, random digits."""
    host = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-")[:32] or "host"
    return f"{kind}-{host}-{secrets.token_hex(4)}"


def open_home(location: str | Path | None, *, state: Path | None = None, create: bool) -> Home:
    """Open the home at `location` (None: GAPLESS_HOME, else ./sweeps), making it when `create`.

    HomeError when it is not there, cannot be written or is of a newer format. Safe to repeat.
    """
    folder = home_folder(location)
    if not create:
        _need_home(folder)
    is_new = not (folder / layout.HOME).exists()
    _make_writable(folder, "home", "choose another with --home")
    if state is not None:
        state = state.expanduser().absolute()
        _make_writable(state, "state folder", "choose another with --state")
        _claim_state(state, folder)
    blobs = FolderBlobs(folder)
    record = open_home_record(blobs, create=create)
    return replace(_home(folder, state=state, blobs=blobs, record=record), is_new=is_new)


def read_home(location: str | Path | None, *, state: Path | None = None) -> Home:
    """Open a home that is there to read it: it may lie on a medium that cannot be written."""
    folder = home_folder(location)
    _need_home(folder)
    blobs = FolderBlobs(folder)
    record = open_home_record(blobs, create=False)
    chosen = state.expanduser().absolute() if state is not None else None
    return _home(folder, state=chosen, blobs=blobs, record=record)


def home_folder(location: str | Path | None) -> Path:
    """Name the folder of a home (None: GAPLESS_HOME, else ./sweeps), whether it is there or not."""
    named = str(location) if location is not None else os.environ.get("GAPLESS_HOME", DEFAULT_HOME)
    if "://" in named:
        raise UserMistake(
            f"--home {named}: this version of gapless knows folder homes only; name a folder"
        )
    folder = Path(named).expanduser().absolute()
    if ".." in folder.parts:
        # One home has one spelling: a state folder remembers whose it is.
        folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise HomeError(f"home {folder}: this is a file, a home is a folder")
    return folder


def _need_home(folder: Path) -> None:
    if not (folder / layout.HOME).is_file():
        raise HomeError(
            f"home {folder}: no home is there; `sweep run FILE` or `sweep submit FILE` makes one, "
            "--home (or GAPLESS_HOME) names another place"
        )


def _home(folder: Path, *, state: Path | None, blobs: FolderBlobs, record: HomeRecord) -> Home:
    state_folder = state if state is not None else folder
    return Home(
        folder=folder,
        state_folder=state_folder,
        node_work_folder=_work_folder(state),
        blobs=blobs,
        store=SweepStore(blobs),
        record=record,
    )


def _make_writable(folder: Path, what: str, advice: str) -> None:
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


def _claim_state(state_folder: Path, folder: Path) -> None:
    """Hold a state folder to one home: two homes in one queue would mix sweeps of one id."""
    mark = state_folder / _STATE_MARK
    try:
        with mark.open("x", encoding="utf-8") as file:
            file.write(f"{folder}\n")
        # Should it lie in a code folder, it is no code. What a person wrote there stays.
        with contextlib.suppress(FileExistsError), (state_folder / ".gaplessignore").open("x") as f:
            f.write("*\n")
    except FileExistsError:
        owner = mark.read_text(encoding="utf-8").strip()
        if owner not in {str(folder), ""}:
            raise HomeError(
                f"state folder {state_folder} belongs to the home {owner}, not to {folder}; choose "
                f"another with --state, or, if the home was moved, remove {mark}"
            ) from None


def _work_folder(state_folder: Path | None) -> Path:
    """Choose where nodes unpack bundles and keep what waits: never inside a home."""
    chosen = os.environ.get("GAPLESS_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if state_folder is not None:
        return state_folder / "node"
    from platformdirs import user_cache_path  # noqa: PLC0415

    return user_cache_path("gapless")
