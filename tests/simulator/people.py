"""The person at the command line: submits, extends, resubmits, reconciles, again after each crash.

The ledger is real (SQLite in memory); it outlives a crash of the program, and is lost by a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa

from compute_node.failure_watch import failures_so_far
from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.declaration.sweep import FrozenSweep
from gapless.errors import GaplessError, UserMistake
from gapless.results.outcome import Outcome
from gapless.results.verification import verify_shards
from gapless.storage import layout
from gapless.storage.sweeps import SweepStore
from receipts.errors import LedgerDamaged, LedgerLacksSweep
from receipts.ledger import Ledger, State
from receipts.rebuild import rebuild
from receipts.reconcile import ReconcileReport, reconcile
from receipts.resubmit import resubmit
from receipts.submit import submit
from receipts.tables import looks, receipts, sweeps
from tests.simulator.ledgers import empty_ledger, give_back
from tests.simulator.plan import Plan
from tests.simulator.ports import CountedQueues, FaultyBlobs, FaultyQueues
from tests.simulator.world import Actor, Lane, Violation, World

__all__ = ["SETTLE_S", "LedgerCopy", "Person"]

_AGAIN_S = 8.0
SETTLE_S = 20.0
"""For how long counts of queues that cannot be looked into may lie."""


_NEVER_S = 1_209_600.0
_RECEIPTS = sa.select(receipts.c.job, receipts.c.state).where(
    receipts.c.sweep == sa.bindparam("of_sweep")
)

LedgerCopy = list[tuple[sa.Table, list[dict[str, Any]]]]
"""Every row of the ledger, by table."""


@dataclass(frozen=True, slots=True, eq=False)
class _Errand:
    at: float
    name: str
    command: Callable[[], None]


class _OnlyRead:
    """A service that nobody may change now."""

    _CHANGES = frozenset(
        {"create", "send", "receive", "delete", "release", "replace", "drop"}
        | {"put", "put_if_absent"}
    )

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        if name in self._CHANGES:
            raise Violation(f"who only looks asks to {name}")
        return getattr(self._inner, name)


class Person(Actor):
    """Does one command after the other; a command that died or could not end is given again."""

    def __init__(self, world: World, plan: Plan) -> None:
        super().__init__(world, "person")
        self.plan = plan
        self.queues: FaultyQueues | CountedQueues
        self.blobs: FaultyBlobs
        self.ledger: Ledger = empty_ledger()
        self.reports: dict[str, ReconcileReport] = {}
        self.complete: set[str] = set()
        self._unfinished: list[_Errand] = []
        self.away = False

    def close(self) -> None:
        """Leave the ledger to the person of another world."""
        give_back(self.ledger)

    def receipts(self, sweep_id: str) -> dict[str, State]:
        """Give the state of every receipt in the ledger by its job, read past all of its code."""
        wanted = {"of_sweep": sweep_id}
        return self.ledger.database.read(
            lambda connection: {
                job: State(word) for job, word in connection.execute(_RECEIPTS, wanted)
            }
        )

    def lose_ledger(self) -> None:
        """Lose the ledger, as a deleted file does; an empty one takes its place."""
        self.world.log("the ledger is lost")
        self.ledger.close()
        self.ledger = empty_ledger()

    def copy_ledger(self) -> LedgerCopy:
        """Copy every row of the ledger, as a backup does."""
        tables = (sweeps, receipts, looks)

        def read(connection: sa.Connection) -> LedgerCopy:
            return [
                (table, [dict(row) for row in connection.execute(sa.select(table)).mappings()])
                for table in tables
            ]

        return self.ledger.database.read(read)

    def restore_ledger(self, copy: LedgerCopy) -> None:
        """Put a copy in the place of the ledger."""
        self.world.log("an old copy of the ledger is put back")
        self.ledger.close()
        self.ledger = empty_ledger()

        def write(connection: sa.Connection) -> None:
            for table, rows in copy:
                if rows:
                    connection.execute(sa.insert(table), rows)

        self.ledger.database.write(write)

    def has_looks(self) -> bool:
        """Tell whether the ledger remembers a look at queues that are only counted."""
        query = sa.select(sa.func.count()).select_from(looks)
        return self.ledger.database.read(
            lambda connection: bool(connection.execute(query).scalar_one())
        )

    def damage_ledger(self) -> None:
        """Damage what the ledger remembers of looks."""
        self.world.log("a row of the ledger is damaged")
        statement = sa.update(looks).values(runs=b"damaged")
        self.ledger.database.write(lambda connection: connection.execute(statement))

    def give(self, delay_s: float, name: str, command: Callable[[], None]) -> None:
        """Give a command some time from now, and again until it ends without a fault."""
        self._schedule(_Errand(self.world.now + delay_s, name, command))

    def _schedule(self, errand: _Errand) -> None:
        self._unfinished.append(errand)
        self.main.at(max(errand.at - self.world.now, 0.0), lambda: self._act(errand))

    def _act(self, errand: _Errand) -> None:
        if self.away:
            self._unfinished.remove(errand)
            self.give(1.0 + self._pause(), errand.name, errand.command)
            return
        self.world.log(f"person: {errand.name}")
        try:
            errand.command()
        except LedgerLacksSweep:
            self.give(self._pause(), errand.name, lambda: self._rebuild_then(errand.command))
        except LedgerDamaged as error:
            self.world.log(f"person: {error}"[:160])
            self.lose_ledger()
            self.give(self._pause(), errand.name, errand.command)
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
            clock=self.clock,
            new_id=self.world.new_id,
            job_size=self.plan.job_size,
        )

    def extend(self, sweep_id: str, frozen: FrozenSweep) -> None:
        """Add what a larger declaration has more, unless the sweep is given up."""
        store = SweepStore(self.blobs)
        if not store.exists(sweep_id):
            return
        cancelled = store.control(sweep_id).state is ControlState.CANCELLED
        if cancelled and sweep_id in self.plan.given_up:
            return
        submit(
            frozen,
            None,
            ledger=self.ledger,
            queues=self.queues,
            store=SweepStore(self.blobs),
            clock=self.clock,
            new_id=self.world.new_id,
            job_size=self.plan.job_size,
            extend=sweep_id,
        )

    def force(self, sweep_id: str) -> None:
        """Reconcile with --resubmit --force."""
        self._reconcile(sweep_id, again=True, force=True)

    def reconcile(self, sweep_id: str, *, again: bool) -> None:
        """Reconcile; `again`: with --resubmit."""
        self._reconcile(sweep_id, again=again, force=False)

    def _reconcile(self, sweep_id: str, *, again: bool, force: bool) -> None:
        if not SweepStore(self.blobs).exists(sweep_id):
            return
        self.reports[sweep_id] = reconcile(
            sweep_id,
            ledger=self.ledger,
            queues=self.queues,
            store=SweepStore(self.blobs),
            blobs=self.blobs,
            clock=self.clock,
            new_id=self.world.new_id,
            resubmit=again,
            force=force,
            settle_s=SETTLE_S,
            retention_s=min(self.plan.retention_s, _NEVER_S) if self.world.faults else _NEVER_S,
        )
        if self.reports[sweep_id].complete:
            self.complete.add(sweep_id)
            self.blobs.inner.truth.check_complete(self.blobs.inner, sweep_id)
        else:
            self.complete.discard(sweep_id)
        self.world.log(f"reconcile ends with {self.reports[sweep_id].exit_status.name}")

    def look(self, sweep_id: str) -> None:
        """Reconcile as `sweep verify --dry-run` does, which may change nothing."""
        if not SweepStore(self.blobs).exists(sweep_id):
            return
        blobs: Any = _OnlyRead(self.blobs)
        report = reconcile(
            sweep_id,
            ledger=self.ledger,
            queues=cast("FaultyQueues", _OnlyRead(self.queues)),
            store=SweepStore(blobs),
            blobs=blobs,
            clock=self.clock,
            new_id=self.world.new_id,
            look_only=True,
            settle_s=SETTLE_S,
        )
        self.world.log(f"a look at {sweep_id} ends with {report.exit_status.name}")

    def verify(self, sweep_id: str) -> None:
        """Read every shard, and put aside what is not as it was stored."""
        if SweepStore(self.blobs).exists(sweep_id):
            found = verify_shards(self.blobs, sweep_id, clock=self.clock).findings
            self.world.log(f"verify of {sweep_id} finds {len(found)} shards that are not sound")

    def resubmit(self, sweep_id: str, wanted: RunSet | frozenset[Outcome]) -> None:
        """Ask anew for runs; a mistake of the person's is told and not made again."""
        store = SweepStore(self.blobs)
        if not store.exists(sweep_id):
            return
        try:
            resubmit(
                sweep_id,
                wanted,
                ledger=self.ledger,
                queues=self.queues,
                store=store,
                blobs=self.blobs,
                clock=self.clock,
                new_id=self.world.new_id,
                why="the person wants it",
            )
        except UserMistake as mistake:
            self.world.log(f"person: {mistake}")

    def control(self, sweep_id: str, state: ControlState) -> None:
        """Pause, resume or cancel; a cancel drops the queues after the record."""
        store = SweepStore(self.blobs)
        if not store.exists(sweep_id):
            return
        before = store.control(sweep_id).state
        if (before, state) == (ControlState.CANCELLED, ControlState.PAUSED):
            # Told that this cannot be, nobody asks again and again.
            self.world.log(f"{sweep_id} is cancelled and cannot be paused")
            return
        if before is not state:
            changes: dict[str, Any] = {}
            if state is ControlState.RUNNING and store.why_paused(sweep_id):
                # What failed until now is accepted: else it would pause itself again at once.
                changes["paused_itself"] = failures_so_far(store, self.blobs, sweep_id)
            store.set_control(sweep_id, state=state, at_s=self.clock(), **changes)
        if state is ControlState.CANCELLED:
            self.queues.drop(layout.jobs_queue(sweep_id))
            self.queues.drop(layout.results_queue(sweep_id))

    def resume_if_paused(self, sweep_id: str) -> None:
        """Let a sweep go on that paused itself."""
        store = SweepStore(self.blobs)
        if store.exists(sweep_id) and store.control(sweep_id).state is ControlState.PAUSED:
            self.control(sweep_id, ControlState.RUNNING)

    def _rebuild_then(self, command: Callable[[], None]) -> None:
        before = {each.id: self.receipts(each.id) for each in self.plan.sweeps}
        rebuild(
            ledger=self.ledger,
            store=SweepStore(self.blobs),
            clock=self.clock,
            new_id=self.world.new_id,
        )
        for sweep_id, known in before.items():
            if {self.receipts(sweep_id)[job] for job in self.receipts(sweep_id).keys() - known} - {
                State.UNKNOWN
            }:
                raise Violation(f"I5: receipts of {sweep_id} made anew are not unknown")
        command()
