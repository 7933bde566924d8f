"""Errors of the ledger and of submitting."""

from __future__ import annotations

from gapless.errors import DiskFull, GaplessError, UserMistake
from gapless.storage.bundle_changes import BundleChanges

__all__ = [
    "CodeChanged",
    "ForeignLedger",
    "LedgerBusy",
    "LedgerDamaged",
    "LedgerDiskFull",
    "LedgerError",
    "LedgerInterrupted",
    "LedgerLacksSweep",
    "LedgerLost",
    "LedgerRefused",
    "LedgerUnavailable",
    "LedgerUnusable",
    "SweepCancelled",
    "SweepChanged",
    "TooManyRuns",
    "UnsupportedLedger",
]

REBUILD = "sweep reconcile --rebuild"


class LedgerError(GaplessError):
    """The ledger cannot do what was asked."""


class LedgerUnavailable(LedgerError):
    """The ledger is busy, its disk is full or cannot be written: nothing was recorded."""


class LedgerDiskFull(LedgerUnavailable, DiskFull):
    """The disk of the ledger's file is full: nothing was recorded."""


class LedgerUnusable(LedgerUnavailable):
    """The ledger's file cannot be read or written; nothing was recorded."""

    def __init__(self, location: str, *, reason: str) -> None:
        super().__init__(
            f"the ledger {location} cannot be used now ({reason}); nothing of this step was "
            "recorded: see to its folder and disk, then run the same command again"
        )
        self.location = location
        self.reason = reason

    @property
    def brief(self) -> str:
        """What happened and what to mend, for who tries again by itself."""
        return (
            f"the ledger {self.location} cannot be used now ({self.reason}): see to its folder and "
            "disk"
        )


class LedgerBusy(LedgerUnavailable):
    """Nothing was recorded, and the same transaction may go through a little later."""

    def __init__(self, location: str, *, reason: str) -> None:
        super().__init__(
            f"the ledger {location} cannot be used now ({reason}); nothing of this step was "
            "recorded: see that its server runs and lets this machine in, then run the same "
            "command again"
        )
        self.location = location
        self.reason = reason

    @property
    def brief(self) -> str:
        """What happened, for who tries again by itself."""
        return f"the ledger {self.location} cannot be used now ({self.reason})"


class LedgerInterrupted(LedgerUnavailable):
    """The connection broke, and with it a lock or the certainty of what was recorded.

    The whole of the work is to be done again, which is safe whatever was recorded of it.
    """

    def __init__(self, location: str, *, reason: str, meaning: str) -> None:
        super().__init__(
            f"the connection to the ledger {location} broke ({reason}){meaning}: run the same "
            "command again, which is safe whatever was recorded"
        )
        self.location = location
        self.reason = reason

    @property
    def brief(self) -> str:
        """What happened, for who tries again by itself."""
        return f"the connection to the ledger {self.location} broke ({self.reason})"


class LedgerRefused(LedgerError, UserMistake):
    """The server answers and refuses: a person has to mend a name, a password or a permission."""


class LedgerDamaged(LedgerError):
    """The ledger's file is no usable database, or what its tables hold cannot be read."""

    def __init__(self, location: str, *, reason: str) -> None:
        super().__init__(
            f"the ledger {location} is damaged ({reason}); results are not affected: run "
            f"`{REBUILD}`, which moves what is damaged aside and makes a new ledger from the home"
        )
        self.location = location


class LedgerLost(LedgerError):
    """The ledger's file or tables were deleted or replaced while this program had them open."""

    def __init__(self, location: str) -> None:
        super().__init__(
            f"the ledger {location} was deleted or replaced while in use; what this command wrote "
            f"may be gone with it, results are not affected: run `{REBUILD}`"
        )
        self.location = location


class LedgerLacksSweep(LedgerError):
    """The home holds a sweep of which the ledger knows nothing: the ledger was lost."""

    def __init__(self, sweep_id: str, *, location: str) -> None:
        super().__init__(
            f"the home holds sweep {sweep_id}, but the ledger {location} knows nothing of it: it "
            "was lost, or another one was used. Name the right one (--state or --ledger, if one "
            "was given when the sweep was submitted), or run "
            f"`sweep reconcile {sweep_id} --rebuild`"
        )
        self.sweep_id = sweep_id


class ForeignLedger(LedgerError, UserMistake):
    """The database is of a version this program does not know, or of another program."""


class UnsupportedLedger(LedgerError, UserMistake):
    """The ledger's address names a database this version cannot use."""


class SweepCancelled(UserMistake):
    """A cancelled sweep was submitted or resubmitted."""

    def __init__(self, sweep_id: str) -> None:
        super().__init__(
            f"sweep {sweep_id} was cancelled: `sweep resume {sweep_id}` takes it up again; to "
            "start from nothing give it another name or another seed"
        )
        self.sweep_id = sweep_id


class CodeChanged(UserMistake):
    """The same sweep was submitted again with other code."""

    def __init__(self, sweep_id: str, *, changes: BundleChanges | None) -> None:
        new = (
            "`--code new` uses the new code for the runs that are still to do (every result names "
            "the code it came from)"
        )
        if changes is None:
            super().__init__(
                f"the code of sweep {sweep_id} changed since it was submitted, and the stored code "
                f"is lost or damaged: {new}; or put the code back as it was"
            )
        else:
            super().__init__(
                f"the code of sweep {sweep_id} changed since it was submitted ({changes}): "
                f"`--code old` goes on with the stored code, {new}. What is no code is named in "
                ".gaplessignore"
            )
        self.sweep_id = sweep_id
        self.changes = changes


class SweepChanged(UserMistake):
    """Another sweep of the same name is in the home."""

    def __init__(self, sweep_id: str, *, earlier_id: str, changed: tuple[str, ...]) -> None:
        what = ", ".join(changed)
        advice = "`--new` submits this one as a sweep of its own"
        if set(changed) <= {"space", "replicates"}:
            advice = (
                f"`--extend {earlier_id}` adds to it the runs that it lacks, {advice} ({sweep_id})"
            )
        else:
            advice = f"{advice} ({sweep_id}), or change it back, or give it another name"
        super().__init__(
            f"the home holds sweep {earlier_id} of this name with other {what}: {advice}"
        )
        self.sweep_id = sweep_id
        self.earlier_id = earlier_id
        self.changed = changed


class TooManyRuns(UserMistake):
    """A sweep of more runs than can be kept account of."""

    def __init__(self, sweep_id: str, *, asked: int, most: int) -> None:
        super().__init__(
            f"sweep {sweep_id} asks for {asked:,} runs, the most is {most:,}: take coarser axes, a "
            "`where`, fewer replicates or a sample of the space (`[space.sample]`); "
            "`sweep submit --dry-run` counts at once"
        )
