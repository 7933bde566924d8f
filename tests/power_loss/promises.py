"""What must hold in every state a power loss may leave (see the invariants of the design).

1. Every part opens with the product's code: queue and ledger are whole (integrity_check), every
   sweep is read, every shard with a manifest has the bytes its manifest says, the reader gives the
   runs of the coverage, and no file is half of what it was when it got its name.
2. A transaction that was answered lasts: queue and ledger hold what they held at the last answer
   or at some moment after it. (Answered: SQLite let go of its write lock.)
3. A run whose result was stored and whose delivery and job were deleted is still stored (I2, I3).
4. No run is nowhere (I1, I5), unless somebody deleted the queue or the ledger.
5. What a person was told is so: submitted, complete, extended, cancelled, removed and the like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.storage.keys import TEMPORARY
from receipts.gaps import find_gaps
from tests.power_loss.disk import Tree
from tests.power_loss.opening import Found, Home, SweepFound

__all__ = ["Promises", "nowhere"]

_Runs = dict[tuple[str, int], RunSet]


@dataclass(slots=True)
class Promises:
    """What was promised so far; `home` is where it lies below the root."""

    home: str
    _queue: set[str] = field(default_factory=lambda: {""})
    _ledger: set[str] = field(default_factory=lambda: {""})
    _stored: _Runs = field(default_factory=dict)
    _contents: dict[str, set[bytes]] = field(default_factory=dict)
    _told: list[str] = field(default_factory=list)

    def happened(self, found: Found, tree: Tree, ack: str | None) -> None:
        """Take in what the programs themselves see at a moment."""
        if ack == f"commit:{self.home}/queue.db":
            self._queue.clear()
        elif ack == f"commit:{self.home}/ledger.db":
            self._ledger.clear()
        elif ack is not None and not ack.startswith("commit:"):
            if ack == "removing":
                # From now on the sweep may be there or not.
                self._told = [told for told in self._told if told not in _OF_A_SWEEP]
            self._told.append(ack)
        self._queue.add(found.queue.rows)
        self._ledger.add(found.ledger.rows)
        for path, data in tree.items():
            self._contents.setdefault(path, set()).add(data)
        for sweep_id, sweep in found.home.sweeps.items():
            for epoch, runs in _settled(found, sweep_id, sweep).items():
                self._stored[sweep_id, epoch] = self._stored.get((sweep_id, epoch), RunSet()) | runs

    def broken_by(self, found: Found, tree: Tree) -> Iterator[str]:
        """Say what a state breaks."""
        yield from (*found.queue.wrong, *found.ledger.wrong, *found.home.wrong)
        for path, data in tree.items():
            if self._is_record(path) and data not in self._contents.get(path, ()):
                yield f"{path} has {len(data)} bytes that nobody ever gave it under this name"
        if found.queue.rows not in self._queue:
            yield "queue.db lacks a transaction that was answered, or has one that never was"
        if found.ledger.rows not in self._ledger:
            yield "ledger.db lacks a transaction that was answered, or has one that never was"
        yield from self._not_stored(found)
        if not _LOSSES & set(self._told):
            for (sweep_id, epoch), runs in nowhere(found).items():
                yield f"{len(runs)} runs of {sweep_id}, epoch {epoch}, are nowhere"
        for told in self._told:
            if not _TOLD[told](found.home):
                yield f"a person was told {told!r}, which is not so"

    def _not_stored(self, found: Found) -> Iterator[str]:
        for (sweep_id, epoch), runs in self._stored.items():
            sweep = found.home.sweeps.get(sweep_id)
            lost = runs if sweep is None else runs - sweep.stored.get(epoch, RunSet())
            if lost and "removing" not in self._told:
                yield f"{len(lost)} runs of {sweep_id} were stored, on no queue any more, and gone"

    def _is_record(self, path: str) -> bool:
        below = path.removeprefix(f"{self.home}/")
        if below.rpartition("/")[2].startswith(TEMPORARY):
            return False
        return below.startswith(("sweeps/", "objects/", "nodes/", "claims/", "quarantine/")) or (
            below == "home.json"
        )


def nowhere(found: Found) -> _Runs:
    """Give the runs that nothing leads to: no result, no message, and a receipt that says sent.

    A ledger without the sweep would have to be rebuilt: its runs count as sent.
    """
    gaps: _Runs = {}
    for sweep_id, sweep in found.home.sweeps.items():
        flight = found.queue.in_flight.get(sweep_id)
        in_flight = {} if flight is None else flight.runs
        submitted = found.ledger.submitted.get(sweep_id)
        if submitted is None:
            moving = RunSet.union(in_flight.values())
            lost = {epoch: runs - moving for epoch, runs in sweep.lacking.items()}
        else:
            lost = dict(find_gaps(sweep.lacking, submitted=submitted, in_flight=in_flight).gaps)
        gaps.update({(sweep_id, epoch): runs for epoch, runs in lost.items() if runs})
    return gaps


def _settled(found: Found, sweep_id: str, sweep: SweepFound) -> dict[int, RunSet]:
    """Give the stored runs of which no message is left."""
    flight = found.queue.in_flight.get(sweep_id)
    moving = {} if flight is None else flight.runs
    return {epoch: runs - moving.get(epoch, RunSet()) for epoch, runs in sweep.stored.items()}


def _one(home: Home) -> SweepFound | None:
    return next(iter(home.sweeps.values()), None)


def _declares(count: int) -> Callable[[Home], bool]:
    def told(home: Home) -> bool:
        sweep = _one(home)
        return sweep is not None and len(sweep.declared.runs) >= count

    return told


def _complete(home: Home) -> bool:
    # Its first six runs, at the first epoch: the sweep may have been extended since.
    sweep = _one(home)
    wanted = RunSet.span(0, 6)
    return sweep is not None and not wanted - sweep.stored.get(0, RunSet())


def _resubmitted(home: Home) -> bool:
    sweep = _one(home)
    return sweep is not None and sweep.declared.last_epoch == 1


def _cancelled(home: Home) -> bool:
    sweep = _one(home)
    return sweep is not None and sweep.declared.control.state is ControlState.CANCELLED


_LOSSES = {"losing-the-queue", "losing-the-ledger"}
_OF_A_SWEEP = {"submitted", "complete", "extended", "resubmitted", "cancelled"}
_TOLD: dict[str, Callable[[Home], bool]] = {
    "submitted": _declares(6),
    "complete": _complete,
    "extended": _declares(9),
    "resubmitted": _resubmitted,
    "losing-the-queue": lambda home: home.exists,
    "losing-the-ledger": lambda home: home.exists,
    "rebuilt": lambda home: home.exists,
    "cancelled": _cancelled,
    "removing": lambda home: home.exists,
    "removed": lambda home: home.exists and not home.sweeps and not home.litter,
}
