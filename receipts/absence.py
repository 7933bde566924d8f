"""Tell which runs are nowhere when queues can only be asked for counts. Pure arithmetic.

Nobody can look into such a queue, its counts are late, and a message moves while others are looked
at. A run that lacks its result is shown to be nowhere in one of three ways:

- Its jobs went to another queue than the one of now: a queue made anew has none of the older one's
  messages. It may have been done before: while the result queue counts anything, its result may be
  in there. But one message that nobody can use must not hide gaps for ever, so it is waited for
  30 times `settle_s` (an hour) at most, in which aggregators that run store what was delivered.
- Its jobs are older than the queue keeps messages: as above.
- Two looks at least `settle_s` apart, each in the order in which a run moves (work queue, result
  queue, manifests), found both queues to be the same ones, counting nothing, and the run without a
  result. A look within `settle_s` of a job sent by us counts for nothing, because that job need not
  be counted yet; a send after the first look makes it void.

What a recently heard node has in hand is no gap in any of these cases, at either look. What is left
is improbable and costs repeated work, never a result: late counts at both looks with a node between
two reports. And no gap stays hidden for ever: a node delivers or dies, messages are used up or
expire, so both queues come to count nothing, or the jobs come of age.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gapless.declaration.runset import RunSet
from queueing.port import QueueFacts
from receipts.looks import Look, MayBeQueued

__all__ = ["Seen", "Sends", "Verdict", "count", "judge", "judge_by_force"]

_SETTLES_UNTIL_STORED = 30
"""What was delivered is stored within that many times `settle_s`, where aggregators run."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: from when to when (Unix seconds), both queues, and what live nodes hold, by epoch.

    A look may last: two are as far apart as the end of the first and the begin of the second.
    `silent_s`: for how long each node that holds runs of the sweep has not been heard.
    """

    began_at_s: float
    ended_at_s: float
    jobs: QueueFacts
    results: QueueFacts
    in_hand: Mapping[int, RunSet]
    silent_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def nothing_queued(self) -> bool:
        """Tell whether neither queue counts a message."""
        return count(self.jobs) == count(self.results) == 0

    def held(self, epoch: int) -> RunSet:
        """Give the runs in hand at an epoch or a later one, whose results would count as well."""
        return RunSet.union(runs for each, runs in self.in_hand.items() if each >= epoch)


@dataclass(frozen=True, slots=True)
class Sends:
    """What the ledger knows of jobs sent: the runs that may be queued, and the last send."""

    may_be_queued: MayBeQueued
    last_at_s: float | None

    def queues_made_anew(self, seen: Seen) -> bool:
        """Tell whether both queues were made after the last job was sent to others of their names.

        The work queue by what the receipts name, for clocks differ; a receipt made anew names none.
        """
        return (
            self.last_at_s is not None
            and not self.may_be_queued.sent
            and seen.jobs.created_at_s > self.last_at_s
            and seen.results.created_at_s > self.last_at_s
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Runs shown to be nowhere, by epoch; the looks to remember; when to look next, in seconds.

    `look_again_in_s` is None when a later look would show nothing more as things stand.
    `maybe_delivered`: on no work queue and in nobody's hands; their results may lie on the result
    queue. `queues_made_anew`: all that lay on the queues of the last send is gone.
    """

    gaps: Mapping[int, RunSet] = field(default_factory=dict)
    looks: tuple[Look, ...] = ()
    look_again_in_s: float | None = None
    maybe_delivered: Mapping[int, RunSet] = field(default_factory=dict)
    queues_made_anew: bool = False


def count(facts: QueueFacts) -> int:
    """Count a queue's messages: visible, in somebody's hands, and delayed."""
    return facts.visible + facts.leased + facts.delayed


def judge(
    lacking: Mapping[int, RunSet],
    *,
    seen: Seen,
    sends: Sends,
    earlier: Sequence[Look],
    settle_s: float,
) -> Verdict:
    """Judge the runs that were sent and lack their result, by epoch.

    `lacking` is read after `seen` was; `earlier` are the looks remembered, earliest first.
    """
    held = {epoch: seen.held(epoch) for epoch in lacking}
    by_receipts = {
        epoch: runs - sends.may_be_queued.runs(epoch) - held[epoch]
        for epoch, runs in lacking.items()
    }
    if count(seen.results) and any(by_receipts.values()):
        return _await_results(by_receipts, seen=seen, earlier=earlier, settle_s=settle_s)
    nowhere = {epoch: runs - by_receipts[epoch] - held[epoch] for epoch, runs in lacking.items()}
    if not seen.nothing_queued or not any(nowhere.values()):
        return Verdict(gaps=by_receipts)
    if (early_s := _too_early_s(seen, sends, settle_s)) > 0:
        return Verdict(gaps=by_receipts, look_again_in_s=early_s)
    pairing = _Pairing(seen, settle_s)
    for epoch, runs in nowhere.items():
        pairing.add(epoch, runs, [look for look in earlier if _is_first_of(look, epoch, seen)])
    return Verdict(
        gaps={epoch: by_receipts[epoch] | pairing.proven[epoch] for epoch in lacking},
        looks=tuple(pairing.looks),
        look_again_in_s=pairing.next_in_s,
    )


def judge_by_force(
    lacking: Mapping[int, RunSet], *, seen: Seen, sends: Sends, settle_s: float
) -> dict[int, RunSet]:
    """Give the gaps without waiting: believe this one look, no node, and no receipt made anew.

    A look just after a send says nothing even so: forced twice at once, all would go out twice.
    """
    if seen.nothing_queued and _too_early_s(seen, sends, settle_s) <= 0:
        return dict(lacking)
    sent = sends.may_be_queued.sent
    return {epoch: runs - sent.get(epoch, RunSet()) for epoch, runs in lacking.items()}


def _await_results(
    by_receipts: Mapping[int, RunSet], *, seen: Seen, earlier: Sequence[Look], settle_s: float
) -> Verdict:
    """Judge runs that no job holds while results are queued, which may be theirs.

    The looks of these runs are no others' than their own: those at empty queues are void by now,
    and jobs sent since would have made them void too.
    """
    pairing = _Pairing(seen, _SETTLES_UNTIL_STORED * settle_s)
    for epoch, runs in by_receipts.items():
        pairing.add(epoch, runs, [look for look in earlier if _is_first_of(look, epoch, seen)])
    next_in_s = pairing.next_in_s
    return Verdict(
        gaps=pairing.proven,
        looks=tuple(pairing.looks),
        look_again_in_s=None if next_in_s is None else min(next_in_s, settle_s),
        maybe_delivered={
            epoch: runs - pairing.proven[epoch] for epoch, runs in by_receipts.items()
        },
    )


def _too_early_s(seen: Seen, sends: Sends, settle_s: float) -> float:
    if sends.last_at_s is None:
        return 0.0
    age_s = seen.began_at_s - sends.last_at_s
    # A send far in the future tells of a clock that was set back: it must not hold up for ever.
    return settle_s - age_s if age_s > -settle_s else 0.0


def _is_first_of(look: Look, epoch: int, seen: Seen) -> bool:
    """Tell whether a remembered look is of the same queues, and before this one by the clock."""
    return (
        look.epoch == epoch
        and look.at_s < seen.began_at_s
        and look.jobs_created_at_s == seen.jobs.created_at_s
        and look.results_created_at_s == seen.results.created_at_s
    )


@dataclass(slots=True)
class _Pairing:
    """Pair this look with the earlier ones, run by run."""

    seen: Seen
    settle_s: float
    proven: dict[int, RunSet] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    next_in_s: float | None = None

    def add(self, epoch: int, nowhere: RunSet, firsts: Sequence[Look]) -> None:
        """Take the runs of one epoch that are nowhere at this look."""
        proven = [RunSet()]
        left = nowhere
        for first in firsts:
            still = first.runs & left
            left = left - still
            self._keep(replace(first, runs=still))
            if self.seen.began_at_s - first.at_s >= self.settle_s:
                proven.append(still)
            else:
                self._wait(still, first.at_s + self.settle_s - self.seen.began_at_s)
        this = Look(
            epoch=epoch,
            runs=left,
            at_s=self.seen.ended_at_s,
            jobs_created_at_s=self.seen.jobs.created_at_s,
            results_created_at_s=self.seen.results.created_at_s,
        )
        self._keep(this)
        self._wait(left, self.settle_s)
        self.proven[epoch] = RunSet.union(proven)

    def _keep(self, look: Look) -> None:
        if look.runs:
            self.looks.append(look)

    def _wait(self, runs: RunSet, seconds: float) -> None:
        if runs:
            known_s = seconds if self.next_in_s is None else self.next_in_s
            self.next_in_s = min(seconds, known_s)
