"""What a node looks at again and again: the sweeps it serves, and whether they are complete."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from compute_node.events import SweepFacts, SweepState
from compute_node.sweep_records import CoverageRecords, DeclaredRecords
from gapless.declaration.control import Control
from gapless.declaration.runset import RunSet
from gapless.results.coverage import missing
from gapless.storage.blobs import Blobs
from gapless.storage.sweeps import SweepStore

__all__ = ["CompletenessWatch", "CoverageWatch", "facts_of", "read_controls"]


def read_controls(
    store: SweepStore, only: Sequence[str], *, resting: AbstractSet[str] = frozenset()
) -> tuple[tuple[SweepFacts, ...], frozenset[str]]:
    """Read what is wanted now of these sweeps (none named: of every sweep of the home).

    Those that are `resting` are not looked at: they are given by name, if the home still has them.
    """
    served = only or store.names()
    facts = tuple(
        facts_of(sweep, store.control(sweep))
        for sweep in served
        if sweep not in resting and store.exists(sweep)
    )
    return facts, frozenset(served) & frozenset(resting)


def facts_of(sweep: str, control: Control) -> SweepFacts:
    """Give a control record as the state machine knows it."""
    limits = control.limits
    return SweepFacts(
        sweep=sweep,
        version=control.version,
        state=SweepState(control.state.value),
        priority=control.priority,
        code=control.code or "",
        time_s=limits.time_s,
        memory_bytes=limits.memory_bytes,
        attempts=limits.attempts,
        retry_on=tuple(limits.retry_on),
        run_time_s=control.run_time_s,
        max_failures=limits.max_failures,
    )


class CompletenessWatch:
    """Tells which sweeps have a final result of every run."""

    def __init__(self, store: SweepStore, blobs: Blobs) -> None:
        self._store = store
        self._coverage = CoverageRecords(blobs)
        self._declared = DeclaredRecords(store)

    def completed(self, sweep: str) -> tuple[int, int] | None:
        """Give the highest asked epoch and the runs of a complete sweep; None when some lack."""
        if not self._covers(sweep, self._declared.known(sweep)):
            return None
        # Only now look for runs that were added meanwhile: it reads the whole declaration.
        declared = self._declared.read_anew(sweep)
        if not self._covers(sweep, declared):
            return None
        epoch = max((asked.epoch for asked in self._store.asked(sweep)), default=0)
        return epoch, len(declared)

    def _covers(self, sweep: str, declared: RunSet) -> bool:
        coverage = self._coverage.now(sweep)
        return not missing(declared, self._store.asked(sweep), coverage)


class CoverageWatch:
    """Tells which runs have a final result. The first look reads every manifest of a sweep."""

    def __init__(self, blobs: Blobs) -> None:
        self._coverage = CoverageRecords(blobs)

    def look(self, sweep: str) -> tuple[tuple[int, RunSet], ...]:
        """Look now: give each epoch with the runs that have a final result at it.

        A shard that is gone, or does not have the size its manifest says, covers nothing.
        """
        coverage = self._coverage.now(sweep)
        return tuple((epoch, coverage.final(at_epoch=epoch)) for epoch in coverage.epochs)
