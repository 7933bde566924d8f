"""People whose programs have a bug each, for `test_bites`: the simulator must find every one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gapless.storage.blobs import Blob
from receipts.ledger import Ledger, NewReceipt, PendingReceipt, State
from tests.simulator.people import Person
from tests.simulator.plan import Plan
from tests.simulator.world import World

__all__ = [
    "LeavesPendingReceipts",
    "MarksBeforeTheSend",
    "MarksWhatWasRefused",
    "NeverMarksSent",
    "NeverResubmits",
    "NeverVerifies",
    "OverlooksWhatWasAsked",
    "RebuildsAsPending",
    "SendsBeforeTheReceipt",
]


class NeverResubmits(Person):
    """Reconciles without sending anything again."""

    def reconcile(self, sweep_id: str, *, again: bool) -> None:
        super().reconcile(sweep_id, again=False)


class NeverVerifies(Person):
    """Takes every shard for what its manifest says."""

    def verify(self, sweep_id: str) -> None:
        pass


class OverlooksWhatWasAsked(Person):
    """Takes a sweep for complete though runs of it were asked for anew."""

    def _reconcile(self, sweep_id: str, *, again: bool, force: bool) -> None:
        whole = self.blobs
        self.blobs = _NothingAsked(whole)  # type: ignore[assignment] # stands in for it
        try:
            super()._reconcile(sweep_id, again=again, force=force)
        finally:
            self.blobs = whole


class _NothingAsked:
    def __init__(self, whole: Any) -> None:
        self._whole = whole

    def list(self, prefix: str) -> Iterator[Blob]:
        return (blob for blob in self._whole.list(prefix) if "/asked/" not in blob.key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


class _WithLedger(Person):
    """Has a ledger with a bug, until that is lost."""

    kind: type[_OtherLedger]

    def __init__(self, world: World, plan: Plan) -> None:
        super().__init__(world, plan)
        self.ledger = self.kind(self.ledger)  # type: ignore[assignment] # stands in for it


class _OtherLedger:
    """A ledger but for what a subclass does otherwise."""

    def __init__(self, inner: Ledger) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Late(_OtherLedger):
    """Answers as if receipts were written, and writes them when they are marked sent."""

    def __init__(self, inner: Ledger) -> None:
        super().__init__(inner)
        self._late: list[NewReceipt] = []

    def write(self, new: Iterable[NewReceipt]) -> int:
        self._late = list(new)
        return len(self._late)

    def count(self, _sweep_id: str, _state: State) -> int:
        return len(self._late)

    def pending(self, _sweep_id: str, *, after: int, most: int) -> list[PendingReceipt]:
        return [
            PendingReceipt(number, each.epoch, each.runs, each.job)
            for number, each in enumerate(self._late, start=1)
            if number > after
        ][:most]

    def mark_sent(self, _ids: Sequence[int], **_facts: float) -> None:
        self._inner.write(self._late)
        self._late = []


class SendsBeforeTheReceipt(_WithLedger):
    """Makes receipts durable only when their jobs are marked sent."""

    kind = _Late


class _Hasty(_OtherLedger):
    def pending(self, sweep_id: str, *, after: int, most: int) -> list[PendingReceipt]:
        found = self._inner.pending(sweep_id, after=after, most=most)
        ids = [each.id for each in found]
        self._inner.mark_sent(ids, queue_created_at_s=0.0, sent_at_s=0.0)
        return found


class MarksBeforeTheSend(_WithLedger):
    """Marks receipts as sent, and sends their jobs after that."""

    kind = _Hasty


class _Generous(_OtherLedger):
    def pending(self, sweep_id: str, *, after: int, most: int) -> list[PendingReceipt]:
        found = self._inner.pending(sweep_id, after=after, most=most)
        self._page = [each.id for each in found]
        return found

    def mark_sent(self, _ids: Sequence[int], **facts: float) -> None:
        self._inner.mark_sent(self._page, **facts)


class MarksWhatWasRefused(_WithLedger):
    """Marks all receipts as sent, those among them whose jobs the queue refused."""

    kind = _Generous


class _Unmarked(_OtherLedger):
    def mark_sent(self, ids: Sequence[int], **facts: float) -> None:
        pass


class NeverMarksSent(_WithLedger):
    """Sends every job again and again: its receipt stays pending."""

    kind = _Unmarked


class _Forgetful(_OtherLedger):
    def __init__(self, inner: Ledger) -> None:
        super().__init__(inner)
        self._known: set[str] = set()

    def write(self, new: Iterable[NewReceipt]) -> int:
        written = list(new)
        self._known = {each.job for each in written}
        return self._inner.write(written)

    def pending(self, sweep_id: str, *, after: int, most: int) -> list[PendingReceipt]:
        found = self._inner.pending(sweep_id, after=after, most=most)
        return [each for each in found if each.job in self._known]


class LeavesPendingReceipts(_WithLedger):
    """Sends only what the same command has written last."""

    kind = _Forgetful


class _Doubtful(_OtherLedger):
    def write(self, new: Iterable[NewReceipt]) -> int:
        return self._inner.write(dataclasses.replace(x, state=State.PENDING) for x in new)


class RebuildsAsPending(Person):
    """Takes what it does not know to be sent for unsent, and sends all of it again."""

    def _rebuild_then(self, command: Any) -> None:
        true = self.ledger
        self.ledger = _Doubtful(true)  # type: ignore[assignment] # stands in for it
        try:
            super()._rebuild_then(command)
        finally:
            self.ledger = true
