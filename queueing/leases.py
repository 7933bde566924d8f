"""LeaseKeeper: a thread that renews the leases a program holds, while its main loop turns.

What is due and when (`Renewals`) is apart from the thread that waits (`LeaseKeeper`). A lease is
renewed a third of its length after its last renewal, so that two renewals can fail before it ends;
whatever is due soon goes into the same batch. Three things stop a renewal: the main loop has not
turned for a while (a program that hangs must not keep its work for ever), the lease was lost, or
the message was received so long ago that the service refuses (MAX_LEASE_S): before that the
program is told, to hand over what it has.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from gapless.errors import GaplessError
from queueing.errors import QueueError
from queueing.port import MAX_LEASE_S, AnswerStatus, Extension, Lease, Queues

__all__ = ["LeaseKeeper", "Renewals"]

_MARGIN_S = 30.0
"""Kept from MAX_LEASE_S: the service counts from its own receive, a little before ours."""


_CLOSE_S = 1.0


@dataclass(slots=True)
class _Held:
    received_at: float
    due_at: float
    warned: bool = False


class Renewals:
    """Which leases are held and when each is due. Times are monotonic seconds of `monotonic`.

    `on_lost` and `on_expiring` are called by whoever calls `turn`, without a lock held; they must
    return soon. `on_expiring` is called once for a lease with less than two lease lengths left.
    """

    def __init__(
        self,
        queues: Queues,
        *,
        lease_s: float,
        on_lost: Callable[[Lease], None],
        on_expiring: Callable[[Lease], None] | None = None,
        stall_s: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0.0 < lease_s <= MAX_LEASE_S:
            raise QueueError(f"a lease lasts up to {MAX_LEASE_S:.0f} s, not {lease_s} s")
        self._queues = queues
        self._lease_s = lease_s
        self._on_lost = on_lost
        self._on_expiring = on_expiring
        self._stall_s = lease_s if stall_s is None else stall_s
        self._monotonic = monotonic
        self._beaten_at = monotonic()
        self._held: dict[Lease, _Held] = {}
        self._mutex = threading.Lock()
        self._margin_s = min(_MARGIN_S, lease_s / 10)

    @property
    def held(self) -> tuple[Lease, ...]:
        """The leases that are renewed."""
        with self._mutex:
            return tuple(self._held)

    @property
    def stalled(self) -> bool:
        """Whether the main loop has not turned for so long that nothing is renewed."""
        return self._monotonic() - self._beaten_at > self._stall_s

    def hold(self, lease: Lease, *, received_at: float | None = None) -> None:
        """Renew a lease from now on; `received_at` (monotonic) defaults to now."""
        at = self._monotonic() if received_at is None else received_at
        with self._mutex:
            self._held[lease] = _Held(received_at=at, due_at=at + self._lease_s / 3)

    def drop(self, lease: Lease) -> None:
        """Stop renewing a lease; one that is not held is no error."""
        with self._mutex:
            self._held.pop(lease, None)

    def beat(self) -> None:
        """Say that the main loop turns."""
        self._beaten_at = self._monotonic()

    def turn(self) -> float:
        """Renew what is due, in one batch; give the seconds until the next turn is needed.

        When the queues cannot be asked, for whatever reason, everything stays due and the next turn
        comes soon: a failed turn costs nothing yet, its thread's end would cost every lease.
        """
        if self.stalled:
            return self._lease_s / 12
        now = self._monotonic()
        self._warn(now)
        extensions = self._due(now)
        if extensions:
            try:
                answers = self._queues.extend(extensions)
            except GaplessError:
                return self._lease_s / 30
            # What got no answer stays due.
            for extension, answer in zip(extensions, answers, strict=False):
                if answer.status is AnswerStatus.LEASE_LOST:
                    self._lose(extension.lease)
                elif answer.ok:
                    self._renewed(extension.lease, now)
        return self._until_next()

    def _due(self, now: float) -> list[Extension]:
        # Everything due within a quarter of the period comes along: one request for many leases.
        soon = now + self._lease_s / 12
        extensions: list[Extension] = []
        with self._mutex:
            for lease, held in self._held.items():
                left_s = MAX_LEASE_S - self._margin_s - (now - held.received_at)
                if held.due_at <= soon and left_s > 0.0:
                    extensions.append(Extension(lease, min(self._lease_s, left_s)))
            over = [
                lease
                for lease, held in self._held.items()
                if now - held.received_at >= MAX_LEASE_S - self._margin_s
            ]
        for lease in over:
            self._lose(lease)
        return extensions

    def _warn(self, now: float) -> None:
        if self._on_expiring is None:
            return
        with self._mutex:
            expiring = [
                lease
                for lease, held in self._held.items()
                if not held.warned and now - held.received_at > MAX_LEASE_S - 2 * self._lease_s
            ]
            for lease in expiring:
                self._held[lease].warned = True
        for lease in expiring:
            self._on_expiring(lease)

    def _renewed(self, lease: Lease, now: float) -> None:
        with self._mutex:
            held = self._held.get(lease)
            if held is not None:
                held.due_at = now + self._lease_s / 3

    def _lose(self, lease: Lease) -> None:
        with self._mutex:
            # Dropped while the request was under way: its loss is no news.
            known = self._held.pop(lease, None) is not None
        if known:
            self._on_lost(lease)

    def _until_next(self) -> float:
        now = self._monotonic()
        with self._mutex:
            due_at = min((held.due_at for held in self._held.values()), default=now + self._lease_s)
        return min(max(due_at - now, self._lease_s / 30), self._lease_s / 3)


class LeaseKeeper:
    """Renews held leases in a daemon thread of its own. Call `beat` in each turn of the main loop.

    A program that does not beat for `stall_s` (default: `lease_s`) gets nothing renewed until it
    beats again. `on_lost` and `on_expiring` are called from the keeper's thread.
    """

    def __init__(
        self,
        queues: Queues,
        *,
        lease_s: float,
        on_lost: Callable[[Lease], None],
        on_expiring: Callable[[Lease], None] | None = None,
        stall_s: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._renewals = Renewals(
            queues,
            lease_s=lease_s,
            on_lost=on_lost,
            on_expiring=on_expiring,
            stall_s=stall_s,
            monotonic=monotonic,
        )
        self._wake = threading.Event()
        self._closed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
        self._thread.start()

    def hold(self, lease: Lease, *, received_at: float | None = None) -> None:
        """Renew a lease from now on; `received_at` (monotonic seconds) defaults to now."""
        self._renewals.hold(lease, received_at=received_at)
        if received_at is not None:
            self._wake.set()

    def drop(self, lease: Lease) -> None:
        """Stop renewing a lease; one that is not held is no error."""
        self._renewals.drop(lease)

    def beat(self) -> None:
        """Say that the main loop turns. QueueError when the keeper's thread has failed."""
        if self._failure is not None:
            raise QueueError(
                f"leases are no longer renewed, their thread failed: {self._failure!r}; "
                "give the work back and start again"
            ) from self._failure
        was_stalled = self._renewals.stalled
        self._renewals.beat()
        if was_stalled:
            self._wake.set()

    def close(self, *, wait_s: float = _CLOSE_S) -> None:
        """Stop renewing; leases end by their time. A renewal under way gets `wait_s` to end."""
        self._closed = True
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(wait_s)

    def _run(self) -> None:
        try:
            while not self._closed:
                self._wake.wait(self._renewals.turn())
                self._wake.clear()
        except BaseException as failure:  # noqa: BLE001 - the main loop raises it at its next beat
            self._failure = failure
