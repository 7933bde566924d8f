"""An aggregator as a program of its own, for tests that kill it: `python -m` this HOME [SETTINGS].

SETTINGS is JSON: settings of the aggregator, and `die_after`, the ending of a key: once something
with such a key is durable the program kills itself, as kill -9 would at that instant. While the
file `hole` is there, neither queues nor home answer.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from aggregator.service import AggregatorSettings, run_aggregator
from gapless.storage.folder import FolderBlobs
from queueing.port import Answer, Lease
from queueing.sqlite import SqliteQueues
from tests.unit.compute_node.holes import Hole


class DyingBlobs(FolderBlobs):
    """Dies right after a key with this ending was made durable."""

    def __init__(self, path: Path, ending: str) -> None:
        super().__init__(path)
        self._ending = ending

    def put_if_absent(self, key: str, data: bytes) -> bool:
        stored = super().put_if_absent(key, data)
        if "/shards/" in key and key.endswith(self._ending):
            os.kill(os.getpid(), signal.SIGKILL)
        return stored


class DyingQueues(SqliteQueues):
    """Dies right after a delete."""

    def delete(self, leases: list[Lease]) -> list[Answer]:
        super().delete(leases)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")


def main() -> int:
    home = Path(sys.argv[1])
    settings = json.loads(sys.argv[2])
    die_after = settings.pop("die_after", "")
    hole = settings.pop("hole", "")
    blobs: Any = DyingBlobs(home, die_after) if die_after.startswith(".") else FolderBlobs(home)
    queues: Any = (DyingQueues if die_after == "delete" else SqliteQueues)(home / "queue.db")
    if hole:
        blobs, queues = Hole(blobs, Path(hole)), Hole(queues, Path(hole))
    try:
        return run_aggregator(
            AggregatorSettings(
                blobs=blobs, queues=queues, aggregator_id="agg-1", receive_wait_s=0.05, **settings
            )
        )
    finally:
        queues.close()


if __name__ == "__main__":
    sys.exit(main())
