"""An open home: what a folder and an S3 home have in common."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gapless.storage.blobs import Blobs
from gapless.storage.home import HomeRecord
from gapless.storage.sweeps import SweepStore
from gapless.wiring.ledger_address import file_of_ledger, shown_ledger
from gapless.wiring.pace import Pace
from gapless.wiring.state_folder import is_writable

if TYPE_CHECKING:
    from queueing.port import Queues
    from receipts.ledger import Ledger

__all__ = ["Home"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Home(abc.ABC):
    """An open home: its adapters, and where its files lie on this machine.

    `location`: its folder or URL, for people and for other programs. `ledger_url`: as --ledger
    named it (None: SQLite in the state folder). `given_state`: the state folder if --state named
    it. `is_new` tells that opening made the home. `tell`: where a person's command says what it
    waits for; None for programs, which do something else meanwhile.
    """

    location: str
    blobs: Blobs
    store: SweepStore
    record: HomeRecord
    state_folder: Path
    node_work_folder: Path
    ledger_url: str | None = None
    given_state: Path | None = None
    is_new: bool = False
    tell: Callable[[str], None] | None = None

    @abc.abstractmethod
    def is_there(self) -> bool:
        """Tell whether the home is where it was: it may be away for a while."""

    def can_be_written(self) -> bool:
        """Tell whether work can be done in it; of a bucket that is not known, and taken for so."""
        return True

    @abc.abstractmethod
    def queues(self) -> Queues:
        """Open the home's queues; the caller closes them."""

    @abc.abstractmethod
    def has_queues(self) -> bool:
        """Tell whether the queues are reached from here: none are made by asking."""

    @property
    @abc.abstractmethod
    def is_remote(self) -> bool:
        """Whether storage and queues are services that bill each request."""

    @property
    @abc.abstractmethod
    def pace(self) -> Pace:
        """How often programs look that run on their own."""

    @property
    @abc.abstractmethod
    def pace_under_run(self) -> Pace:
        """How often programs look under `sweep run`."""

    def for_people(self, tell: Callable[[str], None]) -> Self:
        """Give the home as a person's command wants it: a service that is away is awaited.

        `tell` takes what it waits for. What somebody has to mend (a permission, credentials) is
        still an error at once.
        """
        return replace(self.for_readers(tell), tell=tell)

    def for_readers(self, tell: Callable[[str], None]) -> Self:  # noqa: ARG002 - see S3Home
        """Give the home as a command wants it that only reads: queues that do not answer are told.

        `tell` takes what of storage it waits for. The files of a folder home answer at once.
        """
        return self

    def sweep_leftovers(self, now_s: float) -> object:  # noqa: ARG002 - nothing is left over here
        """Remove what writers that died left half written, if that can be."""
        return None

    def keep_deleted(self, key: str) -> None:  # noqa: B027 - a bucket forgets no delete
        """Make sure that what was deleted beside `key` is not back after a loss of power."""

    def tidy(self, prefix: str) -> None:  # noqa: B027 - a bucket has nothing to tidy
        """Remove what is left of a prefix whose objects were deleted, such as empty folders."""

    def told_requests(self) -> str:
        """Say how many requests this process made of services that bill them; "" for none."""
        return ""

    @property
    def identity(self) -> str:
        """What tells the home from others, for a ledger: a word, then where it lies."""
        return f"{self.record.id} ({self.location})" if self.record.id else self.location

    @property
    def ledger_owner(self) -> str | None:
        """Which home the ledger is held to; None for a home without an id that has its own.

        That one would be another home once it is moved, with its ledger in it.
        """
        return self.identity if self.record.id or self.ledger_url is not None else None

    @property
    def ledger_file(self) -> Path | None:
        """Where the ledger lies; None when it is on a server."""
        if self.ledger_url is None:
            return self.state_folder / "ledger.db"
        return file_of_ledger(self.ledger_url)

    @property
    def ledger_is_served(self) -> bool:
        """Whether the ledger is on a server, which may be away for a while."""
        return self.ledger_file is None

    @property
    def ledger_place(self) -> str | Path:
        """What the ledger's package opens."""
        return self.state_folder if self.ledger_url is None else self.ledger_url

    @property
    def ledger_shown(self) -> str:
        """Where the ledger lies, for people: without a password."""
        return str(self.ledger_file) if self.ledger_url is None else shown_ledger(self.ledger_url)

    @property
    def logs_folder(self) -> Path:
        """Where `sweep run` keeps what its node and aggregator say."""
        return self.state_folder / "logs"

    @property
    def options(self) -> tuple[str, ...]:
        """The options by which another program of this machine opens the same home."""
        state = () if self.given_state is None else ("--state", str(self.given_state))
        return ("--home", self.location, *state)

    def has_ledger(self) -> bool:
        """Tell whether a ledger is there: of a server's that is not known, and taken for so."""
        file = self.ledger_file
        return file is None or file.exists()

    def make_state_folder(self) -> None:  # noqa: B027 - opening a folder home made it
        """Make the state folder if it is missing and not the home itself; HomeError."""

    def ledger(self) -> Ledger:
        """Open the ledger, made when missing (loads SQLAlchemy); the caller closes it."""
        from receipts.ledger import open_ledger  # noqa: PLC0415

        self.make_state_folder()
        return open_ledger(self.ledger_place, home=self.ledger_owner)

    def ledger_to_read(self) -> Ledger:
        """Open the ledger, which is there, to read it: its folder need not be writable."""
        file = self.ledger_file
        if file is None or is_writable(file.parent):
            return self.ledger()
        from receipts.ledger import open_ledger_to_read  # noqa: PLC0415

        return open_ledger_to_read(file, home=self.ledger_owner)
