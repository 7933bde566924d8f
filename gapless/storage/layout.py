"""The keys of a home (design: Home). Every key is made here and nowhere else."""

from __future__ import annotations

__all__ = [
    "HOME",
    "asked",
    "asked_prefix",
    "claim",
    "control",
    "control_prefix",
    "coverage",
    "coverage_prefix",
    "jobs_queue",
    "manifest",
    "node",
    "nodes_prefix",
    "object_",
    "quarantine",
    "quarantine_prefix",
    "results_queue",
    "run_file",
    "segment",
    "segments_prefix",
    "set_aside",
    "set_aside_prefix",
    "shard",
    "shards_prefix",
    "sweep",
    "sweep_id_of",
    "sweep_prefix",
    "sweeps_prefix",
]

HOME = "home.json"


def sweeps_prefix() -> str:
    """Name where all sweeps lie."""
    return "sweeps/"


def sweep_prefix(sweep_id: str) -> str:
    """Name where everything of one sweep lies."""
    return f"sweeps/{sweep_id}/"


def sweep(sweep_id: str) -> str:
    """Name the declaration."""
    return f"sweeps/{sweep_id}/sweep.json"


def segments_prefix(sweep_id: str) -> str:
    """Name where segments lie."""
    return f"sweeps/{sweep_id}/segments/"


def segment(sweep_id: str, number: int) -> str:
    """Name one segment of run numbers."""
    return f"sweeps/{sweep_id}/segments/{number}.json"


def control_prefix(sweep_id: str) -> str:
    """Name where the desired states lie."""
    return f"sweeps/{sweep_id}/control/"


def control(sweep_id: str, version: int) -> str:
    """Name one version of the desired state."""
    return f"sweeps/{sweep_id}/control/{version}.json"


def asked_prefix(sweep_id: str) -> str:
    """Name where the record of raised epochs lies."""
    return f"sweeps/{sweep_id}/asked/"


def asked(sweep_id: str, epoch: int) -> str:
    """Name which runs were asked for anew at an epoch (>= 1)."""
    return f"sweeps/{sweep_id}/asked/{epoch}.json"


def shards_prefix(sweep_id: str) -> str:
    """Name where shards and manifests lie."""
    return f"sweeps/{sweep_id}/shards/"


def shard(sweep_id: str, shard_id: str) -> str:
    """Name one shard."""
    return f"sweeps/{sweep_id}/shards/{shard_id}.h5"


def manifest(sweep_id: str, shard_id: str) -> str:
    """Name the manifest that makes a shard count."""
    return f"sweeps/{sweep_id}/shards/{shard_id}.json"


def coverage_prefix(sweep_id: str) -> str:
    """Name where aggregators' cached coverage lies."""
    return f"sweeps/{sweep_id}/coverage/"


def coverage(sweep_id: str, aggregator: str) -> str:
    """Name one aggregator's cached coverage."""
    return f"sweeps/{sweep_id}/coverage/{aggregator}.json"


def run_file(sweep_id: str, run: int, attempt: int, name: str) -> str:
    """Name a file that an attempt at a run left, such as its whole output."""
    return f"sweeps/{sweep_id}/files/{run}/{attempt}/{name}"


def nodes_prefix() -> str:
    """Name where nodes report."""
    return "nodes/"


def node(node_id: str) -> str:
    """Name one node's report."""
    return f"nodes/{node_id}.json"


def object_(sha256: str) -> str:
    """Name a bundle, table, sample or bitmap by its hash."""
    return f"objects/{sha256}"


def claim(claim_id: str) -> str:
    """Name a delivery too large for a message."""
    return f"claims/{claim_id}"


def quarantine_prefix(sweep_id: str) -> str:
    """Name where a sweep's undecodable messages lie."""
    return f"quarantine/{sweep_id}/"


def quarantine(sweep_id: str, message_id: str) -> str:
    """Name a message nobody could decode."""
    return f"quarantine/{sweep_id}/{message_id}"


def set_aside_prefix(sweep_id: str) -> str:
    """Name where a sweep's bad files lie that were set aside. No sweep is called "shards"."""
    return f"quarantine/shards/{sweep_id}/"


def set_aside(sweep_id: str, name: str, file: str) -> str:
    """Name one file set aside: `name` is what it was called (without its ending)."""
    return f"quarantine/shards/{sweep_id}/{name}/{file}"


def jobs_queue(sweep_id: str) -> str:
    """Name a sweep's work queue (without the home's prefix)."""
    return f"{sweep_id}-jobs"


def results_queue(sweep_id: str) -> str:
    """Name a sweep's result queue (without the home's prefix)."""
    return f"{sweep_id}-results"


def sweep_id_of(queue: str) -> str:
    """Name the sweep a queue belongs to."""
    return queue.removesuffix("-jobs").removesuffix("-results")
