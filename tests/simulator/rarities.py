"""What befalls a world seldom: sweeps moved away, jobs put back, expired claims, bad moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gapless.declaration.control import ControlState
from gapless.declaration.messages import Job, encode_job
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from queueing.memory import MemoryQueues
from queueing.port import Entry, ReplaceAnswer
from tests.simulator.collectors import SimAggregator
from tests.simulator.faults import Fault
from tests.simulator.nodes import SimNode
from tests.simulator.people import Person
from tests.simulator.plan import Plan
from tests.simulator.ports import Services
from tests.simulator.services import Moved
from tests.simulator.strangers import later_delivery
from tests.simulator.world import World

__all__ = ["Rarities"]

_SHARE = 0.1
_SHARE_OF_REPLACES = 0.3
_LOOKS_FOR_LOOKS = 60
_LOOKS_FOR_HALVING = 400


class Rarities:
    """Brings them about, each in few worlds, at moments that a plan of its own chooses."""

    def __init__(self, world: World, plan: Plan, services: Services, person: Person) -> None:
        self.world = world
        self.plan = plan
        self.queues = services.queues
        self.blobs = services.blobs
        self.spells = services.spells
        self.person = person
        self.aggregators: Sequence[SimAggregator] = ()
        self.nodes: Sequence[SimNode] = ()
        self.sweep_ids = [frozen.id for frozen in plan.sweeps]
        self._moved: list[tuple[str, Moved]] = []

    def plan_all(self) -> None:
        """Choose when each is to happen."""
        dice = self.world.dice("rarities")
        for rarity, most in (
            (self._move_away, 2),
            (self._put_back_a_job, 4),
            (self._expire_claims, 2),
            (self._post_to_one_that_leaves, 2),
            (self._pause_in_a_spell, 1),
            (self._fail_to_halve, 1),
            (self._move_what_rests, 2),
        ):
            if dice.random() < _SHARE:
                for _ in range(dice.randrange(1, most + 1)):
                    self.world.at(self._sometime(), rarity)
        if self.plan.remote and dice.random() < _SHARE:
            self.world.at(self._sometime(), lambda: self._damage_ledger(_LOOKS_FOR_LOOKS))
        # Few worlds ever lease what is left of a job to who sends it.
        if self.world.dice("cancel during a replace").random() < _SHARE_OF_REPLACES:
            self._cancel_during_a_replace()
        for name, rarity in (
            ("moved before its quarantine", self._move_before_a_quarantine),
            ("a later block", self._deliver_a_later_block),
            ("a look", self._look),
        ):
            if self.world.dice(name).random() < _SHARE:
                self.world.at(self._sometime(name), rarity)

    def _sometime(self, name: str = "rarities") -> float:
        return self.world.dice(name).uniform(0.1, 0.95) * self.plan.faults_for_s

    # The home -------------------------------------------------------------------------------------

    def _move_what_rests(self) -> None:
        """Move a sweep that is paused or cancelled, for less than the time between two looks."""
        dice = self.world.dice("move what rests")
        sweep_id = dice.choice(self.sweep_ids)
        state = dice.choice((ControlState.PAUSED, ControlState.CANCELLED))
        kind = Fault.PAUSES if state is ControlState.PAUSED else Fault.CANCELS
        if sweep_id in self.plan.given_up or not self.world.fault(kind):
            return
        self._control(0.1, sweep_id, state)
        for_s = 0.9 * self.plan.pace.control
        for turn in range(4):
            later_s = (2.0 + 2.0 * turn) * self.plan.pace.control
            self.world.at(later_s, lambda: self._move(sweep_id, for_s))
        self._control(10.0 * self.plan.pace.control, sweep_id, ControlState.RUNNING)

    def _move_away(self) -> None:
        """Move a sweep out of the home, and back later: who does that gives no command meanwhile.

        What of it comes to an aggregator meanwhile is of no sweep, and goes to quarantine.
        """
        dice = self.world.dice(Fault.SWEEP_MOVED)
        sweep_id = dice.choice(self.sweep_ids)
        for_s = dice.choice((2.0, 8.0, 25.0)) * self.plan.pace.control / 5.0
        if self.person.main.busy or self.person.away:
            self.world.at(1.0, self._move_away)
        else:
            self._move(sweep_id, for_s)

    def _move(self, sweep_id: str, for_s: float) -> None:
        if self.person.main.busy or self.person.away:
            return
        if self.world.fault(Fault.SWEEP_MOVED):
            self.world.log(f"{sweep_id} is moved out of the home")
            self.blobs.truth.moved_away(sweep_id)
            self.person.away = True
            self._moved.append((sweep_id, self.blobs.move_away(f"sweeps/{sweep_id}/")))
            self.world.at(for_s, self.put_back)

    def _move_before_a_quarantine(self) -> None:
        """Move a sweep away while what nobody can read of it waits for storage to come back."""
        dice = self.world.dice("moved before its quarantine")
        sweep_id, away_s = dice.choice(self.sweep_ids), dice.uniform(1.0, 2.0)
        queue = layout.results_queue(sweep_id)
        if not self.queues.has(queue) or not self.world.fault(Fault.STRANGE_MESSAGE):
            return
        body = f"who is to read this? {self.world.new_id()}"
        self.queues.truth.spoiled.add(body)
        MemoryQueues.send(self.queues, queue, [Entry(body)])
        away_s *= self.plan.pace.control
        if self.world.fault(Fault.STORAGE_GONE):
            self.world.log("storage goes away")
            self.spells.blobs_until = self.world.now + away_s
        # It is away for a look or two, so what waits is stored while nothing is known of it.
        self.world.at(0.9 * away_s, lambda: self._move(sweep_id, 2.0 * self.plan.pace.control))

    def put_back(self) -> None:
        """Let every sweep be in the home again."""
        for sweep_id, moved in self._moved:
            self.world.log(f"{sweep_id} is put back into the home")
            self.blobs.put_back(moved)
            self.blobs.truth.put_back(sweep_id)
        self._moved.clear()
        self.person.away = False

    def _expire_claims(self) -> None:
        """Let the storage throw away what large deliveries claim, as a rule of a bucket does."""
        found = [blob.key for blob in self.blobs.list("claims/")]
        if found and self.world.fault(Fault.CLAIMS_EXPIRE):
            self.world.log(f"{len(found)} claims expire")
            for key in found:
                self.blobs.delete(key)
            for queue, body in self.blobs.truth.stored_claims():
                if self.queues.has(queue) and self.world.fault(Fault.TWICE):
                    self.queues.send(queue, [Entry(body)])
            self.blobs.truth.expired_claims.update(found)

    # Queues ---------------------------------------------------------------------------------------

    def _put_back_a_job(self) -> None:
        """Send a job again that nodes died of, as out of a dead-letter queue or by a standby."""
        dice = self.world.dice(Fault.JOB_COPIED)
        sweep_id, deaths = dice.choice(self.sweep_ids), dice.choice((1, 1, 2, 3, 4, 6, 7))
        first, count, away = dice.randrange(2), dice.randrange(1, 3), dice.random() < 0.4
        queue = layout.jobs_queue(sweep_id)
        if not self.queues.has(queue) or not self.world.fault(Fault.JOB_COPIED):
            return
        runs = RunSet.span(first, first + (1 if deaths > 5 else count))
        # No run of it can be asked for that the sweep does not have: each has two at least.
        runs &= RunSet.span(0, 2)
        self.world.log(f"a job of {runs!r} with {deaths} deaths is put back on {queue}")
        body = encode_job(Job(sweep=sweep_id, job=self.world.new_id(), runs=runs, deaths=deaths))
        self.queues.send(queue, [Entry(body)])
        if away and self.world.fault(Fault.STORAGE_GONE):
            self.spells.blobs_until = self.world.now + dice.uniform(3.0, 15.0)

    def _deliver_a_later_block(self) -> None:
        """Put a delivery on a queue of which only the block is of a later version."""
        sweep_id = self.world.dice("a later block").choice(self.sweep_ids)
        queue = layout.results_queue(sweep_id)
        if self.queues.has(queue) and self.world.fault(Fault.STRANGE_MESSAGE):
            body = later_delivery(sweep_id, self.world.new_id())
            self.world.log(f"a node of a later version delivers to {queue}")
            self.queues.truth.spoiled.add(body)
            MemoryQueues.send(self.queues, queue, [Entry(body)])

    def _post_to_one_that_leaves(self) -> None:
        """Put what nobody can read on a queue, and ask an aggregator to leave just then."""
        dice = self.world.dice("post to one that leaves")
        collector = dice.choice(list(self.aggregators))
        if not hasattr(collector, "state") or not self.world.fault(Fault.STRANGE_MESSAGE):
            return
        body = f"what is this, then? {self.world.new_id()}"
        for queue in filter(self.queues.has, map(layout.results_queue, self.sweep_ids)):
            self.queues.truth.spoiled.add(body)
            MemoryQueues.send(self.queues, queue, [Entry(body)])
        away = dice.random() < 0.5
        if away and self.world.fault(Fault.STORAGE_GONE):
            self.spells.blobs_until = self.world.now + 60.0
        self.world.at(4.0 * dice.random() if away else 0.0, lambda: self._stop(collector))

    def _stop(self, collector: SimAggregator) -> None:
        if hasattr(collector, "state") and self.world.fault(Fault.STOP):
            self.world.log(f"{collector.name} is asked to stop")
            collector.stop()

    # People ---------------------------------------------------------------------------------------

    def _pause_in_a_spell(self) -> None:
        """Pause a sweep and resume it while no job can be given back."""
        sweep_id = self.world.dice(Fault.PAUSES).choice(self.sweep_ids)
        if sweep_id in self.plan.given_up or not self.world.fault(Fault.PAUSES):
            return
        if self.world.fault(Fault.QUEUES_GONE):
            self.world.log("the queue service goes away")
            self.spells.queues_until = self.world.now + 5.0 * self.plan.pace.control
        for delay_s, state in ((0.1, ControlState.PAUSED), (12.0, ControlState.RUNNING)):
            self._control(delay_s, sweep_id, state)

    def _cancel_during_a_replace(self) -> None:
        """Cancel a sweep while the answer to a replace is under way, for a good part of its lease.

        The old lease is lost meanwhile, and with the answer comes one nobody has a use for.
        """
        dice = self.world.dice("cancel during a replace")
        sweep_id, share = dice.choice(self.sweep_ids), dice.uniform(0.4, 0.9)
        queue = layout.jobs_queue(sweep_id)

        def answer_after(answer: ReplaceAnswer) -> float:
            held = answer.leases[0] if answer.leases else None
            if held is None or held.queue != queue or not self.world.faults:
                return 0.0
            for node in self.nodes:
                node.queues.answers_after = lambda _: 0.0
            if not self.world.fault(Fault.CANCELS) or not self.world.fault(Fault.INTERLEAVE):
                return 0.0
            for_s = share * self.plan.lease_s
            self.world.log(f"the answer to a replace of {queue} takes {for_s:.0f} s")
            self._control(0.1, sweep_id, ControlState.CANCELLED)
            self._control(for_s + 2.0 * self.plan.pace.control, sweep_id, ControlState.RUNNING)
            return for_s

        if sweep_id not in self.plan.given_up:
            for node in self.nodes:
                node.queues.answers_after = answer_after

    def _fail_to_halve(self) -> None:
        """Put a job back that is to be halved, and let that fail until its sweep is paused."""
        sweep_id = self.world.dice("fail to halve").choice(self.sweep_ids)
        queue = layout.jobs_queue(sweep_id)
        if sweep_id in self.plan.given_up or not self.queues.has(queue):
            return
        if self.world.fault(Fault.JOB_COPIED):
            self.world.log(f"a job that is to be halved is put back on {queue}")
            runs, name = RunSet.span(0, 2), self.world.new_id()
            self.queues.send(
                queue, [Entry(encode_job(Job(sweep=sweep_id, job=name, runs=runs, deaths=4)))]
            )
            self._wait_for_halving(sweep_id, _LOOKS_FOR_HALVING)

    def _wait_for_halving(self, sweep_id: str, looks: int) -> None:
        if not self.world.faults or not looks:
            return
        if not any(each.halves(sweep_id) for each in self.nodes):
            self.world.at(0.02, lambda: self._wait_for_halving(sweep_id, looks - 1))
        elif self.world.fault(Fault.QUEUES_GONE):
            self.spells.queues_until = self.world.now + 3.0 * self.plan.pace.control
            self._control(0.1, sweep_id, ControlState.PAUSED)
            self._control(5.0 * self.plan.pace.control, sweep_id, ControlState.RUNNING)

    def _look(self) -> None:
        """Let the person look where every run is, and change nothing."""
        sweep_id = self.world.dice("a look").choice(self.sweep_ids)
        if self.world.fault(Fault.RECONCILES):
            self.person.give(0.1, f"look at {sweep_id}", lambda: self.person.look(sweep_id))

    def _control(self, delay_s: float, sweep_id: str, state: ControlState) -> None:
        name = f"{state.value} {sweep_id}"
        act: Callable[[], None] = lambda: self.person.control(sweep_id, state)  # noqa: E731
        self.person.give(delay_s, name, act)

    def _damage_ledger(self, tries: int) -> None:
        """Damage a row of the ledger, as soon as it remembers a look."""
        if self.person.main.busy or not self.person.has_looks():
            if tries and self.world.faults:
                self.world.at(1.0, lambda: self._damage_ledger(tries - 1))
        elif self.world.fault(Fault.LEDGER_DAMAGED):
            self.person.damage_ledger()
