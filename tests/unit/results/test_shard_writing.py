"""Writing a shard, when reading what its runs mean takes the thread elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from gapless.results.origin import Origin
from gapless.results.shard import encode_shard, read_shard
from tests.unit.results.samples import DECLARATION, SWEEP, NumberedRuns, block_of, shard_of


class RunsThatStoreAShardMeanwhile(NumberedRuns):
    """A table of the space comes from storage; who waits for it may store another shard."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[bytes] = []

    def parameters(self, numbers: np.ndarray) -> dict[str, Any]:
        self.meanwhile.append(shard_of(block_of({7: {}, 8: {}}), number=2).data)
        return super().parameters(numbers)

    def replicates(self, numbers: np.ndarray) -> np.ndarray:
        self.meanwhile.append(shard_of(block_of({9: {}}), number=3).data)
        return super().replicates(numbers)


def test_a_thread_can_write_a_shard_while_it_reads_the_parameters_of_another() -> None:
    runs = RunsThatStoreAShardMeanwhile()
    shard = encode_shard(
        [block_of({1: {}, 2: {}, 3: {}})],
        sweep_id=SWEEP,
        declaration_json=DECLARATION,
        runs=runs,
        origin=Origin.at(2000.0, "agg-1", 1),
    )
    assert shard.data == shard_of(block_of({1: {}, 2: {}, 3: {}})).data
    found = [read_shard(data).rows.run.tolist() for data in (shard.data, *runs.meanwhile)]
    assert sorted(found) == [[1, 2, 3], [7, 8], [9]]
