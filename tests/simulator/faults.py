"""Everything that can befall a world, by name: what a seed throws, and what a replay may leave out.

Each is thrown through `World.fault`, which counts it; `kind` leaves out every one of its kind and
`kind#3` the third that comes up.
"""

from __future__ import annotations

import enum
from typing import Self

__all__ = ["Fault"]


class Fault(enum.StrEnum):
    """A kind of fault; `sentence` says what it is in the real world."""

    sentence: str

    def __new__(cls, word: str, sentence: str) -> Self:
        """Make a member: a str that knows its sentence."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.sentence = sentence
        return member

    # Calls of a service
    QUEUE_AWAY = "queue-away", "One call of the queue service fails; nothing was done."
    STORAGE_AWAY = "storage-away", "One call of storage fails; nothing was done."
    QUEUE_ANSWER_LOST = "queue-answer-lost", "The queue did it, and the answer never arrives."
    STORAGE_ANSWER_LOST = "storage-answer-lost", "Storage did it, and the answer never arrives."
    ENTRY_FAILS = "entry-fails", "An entry of a batch is answered with an error, done or not."
    REPLACE_FAILS = "replace-fails", "A replace is answered with an error: undone, halved or done."
    INTERLEAVE = "interleave", "A call takes a while, and everybody else acts meanwhile."

    SLOW_STORAGE = "slow-storage", "A put or get of storage takes longer than a lease."
    QUEUES_CUT = "queues-cut", "One machine cannot reach the queues for a while; others can."
    STORAGE_CUT = "storage-cut", "One machine cannot reach storage for a while; others can."

    # Messages
    TWICE = "twice", "A standard queue delivers a message a second time."
    LATE = "late", "A message can be received only some seconds after it was sent."
    DAMAGED = "damaged", "A bit of a delivery flips on its way to the queue."

    STRANGE_MESSAGE = (
        "strange-message",
        "Somebody puts a message on a queue: of a later version, of another sweep, or no message.",
    )
    RETENTION = "retention", "A message older than its queue's retention vanishes."
    CEILING = "ceiling", "Too many messages are in flight: a receive is empty, without an error."
    LATE_COUNTS = "late-counts", "A queue that can only be counted gives counts of a while ago."

    # Programs
    CRASH = "crash", "kill -9 at a call of a service, before it or right after it."
    CRASH_BETWEEN = "crash-between", "kill -9 between two commands of a state machine."
    KILL = "kill", "kill -9 of a node or an aggregator at any time."
    STOP = "stop", "SIGTERM to a node or an aggregator, which is started again."
    STOP_NOW = "stop-now", "SIGTERM twice to a node: it gives back what it can and ends at once."
    SHUT_DOWN = "shut-down", "Every program is asked to end while storage or queues are away."
    PART_DIED = "part-died", "A thread of a node's agent ends with an error."
    LEAVES = "leaves", "A program leaves by itself when there is nothing to do."
    FREEZE = "freeze", "A machine stands still (SIGSTOP, a paused VM), often beyond its leases."
    SLOW_CHANGE = "slow-change", "A change of a job takes longer than its lease."
    HEARD_LATE = "heard-late", "One thread of a node tells later than the others what it did."
    SLOW_TO_WORKER = "slow-to-worker", "What a node tells a worker reaches it a moment later."
    UNFIT = "unfit", "A worker finds that it cannot do the work on its machine."

    WORKER_DIES = "worker-dies", "A worker process is killed while it starts or between two runs."
    KILLS_NODE = "kills-node", "User code that takes its whole node down (memory, kernel, power)."
    DISK_KEPT = "disk-kept", "A node starts again with what its last life left on disk."
    DISK_LOST = "disk-lost", "A node starts again with an empty disk."
    DISK_FULL = "disk-full", "A node's disk has no room for more results."
    SKEW = "skew", "A machine's wall clock is wrong by up to minutes, all the time."
    CLOCK_JUMP = "clock-jump", "A wall clock jumps by up to minutes, ahead or back."
    PAUSED_ITSELF = "paused-itself", "A sweep pauses itself for its max_failures."

    # Services
    QUEUES_GONE = "queues-gone", "The queue service is away for everybody for a while."
    STORAGE_GONE = "storage-gone", "Storage is away for everybody for a while."
    QUEUE_DELETED = "queue-deleted", "Somebody deletes a queue with all its messages."
    QUEUE_PURGED = "queue-purged", "Somebody purges a queue; it keeps its time of creation."
    BARRED = "barred", "For 60 s after a queue's deletion nobody can make it again."
    LINGERS = "lingers", "A deleted queue still answers for a while: what is sent there vanishes."
    SHARD_LOST = "shard-lost", "A stored shard disappears, with or without its manifest."
    MANIFEST_LOST = "manifest-lost", "A manifest disappears; its shard is there, whole."
    SHARD_HALF = "shard-half", "Half a shard lies under a name of its own, without a manifest."
    SHARD_FLIPPED = "shard-flipped", "A bit of a stored shard flips."
    LEDGER_OLD = "ledger-old", "An old copy of the ledger is put back."
    LEDGER_LOST = "ledger-lost", "The file of the ledger disappears."

    LEDGER_DAMAGED = "ledger-damaged", "A row of the ledger is damaged; the ledger is given up."
    SWEEP_MOVED = "sweep-moved", "A sweep is moved out of the home while it runs, and back later."
    CLAIMS_EXPIRE = "claims-expire", "What large deliveries claim expires, stored or not."
    JOB_COPIED = "job-copied", "A job that nodes died of is put back on its queue."

    # What people do meanwhile (no fault of theirs)
    READS = "reads", "Somebody reads the results while they come."
    RECONCILES = "reconciles", "A person reconciles, with or without --resubmit."
    EXTENDS = "extends", "A person extends a sweep that is under way."
    RESUBMITS = "resubmits", "A person asks anew for runs that may be stored or in flight."
    PAUSES = "pauses", "A person pauses a sweep and resumes it later."
    FORCES = "forces", "A person reconciles with --force where queues are only counted."
    TWO_ASK = "two-ask", "A colleague with another ledger asks for runs anew at the same moment."
    CANCELS = "cancels", "A person cancels a sweep and resumes it later."
