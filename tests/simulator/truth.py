"""Ground truth: what is durable where, seen below every fault, and the invariants over it.

Sets of runs are integers used as bit masks (sweeps are tiny here). Each invariant is checked at the
moment the world changes:

I1  after every step each run ever put on a queue is on a queue, or stored, or was on a queue or in
    a shard that a fault destroyed
I2  when a job is removed
I3  when a delivery is removed
I4  by `readers.check_reader`, which does the precedence of rows a second time
I5  when a person's program sends a job
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from gapless.declaration.control import Asked, Control, ControlState
from gapless.declaration.errors import MessageError
from gapless.declaration.messages import decode_delivery, decode_job
from gapless.declaration.runset import RunSet
from gapless.results.manifest import Manifest, decode_manifest
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.sweeps import SweepStore
from tests.simulator.world import Violation

__all__ = ["Held", "Truth", "mask_of"]

Held = dict[int, int]
"""Runs as a bit mask, by epoch."""


def mask_of(runs: RunSet) -> int:
    """Give a set of runs as a bit mask."""
    return sum(1 << number for number in runs)


def since(held: Held, epoch: int) -> int:
    """Give the runs held at this epoch or a later one."""
    mask = 0
    for each, runs in held.items():
        if each >= epoch:
            mask |= runs
    return mask


def _add(into: Held, what: Held) -> None:
    for epoch, runs in what.items():
        into[epoch] = into.get(epoch, 0) | runs


class SweepTruth:
    """What is true of one sweep."""

    def __init__(self) -> None:
        self.declared = 0
        self.asked: list[tuple[int, int]] = []
        self.states: dict[int, ControlState] = {}
        self.ever_cancelled = False
        self.begun: Counter[tuple[int, int, int]] = Counter()
        self.manifests: dict[str, Held] = {}
        self.ever_stored: Held = {}
        self.delivered: Held = {}
        self.sent: Held = {}
        self.excused: Held = {}
        # Shards that were destroyed; the manifest of one may be written only after that.
        self.lost_shards: set[str] = set()
        # Numbers no run of the sweep has, which a stranger put on its queues.
        self.strange = 0
        # Somebody moved it out of the home for a while: what came then was of no sweep.
        self.was_away = False

    @property
    def state(self) -> ControlState:
        """Give what is wanted of it."""
        return self.states[max(self.states)] if self.states else ControlState.RUNNING

    def stored(self) -> Held:
        """Give what the manifests there are cover."""
        held: Held = {}
        for each in self.manifests.values():
            _add(held, each)
        return held

    def declared_by(self, blobs: Blobs, sweep_id: str) -> bool:
        """Read how many runs the home declares; False while it holds no such sweep."""
        store = SweepStore(blobs)
        if not store.exists(sweep_id):
            return False
        self.declared = (1 << sum(each.count for each in store.segments(sweep_id))) - 1
        return True

    def missing(self) -> Held:
        """Give the runs without a final result at their highest asked epoch."""
        stored, left, lacking = self.stored(), self.declared, {}
        for epoch, runs in [*sorted(self.asked, reverse=True), (0, self.declared)]:
            here = runs & left
            left &= ~here
            if here & ~since(stored, epoch):
                lacking[epoch] = lacking.get(epoch, 0) | (here & ~since(stored, epoch))
        return lacking


class Truth:
    """What is true of the home and its queues."""

    def __init__(self) -> None:
        self.sweeps: defaultdict[str, SweepTruth] = defaultdict(SweepTruth)
        self.quarantined: set[str] = set()
        # What strangers put on queues, and what was damaged on the way: nobody could use it.
        self.spoiled: set[str] = set()
        self.expired_claims: set[str] = set()
        self.claimed: dict[str, tuple[str, str]] = {}
        self.receipts: Callable[[str], Iterable[str]] = lambda _: ()
        self.bodies: Callable[[], Iterable[tuple[str, str]]] = lambda: ()
        self.changed = False
        self._read: dict[tuple[str, str], Held] = {}

    def held_by(self, queue: str, body: str) -> Held:
        """Give the runs a message holds; nothing when its header cannot be read."""
        key = (queue, body)
        if key not in self._read:
            self._read[key] = _held_by(queue, body)
        return self._read[key]

    # What happens to blobs ------------------------------------------------------------------------

    def blob_put(self, key: str, data: bytes) -> None:
        """Note that something is durable."""
        folder = key.split("/")
        if folder[0] == "quarantine":
            self.quarantined.add(folder[2])
        if folder[0] != "sweeps":
            return
        sweep = self.sweeps[folder[1]]
        kind, name = folder[2], folder[-1]
        if kind == "control":
            control = Control.decode(data)
            sweep.states[control.version] = control.state
            sweep.ever_cancelled |= control.state is ControlState.CANCELLED
        elif kind == "asked":
            asked = Asked.decode(data)
            sweep.asked.append((asked.epoch, mask_of(asked.runs)))
        elif kind == "shards" and name.endswith(".json"):
            held = _covered(decode_manifest(data))
            if name.removesuffix(".json") in sweep.lost_shards:
                _add(sweep.excused, held)
            else:
                sweep.manifests[name.removesuffix(".json")] = held
            _add(sweep.ever_stored, held)
        elif kind == "shards":
            sweep.lost_shards.discard(name.removesuffix(".h5"))
        self.changed = True

    def blob_lost(self, key: str) -> None:
        """Note that a fault is about to destroy a shard or its manifest."""
        folder = key.split("/")
        sweep = self.sweeps[folder[1]]
        shard, _, ending = folder[-1].rpartition(".")
        _add(sweep.excused, sweep.manifests.get(shard, {}))
        if ending == "h5":
            sweep.lost_shards.add(shard)

    def blob_deleted(self, key: str) -> None:
        """Note that something is gone: a shard counts only with its manifest."""
        folder = key.split("/")
        if len(folder) > 2 and folder[2] == "shards":
            self.sweeps[folder[1]].manifests.pop(folder[-1].rpartition(".")[0], None)
            self.changed = True

    # What happens to queues -----------------------------------------------------------------------

    def message_sent(self, queue: str, body: str) -> None:
        """Note that a message is durable."""
        sweep = self.sweeps[layout.sweep_id_of(queue)]
        held = self.held_by(queue, body)
        if queue.endswith("-jobs"):
            _add(sweep.sent, held)
        else:
            _add(sweep.delivered, held)
            if '"claim":{' in body:
                self.claimed[body] = (queue, body)
        self.changed = True

    def message_lost(self, queue: str, body: str) -> None:
        """Note that a fault destroyed a message."""
        _add(self.sweeps[layout.sweep_id_of(queue)].excused, self.held_by(queue, body))
        self.changed = True

    def message_removed(self, queue: str, body: str) -> None:
        """Check that a program was allowed to remove a message (I2, I3)."""
        self.changed = True
        sweep = self.sweeps[layout.sweep_id_of(queue)]
        if sweep.ever_cancelled:
            return
        kept = hashlib.sha256(body.encode()).hexdigest() in self.quarantined
        if kept and self._unusable(sweep, queue, body):
            # Its runs are gaps that reconcile finds.
            _add(sweep.excused, self.held_by(queue, body))
        elif queue.endswith("-jobs"):
            self._check_job_removed(sweep, queue, body)
        else:
            self._check_delivery_removed(sweep, queue, body)

    def _unusable(self, sweep: SweepTruth, queue: str, body: str) -> bool:
        """Tell whether nobody could have used a message: never one that is as a program sent it."""
        if body in self.spoiled:
            return True
        if queue.endswith("-jobs"):
            return False
        claim = decode_delivery(body).claim
        return sweep.was_away or (claim is not None and claim.key in self.expired_claims)

    def stored_claims(self) -> list[tuple[str, str]]:
        """Give the deliveries by claim all of which is stored, with their queues."""
        return [
            (queue, body)
            for queue, body in self.claimed.values()
            if all(
                not runs & ~since(self.sweeps[layout.sweep_id_of(queue)].stored(), epoch)
                for epoch, runs in self.held_by(queue, body).items()
            )
        ]

    def _check_job_removed(self, sweep: SweepTruth, queue: str, body: str) -> None:
        jobs: Held = {}
        for other, text in self.bodies():
            if other == queue:
                _add(jobs, self.held_by(other, text))
        for epoch, runs in self.held_by(queue, body).items():
            safe = since(sweep.delivered, epoch) | since(jobs, epoch)
            left = runs & ~safe & ~since(sweep.ever_stored, epoch) & ~sweep.strange
            if left:
                raise Violation(
                    f"I2: runs {_numbers(left)} left a job of {queue} at epoch {epoch} and are in "
                    "no acknowledged delivery, no other job and no manifest"
                )

    def _check_delivery_removed(self, sweep: SweepTruth, queue: str, body: str) -> None:
        for epoch, runs in self.held_by(queue, body).items():
            left = runs & ~sweep.ever_stored.get(epoch, 0)
            if left:
                raise Violation(
                    f"I3: a delivery of runs {_numbers(left)} at epoch {epoch} was deleted from "
                    f"{queue} before a shard with a manifest held them"
                )

    def check_receipt(self, queue: str, body: str) -> None:
        """Check that a job a person's program sends has a durable receipt (I5)."""
        sweep_id = layout.sweep_id_of(queue)
        job = decode_job(body)
        if job.job not in set(self.receipts(sweep_id)):
            raise Violation(f"I5: job {job.job} of {sweep_id} was sent without a durable receipt")

    def attempt_begins(self, sweep_id: str, *, epoch: int, run: int, attempt: int) -> None:
        """Check, in a world without any fault, that nothing is done twice."""
        begun = self.sweeps[sweep_id].begun
        begun[epoch, run, attempt] += 1
        if begun[epoch, run, attempt] > 1:
            raise Violation(
                f"attempt {attempt} at run {run} of {sweep_id} is made again, and nothing happened"
            )

    # After every step -----------------------------------------------------------------------------

    def check_nothing_lost(self) -> None:
        """Check that every run ever sent is somewhere durable (I1)."""
        if not self.changed:
            return
        self.changed = False
        queued: defaultdict[str, Held] = defaultdict(dict)
        for queue, body in self.bodies():
            _add(queued[layout.sweep_id_of(queue)], self.held_by(queue, body))
        for sweep_id, sweep in self.sweeps.items():
            if sweep.ever_cancelled:
                continue
            stored = sweep.stored()
            for epoch, runs in sweep.sent.items():
                somewhere = since(queued[sweep_id], epoch) | since(stored, epoch)
                lost = runs & ~somewhere & ~since(sweep.excused, epoch) & ~sweep.strange
                if lost:
                    raise Violation(
                        f"I1: runs {_numbers(lost)} of {sweep_id} at epoch {epoch} are nowhere"
                    )


def _held_by(queue: str, body: str) -> Held:
    held: Held = {}
    try:
        if queue.endswith("-jobs"):
            job = decode_job(body)
            return {job.epoch: mask_of(job.runs)}
        for part in decode_delivery(body).parts:
            _add(held, {part.epoch: mask_of(part.runs)})
    except MessageError:
        return {}
    return held


def _covered(manifest: Manifest) -> Held:
    held: Held = {}
    for (epoch, _), runs in manifest.coverage.items():
        _add(held, {epoch: mask_of(runs)})
    return held


def _numbers(mask: int) -> list[int]:
    return [number for number in range(mask.bit_length()) if mask >> number & 1]
