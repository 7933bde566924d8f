"""What a node tells the home about itself: nodes/<id>.json.

Format gapless.node/1: `node`, `heard_at_s` (Unix seconds), `mode`, `workers` (started), `busy`,
`waiting_bytes` (results not delivered yet), and `sweeps`: for each sweep the runs in hand by epoch
(wire form of a set of runs).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from compute_node.state import NodeState
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import StorageError

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
    return msgspec.json.encode(
        {
            "format": "gapless.node/1",
            "node": node,
            "heard_at_s": heard_at_s,
            "mode": state.mode.value,
            "workers": len(workers),
            "busy": sum(bool(worker.chunks) for worker in workers),
            "waiting_bytes": waiting_bytes,
            "unfit": {
                name: sweep.unfit_text for name, sweep in state.sweeps.items() if sweep.unfit_text
            },
            "sweeps": sweeps,
        }
    )


def told_unfit(blobs: Blobs, node: str) -> dict[str, str]:
    """Read from a node's report why it cannot do the runs of a sweep, by sweep; empty: unknown."""
    try:
        report = msgspec.json.decode(blobs.get(layout.node(node)), type=_Told)
    except (StorageError, msgspec.DecodeError):
        return {}
    return report.unfit


class _Told(msgspec.Struct):
    unfit: dict[str, str] = {}


def idle(state: NodeState) -> bool:
    """Tell whether the node has nothing in hand."""
    return all(lane.empty for sweep in state.sweeps.values() for lane in sweep.lanes.values())


def store(blobs: Blobs, node: str, report: bytes) -> None:
    """Replace the node's report."""
    blobs.put(layout.node(node), report)


def remove_folder(folder: Path) -> None:
    """Remove what this start of the node kept on disk."""
    shutil.rmtree(folder, ignore_errors=True)
