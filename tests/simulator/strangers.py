"""What other hands and other versions do to a world: messages nobody sent, programs told to end."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

from compute_node.events import RECEIVER, PartDied, StopAsked
from gapless.declaration.messages import (
    Delivery,
    Job,
    Part,
    encode_delivery,
    encode_job,
    text_digest,
)
from gapless.declaration.runset import RunSet
from gapless.results.block import encode_block
from gapless.results.block_builder import BlockBuilder
from gapless.storage import layout
from queueing.memory import MemoryQueues
from queueing.port import Entry
from tests.simulator.collectors import SimAggregator
from tests.simulator.faults import Fault
from tests.simulator.nodes import SimNode
from tests.simulator.ports import Services
from tests.simulator.truth import mask_of
from tests.simulator.world import World

__all__ = ["Strangers", "later_delivery"]

_NO_RUNS_OF_ANY = RunSet.span(5_000, 5_002)
_TEXT = "AAAA"
_LATER = "/99"
_VERSION_AT = 8
"""The byte of a block that holds its version (gapless.results.block)."""


class Strangers:
    """Brings about what no program of this version and no service does by itself."""

    def __init__(self, world: World, services: Services, sweep_ids: Sequence[str]) -> None:
        self.world = world
        self.spells = services.spells
        self.queues = services.queues
        self.sweep_ids = sweep_ids
        self.nodes: Sequence[SimNode] = ()
        self.aggregators: Sequence[SimAggregator] = ()

    def plan_all(self, sometime: Callable[[], float]) -> None:
        """Choose when each is to happen."""
        dice = self.world.dice("strangers")
        if dice.random() < 0.15:
            for _ in range(dice.randrange(1, 5)):
                self.world.at(sometime(), self._post)
        if dice.random() < 0.08:
            self.world.at(sometime(), self._hurry_one)
        if dice.random() < 0.08:
            self.world.at(sometime(), self._break_one)

        if dice.random() < 0.08:
            self.world.at(sometime(), self._shut_down)

    # Messages -------------------------------------------------------------------------------------

    def _post(self) -> None:
        """Put a message on a queue that no program of this world sent."""
        dice = self.world.dice(Fault.STRANGE_MESSAGE)
        sweep_id = dice.choice(self.sweep_ids)
        jobs = dice.random() < 0.5
        queue = layout.jobs_queue(sweep_id) if jobs else layout.results_queue(sweep_id)
        kind = dice.randrange(4)
        if not self.queues.has(queue) or not self.world.fault(Fault.STRANGE_MESSAGE):
            return
        body = _job(sweep_id, kind) if jobs else _delivery(sweep_id, kind)
        self.world.log(f"a stranger puts a message on {queue}: {body[:60]}")
        # Past the truth: these are no runs that anybody asked for.
        self.queues.truth.sweeps[sweep_id].strange = mask_of(_NO_RUNS_OF_ANY)
        self.queues.truth.spoiled.add(body)
        MemoryQueues.send(self.queues, queue, [Entry(body)])

    def be_served(self) -> None:
        """Let somebody come who knows the later version: nobody else can use what is of it.

        Until then, or its retention (14 days), such a job keeps reconcile from telling by counts
        that the queue holds nothing more; that is longer than a healed world is waited for.
        """
        for queue in self.queues.names():
            self.queues.take_away(queue, lambda body: _LATER in body.partition("\n")[0])

    # Programs -------------------------------------------------------------------------------------

    def _hurry_one(self) -> None:
        """Ask a node to end, and at once again, as a second Ctrl-C does."""
        node = self.world.dice(Fault.STOP_NOW).choice(self.nodes)
        if hasattr(node, "state") and self.world.fault(Fault.STOP_NOW):
            self.world.log(f"{node.name} is asked to end at once")
            if self.world.dice(Fault.STOP_NOW).random() < 0.5:
                node.stop()
            node.tell(StopAsked())

    def _shut_down(self) -> None:
        """Ask every program to end while storage or the queues are away."""
        dice = self.world.dice(Fault.SHUT_DOWN)
        if not self.world.fault(Fault.SHUT_DOWN):
            return
        until = self.world.now + dice.uniform(10.0, 100.0)
        what = dice.randrange(3)
        self.world.log(f"everything is shut down while {('storage', 'queues', 'both')[what]} fail")
        if what != 1:
            self.spells.blobs_until = until
        if what != 0:
            self.spells.queues_until = until
        programs: list[SimNode | SimAggregator] = [*self.nodes, *self.aggregators]
        for program in programs:
            if hasattr(program, "state"):
                program.stop()

    def _break_one(self) -> None:
        """Let a thread of a node's agent end with an error."""
        dice = self.world.dice(Fault.PART_DIED)
        node, part = dice.choice(self.nodes), dice.choice((RECEIVER, "lease keeper"))
        if hasattr(node, "state") and self.world.fault(Fault.PART_DIED):
            self.world.log(f"the {part} of {node.name} ends with an error")
            node.tell(PartDied(part, "a bug"))
            if dice.random() < 0.3:
                node.tell(PartDied(part, "another one"))


def _job(sweep_id: str, kind: int) -> str:
    """Write what looks like a job: of nothing, of a later version, of another sweep, of no run."""
    of_sweep = "another-00000000" if kind == 2 else sweep_id
    body = encode_job(Job(sweep=of_sweep, job="strange", runs=_NO_RUNS_OF_ANY))
    return _spoiled(body, kind)


def _delivery(sweep_id: str, kind: int) -> str:
    """Write what looks like a delivery, wrong in the same ways."""
    part = Part(runs=_NO_RUNS_OF_ANY, epoch=0, digest=text_digest(_TEXT))
    of_sweep = "another-00000000" if kind == 2 else sweep_id
    delivery = Delivery(sweep=of_sweep, delivery="strange", node="stranger", parts=(part,))
    return _spoiled(encode_delivery(delivery, [_TEXT]), kind)


def later_delivery(sweep_id: str, delivery_id: str) -> str:
    """Write a delivery of the first run whose block a node of a later version made."""
    data = bytearray(encode_block(BlockBuilder(0, "later", "").build()))
    data[_VERSION_AT] = 99
    text = base64.b64encode(data).decode("ascii")
    part = Part(runs=RunSet.of(0), epoch=0, digest=text_digest(text))
    node = f"a-node-of{_LATER}"
    delivery = Delivery(sweep=sweep_id, delivery=delivery_id, node=node, parts=(part,))
    return encode_delivery(delivery, [text])


def _spoiled(body: str, kind: int) -> str:
    if kind == 0:
        return f"what is this? {len(body)}"
    return body.replace("/1", _LATER, 1) if kind == 1 else body
