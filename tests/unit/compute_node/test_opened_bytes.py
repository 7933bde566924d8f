"""A worker says what its results take in memory where they are read."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from compute_node.events import BlockMade, Event, WorkerReady
from compute_node.frames import Begin, Work
from compute_node.outbox import Outbox
from compute_node.pool import Pool
from compute_node.sweep_files import code_folder, prepare_sweep, sweep_folder
from gapless.declaration.runset import RunSet
from gapless.results.block import block_bytes, decode_block

LARGE_AND_EQUAL = """
    import numpy as np

    def f(x):
        return {"field": np.zeros(250_000)}
"""


def test_a_worker_says_what_large_arrays_of_equal_values_take_where_they_are_read(
    place: Any,
) -> None:
    place.submit(LARGE_AND_EQUAL, runs=3)
    outbox = Outbox(place.folder / "outbox")
    made = []
    with events_of_a_worker(place, outbox, RunSet.span(0, 3)) as events:
        while sum(len(each.runs) for each in made) < 3:
            event = events.get(timeout=60.0)
            made += [event] if isinstance(event, BlockMade) else []
    for each in made:
        assert each.opened_bytes >= len(each.runs) * 250_000 * 8
        assert each.size_bytes < each.opened_bytes / 100
        text = base64.b64decode(outbox.get([each.block])[0])
        assert each.opened_bytes == block_bytes(decode_block(text))


@contextmanager
def events_of_a_worker(place: Any, outbox: Outbox, runs: RunSet) -> Iterator[SimpleQueue[Event]]:
    """Let a real worker do runs of the place's sweep; give what its pool tells."""
    work, code = place.folder / "work", place.store.control(place.sweep).code
    prepare_sweep(place.store, sweep=place.sweep, code=code, work=work)
    events: SimpleQueue[Event] = SimpleQueue()
    pool = Pool(folder=place.folder / "node", outbox=outbox, post=events.put)
    thread = threading.Thread(target=pool.run)
    thread.start()
    try:
        begin = Begin(
            node="node-1",
            code=code,
            sweep_folder=str(sweep_folder(work, place.sweep)),
            code_folder=code_folder(work, code),
            run_folder=str(place.folder / "node" / "runs-1"),
            files_folder=str(place.folder / "node" / "files"),
        )
        pool.start(1, begin, place.sweep)
        assert events.get(timeout=60.0) == WorkerReady(1)
        pool.send(1, Work(chunk=1, epoch=0, runs=runs.to_wire()))
        yield events
    finally:
        pool.close()
        thread.join(60.0)
        pool.end_guardian()
