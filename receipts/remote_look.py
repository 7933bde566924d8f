"""Look at the queues of a sweep through their counts, and remember what the look showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gapless.declaration.runset import RunSet
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.node_reports import read_recent, runs_in_hand
from queueing.port import Queues
from receipts.absence import Seen, Sends, Verdict, judge, judge_by_force
from receipts.ledger import Ledger
from receipts.looks import last_sent_at_s, may_be_queued, read_looks, replace_looks
from receipts.ports import Clock

__all__ = ["Patience", "judge_look", "see"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long counts may lie, how long queues keep messages; `force`: wait for nothing."""

    settle_s: float
    retention_s: float
    force: bool = False


def see(sweep_id: str, *, queues: Queues, blobs: Blobs, clock: Clock) -> Seen:
    """Look in the order in which a run moves: the work queue, the nodes, the result queue.

    Two verbs of the queues. A missing queue is made anew, and tells so by its creation.
    """
    began_at_s = clock()
    jobs = queues.facts(layout.jobs_queue(sweep_id))
    nodes = read_recent(blobs, now_s=began_at_s)
    results = queues.facts(layout.results_queue(sweep_id))
    ended_at_s = max(began_at_s, clock())
    return Seen(
        began_at_s=began_at_s,
        ended_at_s=ended_at_s,
        jobs=jobs,
        results=results,
        in_hand=runs_in_hand(nodes, sweep_id),
        silent_s={
            node.node: max(0.0, began_at_s - node.heard_at_s)
            for node in nodes
            if node.sweeps.get(sweep_id)
        },
    )


def judge_look(
    sweep_id: str,
    lacking: Mapping[int, RunSet],
    *,
    seen: Seen,
    ledger: Ledger,
    patience: Patience,
) -> Verdict:
    """Judge the runs that were sent and have no result; remember the look for the next one.

    `lacking` was read after `seen`. Under the sweep's lock; a crash forgets this look at most.
    """
    earlier = read_looks(ledger, sweep_id)
    verdict = Verdict()
    if any(lacking.values()):
        sends = Sends(
            may_be_queued=may_be_queued(
                ledger,
                sweep_id,
                queue_created_at_s=seen.jobs.created_at_s,
                since_s=seen.began_at_s - patience.retention_s,
            ),
            last_at_s=last_sent_at_s(ledger, sweep_id),
        )
        verdict = judge(
            lacking, seen=seen, sends=sends, earlier=earlier, settle_s=patience.settle_s
        )
        verdict = replace(verdict, queues_made_anew=sends.queues_made_anew(seen))
        if patience.force:
            forced = judge_by_force(lacking, seen=seen, sends=sends, settle_s=patience.settle_s)
            gaps = {epoch: runs | verdict.gaps[epoch] for epoch, runs in forced.items()}
            verdict = replace(verdict, gaps=gaps, maybe_delivered={})
    if list(verdict.looks) != earlier:
        replace_looks(ledger, sweep_id, verdict.looks)
    return verdict
