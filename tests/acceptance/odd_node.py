"""A node like `sweep node`, with what a test needs to be odd about it.

python odd_node.py HOME [--refuse N] [--decrement S] [--linger S]
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence

from compute_node.agent import NodeSettings, run_node
from gapless.wiring import new_id, open_home
from queueing.port import Answer, AnswerStatus, Entry
from queueing.sqlite import SqliteQueues


class RefusingQueues(SqliteQueues):
    """Real queues that answer FAILED for every second delivery until N were refused."""

    refusals = 0
    _turn = itertools.count()

    def send(self, queue: str, entries: Sequence[Entry]) -> list[Answer]:
        if not queue.endswith("-results"):
            return super().send(queue, entries)
        answers = []
        for entry in entries:
            if self.refusals > 0 and next(self._turn) % 2 == 0:
                self.refusals -= 1
                answers.append(Answer(AnswerStatus.FAILED, "refused by the test"))
                print(f"refused {len(entry.body)} bytes", flush=True)
            else:
                answers += super().send(queue, [entry])
        return answers


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("home")
    parser.add_argument("--refuse", type=int, default=0)
    parser.add_argument("--decrement", type=float, default=60.0)
    parser.add_argument("--linger", type=float, default=1.0)
    chosen = parser.parse_args()
    home = open_home(chosen.home, create=False)
    queues = RefusingQueues(home.queue_file)
    queues.refusals = chosen.refuse
    try:
        return run_node(
            NodeSettings(
                node_id=f"odd-{new_id()[:6]}",
                blobs=home.blobs,
                queues=queues,
                work_folder=home.node_work_folder,
                workers=1,
                linger_s=chosen.linger,
                decrement_after_s=chosen.decrement,
                decrement_every_s=chosen.decrement,
            )
        )
    finally:
        queues.close()


if __name__ == "__main__":
    sys.exit(main())
