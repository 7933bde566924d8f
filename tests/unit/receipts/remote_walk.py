"""A sweep on queues that can only be counted: nodes, an aggregator, a person, and what goes wrong.

All of it by the dice of a seed and a clock that nothing but a step moves.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from gapless.declaration.messages import Job, decode_delivery, decode_job, encode_job
from gapless.declaration.runset import RunSet
from gapless.results.coverage import CoverageReader
from gapless.results.outcome import Outcome
from gapless.storage import layout
from queueing.port import Extension, Lease, Replacement
from receipts.ledger import open_ledger
from receipts.rebuild import rebuild
from receipts.reconcile import ReconcileReport
from tests.unit.receipts.world import World, declare

__all__ = ["RUNS", "SETTLE_S", "Walk"]

RUNS = 40
SETTLE_S = 120.0
LEASE_S = 300.0


@dataclass
class InHand:
    """A job a node works on; its lease may be lost, which does not stop the node."""

    job: Job
    remaining: RunSet
    lease: Lease | None


class Walk:
    """One world. `late_s`: how late counts are."""

    def __init__(self, seed: int, *, late_s: float, each_count_on_its_own: bool) -> None:
        self.dice = random.Random(seed)
        self.world = World(open_ledger("sqlite://"), tick_s=0.0)
        self.queues = self.world.counted(
            late_s=late_s, dice=self.dice, each_count_on_its_own=each_count_on_its_own
        )
        self.sweep = self.world.submit(declare(RUNS), job_size=7, queues=self.queues).sweep_id
        self.nodes: dict[str, InHand | None] = {"node-0": None, "node-1": None}
        self.started = 2
        self.resent = 0

    @property
    def both(self) -> tuple[str, str]:
        return layout.jobs_queue(self.sweep), layout.results_queue(self.sweep)

    def close(self) -> None:
        self.world.ledger.close()

    def step(self, seconds: float) -> None:
        """Let time pass, then let somebody do something."""
        self.world.now_s += seconds
        self.dice.choice([self.work, self.work, self.collect])()
        self.report_nodes()
        self.note()

    def note(self) -> None:
        for queue in self.both:
            self.queues.note(queue)

    def reconcile(self) -> ReconcileReport:
        report = self.world.reconcile(
            self.sweep, queues=self.queues, resubmit=True, settle_s=SETTLE_S
        )
        self.resent += report.resubmitted
        self.note()
        return report

    def settle(self, *, most_s: float) -> float:
        """Let everybody work and reconcile without a fault; give how long it took, in seconds."""
        began_s = self.world.now_s
        while not (report := self.reconcile()).complete:
            assert self.world.now_s - began_s < most_s, report
            # Where a run waits for the next day, nothing else is left to happen.
            for _ in range(4):
                self.step(400.0 if report.waiting else 15.0)
        return self.world.now_s - began_s

    def final(self) -> RunSet:
        return CoverageReader(self.world.blobs, self.sweep).refresh().final()

    # What programs do -----------------------------------------------------------------------------

    def work(self) -> None:
        name = self.dice.choice(list(self.nodes))
        held = self.nodes[name]
        if held is None:
            found = self.world.queues.receive([self.both[0]], most=1, wait_s=0.0, lease_s=LEASE_S)
            for message in found:
                job = decode_job(message.body)
                self.nodes[name] = InHand(job, job.runs, message.lease)
            return
        done = RunSet.of(*list(held.remaining)[: self.dice.randrange(1, 8)])
        self.world.deliver(self.sweep, done, epoch=held.job.epoch)
        held.remaining = held.remaining - done
        if not held.remaining:
            self.world.queues.delete([held.lease] if held.lease else [])
            self.nodes[name] = None
        elif held.lease and self.dice.random() < 0.3:
            self._send_remainder(held)

    def _send_remainder(self, held: InHand) -> None:
        job = Job(
            sweep=self.sweep,
            job=self.world.new_id(),
            runs=held.remaining,
            epoch=held.job.epoch,
        )
        assert held.lease is not None
        answer = self.world.queues.replace(
            held.lease, [Replacement(encode_job(job), lease_s=LEASE_S)]
        )
        held.lease = answer.leases[0] if answer.answer.ok else None

    def report_nodes(self) -> None:
        for name, held in self.nodes.items():
            if held is not None and held.lease is not None:
                (answer,) = self.world.queues.extend([Extension(held.lease, LEASE_S)])
                held.lease = held.lease if answer.ok else None
            runs = {} if held is None else {self.sweep: {held.job.epoch: held.remaining}}
            self.world.report_node(name, runs)

    def collect(self) -> None:
        messages = self.world.queues.receive([self.both[1]], most=10, wait_s=0.0, lease_s=LEASE_S)
        found: dict[tuple[int, Outcome], RunSet] = {}
        for message in messages:
            for part in decode_delivery(message.body).parts:
                key = (part.epoch, Outcome.OK)
                found[key] = found.get(key, RunSet()) | part.runs
        if found:
            self.world.keep(self.sweep, found)
        self.world.queues.delete([message.lease for message in messages])

    # What goes wrong ------------------------------------------------------------------------------

    def go_wrong(self) -> None:
        faults: list[Callable[[], None]] = [
            *(self.lose_queue, self.purge_queue, self.kill_node, self.kill_node),
            *(self.kill_collector, self.lose_shard, self.lose_ledger, self.ask_anew),
        ]
        self.dice.choice(faults)()
        self.note()

    def lose_queue(self) -> None:
        self.world.queues.drop(self.dice.choice(self.both))

    def purge_queue(self) -> None:
        self.world.purge(self.dice.choice(self.both))

    def kill_node(self) -> None:
        """A dead node writes no report any more; its last one stays."""
        del self.nodes[self.dice.choice(list(self.nodes))]
        self.nodes[f"node-{self.started}"] = None
        self.started += 1

    def kill_collector(self) -> None:
        self.world.queues.receive([self.both[1]], most=10, wait_s=0.0, lease_s=LEASE_S)

    def lose_shard(self) -> None:
        prefix = layout.shards_prefix(self.sweep)
        shards = [each.key for each in self.world.blobs.list(prefix) if each.key.endswith(".h5")]
        if shards:
            self.world.blobs.delete(self.dice.choice(shards))

    def lose_ledger(self) -> None:
        world = self.world
        world.ledger.close()
        world.ledger = open_ledger("sqlite://")
        rebuild(ledger=world.ledger, store=world.store, clock=world.clock, new_id=world.new_id)

    def ask_anew(self) -> None:
        runs = RunSet.of(*self.dice.sample(range(RUNS), 5))
        self.world.resubmit(self.sweep, runs, queues=self.queues)
