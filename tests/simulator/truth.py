"""Ground truth: what is durable where, seen below every fault, and the invariants over it.

Sets of runs are integers used as bit masks (sweeps are tiny here). Each invariant is checked at the
moment the world changes:

I1  after every step each run ever put on a queue is on a queue, or stored, or was on a queue or in
    a shard that a fault destroyed
I2  when a job is removed
I3  when a delivery is removed
I4  by `readers.Reader.check`, which does the precedence of rows a second time, and when a
    reconcile says that a sweep is complete
I5  when a person's program sends a job, makes receipts anew, and at the end
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from gapless.declaration.control import Asked, Control, ControlState
from gapless.declaration.errors import MessageError, NewerFormat
from gapless.declaration.messages import decode_delivery, decode_job
from gapless.declaration.runset import RunSet
from gapless.declaration.segments import Segment
from gapless.results.manifest import Manifest, decode_manifest
from gapless.results.outcome import Outcome
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.sweeps import SweepStore
from receipts.ledger import State
from tests.simulator.world import Violation

__all__ = ["Held", "Truth", "mask_of", "since"]

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
        self.control = Control()
        self.states: dict[int, ControlState] = {}
        self.first_declared = 0
        self.ever_failed = 0
        self.ever_cancelled = False
        self.begun: Counter[tuple[int, int, int]] = Counter()
        self.in_hand_since: dict[tuple[int, int], float] = {}
        self.manifests: dict[str, Held] = {}
        # What every manifest in the home says, whether its shard is there or not.
        self.written: dict[str, Held] = {}
        self.ever_stored: Held = {}
        self.delivered: Held = {}
        self.sent: Held = {}
        self.excused: Held = {}
        # Shards that were destroyed; the manifest of one may be written only after that.
        self.lost_shards: set[str] = set()
        # Numbers no run of the sweep has, which a stranger put on its queues.
        self.strange = 0
        # While somebody has it out of the home, what comes is of no sweep; these came then.
        self.away = False
        self.met_away: set[str] = set()

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

    def manifest_put(self, shard: str, manifest: Manifest) -> None:
        """Note a manifest; it counts unless its shard is gone already."""
        held = self.written[shard] = _covered(manifest)
        for (_, outcome), runs in manifest.coverage.items():
            self.ever_failed |= mask_of(runs) if outcome is not Outcome.OK else 0
        if shard in self.lost_shards:
            _add(self.excused, held)
        else:
            self.manifests[shard] = held
        _add(self.ever_stored, held)

    def shard_put(self, shard: str) -> None:
        """Note a shard; one that was lost may come again beside the manifest that was left."""
        self.lost_shards.discard(shard)
        if shard in self.written:
            self.manifests[shard] = self.written[shard]

    def missing(self) -> Held:
        """Give the runs without a final result at their highest asked epoch."""
        return self.missing_of(self.stored())

    def missing_of(self, stored: Held) -> Held:
        """Give the runs of which that is not stored."""
        left, lacking = self.declared, {}
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
        self.receipts: Callable[[str], Mapping[str, State]] = lambda _: {}
        # Jobs a person's program sent that are, or were, on their queue.
        self.jobs_sent: set[str] = set()
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
            self._control_put(folder[1], Control.decode(data))
        elif kind == "segments" and name == "0.json":
            # Whoever pauses it may not have read of those that came later.
            sweep.first_declared = Segment.decode(data).count
        elif kind == "asked":
            asked = Asked.decode(data)
            sweep.asked.append((asked.epoch, mask_of(asked.runs)))
        elif kind == "shards" and name.endswith(".json"):
            sweep.manifest_put(name.removesuffix(".json"), decode_manifest(data))
        elif kind == "shards":
            sweep.shard_put(name.removesuffix(".h5"))
        self.changed = True

    def _control_put(self, sweep_id: str, control: Control) -> None:
        sweep = self.sweeps[sweep_id]
        if control.state is ControlState.PAUSED and control.why:
            self._check_self_pause(sweep_id, sweep, control)
        sweep.control = control
        sweep.states[control.version] = control.state
        sweep.ever_cancelled |= control.state is ControlState.CANCELLED

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
            sweep, (shard, _, ending) = self.sweeps[folder[1]], folder[-1].rpartition(".")
            sweep.manifests.pop(shard, None)
            if ending == "json":
                sweep.written.pop(shard, None)
            self.changed = True

    def moved_away(self, sweep_id: str) -> None:
        """Note that somebody took a sweep out of the home."""
        self.sweeps[sweep_id].away = True

    def put_back(self, sweep_id: str) -> None:
        """Note that it is there again; a message that lay on its queue meanwhile may be set aside.

        An aggregator that received one meanwhile may be kept from quarantining it for long.
        """
        sweep, queue = self.sweeps[sweep_id], layout.results_queue(sweep_id)
        sweep.away = False
        sweep.met_away.update(body for name, body in self.bodies() if name == queue)

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
        if not self.held_by(queue, body):
            _check_unreadable_removed(queue, body, kept=kept)
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
        if sweep.away or body in sweep.met_away:
            return True
        return claim is not None and claim.key in self.expired_claims

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

    def check_receipts(self, queue: str, bodies: Sequence[str]) -> None:
        """Check that each job a person's program sends has a durable receipt (I5)."""
        sweep_id = layout.sweep_id_of(queue)
        known = self.receipts(sweep_id)
        for job in map(decode_job, bodies):
            state = known.get(job.job)
            if state is None:
                text = f"I5: job {job.job} of {sweep_id} was sent without a durable receipt"
                raise Violation(text)
            if state is not State.PENDING:
                raise Violation(
                    f"I5: job {job.job} of {sweep_id} is sent, and its receipt was {state.value} "
                    "before"
                )

    def check_marks(self, sweep_id: str) -> None:
        """Check, once all is done, that receipts are marked sent whose job was (I5)."""
        for job, state in self.receipts(sweep_id).items():
            if state is State.PENDING:
                raise Violation(f"I5: {sweep_id} is complete, and the receipt of {job} is pending")
            if state is State.SENT and job not in self.jobs_sent:
                raise Violation(f"I5: {job} of {sweep_id} is marked sent, and it never was")

    def check_complete(self, blobs: Blobs, sweep_id: str) -> None:
        """Check that a sweep that is said to be complete was so at some time (I4)."""
        sweep = self.sweeps[sweep_id]
        sweep.declared_by(blobs, sweep_id)
        for epoch, runs in sweep.missing_of(sweep.ever_stored).items():
            raise Violation(
                f"I4: {sweep_id} is said to be complete, and runs {_numbers(runs)}, asked for at "
                f"epoch {epoch}, never had a final result at it"
            )

    def _check_self_pause(self, sweep_id: str, sweep: SweepTruth, control: Control) -> None:
        """Check that a sweep pauses itself for more failures than the version before allows.

        What a person resumed it with is allowed besides, but for what was asked for anew since.
        """
        before = sweep.control
        if before.version != control.version - 1 or before.state is not ControlState.RUNNING:
            raise Violation(
                f"{sweep_id} pauses itself in version {control.version} after version "
                f"{before.version}, which says {before.state.value}"
            )
        most = before.limits.failures_allowed(sweep.first_declared)
        if most is None:
            raise Violation(f"{sweep_id} pauses itself, and has no max_failures")
        if before.paused_itself is not msgspec.UNSET:
            known, again = before.paused_itself, 0
            for epoch, runs in sweep.asked:
                again |= runs if epoch > known.epoch else 0
            most += max(0, known.failures - again.bit_count())
        if sweep.ever_failed.bit_count() <= most:
            raise Violation(
                f"{sweep_id} pauses itself in version {control.version}: {most} failures are "
                f"allowed then, and no more than {sweep.ever_failed.bit_count()} were ever stored"
            )

    def job_received(self, queue: str, body: str, at: float) -> None:
        """Note when a node had each run of a job in hand for the first time."""
        since = self.sweeps[layout.sweep_id_of(queue)].in_hand_since
        for epoch, runs in self.held_by(queue, body).items():
            for run in _numbers(runs):
                since.setdefault((epoch, run), at)

    def attempt_begins(
        self, sweep_id: str, *, epoch: int, run: int, attempt: int, at: float, kept_s: float
    ) -> None:
        """Check, in a world without any fault, that nothing is done twice.

        A run may be once more each time a job that was kept for `kept_s` had to be handed over.
        """
        sweep = self.sweeps[sweep_id]
        sweep.begun[epoch, run, attempt] += 1
        handed_over = (at - sweep.in_hand_since[epoch, run]) // kept_s
        if sweep.begun[epoch, run, attempt] > 1 + handed_over:
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
            if body not in self.spoiled:
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


def _check_unreadable_removed(queue: str, body: str, *, kept: bool) -> None:
    """Check that a message with which a program could do nothing was left to others."""
    invariant, decode = ("I2", decode_job) if queue.endswith("-jobs") else ("I3", decode_delivery)
    try:
        decode(body)
    except NewerFormat:
        raise Violation(f"{invariant}: a message of a later version left {queue}") from None
    except MessageError:
        if not kept:
            raise Violation(
                f"{invariant}: a message that nobody can read left {queue}, and it is in no "
                "quarantine"
            ) from None


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
