"""A home in a folder: queues and ledger are SQLite files in it, or in a state folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.storage import layout
from gapless.storage.errors import HomeError, StorageError
from gapless.storage.folder import FolderBlobs
from gapless.storage.home import HomeRecord, holds_home, open_home_record
from gapless.storage.sweeps import SweepStore
from gapless.wiring.home import Home
from gapless.wiring.machine import new_id
from gapless.wiring.pace import ALONE_ON_FOLDER, UNDER_RUN_ON_FOLDER, Pace
from gapless.wiring.state_folder import is_writable, make_writable, taken_state, work_folder

if TYPE_CHECKING:
    from queueing.sqlite import SqliteQueues

__all__ = ["FolderHome", "open_folder_home", "read_folder_home"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderHome(Home):
    """An open home in a folder."""

    folder: Path
    folder_blobs: FolderBlobs

    def is_there(self) -> bool:
        """Tell whether the home is where it was: its disk may be away for a while."""
        return (self.folder / layout.HOME).is_file()

    def can_be_written(self) -> bool:
        """Tell whether files can be made in the home and in its state folder."""
        return is_writable(self.folder) and is_writable(self.state_folder)

    @property
    def is_remote(self) -> bool:
        """No: all of it is on this machine, or on a disk it sees."""
        return False

    @property
    def pace(self) -> Pace:
        """How often programs look that run on their own."""
        return ALONE_ON_FOLDER

    @property
    def pace_under_run(self) -> Pace:
        """How often programs look under `sweep run`."""
        return UNDER_RUN_ON_FOLDER

    @property
    def queue_file(self) -> Path:
        """Where the embedded queue lies."""
        return self.state_folder / "queue.db"

    def has_queues(self) -> bool:
        """Tell whether the queue's file is here: with another --state it is elsewhere."""
        return self.queue_file.exists()

    def queues(self) -> SqliteQueues:
        """Open the home's queues; the caller closes them."""
        from queueing.sqlite import SqliteQueues  # noqa: PLC0415

        return SqliteQueues(self.queue_file)

    def sweep_leftovers(self, now_s: float) -> object:
        """Remove temporary files of writers that died long ago."""
        return self.folder_blobs.sweep_leftovers(now_s)

    def keep_deleted(self, key: str) -> None:
        """Make sure that what was deleted beside `key` is not back after a loss of power."""
        self.folder_blobs.keep_deleted(key)

    def tidy(self, prefix: str) -> None:
        """Remove the empty folders that are left of a prefix; what is gone then stays gone."""
        for folder, _, _ in os.walk(self.folder / prefix, topdown=False):
            # Not empty: somebody wrote into it meanwhile.
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        self.folder_blobs.keep_deleted(prefix.rstrip("/"))


def open_folder_home(
    folder: Path,
    *,
    state: Path | None,
    ledger: str | None,
    create: bool,
    before_making: Callable[[], None] | None = None,
    if_unwritable: str = "choose another with --home",
) -> FolderHome:
    """Open the home in a folder to work on it, making it when `create`; HomeError.

    `before_making` is called when it is to be made, before anything is written; `if_unwritable`
    is what a person does next when it cannot be written.
    """
    if not create:
        _need_home(folder)
    is_new = not (folder / layout.HOME).exists()
    if is_new:
        _refuse_within_home(folder)
        if before_making is not None:
            before_making()
    make_writable(folder, "home", if_unwritable)
    taken = None if state is None else taken_state(state, str(folder))
    return _opened(folder, state=taken, ledger=ledger, create=create, is_new=is_new)


def read_folder_home(folder: Path, *, state: Path | None, ledger: str | None) -> FolderHome:
    """Open a home that is there to read it: it may lie on a medium that cannot be written."""
    _need_home(folder)
    chosen = state.expanduser().absolute() if state is not None else None
    return _opened(folder, state=chosen, ledger=ledger, create=False, is_new=False)


def _need_home(folder: Path) -> None:
    if not (folder / layout.HOME).is_file():
        raise HomeError(
            f"home {folder}: no home is there; `sweep run FILE` or `sweep submit FILE` makes one, "
            "--home (or GAPLESS_HOME) names another place"
        )


def _refuse_within_home(folder: Path) -> None:
    # Resolved too: a link may lead into a home.
    for around in dict.fromkeys((*folder.parents, *folder.resolve().parents)):
        # What cannot be read is no home of this person's.
        with contextlib.suppress(OSError, StorageError):
            if (around / layout.HOME).is_file() and holds_home(FolderBlobs(around)):
                break
    else:
        return
    raise HomeError(
        f"home {folder}: it would lie within the home {around}, and go when a sweep of that one is "
        "removed; choose another place with --home"
    )


def _opened(
    folder: Path, *, state: Path | None, ledger: str | None, create: bool, is_new: bool
) -> FolderHome:
    blobs = FolderBlobs(folder)
    wanted = HomeRecord(id=new_id())
    record = open_home_record(blobs, create=create, record=wanted, place=str(folder))
    return FolderHome(
        location=str(folder),
        folder=folder,
        blobs=blobs,
        folder_blobs=blobs,
        store=SweepStore(blobs),
        record=record,
        state_folder=state if state is not None else folder,
        given_state=state,
        node_work_folder=work_folder(state),
        ledger_url=ledger,
        is_new=is_new,
    )
