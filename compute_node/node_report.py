"""What a node tells the home about itself: nodes/<id>.json.

The format is `gapless.storage.node_reports.NodeReport`, which reconcile reads.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from compute_node.state import NodeState
from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import StorageError
from gapless.storage.node_reports import NodeReport

__all__ = ["encode", "idle", "remove_folder", "store", "told_unfit"]


def encode(state: NodeState, *, node: str, heard_at_s: float, waiting_bytes: int) -> bytes:
    """Write a report of what the node has in hand now."""
    sweeps: dict[str, dict[str, Any]] = {}
    for name, sweep in state.sweeps.items():
        for epoch, lane in sweep.lanes.items():
            runs = RunSet.union([lane.underway(), *(job.remaining for job in lane.jobs.values())])
            if runs:
                sweeps.setdefault(name, {})[str(epoch)] = runs.to_wire()
    workers = state.crew.workers.values()
    return NodeReport(
        node=node,
        heard_at_s=heard_at_s,
        mode=state.mode.value,
        workers=len(workers),
        busy=sum(bool(worker.chunks) for worker in workers),
        waiting_bytes=waiting_bytes,
        unfit={name: sweep.unfit_text for name, sweep in state.sweeps.items() if sweep.unfit_text},
        sweeps=sweeps,
    ).encode()


def told_unfit(blobs: Blobs, node: str) -> dict[str, str]:
    """Read from a node's report why it cannot do the runs of a sweep, by sweep; empty: unknown."""
    try:
        return NodeReport.decode(blobs.get(layout.node(node))).unfit
    except (StorageError, DamagedMessage, NewerFormat):
        return {}


def idle(state: NodeState) -> bool:
    """Tell whether the node has nothing in hand."""
    return all(lane.empty for sweep in state.sweeps.values() for lane in sweep.lanes.values())


def store(blobs: Blobs, node: str, report: bytes) -> None:
    """Replace the node's report."""
    blobs.put(layout.node(node), report)


def remove_folder(folder: Path) -> None:
    """Remove what this start of the node kept on disk."""
    shutil.rmtree(folder, ignore_errors=True)
