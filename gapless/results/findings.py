"""What a verification found of each shard, what was done about it, and what it all holds."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from gapless.declaration.runset import RunSet
from gapless.results.coverage import Coverage
from gapless.results.shard_judgement import Found

__all__ = ["Action", "Finding", "Mode", "Verification"]


class Mode(enum.Enum):
    """What to do with what is found."""

    LOOK = "look"
    """Write nothing."""
    MEND = "mend"
    FORCE = "force"
    """Set aside also what is as it was written and of no use."""


class Action(enum.Enum):
    """What was done about a finding."""

    LEFT = "left"
    SET_ASIDE = "set aside"
    MANIFEST_MADE_ANEW = "manifest made anew"
    ADOPTED = "adopted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One shard (or coverage cache) that is not as it should be. `note`: key of what was kept.

    `is_copy`: it is misnamed, and the shard it is lies under its own name with the same bytes.
    """

    name: str
    found: Found
    why: str
    action: Action = Action.LEFT
    note: str | None = None
    is_copy: bool = False

    @property
    def is_unverified(self) -> bool:
        """Tell whether nobody knows what counts of it: somebody has to see to it."""
        if self.action is Action.LEFT:
            return self.found in _UNVERIFIED and not self.is_copy
        return self.action is Action.FAILED


_UNVERIFIED = {
    Found.UNREADABLE,
    Found.DOUBTFUL,
    Found.MISNAMED,
    Found.FOREIGN,
    Found.NEWER,
    Found.UNSTEADY,
    Found.AWAY,
}


@dataclass(slots=True, kw_only=True)
class Verification:
    """What the shards of a sweep hold. `coverage` comes from the rows of those that are whole.

    `lost`: runs by epoch that only a bad shard had (its manifest says which), or a wrong manifest
    claimed; they are gaps now, or would be (`Mode.LOOK`). `counting`: what counts now, or would.
    """

    sweep_id: str
    total: int
    listed: int = 0
    shards: int = 0
    rows: int = 0
    size_bytes: int = 0
    caches: int = 0
    coverage: Coverage = field(default_factory=Coverage)
    findings: list[Finding] = field(default_factory=list)
    counting: Coverage = field(default_factory=Coverage)
    lost: Mapping[int, RunSet] = field(default_factory=dict)

    @property
    def unverified(self) -> list[Finding]:
        """What could not be verified or mended."""
        return [each for each in self.findings if each.is_unverified]
