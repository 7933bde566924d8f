"""When a gap may be sent again.

Where the queues are seen at one instant, a run that is nowhere is nowhere: it may be sent at once.
Where absence is a guess, a run waits after each send, twice as long each time, and once so many of
its copies went to one queue, only one more goes a day: counts that lie without end must not fill
the queue, and a queue that is purged again and again must not keep a run from being done. A wrong
guess costs repeated work, never a wrong result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gapless.declaration.runset import RunSet
from receipts.ledger import SentReceipt

__all__ = ["EXACT_SNAPSHOT", "ResubmitPolicy"]


@dataclass(frozen=True, slots=True)
class ResubmitPolicy:
    """Wait `first_wait_s` after a first send, then twice as long each time.

    After `most_copies` sends: `one_more_after_s`. Six copies are as many as an explicit-state
    search of the protocol found about at once.
    """

    first_wait_s: float
    most_copies: int = 6
    one_more_after_s: float = 86_400.0

    @property
    def needs_history(self) -> bool:
        """Tell whether earlier sends matter."""
        return self.first_wait_s > 0

    def too_early(self, gaps: RunSet, history: Iterable[SentReceipt], *, now_s: float) -> RunSet:
        """Give the gaps that must not be sent yet.

        `history`: the receipts at the gaps' epoch whose messages may still be in the queue (its
        creation is the one they name), oldest first. Costs O(receipts x most_copies).
        """
        if not self.needs_history:
            return RunSet()
        # sent[n]: the gaps sent at least n + 1 times so far; early: their last wait is not over.
        sent = [RunSet() for _ in range(self.most_copies)]
        early = RunSet()
        for receipt in history:
            again = receipt.runs & gaps
            early = early - again
            for copies in range(self.most_copies):
                last = copies == self.most_copies - 1
                known = sent[copies]
                sent[copies] = known | again
                at_this_count = again if last else again - known
                wait_s = self.one_more_after_s if last else self.first_wait_s * 2**copies
                # A send from the far future tells of a clock that was set back: it holds up nobody.
                if -wait_s < now_s - receipt.sent_at_s < wait_s:
                    early = early | at_this_count
                again = again & known
                if not again:
                    break
        return early


EXACT_SNAPSHOT = ResubmitPolicy(first_wait_s=0.0)
"""For queues seen at one instant: no wait, and no copy can be about."""
