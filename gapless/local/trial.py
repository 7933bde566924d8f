"""Do a few runs of a sweep here before it is submitted (--test), in a home that is thrown away.

A real node does them, so what fails here (an import, a missing file, a value that cannot be stored)
is what would fail there. The runs have the numbers, parameters and seeds they will have.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from compute_node.agent import NodeSettings, run_node
from compute_node.commands import UNFIT
from compute_node.node_report import told_unfit
from gapless.declaration.messages import Job, decode_delivery, delivery_blocks, encode_job
from gapless.declaration.runset import RunSet
from gapless.local.submission import Prepared
from gapless.results.block import Block, decode_block
from gapless.results.outcome import Outcome
from gapless.storage import layout
from gapless.wiring import Home, clock, core_count, new_id, open_home, program_id
from queueing.port import MAX_BATCH, Entry, Queues
from receipts.jobs import job_size_for

__all__ = ["Trial", "TrialFailure", "sized_by_trial", "try_runs"]

_IDLE_S = 2.0
_LEASE_S = 900.0
_LEAST_JOBS = 50
"""So many jobs at least, however short the runs are: that several nodes have something to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFailure:
    """A run of the trial that is not ok: its parameters and what there is to see."""

    run: int
    parameters: str
    outcome: str
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of a trial; `mean_s` is the mean duration of its runs, in seconds."""

    runs: tuple[int, ...]
    failures: tuple[TrialFailure, ...]
    mean_s: float
    unfit: str = ""
    """Why no run could be started on this machine; empty when they could."""

    @property
    def passed(self) -> bool:
        """Tell whether every run was ok."""
        return not self.failures and not self.unfit


def try_runs(prepared: Prepared, count: int) -> Trial:
    """Do `count` runs spread evenly over the sweep (all of them, if it has no more)."""
    total = prepared.frozen.segment.count
    numbers = _spread(total, count)
    with tempfile.TemporaryDirectory(prefix="gapless-trial-") as folder:
        home = open_home(folder, create=True)
        home.store.put_object(prepared.bundle.data)
        home.store.store(prepared.frozen, prepared.bundle.sha256, clock())
        queues = home.queues()
        try:
            _send(queues, prepared.frozen.id, numbers)
            settings = _settings(home, queues, prepared.frozen.id, len(numbers))
            with _quiet():
                status = run_node(settings)
            if status == UNFIT:
                why = told_unfit(home.blobs, settings.node_id).get(prepared.frozen.id, "").strip()
                return Trial(runs=(), failures=(), mean_s=0.0, unfit=why or "no run was started")
            blocks = _delivered(home, queues, prepared.frozen.id)
        finally:
            queues.close()
        return _judge(home, prepared.frozen.id, numbers, blocks)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let what the node warns of not reach standard error: the trial says it itself."""
    logger, handler = logging.getLogger("gapless"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def sized_by_trial(prepared: Prepared, trial: Trial) -> tuple[Prepared, str]:
    """Choose how many runs a job holds by how long the trial's took; with a note on that.

    Nothing changes where a person said how long runs take, or how large jobs are.
    """
    wish, total = prepared.wish, prepared.frozen.segment.count
    if wish.job_size is not None or prepared.frozen.run_time_s is not None or not trial.mean_s:
        return prepared, ""
    by_time = job_size_for(total, run_time_s=trial.mean_s)
    size = min(by_time, -(-total // _LEAST_JOBS))
    if size == 1:
        return prepared, ""
    sized = replace(prepared, wish=replace(wish, job_size=size))
    return sized, f"jobs of {size:,} runs, by the trial's time a run (run_time says it beforehand)"


def _spread(total: int, count: int) -> RunSet:
    if count >= total:
        return RunSet.span(0, total)
    if count == 1:
        return RunSet.of(0)
    return RunSet.of(*(place * (total - 1) // (count - 1) for place in range(count)))


def _send(queues: Queues, sweep_id: str, numbers: RunSet) -> None:
    pieces = list(numbers.pieces(max(1, len(numbers) // (4 * core_count()))))
    bodies = [encode_job(Job(sweep=sweep_id, job=new_id(), runs=piece)) for piece in pieces]
    queues.send(layout.jobs_queue(sweep_id), [Entry(body) for body in bodies])


def _settings(home: Home, queues: Queues, sweep_id: str, count: int) -> NodeSettings:
    return NodeSettings(
        node_id=program_id("trial"),
        blobs=home.blobs,
        queues=queues,
        work_folder=home.node_work_folder,
        sweep_ids=(sweep_id,),
        workers=min(count, core_count()),
        idle_exit_s=_IDLE_S,
        linger_s=0.0,
    )


def _delivered(home: Home, queues: Queues, sweep_id: str) -> list[Block]:
    blocks: list[Block] = []
    queue = layout.results_queue(sweep_id)
    while messages := queues.receive([queue], most=MAX_BATCH, wait_s=0.0, lease_s=_LEASE_S):
        for message in messages:
            delivery = decode_delivery(message.body)
            texts = message.body.partition("\n")[2]
            if delivery.claim is not None:
                texts = home.blobs.get(delivery.claim.key).decode("ascii")
            blocks += [decode_block(data) for data in delivery_blocks(delivery, texts)]
        queues.delete([message.lease for message in messages])
    return blocks


def _judge(home: Home, sweep_id: str, numbers: RunSet, blocks: list[Block]) -> Trial:
    runs = home.store.load(sweep_id).runs
    seen: dict[int, Outcome] = {}
    durations: list[float] = []
    evidence: dict[int, str] = {}
    for block in blocks:
        for number, outcome, duration_s in zip(
            block.run.tolist(), block.outcome.tolist(), block.duration_s.tolist(), strict=True
        ):
            seen[number] = Outcome(outcome)
            durations.append(duration_s)
        for error in block.errors:
            evidence[error.run] = error.traceback or f"{error.type}: {error.message}"
    failures: list[TrialFailure] = []
    for number in numbers:
        if seen.get(number) is Outcome.OK:
            continue
        parameters = runs.describe(number).parameters
        failures.append(
            TrialFailure(
                run=number,
                parameters=", ".join(f"{name} = {value!r}" for name, value in parameters.items()),
                outcome=seen[number].label if number in seen else "no result",
                evidence=evidence.get(number, "").rstrip(),
            )
        )
    return Trial(
        runs=tuple(numbers),
        failures=tuple(failures),
        mean_s=sum(durations) / len(durations) if durations else 0.0,
    )
