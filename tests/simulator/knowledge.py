"""What a node can know of what is wanted of a sweep, noted below its own code.

No run may begin before it is known what was wanted of its sweep after its job came: a sweep that a
person paused or cancelled before the job was sent starts nothing. A node knows what it listed of
the control records; its state machine knows that once the event was handled that tells of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from compute_node.commands import Chunk
from compute_node.events import SweepFacts
from gapless.declaration.control import ControlState
from gapless.storage import layout
from gapless.storage.blobs import Blob
from queueing.port import Message
from tests.simulator.truth import Truth, mask_of
from tests.simulator.world import Violation

__all__ = ["Knowledge", "Listed"]

Listed = dict[str, tuple[int, float]]
"""By sweep: the newest version of its control record, and when it was listed last."""


@dataclass(slots=True)
class Knowledge:
    """Of one life of one node."""

    truth: Truth
    listed: Listed = field(default_factory=dict)
    told: Listed = field(default_factory=dict)
    jobs: defaultdict[tuple[str, int], list[tuple[float, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def received(self, messages: Sequence[Message], at: float) -> None:
        """Note the jobs a receive brought."""
        for message in messages:
            sweep = layout.sweep_id_of(message.lease.queue)
            for epoch, runs in self.truth.held_by(message.lease.queue, message.body).items():
                self.jobs[sweep, epoch].append((at, runs))

    def listed_controls(self, prefix: str, found: Sequence[Blob], at: float) -> None:
        """Note which control records a sweep had."""
        names = [blob.key.removeprefix(prefix).removesuffix(".json") for blob in found]
        if names:
            self.listed[prefix.split("/")[1]] = (max(map(int, names)), at)

    def now_told(self, sweeps: Iterable[SweepFacts], snapshot: Listed) -> None:
        """Note that the state machine heard of sweeps that were listed when it was told."""
        for facts in sweeps:
            version, at = snapshot.get(facts.sweep, (0, 0.0))
            known, known_at = self.told.get(facts.sweep, (0, 0.0))
            # Another thread may have listed a newer one meanwhile: that is not told yet.
            version = min(version, facts.version)
            self.told[facts.sweep] = (max(version, known), max(at, known_at))

    def check(self, node: str, chunk: Chunk) -> None:
        """Check that the runs of a chunk may begin now."""
        version, at = self.told.get(chunk.sweep, (0, 0.0))
        state = self.truth.sweeps[chunk.sweep].states.get(version)
        if state is not ControlState.RUNNING:
            raise Violation(
                f"{node} begins runs of {chunk.sweep}, which it knows to be "
                f"{'nowhere' if state is None else state.value}"
            )
        known = 0
        for received_at, runs in self.jobs[chunk.sweep, chunk.epoch]:
            if received_at <= at:
                known |= runs
        if mask_of(chunk.runs) & ~known:
            raise Violation(
                f"{node} begins runs of {chunk.sweep} before it knows what is wanted of it "
                "since their job came"
            )
