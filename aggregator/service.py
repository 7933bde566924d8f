"""The loop around the state machine: does commands, feeds back events, keeps leases alive.

The main thread only decides. Three lanes wait for others: `receive` for messages, `store` for
storage (flushes, quarantine, reading the home), `answer` for deletes and releases. So receiving and
the renewal of leases go on while a shard is written, and a slow storage never stops the main loop.
"""

from __future__ import annotations

import functools
import logging
import os
import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType

from aggregator import trouble_notes
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
    MessagesDeleted,
    MessageUndecodable,
    ReceiveFailed,
    ShardStored,
    StopRequested,
    Ticked,
)
from aggregator.home_view import HomeView
from aggregator.lanes import Broken, Inbox, Lane
from aggregator.own_coverage import OwnCoverage
from aggregator.policy import Policy
from aggregator.state import AggregatorState
from aggregator.store import DeliveryStore, Origins
from gapless.errors import GaplessError
from gapless.patience import patiently
from gapless.storage.blobs import Blobs
from gapless.storage.sweeps import SweepStore
from gapless.troubles import Troubles
from queueing.errors import QueueUnavailable
from queueing.leases import LeaseKeeper
from queueing.port import Lease, Queues

__all__ = ["Aggregator", "AggregatorSettings", "run_aggregator"]

_LOG = logging.getLogger("gapless.aggregator")
_LONGEST_TURN_S = 1.0
_CLOSE_S = 5.0


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatorSettings:
    """What one aggregator works with.

    `sweep_ids` None: every sweep of the home. `flush_age_s` None: a tenth of the running time,
    from 1 s to 60 s. `receive_wait_s` is how long one receive waits; a remote queue wants 20 s.
    `clock` gives Unix seconds, for the origin of shards. `sweep_leftovers` removes temporary files
    of writers that died (takes Unix seconds). `stop_s`: how long it may store after it was asked to
    stop. `rest_s`: how often a sweep is looked at of which nothing comes, where each look is billed
    (0: as often as the others); such is one that is complete, or whose queue was found empty for
    `rest_after_s`.
    """

    blobs: Blobs
    queues: Queues
    aggregator_id: str = field(default_factory=_new_id)
    sweep_ids: tuple[str, ...] | None = None
    flush_rows: int = 500_000
    flush_bytes: int = 64_000_000
    flush_messages: int = 5_000
    flush_age_s: float | None = None
    lease_s: float = 900.0
    receive_wait_s: float = 0.25
    poll_s: float = 5.0
    rest_s: float = 0.0
    rest_after_s: float = 600.0
    stop_s: float = 80.0
    until_complete: bool = False
    idle_exit_s: float | None = None
    clock: Callable[[], float] = time.time
    sweep_leftovers: Callable[[float], object] | None = None

    def policy(self) -> Policy:
        """Give the bounds the state machine keeps."""
        return Policy(
            lease_s=self.lease_s,
            who=self.aggregator_id,
            sweep_ids=self.sweep_ids,
            flush_rows=self.flush_rows,
            flush_bytes=self.flush_bytes,
            flush_messages=self.flush_messages,
            flush_age_s=self.flush_age_s,
            poll_s=self.poll_s,
            rest_s=self.rest_s,
            rest_after_s=self.rest_after_s,
            stop_s=self.stop_s,
            until_complete=self.until_complete,
            idle_exit_s=self.idle_exit_s,
        )


class Aggregator:
    """One aggregator; `run` works in the calling thread until it may leave, `stop` from any."""

    def __init__(self, settings: AggregatorSettings) -> None:
        self._settings = settings
        self._queues = settings.queues
        self._inbox: Inbox = queue.SimpleQueue()
        self._home = HomeView(settings.blobs, SweepStore(settings.blobs))
        origins = Origins(settings.aggregator_id, settings.clock)
        self._own = OwnCoverage(settings.blobs, settings.aggregator_id, time.monotonic)
        self._store = DeliveryStore(settings.blobs, self._home, origins, self._own)
        self._keeper: LeaseKeeper | None = None
        self._lanes: dict[str, Lane] = {}
        self._exit: Exit | None = None
        self._rows = 0
        self._troubles = Troubles(warn=_LOG.warning, tell=_LOG.info)

    def stop(self) -> None:
        """Ask it to store and delete what it has, and to leave."""
        self._inbox.put(StopRequested())

    def run(self) -> int:
        """Work until stopped, complete or idle; give the exit status."""
        self._lanes = {name: Lane(name, self._inbox) for name in ("receive", "store", "answer")}
        self._keeper = LeaseKeeper(
            self._queues, lease_s=self._settings.lease_s, on_lost=self._report_lost
        )
        try:
            self._sweep_leftovers()
            return self._loop(AggregatorState(self._settings.policy(), time.monotonic()))
        finally:
            self._keeper.close()
            self._lanes["store"].do(self._write_coverage)
            self._close_lanes()

    def _close_lanes(self) -> None:
        # A step may wait for a service that is away: it is left behind, as a crash would leave it.
        until = time.monotonic() + _CLOSE_S
        for lane in self._lanes.values():
            lane.close()
        for lane in self._lanes.values():
            lane.join(max(0.0, until - time.monotonic()))

    def _loop(self, state: AggregatorState) -> int:
        events: Iterable[Event] = (Ticked(),)
        while True:
            assert self._keeper is not None
            self._keeper.beat()
            for event in events:
                _report(event)
                trouble_notes.note(self._troubles, event)
                if isinstance(event, ShardStored):
                    self._rows += sum(each.rows for each in event.stored)
                for command in state.handle(event, time.monotonic()):
                    self._perform(command)
                if self._exit is not None:
                    _LOG.info("leaving (%s): %d rows stored", self._exit.reason, self._rows)
                    return self._exit.status
            now = time.monotonic()
            events = self._wait(min(state.wake_at(now) - now, _LONGEST_TURN_S))

    def _wait(self, timeout_s: float) -> Iterable[Event]:
        try:
            event = self._inbox.get(timeout=max(timeout_s, 0.001))
        except queue.Empty:
            return (Ticked(),)
        if isinstance(event, Broken):
            raise event.error
        return (event,)

    def _report_lost(self, lease: Lease) -> None:
        self._inbox.put(LeaseLost(lease))

    def _sweep_leftovers(self) -> None:
        sweep = self._settings.sweep_leftovers
        if sweep is None:
            return

        def step() -> list[Event]:
            try:
                sweep(self._settings.clock())
            except GaplessError as error:
                _LOG.warning("temporary files were not swept: %s", error)
            return []

        self._lanes["store"].do(step)

    # ----------------------------------------------------------------- commands

    def _perform(self, command: Command) -> None:  # noqa: C901, PLR0912
        receive, store, answer = (self._lanes[name] for name in ("receive", "store", "answer"))
        assert self._keeper is not None
        match command:
            case ReceiveDeliveries():
                receive.do(functools.partial(self._receive, command))
            case HoldLeases():
                for lease in command.leases:
                    self._keeper.hold(lease)
            case DropLeases():
                for lease in command.leases:
                    self._keeper.drop(lease)
            case Flush():
                store.do(lambda: self._flush(command))
            case QuarantineMessage():
                store.do(lambda: [self._store.quarantine(command)])
            case PollSweeps():
                store.do(functools.partial(self._poll, command))
            case ReadCoverage():
                store.do(lambda: [self._home.read_coverage(command.sweep_id)])
            case AdoptOrphans():
                store.do(functools.partial(self._adopt, command))
            case DeleteMessages():
                answer.do(functools.partial(self._delete, command))
            case ReleaseMessages():
                answer.do(functools.partial(self._release, command))
            case Exit():
                self._exit = command

    def _receive(self, command: ReceiveDeliveries) -> list[Event]:
        wait_s = self._settings.receive_wait_s if command.wait_s is None else command.wait_s
        try:
            # Once: a reply that was lost hides what it brought for a lease, and a second try at
            # once would find the next messages and hide them too. The state machine waits longer.
            messages = self._queues.receive(
                command.queues, most=command.most, wait_s=wait_s, lease_s=self._settings.lease_s
            )
        except GaplessError as error:
            return [ReceiveFailed(str(error))]
        read = [read_message(message) for message in messages]
        deliveries = tuple(each for each in read if isinstance(each, Buffered))
        others = [each for each in read if not isinstance(each, Buffered)]
        return [*others, DeliveriesReceived(deliveries)]

    def _flush(self, command: Flush) -> Iterator[Event]:
        yield self._store.flush(command)
        # After the answer is on its way: the messages can be deleted meanwhile.
        self._own.write_due()

    def _poll(self, command: PollSweeps) -> Iterator[Event]:
        yield self._home.poll(self._settings.sweep_ids, command.resting)
        self._own.write_due()

    def _write_coverage(self) -> list[Event]:
        self._own.write_all()
        return []

    def _delete(self, command: DeleteMessages) -> list[Event]:
        try:
            answers = patiently(lambda: self._queues.delete(command.leases), on=QueueUnavailable)
        except GaplessError as error:
            return [DeleteFailed(command.leases, command.proof, str(error))]
        return [delete_event(command, [each.ok for each in answers])]

    def _release(self, command: ReleaseMessages) -> list[Event]:
        try:
            patiently(
                lambda: self._queues.release(command.leases, delay_s=command.delay_s),
                on=QueueUnavailable,
            )
        except GaplessError as error:
            # Not given back: they are seen again when their leases end.
            _LOG.warning("%d messages were not given back: %s", len(command.leases), error)
        return []

    def _adopt(self, command: AdoptOrphans) -> list[Event]:
        now_s = self._settings.clock()
        older_than_s = command.older_than_s
        return [self._home.adopt(command.sweep_id, older_than_s=older_than_s, now_s=now_s)]


def delete_event(command: DeleteMessages, done: Sequence[bool]) -> MessagesDeleted | DeleteFailed:
    """Turn the answers of a delete into its event; a missing answer is a failure (fault 15)."""
    deleted = tuple(lease for lease, ok in zip(command.leases, done, strict=False) if ok)
    failed = tuple(lease for lease in command.leases if lease not in set(deleted))
    if not failed:
        return MessagesDeleted(deleted)
    return DeleteFailed(failed, command.proof, "the queue refused them", deleted=deleted)


def _report(event: Event) -> None:
    match event:
        case ShardStored():
            shard = event.proof.shard_id if event.proof is not None else "no shard"
            rows = sum(each.rows for each in event.stored)
            _LOG.info("sweep %s: %d rows stored in %s", event.sweep_id, rows, shard)
            for each, reason in event.rejected:
                _LOG.warning("delivery %s goes to quarantine: %s", each.delivery.delivery, reason)
        case StopRequested():
            _LOG.info("asked to stop: what is in hand is stored first, a receive under way awaited")
        case MessageUndecodable():
            _LOG.warning("a message of %s goes to quarantine: %s", event.lease.queue, event.reason)
        case _:
            pass


def run_aggregator(settings: AggregatorSettings) -> int:
    """Run an aggregator as a program; give the exit status.

    The first SIGTERM or SIGINT makes it store and delete what it has and leave; the second one ends
    the process at once, which loses nothing: what was not deleted comes again.
    """
    aggregator = Aggregator(settings)
    if threading.current_thread() is not threading.main_thread():
        return aggregator.run()
    seen: list[int] = []

    def heed(number: int, _: FrameType | None) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        aggregator.stop()

    before = {each: signal.signal(each, heed) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        return aggregator.run()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
