"""The person at the command line: submits, extends, resubmits, reconciles, again after each crash.

The ledger is real (SQLite in memory); it outlives a crash of the program, and is lost by a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.declaration.sweep import FrozenSweep
from gapless.errors import GaplessError
from gapless.storage import layout
from gapless.storage.sweeps import SweepStore
from receipts.errors import LedgerLacksSweep
from receipts.ledger import Ledger, open_ledger
from receipts.rebuild import rebuild
from receipts.reconcile import ReconcileReport, reconcile
from receipts.resubmit import resubmit
from receipts.submit import submit
from receipts.tables import receipts
from tests.simulator.plan import Plan
from tests.simulator.ports import CountedQueues, FaultyBlobs, FaultyQueues
from tests.simulator.world import Actor, Lane, World

__all__ = ["SETTLE_S", "Person"]

_AGAIN_S = 8.0
SETTLE_S = 20.0
"""For how long counts of queues that cannot be looked into may lie."""


@dataclass(frozen=True, slots=True, eq=False)
class _Errand:
    at: float
    name: str
    command: Callable[[], None]


class Person(Actor):
    """Does one command after the other; a command that died or could not end is given again."""

    def __init__(self, world: World, plan: Plan) -> None:
        super().__init__(world, "person")
        self.plan = plan
        self.queues: FaultyQueues | CountedQueues
        self.blobs: FaultyBlobs
        self.ledger: Ledger = open_ledger("sqlite://")
        self.reports: dict[str, ReconcileReport] = {}
        self._unfinished: list[_Errand] = []

    def jobs_with_receipt(self, sweep_id: str) -> set[str]:
        """Give the ids of every job in the ledger, read past all of its code."""
        query = sa.select(receipts.c.job).where(receipts.c.sweep == sweep_id)
        with self.ledger._database.snapshot() as connection:
            return set(connection.execute(query).scalars())

    def lose_ledger(self) -> None:
        """Lose the ledger, as a deleted file does; an empty one takes its place."""
        self.world.log("the ledger is lost")
        self.ledger.close()
        self.ledger = open_ledger("sqlite://")

    def give(self, delay_s: float, name: str, command: Callable[[], None]) -> None:
        """Give a command some time from now, and again until it ends without a fault."""
        self._schedule(_Errand(self.world.now + delay_s, name, command))

    def _schedule(self, errand: _Errand) -> None:
        self._unfinished.append(errand)
        self.main.at(max(errand.at - self.world.now, 0.0), lambda: self._act(errand))

    def _act(self, errand: _Errand) -> None:
        self.world.log(f"person: {errand.name}")
        try:
            errand.command()
        except LedgerLacksSweep:
            self.give(self._pause(), errand.name, lambda: self._rebuild_then(errand.command))
        except GaplessError as error:
            text = f"person: {errand.name} ended with {type(error).__name__}: {error}"
            self.world.log(text[:160])
            self.give(self._pause(), errand.name, errand.command)
        self._unfinished.remove(errand)

    def died(self) -> None:
        """Give the command that was under way again; those planned for later stay planned."""
        self.main = self.inbox = Lane(self)
        unfinished, self._unfinished = self._unfinished, []
        for errand in unfinished:
            at = max(errand.at, self.world.now + self._pause())
            self._schedule(_Errand(at, errand.name, errand.command))

    def _pause(self) -> float:
        return self.world.random.random() * _AGAIN_S

    # Commands -------------------------------------------------------------------------------------

    def submit(self, frozen: FrozenSweep) -> None:
        """Submit a sweep."""
        submit(
            frozen,
            None,
            ledger=self.ledger,
            queues=self.queues,
            store=SweepStore(self.blobs),
            clock=self.world.clock,
            new_id=self.world.new_id,
            job_size=self.plan.job_size,
        )

    def extend(self, sweep_id: str, frozen: FrozenSweep) -> None:
        """Add what a larger declaration has more."""
        if not SweepStore(self.blobs).exists(sweep_id):
            return
        submit(
            frozen,
            None,
            ledger=self.ledger,
            queues=self.queues,
            store=SweepStore(self.blobs),
            clock=self.world.clock,
            new_id=self.world.new_id,
            job_size=self.plan.job_size,
            extend=sweep_id,
        )

    def reconcile(self, sweep_id: str, *, again: bool) -> None:
        """Reconcile; `again`: with --resubmit."""
        if not SweepStore(self.blobs).exists(sweep_id):
            return
        self.reports[sweep_id] = reconcile(
            sweep_id,
            ledger=self.ledger,
            queues=self.queues,
            store=SweepStore(self.blobs),
            blobs=self.blobs,
            clock=self.world.clock,
            new_id=self.world.new_id,
            resubmit=again,
            settle_s=SETTLE_S,
        )

    def resubmit(self, sweep_id: str, runs: RunSet) -> None:
        """Ask anew for runs."""
        store = SweepStore(self.blobs)
        if not store.exists(sweep_id):
            return
        if store.control(sweep_id).state is ControlState.CANCELLED:
            return
        resubmit(
            sweep_id,
            runs,
            ledger=self.ledger,
            queues=self.queues,
            store=store,
            blobs=self.blobs,
            clock=self.world.clock,
            new_id=self.world.new_id,
            why="the person wants it",
        )

    def control(self, sweep_id: str, state: ControlState) -> None:
        """Pause, resume or cancel; a cancel drops the queues after the record."""
        store = SweepStore(self.blobs)
        if not store.exists(sweep_id):
            return
        if store.control(sweep_id).state is not state:
            store.set_control(sweep_id, state=state)
        if state is ControlState.CANCELLED:
            self.queues.drop(layout.jobs_queue(sweep_id))
            self.queues.drop(layout.results_queue(sweep_id))

    def _rebuild_then(self, command: Callable[[], None]) -> None:
        rebuild(
            ledger=self.ledger,
            store=SweepStore(self.blobs),
            clock=self.world.clock,
            new_id=self.world.new_id,
        )
        command()
