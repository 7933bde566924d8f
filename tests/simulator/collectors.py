"""An aggregator of the world: the real state machine, store step and renewals, on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from aggregator.commands import (
    AdoptOrphans,
    Command,
    DeleteMessages,
    DropLeases,
    Exit,
    Flush,
    HoldLeases,
    PollSweeps,
    QuarantineMessage,
    ReadCoverage,
    ReceiveDeliveries,
    ReleaseMessages,
)
from aggregator.decoding import read_message
from aggregator.events import (
    Buffered,
    DeleteFailed,
    DeliveriesReceived,
    Event,
    LeaseLost,
    ReceiveFailed,
    StopRequested,
    Ticked,
)
from aggregator.home_view import HomeView
from aggregator.own_coverage import OwnCoverage
from aggregator.policy import Policy
from aggregator.service import delete_event
from aggregator.state import AggregatorState
from aggregator.store import DeliveryStore, Origins
from gapless.storage.sweeps import SweepStore
from queueing.errors import QueueUnavailable
from tests.simulator.faults import Fault
from tests.simulator.plan import Plan
from tests.simulator.ports import AgedRenewals, FaultyBlobs, FaultyQueues
from tests.simulator.world import Actor, Crash, Lane, World

__all__ = ["SimAggregator"]

_RECEIVE_S = 0.5
_CRASH = 0.0005


class SimAggregator(Actor):
    """Starts at once, and again some time after each death."""

    def __init__(self, world: World, name: str, *, lease_s: float, plan: Plan) -> None:
        super().__init__(world, name)
        self.lease_s = lease_s
        self.plan = plan
        self.queues: FaultyQueues
        self.blobs: FaultyBlobs

    def start(self) -> None:
        """Begin a life."""
        world = self.world
        world.log(f"{self.name} starts")
        self.alive = True
        self.main = self.inbox = Lane(self)
        self.lanes = {name: Lane(self) for name in ("receive", "store", "answer", "renew")}
        policy = Policy(
            lease_s=self.lease_s,
            who=self.name,
            flush_rows=world.random.choice((5, 20, 500)),
            coverage_s=2.0 * self.plan.pace.control,
            poll_s=self.plan.pace.control,
            rest_s=self.plan.rest_s,
            rest_after_s=self.plan.rest_after_s,
            rest_looks=2,
            until_complete=self.plan.leave,
            sweep_ids=tuple(each.id for each in self.plan.sweeps) if self.plan.leave else None,
            stop_s=world.dice("policy").choice((0.7, 10.0, 80.0)),
            most_remembered=world.dice("policy").choice((1, 20_000)),
            newer_format_delay_s=world.dice("policy").choice((5.0, 900.0)),
            most_undeleted=world.dice("policy").choice((3, 10_000)),
            flush_age_s=world.dice("policy").choice((None, None, 5.0)),
            idle_exit_s=self.plan.pace.reconcile if self.plan.leave else None,
        )
        self.state = AggregatorState(policy, world.now)
        home = HomeView(self.blobs, SweepStore(self.blobs))
        self.home = home
        self.own = OwnCoverage(self.blobs, self.name, world.clock)
        self.store = DeliveryStore(
            self.blobs,
            home,
            Origins(self.name, self.clock),
            self.own,
            # What is given back for another shard comes as late as what is of a later version.
            most_opened_bytes=1_000 if policy.newer_format_delay_s < self.lease_s else 10**9,
        )
        self.renewals = AgedRenewals(
            self.queues,
            lease_s=self.lease_s,
            on_lost=lambda lease: self.tell(LeaseLost(lease)),
            monotonic=world.clock,
            aged_s=self.plan.aged_s,
        )
        self._tick_at = float("inf")
        self.tell(Ticked())
        self.lanes["renew"].at(0.001, self._renew)

    def died(self) -> None:
        """Start again after a while."""
        self.alive, self.frozen_until = False, 0.0
        self.start_later(1.0)

    def stop(self) -> None:
        """Ask it to leave, as SIGTERM does."""
        self.tell(StopRequested())

    def tell(self, event: Event) -> None:
        """Let the state machine hear of an event soon."""
        if self.alive:
            self.inbox.after_others(0.001, lambda: self._handle(event))

    def _handle(self, event: Event) -> None:
        self.renewals.beat()
        now = self.world.now
        for command in self.state.handle(event, now):
            if self.world.fault(Fault.CRASH_BETWEEN, _CRASH):
                raise Crash
            self.perform(command)
        if not self.alive:
            # As a service does: it left, and hears nothing more.
            return
        wake_at = min(self.state.wake_at(now), now + self.plan.pace.control)
        if wake_at < self._tick_at or self._tick_at <= now:
            self._tick_at = wake_at
            self.main.at(wake_at - now + 0.001, lambda: self._tick(wake_at))

    def _tick(self, at: float) -> None:
        if at == self._tick_at:
            self._tick_at = float("inf")
            self._handle(Ticked())

    def perform(self, command: Command) -> None:  # noqa: C901, PLR0912
        """Do a command, in its lane; a planted bug overrides this."""
        match command:
            case HoldLeases():
                for lease in command.leases:
                    self.renewals.hold(lease)
            case DropLeases():
                for lease in command.leases:
                    self.renewals.drop(lease)
            case ReceiveDeliveries():
                self._do("receive", _RECEIVE_S, lambda: self._receive(command))
            case Flush():
                self._do("store", 0.1, lambda: self._flush(command))
            case QuarantineMessage():
                self._do("store", 0.1, lambda: [self.store.quarantine(command)])
            case PollSweeps():
                self._do("store", 0.1, lambda: self._poll(command))
            case ReadCoverage():
                self._do("store", 0.1, lambda: [self.home.read_coverage(command.sweep_id)])
            case AdoptOrphans():
                self._do("store", 0.1, lambda: [self._adopt(command)])
            case DeleteMessages():
                self._do("answer", 0.1, lambda: self._delete(command))
            case ReleaseMessages():
                self._do("answer", 0.1, lambda: self._release(command))
            case Exit():
                self.own.write_all()
                self.world.log(
                    f"{self.name} leaves with {len(self.state.held)} in hand: {command.reason}"
                )
                if self.plan.leave:
                    self.world.happens(Fault.LEAVES)
                self.life += 1
                self.died()

    def _do(self, lane: str, most_s: float, step: Callable[[], Iterable[Event]]) -> None:
        life = self.life

        def act() -> None:
            for event in step():
                # What a life began that ended meanwhile tells the next one nothing.
                if self.life == life:
                    self.tell(event)

        self.lanes[lane].after_others(self.world.random.random() * most_s, act)

    def _receive(self, command: ReceiveDeliveries) -> list[Event]:
        try:
            messages = self.queues.receive(
                command.queues, most=command.most, wait_s=0.0, lease_s=self.lease_s
            )
        except QueueUnavailable as error:
            return [ReceiveFailed(str(error))]
        if not messages:
            # Nothing came while the long poll lasted; a message sent meanwhile comes at the next.
            empty = DeliveriesReceived(())
            self.lanes["receive"].after_others(self.plan.pace.poll, lambda: self.tell(empty))
            return []
        read = [read_message(message) for message in messages]
        deliveries = tuple(each for each in read if isinstance(each, Buffered))
        others = [each for each in read if not isinstance(each, Buffered)]
        return [*others, DeliveriesReceived(deliveries)]

    def _poll(self, command: PollSweeps) -> Iterator[Event]:
        yield self.home.poll(None, command.resting)
        self.own.write_due()

    def _flush(self, command: Flush) -> Iterator[Event]:
        yield self.store.flush(command)
        self.own.write_due()

    def _delete(self, command: DeleteMessages) -> list[Event]:
        try:
            answers = self.queues.delete(command.leases)
        except QueueUnavailable as error:
            return [DeleteFailed(command.leases, command.proof, str(error))]
        return [delete_event(command, [each.ok for each in answers])]

    def _release(self, command: ReleaseMessages) -> list[Event]:
        try:
            self.queues.release(command.leases, delay_s=command.delay_s)
        except QueueUnavailable:
            self.world.log(f"{self.name} could not give back {len(command.leases)} messages")
        return []

    def _adopt(self, command: AdoptOrphans) -> Event:
        now_s, older_than_s = self.clock(), command.older_than_s
        return self.home.adopt(command.sweep_id, older_than_s=older_than_s, now_s=now_s)

    def _renew(self) -> None:
        self.lanes["renew"].at(self.renewals.turn(), self._renew)
