"""Ask anew for runs that have a final result: their epoch is raised.

The record `asked/<epoch>.json` in the home comes first, then receipts, then jobs: the home alone
says which epoch counts, so a lost ledger forgets nothing. A crash after the record leaves runs
without a receipt at their epoch, which the next resubmit or reconcile finds and sends.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gapless.declaration.control import Asked
from gapless.declaration.runset import RunSet
from gapless.errors import UserMistake
from gapless.results.coverage import CoverageReader, by_outcome, missing
from gapless.results.outcome import Outcome
from gapless.storage.blobs import Blobs
from gapless.storage.sweeps import SweepStore
from queueing.port import Queues
from receipts.declared import Declared, read_declared
from receipts.errors import LedgerError, SweepCancelled
from receipts.jobs import Round, send_pending, write_round
from receipts.ledger import Ledger, Why
from receipts.ports import Clock, NewId

__all__ = ["ResubmitReport", "resubmit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResubmitReport:
    """What a resubmit did. Sets hold run numbers."""

    sweep_id: str
    epoch: int | None
    """The epoch the runs are asked for now; None when none had a final result."""
    raised: RunSet
    """Runs with a final result that are asked for anew."""
    unfinished: RunSet
    """Runs asked for that have no final result yet: in flight, or gaps, which reconcile sends."""
    jobs_sent: int
    runs_sent: int
    jobs_pending: int
    refusals: tuple[str, ...]


def resubmit(  # noqa: PLR0913 - each port by name: a simulator stops between any two calls
    sweep_id: str,
    wanted: RunSet | Collection[Outcome],
    *,
    ledger: Ledger,
    queues: Queues,
    store: SweepStore,
    blobs: Blobs,
    clock: Clock,
    new_id: NewId,
    why: str = "",
) -> ResubmitReport:
    """Ask anew for these runs, or for the runs that count as one of these outcomes.

    Also sends what an earlier resubmit that died asked for and did not send. UserMistake when a run
    is not of the sweep or the sweep is cancelled; LedgerLacksSweep; QueueUnavailable when all is
    recorded and waits.
    """
    with ledger.lock(sweep_id):
        declared = read_declared(sweep_id, ledger=ledger, store=store)
        if declared.cancelled:
            raise SweepCancelled(sweep_id)
        coverage = CoverageReader(blobs, sweep_id).refresh()
        outcomes = by_outcome(declared.runs, declared.asked, coverage)
        if isinstance(wanted, RunSet):
            _refuse_strangers(declared, wanted)
            runs = wanted
        else:
            runs = RunSet.union(outcomes[outcome] for outcome in wanted)
        raised = runs & RunSet.union(outcomes.values())
        epoch = None
        if raised:
            # Also past what is stored: should a record be lost, its epoch's results would answer.
            epoch = max(declared.last_epoch, *coverage.epochs) + 1
            record = Asked(epoch=epoch, runs=raised, at_s=clock(), why=why)
            if not store.ask(sweep_id, record):
                raise LedgerError(
                    f"epoch {epoch} of sweep {sweep_id} was taken by a resubmit with another "
                    "ledger at the same time; run the command again"
                )
            declared = read_declared(sweep_id, ledger=ledger, store=store)
        submitted = ledger.submitted(sweep_id)
        lacking = missing(declared.runs, declared.asked, coverage)
        unsent = [(each, runs - submitted.runs(each)) for each, runs in lacking.items() if each]
        write_round(
            ledger,
            Round(
                sweep=sweep_id,
                why=Why.RESUBMIT,
                job_size=declared.job_size_again(sum(len(runs) for _, runs in unsent)),
                generation=ledger.next_generation(sweep_id),
            ),
            unsent,
            clock=clock,
            new_id=new_id,
        )
        sending = send_pending(
            sweep_id,
            ledger=ledger,
            queues=queues,
            clock=clock,
            priority=declared.control.priority,
        )
    return ResubmitReport(
        sweep_id=sweep_id,
        epoch=epoch,
        raised=raised,
        unfinished=runs - raised,
        jobs_sent=sending.jobs_sent,
        runs_sent=sending.runs_sent,
        jobs_pending=sending.jobs_pending,
        refusals=tuple(sending.refusals),
    )


def _refuse_strangers(declared: Declared, wanted: RunSet) -> None:
    strangers = wanted - declared.runs
    if strangers:
        raise UserMistake(
            f"sweep {declared.sweep_id} has {len(declared.runs):,} runs, numbered from 0; "
            f"{len(strangers):,} of the runs asked for are not among them (run "
            f"{strangers.least} is the first)"
        )
