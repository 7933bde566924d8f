"""Pauses a sweep of which more runs ended not `ok` than its `max_failures` allows.

Every node looks for itself. The pause names the version of the control record it was decided on,
so several nodes write one pause, and a person who changed something meanwhile is not overruled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from compute_node.sweep_records import CoverageRecords, DeclaredRecords
from gapless.declaration.control import Asked, Control, ControlState, SelfPause
from gapless.declaration.runset import RunSet
from gapless.results.coverage import Coverage, CoverageReader, by_outcome, missing
from gapless.results.outcome import Outcome
from gapless.storage.blobs import Blobs
from gapless.storage.sweeps import SweepStore

__all__ = ["FailureWatch", "failures_so_far"]


def failures_so_far(store: SweepStore, blobs: Blobs, sweep: str) -> SelfPause:
    """Count the runs that ended not `ok`, for a person who lets the sweep go on nevertheless."""
    asked = store.asked(sweep)
    coverage = CoverageReader(blobs, sweep).refresh()
    failed = _failed(store.load(sweep).runs.all, asked, coverage)
    return SelfPause(failures=len(failed), epoch=_epoch(asked))


class FailureWatch:
    """Looks at the stored results of sweeps. Not to be shared between threads."""

    def __init__(self, store: SweepStore, blobs: Blobs, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._coverage = CoverageRecords(blobs)
        self._declared = DeclaredRecords(store)

    def look(self, sweep: str) -> str:
        """Pause a sweep that is to pause itself; say so, or "" when nothing was done.

        A complete sweep is left as it is. Safe to repeat.
        """
        control = self._store.control(sweep)
        if control.state is not ControlState.RUNNING or control.limits.max_failures is None:
            return ""
        coverage = self._coverage.now(sweep)
        asked = self._store.asked(sweep)
        if not _too_many(self._declared.known(sweep), control, asked, coverage):
            return ""
        # Only now look for runs that were added meanwhile: it reads the whole declaration.
        declared = self._declared.read_anew(sweep)
        if not _too_many(declared, control, asked, coverage):
            return ""
        if not missing(declared, asked, coverage):
            return ""
        failed = len(_failed(declared, asked, coverage))
        why = _reason(control, failed=failed, total=len(declared))
        # A crash before this leaves the sweep running: the next look, or another node, pauses it.
        paused = self._store.set_control_at(
            sweep,
            control.version,
            state=ControlState.PAUSED,
            at_s=self._clock(),
            why=why,
            paused_itself=SelfPause(failures=failed, epoch=_epoch(asked)),
        )
        return f"sweep {sweep} paused itself: {why}" if paused is not None else ""


def _too_many(
    declared: RunSet, control: Control, asked: Sequence[Asked], coverage: Coverage
) -> bool:
    allowed = control.limits.failures_allowed(len(declared))
    assert allowed is not None
    most = sum(len(runs) for (_, outcome), runs in coverage.by.items() if outcome)
    if most <= allowed:
        return False
    failed = _failed(declared, asked, coverage)
    return len(failed) > allowed + _forgiven(control, asked, coverage)


def _forgiven(control: Control, asked: Sequence[Asked], coverage: Coverage) -> int:
    """Count the failures a person resumed the sweep with, less those asked for anew since."""
    before = control.paused_itself
    if isinstance(before, msgspec.UnsetType):
        return 0
    again = RunSet.union(each.runs for each in asked if each.epoch > before.epoch)
    of_then = RunSet.union(
        runs
        for (epoch, outcome), runs in coverage.by.items()
        if epoch <= before.epoch and outcome is not Outcome.OK
    )
    return max(0, before.failures - again.overlap(of_then))


def _reason(control: Control, *, failed: int, total: int) -> str:
    limits = control.limits
    allows = f"max_failures = {limits.max_failures} allows {limits.failures_allowed(total):,}"
    before = control.paused_itself
    if not isinstance(before, msgspec.UnsetType):
        allows += f" besides those it was resumed with (up to {before.failures:,})"
    return f"{failed:,} of {total:,} runs ended not ok, {allows}"


def _failed(declared: RunSet, asked: Sequence[Asked], coverage: Coverage) -> RunSet:
    found = by_outcome(declared, asked, coverage)
    return RunSet.union(runs for outcome, runs in found.items() if outcome is not Outcome.OK)


def _epoch(asked: Sequence[Asked]) -> int:
    return max((each.epoch for each in asked), default=0)
