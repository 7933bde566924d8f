"""What befalls a world at moments its seed chooses: machines, services, files, clocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gapless.storage import layout
from tests.simulator.collectors import SimAggregator
from tests.simulator.faults import Fault
from tests.simulator.nodes import SimNode
from tests.simulator.people import LedgerCopy, Person
from tests.simulator.plan import Plan
from tests.simulator.ports import Services
from tests.simulator.world import Actor, World

__all__ = ["Disasters"]

_MOST_JUMP_S = 300.0


class Disasters:
    """Brings them about; each is a fault of the world, so it is counted and can be left out."""

    def __init__(self, world: World, plan: Plan, services: Services) -> None:
        self.world = world
        self.plan = plan
        self.queues = services.queues
        self.blobs = services.blobs
        self.spells = services.spells
        self.clock = services.clock
        self.programs: Sequence[SimNode | SimAggregator] = ()
        self.person: Person

    def begin(self) -> None:
        """Let clocks be wrong from the start, where machines are far from each other."""
        for actor in (*self.programs, self.person):
            if self.plan.skew_s and self.world.fault(Fault.SKEW, 0.7):
                dice = self.world.dice(Fault.SKEW)
                actor.skew_s = dice.uniform(-self.plan.skew_s, self.plan.skew_s)
                self.world.log(f"the clock of {actor.name} is {actor.skew_s:+.0f} s off")

    def plan_all(self, sometime: Callable[[], float]) -> None:
        """Choose when each is to happen."""
        dice = self.world.random
        for disaster, most in (
            (self._lose_queue, 2),
            (self._lose_shard, 1),
            (self._lose_manifest, 1),
            (self._leave_half_a_shard, 1),
            (self._flip_shard, 2 if self.plan.flips else 0),
            (self._kill_one, 3),
            (self._freeze_one, 2),
            (self._stop_one, 1),
            (self._begin_spell, 2),
            (self._jump, 1),
            (self._cut_one, 3 if self.plan.cuts else 0),
        ):
            for _ in range(dice.randrange(most + 1)):
                self.world.at(sometime(), disaster)
        if dice.random() < 0.25:
            self.world.at(sometime(), self._lose_ledger)
        if dice.random() < 0.15:
            self.world.at(sometime(), self._copy_ledger)

    # Programs and machines ------------------------------------------------------------------------

    def _anyone(self, kind: Fault) -> SimNode | SimAggregator:
        return self.world.dice(kind).choice(self.programs)

    def _kill_one(self) -> None:
        if self.world.fault(Fault.KILL):
            self._anyone(Fault.KILL).die()

    def _stop_one(self) -> None:
        if not self.world.fault(Fault.STOP):
            return
        actor = self._anyone(Fault.STOP)
        if hasattr(actor, "state"):
            self.world.log(f"{actor.name} is asked to stop")
            actor.stop()

    def _freeze_one(self) -> None:
        if not self.world.fault(Fault.FREEZE):
            return
        actor = self._anyone(Fault.FREEZE)
        for_s = self.world.dice(Fault.FREEZE).uniform(0.5, 2.0) * self.plan.lease_s
        self.world.log(f"{actor.name} is frozen for {for_s:.0f} s")
        actor.frozen_until = self.world.now + for_s
        self.plan.froze = True

    def _jump(self) -> None:
        if not self.world.fault(Fault.CLOCK_JUMP):
            return
        by_s = self.world.dice(Fault.CLOCK_JUMP).uniform(-_MOST_JUMP_S, _MOST_JUMP_S)
        if self.plan.remote:
            actor: Actor = self._anyone(Fault.CLOCK_JUMP)
            actor.skew_s += by_s
            self.world.log(f"the clock of {actor.name} jumps by {by_s:+.0f} s")
            return
        # A folder lies on one machine: everybody reads its clock, and queue.db holds its times.
        for actor in (*self.programs, self.person):
            actor.skew_s += by_s
        self.clock.skew_s += by_s
        self.world.log(f"the clock of the machine jumps by {by_s:+.0f} s")

    def _cut_one(self) -> None:
        what = self.world.random.randrange(3)
        until = self.world.now + self._a_while(self.world.random.random())
        actor = self.world.random.choice((*self.programs, self.person))
        if what != 1 and self.world.fault(Fault.QUEUES_CUT):
            self.world.log(f"{actor.name} cannot reach the queues")
            actor.queues_cut_until = until
        if what != 0 and self.world.fault(Fault.STORAGE_CUT):
            self.world.log(f"{actor.name} cannot reach storage")
            actor.storage_cut_until = until

    def _a_while(self, share: float) -> float:
        return (0.02 + 0.38 * share) * self.plan.faults_for_s

    # Services -------------------------------------------------------------------------------------

    def _begin_spell(self) -> None:
        kind = self.world.random.choice((Fault.QUEUES_GONE, Fault.STORAGE_GONE))
        if not self.world.fault(kind):
            return
        until = self.world.now + self._a_while(self.world.dice(kind).random())
        if kind is Fault.QUEUES_GONE:
            self.world.log("the queue service goes away")
            self.spells.queues_until = until
        else:
            self.world.log("storage goes away")
            self.spells.blobs_until = until

    def _lose_queue(self) -> None:
        names = sorted({name for name, _ in self.queues.bodies()})
        kind = self.world.random.choice((Fault.QUEUE_DELETED, Fault.QUEUE_PURGED))
        if not names or not self.world.fault(kind):
            return
        queue = self.world.dice(kind).choice(names)
        if kind is Fault.QUEUE_DELETED:
            self.world.log(f"queue {queue} is deleted")
            self.queues.drop(queue)
        else:
            self.world.log(f"queue {queue} is purged")
            self.queues.purge(queue)

    # Files ----------------------------------------------------------------------------------------

    def _shards(self) -> list[str]:
        return [blob.key for blob in self.blobs.list("sweeps/") if blob.key.endswith(".h5")]

    def _lose_shard(self) -> None:
        shards = self._shards()
        if not shards or not self.world.fault(Fault.SHARD_LOST):
            return
        dice = self.world.dice(Fault.SHARD_LOST)
        key = dice.choice(shards)
        self.world.log(f"shard {key} is lost")
        self.blobs.lose(key)
        if dice.random() < 0.5:
            self.blobs.lose(key.removesuffix(".h5") + ".json")

    def _lose_manifest(self) -> None:
        shards = self._shards()
        if not shards or not self.world.fault(Fault.MANIFEST_LOST):
            return
        key = self.world.dice(Fault.MANIFEST_LOST).choice(shards).removesuffix(".h5") + ".json"
        self.world.log(f"manifest {key} is lost")
        self.blobs.lose(key)

    def _leave_half_a_shard(self) -> None:
        shards = self._shards()
        if not shards or not self.world.fault(Fault.SHARD_HALF):
            return
        dice = self.world.dice(Fault.SHARD_HALF)
        key = dice.choice(shards)
        data = self.blobs.get(key)
        sweep_id = key.split("/")[1]
        half = layout.shard(sweep_id, f"copied-by-hand-{self.world.thrown[Fault.SHARD_HALF]}")
        self.world.log(f"half of {key} lies there as {half}")
        self.blobs.put(half, data[: dice.randrange(len(data))])

    def _flip_shard(self) -> None:
        shards = self._shards()
        if not shards or not self.world.fault(Fault.SHARD_FLIPPED):
            return
        dice = self.world.dice(Fault.SHARD_FLIPPED)
        key = dice.choice(shards)
        self.world.log(f"a bit of {key} flips")
        self.blobs.flip(key, dice.random())

    # The ledger -----------------------------------------------------------------------------------

    def _lose_ledger(self) -> None:
        if self.person.main.busy:
            # Inside a command: the file of a running program stays until it ends.
            self.world.at(1.0, self._lose_ledger)
        elif self.world.fault(Fault.LEDGER_LOST):
            self.person.lose_ledger()

    def _copy_ledger(self) -> None:
        if self.person.main.busy:
            self.world.at(1.0, self._copy_ledger)
            return
        copy = self.person.copy_ledger()
        later_s = self.world.random.random() * 0.3 * self.plan.faults_for_s
        self.world.at(later_s, lambda: self._restore_ledger(copy))

    def _restore_ledger(self, copy: LedgerCopy) -> None:
        if self.person.main.busy and self.world.faults:
            self.world.at(1.0, lambda: self._restore_ledger(copy))
        elif self.world.fault(Fault.LEDGER_OLD):
            self.person.restore_ledger(copy)
