"""What the home says of a sweep: the ledger is compared with it, never the other way round."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gapless.declaration.control import Asked, Control, ControlState
from gapless.declaration.runset import RunSet
from gapless.storage.sweeps import SweepStore
from receipts.errors import LedgerLacksSweep
from receipts.jobs import LARGEST_JOB, job_size_for
from receipts.ledger import Ledger

__all__ = ["Declared", "read_declared"]

_JOBS_AGAIN = 100


@dataclass(frozen=True, slots=True)
class Declared:
    """A sweep's runs, which of them were asked for anew, and what is wanted of it now."""

    sweep_id: str
    runs: RunSet
    asked: tuple[Asked, ...]
    control: Control

    @property
    def cancelled(self) -> bool:
        """Tell whether nothing of it shall be sent."""
        return self.control.state is ControlState.CANCELLED

    def job_size(self, count: int) -> int:
        """Choose how many runs a job holds when `count` of them are sent."""
        return job_size_for(count, run_time_s=self.control.run_time_s)

    def job_size_again(self, count: int) -> int:
        """Say how many runs a job holds when `count` of all runs are sent again.

        With a run time about 60 s of work, else about 100 jobs: on a queue that bills each message
        a job a run would be dear, and a node cuts up what takes it long.
        """
        if self.control.run_time_s is not None:
            return self.job_size(count)
        return min(LARGEST_JOB, max(1, math.ceil(count / _JOBS_AGAIN)))

    @property
    def last_epoch(self) -> int:
        """The highest epoch any run was asked for."""
        return max((each.epoch for each in self.asked), default=0)


def read_declared(sweep_id: str, *, ledger: Ledger, store: SweepStore) -> Declared:
    """Read a sweep that home and ledger know; UserMistake, LedgerLacksSweep."""
    store.declaration(sweep_id)
    if ledger.sweep(sweep_id) is None:
        raise LedgerLacksSweep(sweep_id, location=ledger.location)
    return declared_in(store, sweep_id)


def declared_in(store: SweepStore, sweep_id: str) -> Declared:
    """Read a sweep of the home."""
    segments = store.segments(sweep_id)
    return Declared(
        sweep_id=sweep_id,
        runs=RunSet.union(RunSet.span(each.base, each.base + each.count) for each in segments),
        asked=tuple(store.asked(sweep_id)),
        control=store.control(sweep_id),
    )
