"""Submit a sweep: into the home, then receipts, then jobs. Repeated, it goes on where it died.

What a crash leaves, step by step, under the sweep's lock:
1. the sweep's row in the ledger: the home holds no such sweep, the next submit starts again;
2. objects and segments without a sweep.json: the same;
3. the sweep in the home, no or some receipts: the next submit writes the receipts that lack;
4. pending receipts: the next submit or reconcile sends their jobs.
The row comes first, so a sweep of the home without a row tells that the ledger was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from gapless.declaration.canonical import canonical_json
from gapless.declaration.control import ControlState
from gapless.declaration.extensions import extension
from gapless.declaration.frozen import FrozenSpace
from gapless.declaration.runset import MAX_RUNS
from gapless.declaration.sweep import Declaration, FrozenSweep
from gapless.errors import UserMistake
from gapless.storage import layout
from gapless.storage.bundle import BundleFiles
from gapless.storage.bundle_changes import changes_since
from gapless.storage.sweeps import SweepStore
from queueing.port import Queues
from receipts.declared import declared_in
from receipts.errors import (
    CodeChanged,
    LedgerLacksSweep,
    SweepCancelled,
    SweepChanged,
    TooManyRuns,
)
from receipts.jobs import Round, send_pending, telling_what_waits, write_round
from receipts.ledger import Ledger, SweepRow, Why
from receipts.looks import forget_looks
from receipts.ports import Clock, NewId

__all__ = ["CodeBundle", "SubmitReport", "refuse_changed", "submit"]

_EXTENDABLE = frozenset({"space", "replicates"})
_SUBMIT_GENERATION = 0


class CodeBundle(Protocol):
    """The packed code of a sweep."""

    @property
    def sha256(self) -> str:
        """The hash of `data`, hexadecimal."""

    @property
    def data(self) -> bytes:
        """The bytes to store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitReport:
    """What a submit did. `jobs_pending` jobs were refused by the queue and wait; see `refusals`."""

    sweep_id: str
    total: int
    created: bool
    """The home did not hold the sweep before."""
    extended_by: int
    """Runs that an extension added."""
    earlier_runs: int
    """Runs that had a receipt before."""
    jobs_sent: int
    runs_sent: int
    jobs_pending: int
    refusals: tuple[str, ...]
    changed: tuple[str, ...]
    """What was changed in the control record: code, limits, priority, run_time_s."""


@dataclass(frozen=True, slots=True)
class _Entered:
    created: bool = False
    extended_by: int = 0
    changed: tuple[str, ...] = ()


def submit(  # noqa: PLR0913 - each port by name: a simulator stops between any two calls
    frozen: FrozenSweep,
    bundle: CodeBundle | None,
    *,
    ledger: Ledger,
    queues: Queues,
    store: SweepStore,
    clock: Clock,
    new_id: NewId,
    job_size: int | None = None,
    code: Literal["old", "new"] | None = None,
    new: bool = False,
    extend: str | None = None,
) -> SubmitReport:
    """Put a sweep into the home and send a job for every run that has no receipt yet.

    `job_size`: runs a job, at least 1 (None: by run time or number). `code`: which code goes on
    when it changed ("old" needs no `bundle` where the sweep is stored). `new`: submit beside an
    earlier sweep of the same name. `extend`: add to that sweep the runs it lacks. UserMistake in
    many kinds before anything is written; QueueUnavailable when everything is recorded and waits.
    """
    _refuse_unfit(frozen)
    if new and extend is not None:
        raise UserMistake("a sweep is either new or extends another: give one of the two")
    sweep_id = frozen.declaration.id if extend is None else extend
    with ledger.lock(sweep_id):
        if extend is not None:
            entered = _extend(
                frozen, bundle, extend, ledger=ledger, store=store, clock=clock, code=code
            )
        elif store.exists(sweep_id):
            entered = _enter_again(
                frozen, bundle, ledger=ledger, store=store, clock=clock, code=code
            )
        else:
            if code == "old" and bundle is None:
                # It was there when the code folder was looked at, and was removed since.
                raise UserMistake(
                    f"the home holds no sweep {sweep_id} whose code could go on: submit it without "
                    "`--code old`"
                )
            if not new:
                refuse_changed(frozen.declaration, store)
            entered = _enter(frozen, bundle, ledger=ledger, queues=queues, store=store, clock=clock)
        declared = declared_in(store, sweep_id)
        submitted = ledger.submitted(sweep_id).runs(0)
        unsent = declared.runs - submitted
        this = Round(
            sweep=sweep_id,
            why=Why.SUBMIT,
            job_size=max(1, job_size or declared.job_size(len(unsent))),
            generation=_SUBMIT_GENERATION,
        )
        write_round(ledger, this, [(0, unsent)], clock=clock, new_id=new_id)
        with telling_what_waits(sweep_id, ledger=ledger):
            queues.create(layout.jobs_queue(sweep_id))
            queues.create(layout.results_queue(sweep_id))
        sending = send_pending(
            sweep_id,
            ledger=ledger,
            queues=queues,
            clock=clock,
            priority=declared.control.priority,
        )
    return SubmitReport(
        sweep_id=sweep_id,
        total=len(declared.runs),
        created=entered.created,
        extended_by=entered.extended_by,
        earlier_runs=declared.runs.overlap(submitted),
        jobs_sent=sending.jobs_sent,
        runs_sent=sending.runs_sent,
        jobs_pending=sending.jobs_pending,
        refusals=tuple(sending.refusals),
        changed=entered.changed,
    )


def _refuse_unfit(frozen: FrozenSweep) -> None:
    if frozen.segment.count > MAX_RUNS:
        raise TooManyRuns(frozen.declaration.id, asked=frozen.segment.count, most=MAX_RUNS)


def refuse_changed(declaration: Declaration, store: SweepStore) -> None:
    """Raise SweepChanged when the home holds another sweep of this name."""
    for earlier_id in store.ids_named(declaration.name):
        if store.control(earlier_id).state is ControlState.CANCELLED:
            continue
        changed = _differences(store.declaration(earlier_id), declaration)
        raise SweepChanged(declaration.id, earlier_id=earlier_id, changed=changed)


def _enter(
    frozen: FrozenSweep,
    bundle: CodeBundle | None,
    *,
    ledger: Ledger,
    queues: Queues,
    store: SweepStore,
    clock: Clock,
) -> _Entered:
    declaration, now_s = frozen.declaration, clock()
    # Receipts and messages of a sweep that the home does not hold speak of a home that is gone: its
    # jobs would be done beside the new ones, with the code of then, and its results be taken for
    # theirs. Where there is no such queue, as usual, a drop costs nothing; where there is one, its
    # counts could not vouch that it is empty, and a service may bar its name for a minute.
    ledger.forget_sweep(declaration.id)
    forget_looks(ledger, declaration.id)
    queues.drop(layout.jobs_queue(declaration.id))
    queues.drop(layout.results_queue(declaration.id))
    ledger.record_sweep(
        SweepRow(
            id=declaration.id,
            digest=declaration.digest,
            name=declaration.name,
            submitted_at_s=now_s,
        )
    )
    code = None if bundle is None else store.put_object(bundle.data)
    created = store.store(frozen, code, now_s)
    return _Entered(created=created)


def _enter_again(
    frozen: FrozenSweep,
    bundle: CodeBundle | None,
    *,
    ledger: Ledger,
    store: SweepStore,
    clock: Clock,
    code: Literal["old", "new"] | None,
) -> _Entered:
    sweep_id = frozen.declaration.id
    _need_row(sweep_id, ledger)
    changes = _control_changes(sweep_id, frozen, bundle, store=store, code=code)
    store.refuse_another(frozen.declaration)
    _mend_objects(sweep_id, frozen, bundle, store)
    _set_control(sweep_id, changes, bundle, store, clock)
    return _Entered(changed=tuple(changes))


def _mend_objects(
    sweep_id: str, frozen: FrozenSweep, bundle: CodeBundle | None, store: SweepStore
) -> None:
    """Put back what the home lost or holds damaged; who meets that is told to submit again."""
    for data in frozen.objects.values():
        store.put_object(data)
    if bundle is not None and bundle.sha256 == store.control(sweep_id).code:
        store.put_object(bundle.data)


def _extend(
    frozen: FrozenSweep,
    bundle: CodeBundle | None,
    sweep_id: str,
    *,
    ledger: Ledger,
    store: SweepStore,
    clock: Clock,
    code: Literal["old", "new"] | None,
) -> _Entered:
    stored = store.load(sweep_id)
    _need_row(sweep_id, ledger)
    others = set(_differences(stored.declaration, frozen.declaration)) - _EXTENDABLE
    if others:
        raise UserMistake(
            f"sweep {sweep_id} cannot be extended by one with other {', '.join(sorted(others))}: "
            "an extension adds points and replicates only; change it back, or submit it with "
            "`--new`"
        )
    changes = _control_changes(sweep_id, frozen, bundle, store=store, code=code)
    added = extension(
        stored.declaration,
        stored.segments,
        FrozenSpace.from_json(frozen.declaration.space, frozen.objects.__getitem__),
        replicates=frozen.declaration.replicates,
        fetch=store.get_object,
    )
    if added is not None:
        # A crash before the segment leaves objects; after it, runs without receipts: the same
        # command then finds nothing to add and writes those.
        store.add_segment(sweep_id, added.segment, added.objects)
    _set_control(sweep_id, changes, bundle, store, clock)
    return _Entered(extended_by=0 if added is None else added.segment.count, changed=tuple(changes))


def _need_row(sweep_id: str, ledger: Ledger) -> None:
    if ledger.sweep(sweep_id) is None:
        raise LedgerLacksSweep(sweep_id, location=ledger.location)


def _control_changes(
    sweep_id: str,
    frozen: FrozenSweep,
    bundle: CodeBundle | None,
    *,
    store: SweepStore,
    code: Literal["old", "new"] | None,
) -> dict[str, Any]:
    control = store.control(sweep_id)
    if control.state is ControlState.CANCELLED:
        raise SweepCancelled(sweep_id)
    wanted: dict[str, Any] = {
        "limits": frozen.limits,
        "priority": frozen.priority,
        "run_time_s": frozen.run_time_s,
    }
    if bundle is not None and code != "old":
        wanted["code"] = bundle.sha256
        if code is None and control.code not in {None, bundle.sha256}:
            changes = changes_since(control.code, BundleFiles(bundle.data), store.get_object)
            if changes is None or changes:
                raise CodeChanged(sweep_id, changes=changes)
            # Packed by another version: the same files in other bytes are no other code.
            wanted["code"] = control.code
    return {name: value for name, value in wanted.items() if getattr(control, name) != value}


def _set_control(
    sweep_id: str,
    changes: dict[str, Any],
    bundle: CodeBundle | None,
    store: SweepStore,
    clock: Clock,
) -> None:
    if not changes:
        return
    if bundle is not None and bundle.sha256 == changes.get("code"):
        # Before the record that names it: a node never looks for a bundle that is not there.
        store.put_object(bundle.data)
    store.set_control(sweep_id, why="submitted again", at_s=clock(), **changes)


def _differences(earlier: Declaration, later: Declaration) -> tuple[str, ...]:
    # As JSON: 1, 1.0 and True are equal in Python, and other parameters.
    old, new = (msgspec.to_builtins(each) for each in (earlier, later))
    return tuple(
        name
        for name in earlier.__struct_fields__
        if canonical_json(old[name]) != canonical_json(new[name])
    )
