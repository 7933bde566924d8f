"""What can be taken away from the protocol, and how large a model is.

A removed protection is the one thing here that chooses behaviour: each stands for a rule of
production that somebody might think superfluous.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Configuration", "Home", "Protection", "Reduction"]


class Home(enum.Enum):
    """Where the queues are: what is one step there, and what can be known of them.

    FOLDER: SQLite. A replace is one transaction and hands the lease on, both queues are seen at one
    instant and die together. CLOUD: SQS. A replace is sends and then a delete, queues are only
    counted, one at a time, and are deleted or purged one by one.
    """

    FOLDER = "folder"
    CLOUD = "cloud"


class Protection(enum.Enum):
    """A rule of the protocol; the value is its name on the command line."""

    ACKNOWLEDGEMENT_BEFORE_DELETE = "acknowledgement-before-delete"
    REMAINDER_BEFORE_DELETE = "remainder-before-delete"
    FLUSH_BEFORE_DELETE = "flush-before-delete"
    ORPHANS_KEPT = "orphans-kept"
    RECEIPT_BEFORE_SEND = "receipt-before-send"
    SEND_BEFORE_MARK = "send-before-mark"
    STORED_BY_MANIFESTS = "stored-by-manifests"
    COMPLETE_BY_RUNS = "complete-by-runs"
    ONE_ROW_A_RUN = "one-row-a-run"
    RECONCILE = "reconcile"
    # The model deletes any job of the same runs without it, as where a queue made anew gives the
    # numbers of its messages again. What is deleted must be the very message that was received.
    LOST_LEASE_DELETES_NOTHING = "lost-lease-deletes-nothing"
    # Without these nothing goes wrong: they save work, or guard against a kinder model's unknowns.
    TWO_LOOKS = "two-looks"
    LOOK_AT_HANDS = "look-at-hands"
    ADOPTION = "adoption"
    STORED_RUNS_SKIPPED = "stored-runs-skipped"


class Reduction(enum.Enum):
    """A way to search fewer states with the same verdict; argued where it is done."""

    NODES_ALIKE = "nodes-alike"
    AGGREGATORS_ALIKE = "aggregators-alike"
    RUNS_ALIKE = "runs-alike"
    MOST_FAULTS_LEFT = "most-faults-left"
    # These two rest on protections, and are left out where one is missing.
    STORED_FORGOTTEN = "stored-forgotten"
    DELETES_AT_ONCE = "deletes-at-once"


_OF_WHOLE_PROTOCOL = {Reduction.STORED_FORGOTTEN, Reduction.DELETES_AT_ONCE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """How much of everything there is, and how often each kind of fault may strike.

    `runs`: 1, 2 (one job) or 3 (a job of two runs and one of one). `deletions`: a queue deleted or
    purged. `mishaps`: a lease lost by who lives on, a message delivered twice, an answer lost.
    `unreduced`: reductions that are not made; `reduced_even_so`: made although a protection that
    they rest on is missing.
    `alike` (1 or 3): how many visible messages of the same runs a queue tells apart; of more than
    that the last is left out. It could only be received and done once more: fewer copies make it
    easier to lose a run, never harder.
    """

    home: Home = Home.FOLDER
    nodes: int = 2
    aggregators: int = 1
    runs: int = 2
    crashes: int = 2
    deletions: int = 1
    mishaps: int = 0
    alike: int = 1
    without: frozenset[Protection] = frozenset()
    unreduced: frozenset[Reduction] = frozenset()
    reduced_even_so: frozenset[Reduction] = frozenset()

    @property
    def jobs(self) -> tuple[int, ...]:
        """Give the submitted jobs, each a set of runs (bit r: run r)."""
        return {1: (0b1,), 2: (0b11,), 3: (0b011, 0b100)}[self.runs]

    def has(self, protection: Protection) -> bool:
        """Tell whether a protection is in place."""
        return protection not in self.without

    def reduces(self, reduction: Reduction) -> bool:
        """Tell whether a reduction is made."""
        rests_on_missing = bool(self.without) and reduction in _OF_WHOLE_PROTOCOL
        left_out = reduction in self.unreduced or rests_on_missing
        return not left_out or reduction in self.reduced_even_so
